package raftlog

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// greetings tell a node that is back how far the groups led here have come. Raft itself would leave a quiet group alone until the commit
// timeout, which is seconds, and once more after a pipeline that the lost link has broken: a restarted follower would know neither what
// is committed nor what it lacks. A greeting is the message of a commit push; a follower that has everything is told the commit index by
// it and needs no more. One that lacks entries refuses it. Then a barrier is proposed, since a new entry is the only thing that makes Raft
// send at once, and the greeting repeated until it is accepted.
type greetings struct {
	host *Host

	mu sync.Mutex
	up map[string]*greeted // nodes that a link leads to
}

// greeted is a node while its link is up.
type greeted struct {
	ctx     context.Context // ends with the link
	stop    context.CancelFunc
	lacking map[*Replica]logEnd // what to tell it of, and where its log ended when it refused
	running bool                // a goroutine greets it
	more    chan struct{}       // has an item when there is more to tell
}

const (
	greetMin = 10 * time.Millisecond // between greetings of a node; longer and longer
	greetMax = time.Second
)

func (g *greetings) init(h *Host) {
	g.host, g.up = h, make(map[string]*greeted)
	h.transport.Watch(g.link)
}

// link is told of every change of a link.
func (g *greetings) link(node string, up bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if n := g.up[node]; n != nil {
		n.stop()
		delete(g.up, node)
	}
	if !up {
		return
	}
	n := &greeted{lacking: make(map[*Replica]logEnd), more: make(chan struct{}, 1)}
	n.ctx, n.stop = context.WithCancel(g.host.transport.ctx)
	g.up[node] = n
	for _, r := range g.host.all() {
		n.lacking[r] = logEnd{}
	}
	g.runLocked(node, n)
}

// leads is told of a replica that begins to lead: a follower that is starting may not have opened the group yet, and Raft would not try
// again soon.
func (g *greetings) leads(r *Replica) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for node, n := range g.up {
		n.lacking[r] = logEnd{}
		n.hasMore()
		g.runLocked(node, n)
	}
}

func (g *greetings) runLocked(node string, n *greeted) {
	if !n.running {
		n.running = g.host.transport.start(func() { g.greet(node, n) })
	}
}

// greet tells a node of the groups led here until its replicas have what is committed, or the link is lost. A group that comes to be led
// here does not wait for as long as those do that have been told of before.
func (g *greetings) greet(node string, n *greeted) {
	for wait := greetMin; ; {
		if g.round(node, n) {
			wait = greetMin
		}
		g.mu.Lock()
		n.running = len(n.lacking) > 0 && n.ctx.Err() == nil
		running := n.running
		g.mu.Unlock()
		if !running {
			return
		}
		if n.pause(wait) {
			wait = greetMin
		} else {
			wait = min(2*wait, greetMax)
		}
	}
}

// pause waits, no longer than for a moment once there is more to tell, and says whether there is: many groups come to be led together.
func (n *greeted) pause(wait time.Duration) (more bool) {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for tell := n.more; ; {
		select {
		case <-timer.C:
			return more
		case <-tell:
			more, tell = true, nil
			timer.Reset(min(wait, greetMin))
		case <-n.ctx.Done():
			return more
		}
	}
}

// round greets the node once for each group, and takes those out that need no more. It does not wait for all answers, and says so, if
// there is more to tell: who has not opened a group yet answers late.
func (g *greetings) round(node string, n *greeted) (more bool) {
	link, err := g.host.transport.peer(node).data.wait(linkWait, n.ctx.Done())
	if err != nil {
		return false
	}
	select {
	case <-n.more: // is among those
	default:
	}
	g.mu.Lock()
	replicas := slices.Collect(maps.Keys(n.lacking))
	g.mu.Unlock()
	replies := make(chan greetReply, len(replicas)) // room for all: the link's reader does not wait
	asked := 0
	for _, r := range replicas {
		switch target, req := r.greeting(node); {
		case req == nil:
			g.told(n, r, 0)
		case target == "":
			g.told(n, r, req.Term)
		case r.greet(link, target, req, replies, n.ctx.Done()):
			asked++
		}
	}
	late := time.NewTimer(callTimeout)
	defer late.Stop()
	for tell := n.more; asked > 0; {
		select {
		case a := <-replies:
			asked--
			switch {
			case a.err != nil: // its group is not open yet, or the link is lost
			case a.resp.Success:
				g.told(n, a.r, a.term)
			case g.stuck(n, a.r, logEnd{term: a.resp.Term, index: a.resp.LastLog}):
				a.r.trigger(func() {})
			}
		case <-tell:
			more, tell = true, nil
			late.Reset(greetMin)
		case <-late.C:
			return more
		case <-n.ctx.Done():
			return more
		}
	}
	return more
}

func (n *greeted) hasMore() {
	select {
	case n.more <- struct{}{}:
	default:
	}
}

// told takes a replica out that was told of in a term, or did not lead; not if it leads anew.
func (g *greetings) told(n *greeted, r *Replica, term uint64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if now, leads := r.Leads(); !leads || now == term {
		delete(n.lacking, r)
	}
}

// stuck notes where a replica's log ends that lacks something, and says whether nothing has come there since it was last asked.
func (g *greetings) stuck(n *greeted, r *Replica, end logEnd) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	before := n.lacking[r]
	n.lacking[r] = end
	return before == end || before == logEnd{}
}

type greetReply struct {
	r    *Replica
	term uint64 // of the greeting
	resp *raft.AppendEntriesResponse
	err  error
}

// greet sends a greeting; its answer goes to replies. False: not sent.
func (r *Replica) greet(link *peerLink, target raft.ServerAddress, req *raft.AppendEntriesRequest, replies chan<- greetReply, stop <-chan struct{}) bool {
	resp := new(raft.AppendEntriesResponse)
	read := link.readAppend(resp)
	c := &linkCall{answer: func(b *wireReader, err error) {
		if err == nil {
			read(b)
			err = b.err
		}
		replies <- greetReply{r, req.Term, resp, err}
	}}
	_, incarnation := NodeOf(target)
	_, err := link.send(c, func(call uint64) *outFrame {
		return encodeAppend(wireTarget{call, r.net.id, incarnation}, req, string(r.net.t.self))
	}, stop)
	return err == nil
}

// greeting is what to tell a node's replica; nil if this one does not lead it, and no address if the node has none.
func (r *Replica) greeting(node string) (raft.ServerAddress, *raft.AppendEntriesRequest) {
	req := r.committed()
	if req == nil {
		return "", nil
	}
	for _, s := range r.configuration().Servers {
		if name, _ := NodeOf(s.Address); name == node {
			return s.Address, req
		}
	}
	return "", req
}

// triggerOnce is trigger, unless one is under way.
func (r *Replica) triggerOnce() {
	if r.asked.CompareAndSwap(false, true) {
		r.trigger(func() { r.asked.Store(false) })
	}
}

// trigger makes Raft send to all followers now: there is no other way than an entry. No command: it is not applied, so that its commit
// is told here.
func (r *Replica) trigger(done func()) {
	if r.gate.ask() != nil {
		done()
		return
	}
	go func() { // ends when Raft answers: see Close
		err := r.raft.Barrier(0).Error()
		r.gate.leave()
		if err == nil {
			r.pushes.note()
		}
		done()
	}()
}
