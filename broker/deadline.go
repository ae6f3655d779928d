package broker

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"raftmq/remoting"
)

// A forwarded request carries until when its asker waits, and the leader drops what is
// late before it proposes it: certainly not done. So does one of the bundled client, which
// learns of the clock of the node that it asks as nodes do of the leader's; stock
// clients do not say how long they wait.
//
// What is carried is a time of the asked node's own monotonic clock, in ns since that
// started (remoting.ExtBy). How long is left would not do: it can be measured from the arrival
// on only, and a link can hold a request for any time before. Wall clocks would not do
// either, they differ and jump. So each answer over a link says what the leader's clock
// is (remoting.ExtNow), the first one when the link is made, and whoever forwards counts on from
// there. An answer takes time, so what is counted to is behind the leader's clock: a
// deadline may be early by as much as that answer took, which costs another try, and is
// never late, as long as the two clocks run at one rate to within a fiftieth.

// codeUptime asks a node for its clock and nothing else; of nodes only.
const codeUptime remoting.Code = 9003

// errLate: nobody waits for this any more; certainly not done.
var errLate = fmt.Errorf("broker: it came too late: %w", errNotHere)

type byKey struct{}

// withBy has what is proposed for ctx dropped from by on. What is proposed is waited
// for as before.
func withBy(ctx context.Context, by time.Time) context.Context {
	return context.WithValue(ctx, byKey{}, by)
}

// byOf is until when something may be proposed for ctx; zero: whenever.
func byOf(ctx context.Context) time.Time {
	by, _ := ctx.Value(byKey{}).(time.Time)
	return by
}

// late reports whether by is over.
func late(by time.Time) bool { return !by.IsZero() && !time.Now().Before(by) }

// uptime is this node's monotonic clock.
func (b *Broker) uptime() time.Duration { return time.Since(b.began) }

// stamp says in a reply what this node's clock is.
func (b *Broker) stamp(reply *remoting.Command) {
	reply.SetExt(remoting.ExtNow, strconv.FormatInt(int64(b.uptime()), 10))
}

// readBy takes the deadline out of a request: it is of this node's clock only.
func (b *Broker) readBy(r *request) error {
	s, ok := r.Ext[remoting.ExtBy]
	if !ok {
		return nil // of a stock client, or a version that sends none
	}
	delete(r.Ext, remoting.ExtBy)
	by, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return fmt.Errorf("%w: %s %q", remoting.ErrHeader, remoting.ExtBy, s)
	}
	r.by = b.began.Add(time.Duration(by))
	return nil
}
