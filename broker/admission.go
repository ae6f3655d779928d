package broker

import (
	"context"
	"fmt"
	"runtime"
	"sync/atomic"

	"raftmq/remoting"
)

// What a node lets in. Sends are bounded by bytes; what reads is bounded by how
// many do it at once, so that a flood of it leaves sends their share of the
// processors: a goroutine that waits in a gate cannot be run, thousands that can be
// would each be run before a send's next step.
const (
	requestBytes = 256 << 20 // of requests in flight, on all listeners
	replyBytes   = 256 << 20 // of replies waiting to be written
	heldPulls    = 1 << 16   // of the node
	// heldPerConn leaves room for sends within the requests that a connection may
	// have in flight, 4096.
	heldPerConn = 2048
	gateWaiting = 4096 // in each gate
)

// gate lets so many through at once, and so many wait.
type gate struct {
	places  chan struct{}
	waiting atomic.Int32
	most    int32
}

func newGate(places, waiting int) *gate {
	return &gate{places: make(chan struct{}, places), most: int32(waiting)}
}

// enter waits for a place, which leave gives back. errBusy: there is none, and too
// many wait.
func (g *gate) enter(ctx context.Context) error {
	select {
	case g.places <- struct{}{}:
		return nil
	default:
	}
	defer g.waiting.Add(-1)
	if g.waiting.Add(1) > g.most {
		return errBusy
	}
	select {
	case g.places <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", errBusy, context.Cause(ctx))
	}
}

func (g *gate) leave() { <-g.places }

// admission is what a node's requests share.
type admission struct {
	requests *remoting.Budget
	replies  *remoting.Budget
	pulls    *gate // reads of queues
	lookups  *gate // other reads of a partition
	lists    *gate // lists of the catalogue
	held     atomic.Int32
}

func newAdmission() admission {
	procs := runtime.GOMAXPROCS(0)
	return admission{
		requests: remoting.NewBudget(requestBytes), replies: remoting.NewBudget(replyBytes),
		pulls: newGate(4*procs, gateWaiting), lookups: newGate(2*procs, gateWaiting), lists: newGate(2*procs, gateWaiting),
	}
}

// heldKey is where a connection keeps how many pulls are held on it.
type heldKey struct{}

// hold counts a pull that may be held; release is to be called when it is answered.
// errBusy: too many are held already. What another node sent on counts for the node
// only: it comes on one connection.
func (a *admission) hold(r *request) (release func(), err error) {
	mine := new(atomic.Int32)
	if !r.forwarded {
		mine = r.conn.GetOrSet(heldKey{}, mine).(*atomic.Int32)
	}
	release = func() {
		a.held.Add(-1)
		mine.Add(-1)
	}
	all, here := a.held.Add(1), mine.Add(1)
	if all > heldPulls || here > heldPerConn {
		release()
		return nil, errBusy
	}
	return release, nil
}
