package remoting

import (
	"bytes"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// What finds no room takes none meanwhile: who has room is not refused for it.
func TestWhatFindsNoRoomKeepsNobodyOut(t *testing.T) {
	b := NewBudget(1 << 20)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for _, try := range []func(){func() { b.Take(2 << 20) }, func() { b.queue(3<<20, 0) }} {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					try()
				}
			}
		})
	}
	for range 5_000_000 {
		if !b.Take(1) || b.Used() > 1 {
			t.Error("refused, or too much is taken, where nothing is in use")
			break
		}
		b.Give(1)
	}
	close(stop)
	wg.Wait()
	require.Zero(t, b.Used())
}

// What is made for bytes that are yet to come is given back, whatever becomes of them.
func TestWhatIsMadeAheadIsGivenBack(t *testing.T) {
	b := NewBudget(4 << 20)
	for _, x := range []struct{ announced, come int }{{1 << 20, 1 << 20}, {1 << 20, 10}, {1 << 20, 600 << 10}, {100 << 10, 100 << 10}, {4 << 20, 4 << 20}} {
		in := &intake{budget: b}
		readBytes(bytes.NewReader(make([]byte, x.come)), x.announced, in)
		in.giveBack()
		require.Zero(t, b.ahead.Load(), x)
		require.Zero(t, b.Used(), x)
	}
}
