package raftlog

import (
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

// inboundRPC is a request on its way to a group here. respond is called exactly once, unless the connection it came on is gone.
type inboundRPC struct {
	command any
	reader  io.Reader // of InstallSnapshot
	size    int
	resp    chan raft.RPCResponse // buffered: the group never waits
	respond func(resp any, err error, refused bool)
	stop    <-chan struct{} // the connection is gone: nobody wants the answer
}

// groupTable finds the groups of this node, and keeps what comes before its group is opened.
type groupTable struct {
	t       *Transport
	mu      sync.RWMutex
	open    map[uint64]*GroupTransport
	rooms   map[uint64]*waitingRoom
	waiting int
	bytes   int
}

// waitingRoom holds the requests of a group that is not open, in order, until it is or groupWait has passed.
type waitingRoom struct {
	in    []*inboundRPC
	timer *time.Timer
}

func (g *groupTable) init(t *Transport) {
	g.t, g.open, g.rooms = t, make(map[uint64]*GroupTransport), make(map[uint64]*waitingRoom)
}

func (g *groupTable) len() int {
	g.mu.RLock()
	defer g.mu.RUnlock()
	return len(g.open)
}

func (g *groupTable) deliver(id uint64, in *inboundRPC) {
	g.mu.RLock()
	group := g.open[id]
	g.mu.RUnlock()
	if group != nil {
		group.offer(in)
		return
	}
	g.mu.Lock()
	if group := g.open[id]; group != nil {
		g.mu.Unlock()
		group.offer(in)
		return
	}
	defer g.mu.Unlock()
	if g.waiting >= maxWaiting || g.bytes+in.size > g.t.frameLimit+outboxBytes {
		g.t.stats.busy.Add(1)
		in.respond(nil, errBusy, true)
		return
	}
	g.waiting++
	g.bytes += in.size
	room := g.rooms[id]
	if room == nil {
		room = &waitingRoom{}
		g.rooms[id] = room
		room.timer = g.t.after(groupWait, func() { g.clear(id, room) })
	}
	room.in = append(room.in, in)
}

// takeLocked empties a room.
func (g *groupTable) takeLocked(id uint64) []*inboundRPC {
	room := g.rooms[id]
	if room == nil {
		return nil
	}
	delete(g.rooms, id)
	room.timer.Stop()
	for _, in := range room.in {
		g.waiting--
		g.bytes -= in.size
	}
	return room.in
}

// clear refuses what has waited long enough.
func (g *groupTable) clear(id uint64, room *waitingRoom) {
	g.mu.Lock()
	var refused []*inboundRPC
	if g.rooms[id] == room {
		refused = g.takeLocked(id)
	}
	g.mu.Unlock()
	for _, in := range refused {
		in.respond(nil, fmt.Errorf("no group %d here", id), true)
	}
}

func (g *groupTable) close() {
	g.mu.Lock()
	var open []*GroupTransport
	for _, group := range g.open {
		open = append(open, group)
	}
	for id := range g.rooms {
		g.takeLocked(id)
	}
	g.mu.Unlock()
	for _, group := range open {
		group.Close()
	}
}

// GroupTransport is the raft.Transport of one group on this node, with pre-vote. Addresses are node.incarnation; EncodePeer and
// DecodePeer keep them as they are.
type GroupTransport struct {
	t        *Transport
	id       uint64
	consumer chan raft.RPC
	answers  chan *inboundRPC // in the order of consumer
	done     chan struct{}
	ended    chan struct{} // the answering goroutine is over
	backlog  backlog
	hold     atomic.Int64 // of heartbeats, in ns; at least beatTick
	sitsOut  atomic.Bool  // see Replica.SitOut

	mu     sync.Mutex
	closed bool
	queued int // requests not answered
	bytes  int
	pipes  []*appendPipeline // open; replaced, never changed
}

// Group registers the group and returns its transport; the registered one if it is open. Requests that came shortly before are
// delivered first. Close, which Raft calls on shutdown, takes it off again.
func (t *Transport) Group(id uint64) *GroupTransport {
	g := &t.groups
	g.mu.Lock()
	defer g.mu.Unlock()
	if group := g.open[id]; group != nil {
		return group
	}
	group := &GroupTransport{
		t: t, id: id,
		consumer: make(chan raft.RPC, groupQueue), answers: make(chan *inboundRPC, groupQueue),
		done: make(chan struct{}), ended: make(chan struct{}),
	}
	if !t.start(group.answer) {
		close(group.ended)
		group.closed = true
		close(group.done)
		return group
	}
	g.open[id] = group
	for _, in := range g.takeLocked(id) {
		group.offer(in)
	}
	return group
}

// offer queues a request for Raft, or refuses it; it never waits.
func (g *GroupTransport) offer(in *inboundRPC) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.closed:
		in.respond(nil, fmt.Errorf("group %d is closed", g.id), true)
		return false
	case g.sitsOut.Load() && stands(in.command):
		in.respond(nil, errSitsOut, true)
		return false
	case g.queued >= groupQueue || g.queued > 0 && g.bytes+in.size > 2*pipelineBytes+g.t.frameLimit:
		g.t.stats.busy.Add(1)
		in.respond(nil, errBusy, true)
		return false
	}
	if a, ok := in.command.(*raft.AppendEntriesRequest); ok {
		if log := g.backlog.log.Load(); log != nil { // without one no floor was installed yet
			log.vouch(a)
			if first := log.foregoing(a); first != nil && g.queued+1 < groupQueue {
				g.takeLocked(&inboundRPC{command: first, resp: make(chan raft.RPCResponse, 1), respond: func(any, error, bool) {}})
			}
		}
	}
	g.takeLocked(in)
	return true
}

