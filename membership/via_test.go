package membership

import (
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

// A member whose way out is another one finds the others, under the address that they
// tell and never are called at.
func TestMembersAreCalledAtAnotherAddress(t *testing.T) {
	a := open(t, "a", "", 0)
	var asked atomic.Int64
	b, err := Open(Config{Self: Node{Name: "b", Incarnation: 1}, Bind: "127.0.0.1:0", Cluster: "c", Via: func(addr string) string {
		asked.Add(1)
		if addr == "127.0.0.1:1" {
			return a.Addr()
		}
		return addr
	}})
	require.NoError(t, err)
	t.Cleanup(func() { b.Close() })
	n, err := b.Join([]string{"127.0.0.1:1"})
	require.NoError(t, err, fmt.Sprint(asked.Load()))
	require.Equal(t, 1, n)
	untilSize(t, 2, a, b)
	require.NotZero(t, asked.Load())
}
