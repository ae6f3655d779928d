package broker

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"raftmq/fsm"
	"raftmq/raftlog"
	"raftmq/remoting"
)

// atLeader answers r where the group's leader is: by here if this node leads,
// else by sending r on. here returns errNotHere when this node turned out not to
// lead: certainly nothing was done. again says that r may be done twice.
//
// A request for which no leader is found in time is answered "certainly not
// done"; one whose answer was lost, OutcomeUnknown; see Broker.handler.
func (b *Broker) atLeader(ctx context.Context, r *request, group uint64, wait time.Duration, again bool, here func(context.Context) (*remoting.Command, error)) *remoting.Command {
	deadline := time.Now().Add(wait)
	if !r.by.IsZero() && r.by.Before(deadline) {
		deadline = r.by
	}
	ctx = withBy(ctx, deadline)
	unknown, pause := error(nil), lookOften
	for {
		if b.leadsHere(group) && !late(deadline) {
			reply, err := here(ctx)
			switch {
			case err == nil && unknown != nil && unlooked(reply.Code): // says nothing of the try before
			case err == nil && unknown != nil && forbidden(r.Code, reply.Code): // by now
				return r.failed(unknown)
			case err == nil:
				return reply
			case unknown != nil && errors.Is(err, errBusy):
			case errors.Is(err, raftlog.ErrUnknownOutcome) && again && !r.forwarded:
				unknown = err
			case errors.Is(err, raftlog.ErrUnknownOutcome):
				return r.failed(err)
			case !errors.Is(err, errNotHere):
				return r.failed(err)
			}
		}
		if r.forwarded {
			reply := r.Reply(remoting.NotLeaderForQueue, "not the leader, or too late; certainly not done")
			reply.SetExt(extAbsent, "1")
			return reply
		}
		if node := b.leaderOf(group); node != "" && node != b.id.Node && b.transport.Alive(node) {
			reply, err := b.forwards.call(ctx, node, r, time.Until(deadline))
			switch {
			case err == nil && reply.Ext[extAbsent] == "1":
			case err == nil && unknown != nil && unlooked(reply.Code):
			case err == nil && unknown != nil && forbidden(r.Code, reply.Code):
				return r.failed(unknown)
			case err == nil && reply.Code == remoting.OutcomeUnknown:
				unknown = fmt.Errorf("%w: %s", raftlog.ErrUnknownOutcome, reply.Remark)
				if !again {
					return r.failed(unknown)
				}
			case err == nil:
				b.hint(reply, node, r.slot)
				return reply
			case errors.Is(err, remoting.ErrNotSent):
			case again:
				unknown = fmt.Errorf("%w: %w", raftlog.ErrUnknownOutcome, err)
			default:
				return r.failed(fmt.Errorf("%w: %w", raftlog.ErrUnknownOutcome, err))
			}
		}
		if !b.exists(group) && unknown == nil {
			return r.refuse(remoting.TopicNotExist, "the topic was deleted; certainly not done")
		}
		over := !b.awaitLeader(ctx, laneOf(r.Code), group, pause, deadline)
		pause = min(2*pause, lookSeldom)
		switch {
		case over && unknown != nil:
			return r.failed(unknown)
		case over:
			return r.failed(errNotHere)
		}
	}
}

// unlooked reports whether a refusal came before the leader looked at what is asked:
// after a try whose outcome is unknown it is no certain no.
func unlooked(code remoting.Code) bool {
	switch code {
	case remoting.ServiceNotAvailable, remoting.SystemBusy, remoting.FlowControl, remoting.NotLeaderForQueue:
		return true
	}
	return false
}

// forbidden reports whether a send was refused for what its topic, its group or a node's settings allow, or a move of a leader for
// how the new one fares, which may have changed since a try before.
func forbidden(asked, code remoting.Code) bool {
	switch code {
	case remoting.NoPermission, remoting.TopicNotExist, remoting.SubscriptionGroupNotExist, remoting.InvalidParameter, remoting.MessageIllegal:
		return laneOf(asked) == laneSends
	case remoting.IllegalOperation:
		return asked == remoting.MoveLeader
	}
	return false
}

// atPartition is atLeader of a partition.
func (b *Broker) atPartition(ctx context.Context, r *request, part fsm.Partition, wait time.Duration, again bool, here func(context.Context, *partition) (*remoting.Command, error)) *remoting.Command {
	return b.atLeader(ctx, r, part.ID, wait, again, func(ctx context.Context) (*remoting.Command, error) {
		p, ok := b.partition(part.ID)
		if !ok {
			return nil, errNotHere
		}
		return here(ctx, p)
	})
}