// takeLocked gives Raft a request; queued is below groupQueue, so there is room.
func (g *GroupTransport) takeLocked(in *inboundRPC) {
	g.queued++
	g.bytes += in.size
	g.consumer <- raft.RPC{Command: in.command, Reader: in.reader, RespChan: in.resp}
	g.answers <- in
}

// stands reports whether a request makes the replica stand for election.
func stands(command any) bool {
	_, ok := command.(*raft.TimeoutNowRequest)
	return ok
}

// answer sends the group's answers back in the order of the requests.
func (g *GroupTransport) answer() {
	defer close(g.ended)
	for {
		select {
		case in := <-g.answers:
			select {
			case r := <-in.resp:
				in.respond(r.Response, r.Error, false)
			case <-g.done:
				g.refuse(in)
				return
			}
			g.mu.Lock()
			g.queued--
			g.bytes -= in.size
			g.mu.Unlock()
		case <-g.done:
			g.refuse(nil)
			return
		}
	}
}

// refuse answers everything left after Close. Raft may have acted on it: a failure, not a refusal.
func (g *GroupTransport) refuse(in *inboundRPC) {
	for {
		if in != nil {
			in.respond(nil, fmt.Errorf("group %d is closed", g.id), false)
		}
		select {
		case in = <-g.answers:
		default:
			return
		}
	}
}

// Close takes the group off: requests to it are refused, requests from it that wait fail. It may be called before raft.Shutdown to make
// that quick. The node's transport stays.
func (g *GroupTransport) Close() error {
	g.mu.Lock()
	if g.closed {
		g.mu.Unlock()
		<-g.ended
		return nil
	}
	g.closed = true
	close(g.done)
	g.mu.Unlock()
	g.t.groups.mu.Lock()
	if g.t.groups.open[g.id] == g {
		delete(g.t.groups.open, g.id)
	}
	g.t.groups.mu.Unlock()
	<-g.ended
	return nil
}

// Inject delivers a request to the group's own Raft, ahead of nothing, and does not wait for the answer. False if the group is closed
// or has too much to do.
func (g *GroupTransport) Inject(command any) bool {
	return g.offer(&inboundRPC{
		command: command, size: 64, resp: make(chan raft.RPCResponse, 1), respond: func(any, error, bool) {},
	})
}

// Consumer is where Raft takes requests from.
func (g *GroupTransport) Consumer() <-chan raft.RPC { return g.consumer }

// LocalAddr is this node's node.incarnation.
func (g *GroupTransport) LocalAddr() raft.ServerAddress { return raft.ServerAddress(g.t.self) }

// EncodePeer returns the address as it is.
func (g *GroupTransport) EncodePeer(_ raft.ServerID, addr raft.ServerAddress) []byte {
	return []byte(addr)
}

