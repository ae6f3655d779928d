package remoting

import (
	"strconv"
	"sync"
	"time"
)

// Fields of ours, both in ns of the answering node's monotonic clock, which begins with it.
const (
	ExtNow = "_now" // in replies: what it is
	ExtBy  = "_by"  // in requests: not to be done from then on
)

// PeerClock is the clock of the node at a connection's other end, as far as its answers told:
// behind it by as much as the fastest of late took, and not ahead of it, as long as the two
// run at one rate to within a fiftieth. The zero value knows nothing. It may be used
// concurrently.
type PeerClock struct {
	mu    sync.Mutex
	known bool
	then  time.Duration // what it was at least
	at    time.Time     // here
}

// clockRates is by how much the rates of two nodes' clocks may differ: a fiftieth.
const clockRates = 50

// Heard takes what a reply says of the other clock, and takes it out.
func (c *PeerClock) Heard(reply *Command) {
	s, ok := reply.Ext[ExtNow]
	if !ok {
		return
	}
	delete(reply.Ext, ExtNow)
	now, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return
	}
	c.set(time.Duration(now), time.Now())
}

// set takes that the other clock was then before at. An answer that was slow tells less
// than what is known.
func (c *PeerClock) set(then time.Duration, at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.known && then < c.counted(at) {
		return
	}
	c.known, c.then, c.at = true, then, at
}

// counted is what the other clock has come to at least; mu is held.
func (c *PeerClock) counted(at time.Time) time.Duration {
	d := at.Sub(c.at)
	return c.then + d - d/clockRates
}

// Bound has req say until when it may be done: by, early rather than late. If nothing is
// known of the other clock, or only what is older than within (0: however old), it says
// nothing. It changes req.Ext.
func (c *PeerClock) Bound(req *Command, by time.Time, within time.Duration) {
	delete(req.Ext, ExtBy)
	now := time.Now()
	c.mu.Lock()
	ok := c.known && (within == 0 || now.Sub(c.at) <= within)
	at := c.counted(now) + by.Sub(now)
	c.mu.Unlock()
	if ok {
		req.SetExt(ExtBy, strconv.FormatInt(int64(at), 10))
	}
}