// atEnd reads on the leader, when all that was acknowledged is applied. A read whose
// answer was lost has done nothing.
func (b *Broker) atEnd(ctx context.Context, r *request, part fsm.Partition, read func(context.Context, *partition) (*remoting.Command, error)) *remoting.Command {
	if r.forwarded && r.Ext[extCopy] == "1" {
		return b.fromCopy(ctx, r, part.ID, read)
	}
	// Who is told how many dead letters it took out must not be told of a second time only.
	again := r.Code != remoting.DeadLetters || r.Ext["op"] == remoting.ListLetters
	reply := b.atPartition(ctx, r, part, forwardWait, again, func(ctx context.Context, p *partition) (*remoting.Command, error) {
		ctx, cancel := context.WithTimeout(ctx, forwardWait)
		defer cancel()
		if err := p.replica.ReadIndex(ctx); err != nil {
			return nil, errNotHere
		}
		if err := b.admission.read(ctx, b.admission.lookups); err != nil {
			return nil, err
		}
		defer b.admission.lookups.leave()
		reply, err := read(ctx, p)
		if err != nil {
			return b.elsewhere(ctx, r, p, err)
		}
		return reply, nil
	})
	if reply.Code == remoting.OutcomeUnknown && r.Code != remoting.InvokeBrokerToResetOffset && r.Code != remoting.DeadLetters && r.Code != codeDropGroup {
		return r.failed(errNotHere)
	}
	return reply
}

// led reports whether a leader of the group is known and alive.
func (b *Broker) led(group uint64) bool {
	node := b.leaderOf(group)
	return b.leadsHere(group) || node != b.id.Node && b.transport.Alive(node)
}

// leadsHere reports whether this node leads the group and may answer for it. For a
// partition it may when it knows the catalogue as of its start, and the topic is there:
// until then it goes through what was decided before, and a partition of a topic that was
// deleted long ago, and made again, may be open for a moment.
func (b *Broker) leadsHere(group uint64) bool {
	if group == catalogueGroup {
		_, ok := b.catalogue.replica.Leads()
		return ok
	}
	p, ok := b.partition(group)
	return ok && p.leads() && b.caught.up.Load() && b.exists(group)
}

// leaderOf is the node that leads the group, by what the replica here and the
// gossip of nodes that may lead it say; the later term counts. "" if none is known.
func (b *Broker) leaderOf(group uint64) string {
	var node string
	var term uint64
	if r, ok := b.host.Replica(group); ok {
		node, term = r.Leader()
	}
	if n, t, ok := b.members.Leader(group, b.mayLeadGroup(group)); ok && (t > term || node == "" && t == term) {
		node = n
	}
	return node
}

// mayLeadGroup says which nodes can lead a group: whoever else gossips, as of another cluster of
// this name, has partitions of these numbers too. nil: it is not known yet.
func (b *Broker) mayLeadGroup(group uint64) func(node string) bool {
	if part, ok := b.catalogue.Partition(group); ok {
		return func(node string) bool {
			return slices.ContainsFunc(part.Voters, func(n fsm.Node) bool { return n.Name == node })
		}
	}
	if group != catalogueGroup || len(b.catalogue.Nodes()) == 0 {
		return nil
	}
	return func(node string) bool { _, ok := b.catalogue.Node(node); return ok }
}

// hint tells a client where the leader listens.
func (b *Broker) hint(reply *remoting.Command, node string, slot int) {
	if n, ok := b.members.Node(node); ok && slot >= 0 && slot < len(n.Listeners) {
		reply.SetExt(extLeader, n.Listeners[slot])
	}
}

// forwarder keeps connections to each other node: one per lane.
type forwarder struct {
	b     *Broker
	mu    sync.Mutex
	conns map[forwardTo]*forwardConn
	done  bool
	pulls atomic.Uint64 // that were forwarded
}

// forwardTo is a node and what is asked of it: sends do not wait behind pulls, nor
// behind their answers.
type forwardTo struct {
	node string
	lane lane
}

type lane int

const (
	laneSends lane = iota
	lanePulls
	laneOthers
)

func laneOf(code remoting.Code) lane {
	switch code {
	case remoting.SendMessage, remoting.SendMessageV2, remoting.SendBatchMessage:
		return laneSends
	case remoting.PullMessage, remoting.LitePullMessage:
		return lanePulls
	}
	return laneOthers
}

type forwardConn struct {
	ready chan struct{} // closed when dialled
	conn  *remoting.Conn
	clock remoting.PeerClock // that node's
	err   error
}

func newForwarder(b *Broker) *forwarder {
	return &forwarder{b: b, conns: make(map[forwardTo]*forwardConn)}
}