// DecodePeer returns the address as it is.
func (g *GroupTransport) DecodePeer(b []byte) raft.ServerAddress { return raft.ServerAddress(b) }

// SetHeartbeatHandler does nothing: the fast path changes Raft's term beside its main goroutine (hashicorp/raft issue 695).
func (g *GroupTransport) SetHeartbeatHandler(func(raft.RPC)) {}

// AppendEntries cuts args.Entries to MaxBytes, at least one, or tops them up from the log, and clamps the commit index to what the
// request verifies, all in place. It waits up to a minute for a link and ten seconds for the answer. A request without entries, previous entry and commit index is a
// heartbeat: it travels with those of other groups.
func (g *GroupTransport) AppendEntries(_ raft.ServerID, target raft.ServerAddress, args *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) error {
	node, incarnation := NodeOf(target)
	p := g.t.peer(node)
	if len(args.Entries) == 0 && args.PrevLogEntry == 0 && args.LeaderCommitIndex == 0 {
		return g.heartbeat(p, incarnation, args, resp)
	}
	link, err := p.data.wait(appendWait, g.done)
	if err != nil {
		return err
	}
	g.backlog.topUp(args, 1, g.t.cfg.MaxBytes)
	g.clamp(args)
	err = link.call(func(call uint64) *outFrame {
		return encodeAppend(wireTarget{call, g.id, incarnation}, args, string(g.t.self))
	}, link.readAppend(resp), callTimeout, g.done)
	if err == nil && resp.Success {
		g.backlog.accepted(target, args)
	}
	return err
}

func (g *GroupTransport) clamp(args *raft.AppendEntriesRequest) {
	if clampCommit(args) {
		g.t.stats.clamped.Add(1)
	}
}

func (l *peerLink) readAppend(resp *raft.AppendEntriesResponse) func(*wireReader) {
	return func(r *wireReader) {
		r.appendAnswer(resp, l.header())
		r.end()
	}
}

// header is the header of an answer that came on this link.
func (l *peerLink) header() raft.RPCHeader {
	return raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: l.peer, Addr: l.peer}
}

// control sends a small request on the control connection.
func (g *GroupTransport) control(target raft.ServerAddress, frame func(t wireTarget) *outFrame, decode func(*peerLink, *wireReader), timeout time.Duration) error {
	node, incarnation := NodeOf(target)
	link, err := g.t.peer(node).control.wait(min(linkWait, timeout), g.done)
	if err != nil {
		return err
	}
	return link.call(func(call uint64) *outFrame {
		return frame(wireTarget{call, g.id, incarnation})
	}, func(r *wireReader) { decode(link, r); r.end() }, timeout, g.done)
}

// RequestVote asks for a vote.
func (g *GroupTransport) RequestVote(_ raft.ServerID, target raft.ServerAddress, args *raft.RequestVoteRequest, resp *raft.RequestVoteResponse) error {
	if g.sitsOut.Load() {
		return errSitsOut
	}
	return g.control(target, func(t wireTarget) *outFrame { return encodeVote(t, args, string(g.t.self)) },
		func(l *peerLink, r *wireReader) {
			resp.RPCHeader, resp.Term, resp.Granted = l.header(), r.uint(), r.byte() != 0
		}, callTimeout)
}

// RequestPreVote asks whether a vote would be given.
func (g *GroupTransport) RequestPreVote(_ raft.ServerID, target raft.ServerAddress, args *raft.RequestPreVoteRequest, resp *raft.RequestPreVoteResponse) error {
	if g.sitsOut.Load() {
		return errSitsOut
	}
	return g.control(target, func(t wireTarget) *outFrame { return encodePreVote(t, args, string(g.t.self)) },
		func(l *peerLink, r *wireReader) {
			resp.RPCHeader, resp.Term, resp.Granted = l.header(), r.uint(), r.byte() != 0
		}, callTimeout)
}

// TimeoutNow makes the target stand for election.
func (g *GroupTransport) TimeoutNow(_ raft.ServerID, target raft.ServerAddress, args *raft.TimeoutNowRequest, resp *raft.TimeoutNowResponse) error {
	return g.control(target, func(t wireTarget) *outFrame { return encodeTimeoutNow(t, args, string(g.t.self)) },
		func(l *peerLink, _ *wireReader) { resp.RPCHeader = l.header() }, linkWait)
}
