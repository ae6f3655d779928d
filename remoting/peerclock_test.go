package remoting

import (
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// A deadline in another node's clock is never later than meant, however long the
// answers took that told of that clock. Of what was heard too long ago none is made.
func TestADeadlineInAnotherClockIsNotLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now().Add(-time.Hour) // the other node's
		var c PeerClock
		bound := func(within time.Duration) (by time.Duration, ok bool) {
			req := NewRequest(SendMessage, nil)
			req.SetExt(ExtBy, "1") // of another connection
			c.Bound(req, time.Now().Add(2*time.Second), within)
			s, ok := req.Ext[ExtBy]
			n, _ := strconv.ParseInt(s, 10, 64)
			return time.Duration(n), ok
		}
		_, ok := bound(0)
		require.False(t, ok, "nothing is known yet")
		for i, slow := range []time.Duration{time.Second, 5 * time.Millisecond, 3 * time.Second, 0} {
			reply := NewRequest(SendMessage, nil)
			reply.SetExt(ExtNow, strconv.FormatInt(int64(time.Since(began)), 10))
			time.Sleep(slow)
			c.Heard(reply)
			require.NotContains(t, reply.Ext, ExtNow)
			by, ok := bound(0)
			require.True(t, ok)
			meant := time.Since(began) + 2*time.Second
			require.LessOrEqual(t, by, meant)
			least := []time.Duration{time.Second, 5 * time.Millisecond, 5*time.Millisecond + (3*time.Second+time.Millisecond)/clockRates, 0}[i]
			require.GreaterOrEqual(t, by, meant-least, "answer %d", i)
			time.Sleep(time.Millisecond)
		}
		time.Sleep(time.Minute)
		_, ok = bound(time.Minute)
		require.False(t, ok)
		_, ok = bound(time.Hour)
		require.True(t, ok)
	})
}
