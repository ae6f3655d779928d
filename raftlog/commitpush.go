package raftlog

import (
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

// commitPush tells the followers of a commit that nothing follows. A follower in hashicorp/raft learns of a commit with the next
// entries, or at the commit timeout. That timeout costs two messages per follower and group, for ever, so it is long here; without the
// push a follower would lag behind by as much. The message is the one that the timeout sends: no entries, the commit index, and as the
// previous entry the last one committed.
type commitPush struct {
	r       *Replica
	pending atomic.Bool
	told    atomic.Uint64 // the last commit index that was pushed
}

// pushAfter is how long a commit must have been the last one: under load the next entries carry it.
const pushAfter = 10 * time.Millisecond

// note is called when something was applied here.
func (p *commitPush) note() {
	if p.r.ready.Load() != 0 && p.pending.CompareAndSwap(false, true) {
		time.AfterFunc(pushAfter, p.push)
	}
}

func (p *commitPush) push() {
	p.pending.Store(false)
	r := p.r
	if r.raft.LastIndex() > r.raft.CommitIndex() {
		return // what is under way will be applied, and noted
	}
	req := r.committed()
	if req == nil || req.LeaderCommitIndex <= p.told.Load() {
		return
	}
	p.told.Store(req.LeaderCommitIndex)
	for _, s := range r.configuration().Servers {
		if s.ID != r.self {
			r.net.tell(s.Address, req)
		}
	}
}

// committed is the message that tells what is committed, nil if this replica does not lead.
func (r *Replica) committed() *raft.AppendEntriesRequest {
	term, leads := r.Leads()
	commit := r.raft.CommitIndex()
	if !leads {
		return nil
	}
	var last raft.Log
	// Not by r.logs, which ends the node for an entry that Raft must apply: nobody waits for who asks here, and a replica that
	// is closed meanwhile has nothing left to read.
	if err := r.logs.LogStore.GetLog(commit, &last); err != nil {
		return nil
	}
	if now, leads := r.Leads(); !leads || now != term {
		return nil // what was read may be of another leader's term
	}
	return &raft.AppendEntriesRequest{
		RPCHeader: r.header(), Term: term, PrevLogEntry: last.Index, PrevLogTerm: last.Term, LeaderCommitIndex: commit,
	}
}

// tell sends a request whose answer nobody needs, if there is a link, and the peer has been sent what the request names: one that lags
// by a whole window would only refuse it, and the entries that it is sent next tell the same.
func (g *GroupTransport) tell(target raft.ServerAddress, args *raft.AppendEntriesRequest) {
	node, incarnation := NodeOf(target)
	link := g.t.peer(node).data.now()
	if link == nil || g.unsent(link, incarnation, args.PrevLogEntry) {
		return
	}
	c := &linkCall{answer: func(*wireReader, error) {}}
	link.send(c, func(call uint64) *outFrame {
		return encodeAppend(wireTarget{call, g.id, incarnation}, args, string(g.t.self))
	}, g.done)
}

// unsent says that a pipeline to a peer is on its way to an entry.
func (g *GroupTransport) unsent(link *peerLink, incarnation, index uint64) bool {
	g.mu.Lock()
	pipes := g.pipes
	g.mu.Unlock()
	for _, p := range pipes {
		if p.link != link || p.incarnation != incarnation {
			continue
		}
		p.mu.Lock()
		sent := p.end.index
		p.mu.Unlock()
		if sent > 0 && sent < index {
			return true
		}
	}
	return false
}
