package broker

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

// With one of two clocks wrong, by however much, time goes on as it did. So it does with three. At first, of two the lower counts.
func TestAWrongClockDoesNotMoveTime(t *testing.T) {
	const now, hour = int64(1_800_000_000_000), int64(3_600_000)
	for _, off := range []int64{-240 * hour, -2 * hour, -1000, 1000, 2 * hour, 240 * hour} {
		require.Equal(t, now+3, middle([]int64{now + off, now + 3}, now))
		require.Equal(t, now+3, middle([]int64{now + 3, now + off}, now))
		require.InDelta(t, now, middle([]int64{now + off, now - 2, now + 3}, now), 5)
		require.InDelta(t, now, middle([]int64{now + off, now - 2, now + 3, now + 1}, now), 5)
	}
	require.Equal(t, now-hour, middle([]int64{now, now - hour}, math.MinInt64))
	require.Equal(t, now, middle([]int64{now}, math.MinInt64))
	require.Equal(t, now, middle([]int64{now}, now+hour), "one clock of a cluster of one")
}
