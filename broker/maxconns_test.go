package broker

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// max-connections is all that bounds clients' connections, however high it is.
func TestNoListenerHasABoundOfItsOwn(t *testing.T) {
	b, err := openAlone(t, func(c *Config) { c.MaxConnections = 100_000 }, nil)
	require.NoError(t, err)
	eventually(t, func() bool { ok, _ := b.Ready(); return ok })
	for _, s := range b.servers[:len(b.servers)-1] { // the last is for other nodes
		require.Equal(t, 100_000, s.MaxConns)
	}
}