// call sends r on to node and waits for the answer, a second longer than it may be
// done there: what is late is refused, and that is better than no answer. Errors are
// remoting's.
func (f *forwarder) call(ctx context.Context, node string, r *request, wait time.Duration) (*remoting.Command, error) {
	by := time.Now().Add(wait)
	ctx, cancel := context.WithDeadline(ctx, by.Add(time.Second))
	defer cancel()
	to := forwardTo{node, laneOf(r.Code)}
	if to.lane == lanePulls { // may be held there for long: a node that stops lets go
		defer context.AfterFunc(f.b.ctx, cancel)()
	}
	c, err := f.conn(ctx, to)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", remoting.ErrNotSent, err)
	}
	cmd := *r.Command
	cmd.Ext = maps.Clone(r.Ext)
	cmd.Flag &^= remoting.FlagOneway
	cmd.SetExt(extSlot, strconv.Itoa(r.slot))
	cmd.SetExt(extFrom, r.from.String())
	cmd.SetExt(extClient, r.client)
	cmd.Serial = remoting.Binary
	if cmd.Code > 1<<15-1 {
		cmd.Serial = remoting.JSON
	}
	if to.lane == lanePulls {
		cmd.SetExt(extPull, strconv.FormatUint(f.pulls.Add(1), 10))
	}
	c.clock.Bound(&cmd, by, 0)
	reply, err := c.conn.Call(ctx, &cmd)
	switch {
	case err == nil:
		c.clock.Heard(reply)
	case to.lane == lanePulls && errors.Is(err, remoting.ErrNoReply): // whoever asked is gone, or waits no longer
		c.letGo(cmd.Ext[extPull])
	}
	return reply, err
}

// A pull that is forwarded may be held for a minute, on a connection that others share: it has a number,
// by which it is let go when its client is gone.
const (
	extPull   = "_pull"
	codeLetGo = remoting.Code(9005)
	letGoWait = time.Second
)

func (c *forwardConn) letGo(pull string) {
	ctx, cancel := context.WithTimeout(context.Background(), letGoWait)
	defer cancel()
	cmd := remoting.NewRequest(codeLetGo, nil)
	cmd.SetExt(extPull, pull)
	c.conn.Send(ctx, cmd) // else it ends by itself
}

// heldPull is where a connection keeps how to let go of a pull that another node forwarded.
type heldPull string

// mayBeLetGo is ctx of a forwarded request, which ends when its node says so.
func mayBeLetGo(ctx context.Context, c *remoting.ServerConn, cmd *remoting.Command) (context.Context, func()) {
	number := cmd.Ext[extPull]
	if number == "" || laneOf(cmd.Code) != lanePulls {
		return ctx, func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	c.Set(heldPull(number), cancel)
	return ctx, func() {
		c.Unset(heldPull(number))
		cancel()
	}
}

// letGo ends a pull that another node's client does not wait for any more.
func letGo(c *remoting.ServerConn, cmd *remoting.Command) {
	if cancel, ok := c.Get(heldPull(cmd.Ext[extPull])).(context.CancelFunc); ok {
		cancel()
	}
}

func (f *forwarder) conn(ctx context.Context, to forwardTo) (*forwardConn, error) {
	f.mu.Lock()
	if f.done {
		f.mu.Unlock()
		return nil, remoting.ErrClosed
	}
	c := f.conns[to]
	if c != nil {
		select {
		case <-c.ready:
			if c.err != nil || c.conn.Err() != nil {
				c = nil
			}
		default:
		}
	}
	if c == nil {
		c = &forwardConn{ready: make(chan struct{})}
		f.conns[to] = c
		go func() { // ends with the dial
			defer close(c.ready)
			dial, cancel := context.WithTimeout(f.b.ctx, time.Second)
			defer cancel()
			var nc net.Conn
			if nc, c.err = f.b.transport.Dial(dial, to.node, classForward); c.err == nil {
				c.conn = remoting.NewConn(nc, remoting.DialOptions{MaxSendBytes: forwardBytes})
				var reply *remoting.Command
				if reply, c.err = c.conn.Call(dial, remoting.NewRequest(codeUptime, nil)); c.err == nil {
					c.clock.Heard(reply)
				} else {
					c.conn.Close()
				}
			}
		}()
	}
	f.mu.Unlock()
	select {
	case <-c.ready:
		return c, c.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func (f *forwarder) close() {
	f.mu.Lock()
	f.done = true
	conns := f.conns
	f.conns = nil
	f.mu.Unlock()
	for _, c := range conns {
		<-c.ready
		if c.conn != nil {
			c.conn.Close()
		}
	}
}
