package broker

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"time"

	"raftmq/remoting"
)

// A forwarded request carries until when its asker waits, and the leader drops what is
// late before it proposes it: certainly not done.
//
// What is carried is a time of the leader's own monotonic clock, in ns since the leader
// started (extBy). How long is left would not do: it can be measured from the arrival
// on only, and a link can hold a request for any time before. Wall clocks would not do
// either, they differ and jump. So each answer over a link says what the leader's clock
// is (extNow), the first one when the link is made, and whoever forwards counts on from
// there. An answer takes time, so what is counted to is behind the leader's clock: a
// deadline may be early by as much as that answer took, which costs another try, and is
// never late, as long as the two clocks run at one rate to within a fiftieth.

// codeUptime asks a node for its clock and nothing else; of nodes only.
const codeUptime remoting.Code = 9003

// Fields between nodes only, both in ns of the answering node's monotonic clock.
const (
	extNow = "_now" // in replies: what it is
	extBy  = "_by"  // in requests: drop it from then on
)

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
	reply.SetExt(extNow, strconv.FormatInt(int64(b.uptime()), 10))
}

// readBy takes the deadline of a forwarded request.
func (b *Broker) readBy(r *request) error {
	s, ok := r.Ext[extBy]
	if !ok {
		return nil // of a version that sends none
	}
	by, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return fmt.Errorf("%w: %s %q", remoting.ErrHeader, extBy, s)
	}
	r.by = b.began.Add(time.Duration(by))
	return nil
}

// linkClock is another node's clock, as far as answers told. It is not ahead of it.
type linkClock struct {
	mu    sync.Mutex
	known bool
	then  time.Duration // what it was at least
	at    time.Time     // here
}

// clockRates is by how much the rates of two nodes' clocks may differ: a fiftieth.
const clockRates = 50

// heard takes what a reply says of the other clock, and takes it out.
func (c *linkClock) heard(reply *remoting.Command) {
	s, ok := reply.Ext[extNow]
	if !ok {
		return
	}
	delete(reply.Ext, extNow)
	now, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return
	}
	c.set(time.Duration(now), time.Now())
}

// set takes that the other clock was then before at. An answer that was slow tells less
// than what is known.
func (c *linkClock) set(then time.Duration, at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.known && then < c.counted(at) {
		return
	}
	c.known, c.then, c.at = true, then, at
}

// counted is what the other clock has come to at least; mu is held.
func (c *linkClock) counted(at time.Time) time.Duration {
	d := at.Sub(c.at)
	return c.then + d - d/clockRates
}

// by is a time here by the other clock, early rather than late; false: nothing is known
// of that clock.
func (c *linkClock) by(t time.Time) (time.Duration, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	return c.counted(now) + t.Sub(now), c.known
}
