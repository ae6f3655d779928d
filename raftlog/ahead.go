package raftlog

import (
	"time"

	"github.com/hashicorp/raft"
)

// A leader in hashicorp/raft writes entries to its own log and only then sends them: a message costs two syncs, one after the other. Raft
// does not ask for that (Ongaro's thesis, 10.2.1): what counts is that the leader does not count itself before its own copy is synced.
// So the entries go out when Raft asks for them to be stored, as the requests that Raft would make a little later, and the answers wait
// until it makes them. The leader still counts neither itself nor anybody else before its write has returned.
//
// Nothing is sent ahead that Raft could not have sent: it is the leader of the entries' term, and in this term there will be no other
// entries at these indexes. When its own write fails it steps down, and the entries have an unknown outcome, as they had before.
// Only an open pipeline whose peer has been sent all that comes before is used, and only without waiting.

// aheadLimit is how many requests may be ahead of Raft's. It has one write under way at a time, and makes its request soon after.
const aheadLimit = 4

// sendAhead is called by the goroutine that leads, before it stores the entries.
func (g *GroupTransport) sendAhead(header raft.RPCHeader, commit uint64, entries []*raft.Log) {
	if cutEntries(entries, g.t.cfg.MaxBytes) < len(entries) {
		return
	}
	g.mu.Lock()
	pipes := g.pipes
	g.mu.Unlock()
	for _, p := range pipes {
		p.sendAhead(raft.AppendEntriesRequest{
			RPCHeader: header, Term: entries[0].Term, PrevLogEntry: entries[0].Index - 1, Entries: entries, LeaderCommitIndex: commit,
		})
	}
}

// sendAhead sends a request if nothing else is being sent, all before it has been, and there is room.
func (p *appendPipeline) sendAhead(args raft.AppendEntriesRequest) {
	if !p.sending.TryLock() {
		return
	}
	defer p.sending.Unlock()
	a := &pipelinedAppend{size: appendSize(&args), since: time.Now(), prev: args.PrevLogEntry, end: endOf(&args)}
	p.mu.Lock()
	args.PrevLogTerm = p.end.term
	fits := p.err == nil && p.term == args.Term && p.end.index == args.PrevLogEntry && len(p.ahead) < aheadLimit && p.enterLocked(a)
	if fits {
		p.ahead = append(p.ahead, a)
		p.end = a.end
	}
	p.mu.Unlock()
	if !fits {
		return
	}
	p.g.clamp(&args)
	if p.write(&args, a, nil) != nil {
		p.takeBack(a, args.PrevLogTerm)
	}
}

// takeBack undoes a request that found no room on the way to the wire: Raft will make it. Nothing was sent after it.
func (p *appendPipeline) takeBack(a *pipelinedAppend, prevTerm uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err == nil {
		p.flying = p.flying[:len(p.flying)-1]
		p.bytes -= a.size
		p.ahead = p.ahead[:len(p.ahead)-1]
		p.end = logEnd{prevTerm, a.prev}
	}
}

// claim answers the beginning of part with what was sent ahead, and takes it off part. When nothing is left, f is answered by that. What
// was sent ahead and does not fit is no longer waited for.
func (p *appendPipeline) claim(part *raft.AppendEntriesRequest, f *appendFuture) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.ahead) > 0 && len(part.Entries) > 0 {
		a := p.ahead[0]
		n := a.end.index - a.prev
		if a.prev != part.PrevLogEntry || n > uint64(len(part.Entries)) || p.err != nil {
			p.ahead = nil
			return
		}
		p.ahead = p.ahead[1:]
		part.PrevLogEntry, part.PrevLogTerm, part.Entries = a.end.index, a.end.term, part.Entries[n:]
		a.whole, a.last = f, len(part.Entries) == 0
		if a.answer != nil && a.last {
			p.deliverLocked(f, a.answer)
		}
	}
}
