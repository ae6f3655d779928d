package vclock

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// A process whose machine seems to have been up for 300 days sees that, and sleeps as long as
// any other.
func TestAMonotonicClockBeginsAhead(t *testing.T) {
	const up = 300 * 24 * time.Hour
	c := start(t, up)
	here, err := now(unix.CLOCK_MONOTONIC)
	require.NoError(t, err)
	_, there := c.ask("up")
	require.InDelta(t, float64(up), float64(int64(there)-here), float64(time.Minute))
	is, err := c.Up()
	require.NoError(t, err)
	require.InDelta(t, float64(up), float64(is), float64(time.Second))
	_, before := c.ask("now")
	_, after := c.ask("sleep")
	require.GreaterOrEqual(t, after-before, 100*time.Millisecond)
	require.Less(t, after-before, time.Minute)
	require.NoError(t, c.Do(Change{Timers: 2}))
	_, later := c.ask("up")
	require.Greater(t, later, there, "it does not go back")
}
