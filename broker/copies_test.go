package broker

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// A state that a peer reads is kept while its pieces are asked for, and not for ever.
func TestAStateThatNobodyReadsAnyMoreIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p pin
		p.keep(1, []byte("first"))
		p.keep(2, []byte("second"))
		_, ok := p.of(1)
		require.False(t, ok)
		for range 5 {
			time.Sleep(pinStays - time.Millisecond)
			synctest.Wait()
			b, ok := p.of(2)
			require.True(t, ok)
			require.Equal(t, "second", string(b))
		}
		time.Sleep(pinStays)
		synctest.Wait()
		require.Nil(t, p.now.Load())
		p.keep(3, []byte("third"))
		_, ok = p.of(3)
		require.True(t, ok)
	})
}
