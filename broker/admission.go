package broker

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"raftmq/remoting"
)

// What a node lets in. Sends are bounded by bytes; what reads is bounded by how
// many do it at once, so that a flood of it leaves sends their share of the
// processors: a goroutine that waits in a gate cannot be run, thousands that can be
// would each be run before a send's next step.
const (
	maxHeldPulls = 1 << 16 // of the node, at most: half of its requests' bytes are for them
	heldCost     = 4 << 10 // of which each takes so many
	// heldPerConn leaves room for sends within the requests that a connection may
	// have in flight, 4096.
	heldPerConn = 2048
	gateWaiting = 4096 // in each gate
	// wholesAtOnce is how many answers are put together at once of what several partitions say: each keeps what it has while it
	// waits for the next.
	wholesAtOnce = 4
)

// connectionCost is what a connection takes that has nothing in flight: buffers and
// the stacks of its goroutines.
const connectionCost = 64 << 10

// ClientMemory bounds what clients can make a node keep in memory, whatever they do,
// in bytes: requests, the records that they are made into, replies that they do not read (twice the setting, and what is
// being read from disk for those to come), answers of members and of several partitions, filters, connections.
func (c Config) ClientMemory() int64 {
	c.fillBounds()
	reading := int64(readPlaces()) * maxPullBytes
	return c.MaxRequestBytes + c.MaxRequestBytes/remoting.AheadPart + (2*membersAsked+wholesAtOnce)*remoting.MaxFrame + maxMeters*meterCost + recordBytes(c) + 2*c.MaxReplyBytes + reading + decisionBytes + bodyBytes + filterBytes + int64(c.MaxConnections)*connectionCost
}

// recordBytes bound the records that requests are made into, while their handlers run and while they wait for an entry, which they may do
// when whoever sent them is gone and his request no longer counts. A batch of short messages takes many times its frame.
func recordBytes(c Config) int64 { return 2 * c.MaxRequestBytes }

// Places in the gates.
func pullPlaces() int { return 4 * runtime.GOMAXPROCS(0) }
func lookPlaces() int { return 2 * runtime.GOMAXPROCS(0) }
func readPlaces() int { return pullPlaces() + 2*lookPlaces() + 1 }

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

// decisionBytes bounds the messages that decisions and put-backs, which are small requests,
// have read from disk and are under way.
const decisionBytes = 64 << 20

// byteGate lets so many bytes through at once; who comes first goes first.
type byteGate struct {
	first  chan struct{} // held by the one that takes places
	places chan struct{} // of placeBytes
}

const placeBytes = 64 << 10

// What JSON is read into takes many times its text, at worst.
const (
	bodyBytes = 32 << 20 // bounds it, of all that is being read
	bodyCost  = 100      // for each byte
	maxJSON   = 512 << 10
)

// decode reads a request's body, of which what it makes is to be held only until leave is called.
func (b *Broker) decode(ctx context.Context, r *request, v any) (leave func(), err error) {
	if len(r.Body) > maxJSON {
		return nil, fmt.Errorf("%w: body of %d bytes, at most %d", remoting.ErrHeader, len(r.Body), maxJSON)
	}
	if leave, err = b.admission.bodies.enter(ctx, bodyCost*len(r.Body)); err != nil {
		return nil, err
	}
	if err := remoting.DecodeBody(r.Body, v); err != nil {
		leave()
		return nil, err
	}
	return sync.OnceFunc(leave), nil
}

func newByteGate(bytes int) byteGate {
	return byteGate{make(chan struct{}, 1), make(chan struct{}, bytes/placeBytes)}
}

// enter waits for room for n bytes, or for all there is; leave gives it back. errBusy:
// ctx ended.
func (g byteGate) enter(ctx context.Context, n int) (leave func(), err error) {
	taken, want := 0, min(1+n/placeBytes, cap(g.places))
	leave = func() {
		for range taken {
			<-g.places
		}
	}
	select {
	case g.first <- struct{}{}:
		defer func() { <-g.first }()
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: %w", errBusy, context.Cause(ctx))
	}
	for ; taken < want; taken++ {
		select {
		case g.places <- struct{}{}:
		case <-ctx.Done():
			leave()
			return nil, fmt.Errorf("%w: %w", errBusy, context.Cause(ctx))
		}
	}
	return leave, nil
}

// admission is what a node's requests share.
type admission struct {
	requests *remoting.Budget // bytes in flight, on all listeners
	replies  *remoting.Budget // bytes waiting to be written
	open     *remoting.Budget // connections of clients
	pulls    *gate            // reads of queues
	lookups  *gate            // other reads of a partition
	lists    *gate            // lists of the catalogue
	wholes   *gate            // answers that are put together of what several partitions say
	members  *gate            // questions to members of groups
	handed   *gate            // messages that members are to handle now
	commits  byteGate         // messages of transactions that are being committed, and that are put back
	backs    *gate            // reads of what is put back, of which it is not known yet how long it is
	bodies   byteGate         // JSON of requests that is being read
	records  *remoting.Budget // what sends are made into
	maxHeld  int32
	held     atomic.Int32
}

func newAdmission(c Config) admission {
	return admission{
		requests: remoting.NewBudget(c.MaxRequestBytes), replies: remoting.NewBudget(c.MaxReplyBytes), open: remoting.NewBudget(int64(c.MaxConnections)),
		pulls: newGate(pullPlaces(), gateWaiting), lookups: newGate(lookPlaces(), gateWaiting), lists: newGate(lookPlaces(), gateWaiting), wholes: newGate(wholesAtOnce, gateWaiting), members: newGate(membersAsked, gateWaiting), handed: newGate(membersAsked, gateWaiting), commits: newByteGate(decisionBytes), backs: newGate(1, gateWaiting), bodies: newByteGate(bodyBytes),
		records: remoting.NewBudget(recordBytes(c)),
		maxHeld: int32(min(maxHeldPulls, c.MaxRequestBytes/2/heldCost)),
	}
}

// read takes a place in g for what makes a large reply, and waits until there is room
// for it: leave gives the place back.
func (a *admission) read(ctx context.Context, g *gate) error {
	if err := g.enter(ctx); err != nil {
		return err
	}
	for a.replies.Full() { // as few look as g has places
		t := time.NewTimer(roomLook)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			g.leave()
			return fmt.Errorf("%w: %w", errBusy, context.Cause(ctx))
		}
	}
	return nil
}

// roomLook is how often one that waits for room looks: peers that do not read are
// given up meanwhile.
const roomLook = 5 * time.Millisecond

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
	if all > a.maxHeld || here > heldPerConn {
		release()
		return nil, errBusy
	}
	return release, nil
}
