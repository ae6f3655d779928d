package run

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Most holds of a queue are short, so that it changes hands; some last while leaders come and go.
func TestSomeHoldsAreLong(t *testing.T) {
	o := &orderly{rng: rand.New(rand.NewPCG(1, 1))}
	const n = 1000
	short, long := 0, 0
	for range n {
		switch d := o.rest(); {
		case d < longestHold:
			short++
		case d >= longHold/2 && d < longHold:
			long++
		}
	}
	require.Equal(t, n, short+long)
	require.Greater(t, long, n/50)
	require.Greater(t, short, n*9/10)
	require.Greater(t, longHold/2, 2*time.Second, "an election takes less")
}
