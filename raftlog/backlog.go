package raftlog

import (
	"sync"
	"sync/atomic"

	"github.com/hashicorp/raft"
)

// hashicorp/raft sends at most MaxAppendEntries entries per trigger through a pipeline. A trigger is a new proposal, or else the commit
// timeout. A backlog that was there when the pipeline was opened, or that grew while it was full, then goes out at a hundred entries a
// second, or never while the load lasts. So a pipeline is not opened to a peer that lags far, which makes Raft send to it without pause,
// and every request is topped up from the log: one of a pipeline by four requests' worth, after which, if that was not all, a trigger is
// asked for.

// backlogLimit is how many entries a peer may lag when a pipeline to it is opened.
const backlogLimit = wireMaxEntries

// pipelineTopUp is how many requests' worth one trigger sends through a pipeline.
const pipelineTopUp = 4

// backlog knows the group's log and how far each peer's copy is known to go.
type backlog struct {
	log  atomic.Pointer[Log] // nil: requests go as Raft makes them
	more func()              // asks Raft for another trigger; nil: not

	mu   sync.Mutex
	sent map[raft.ServerAddress]uint64
}

// SetLog says where the group's entries are, as its Raft sees them. Call it before
// Raft starts; requests of peers may wait already.
func (g *GroupTransport) SetLog(log *Log) { g.backlog.log.Store(log) }

// accepted notes what the peer has, after a request that was a success.
func (b *backlog) accepted(peer raft.ServerAddress, args *raft.AppendEntriesRequest) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.sent == nil {
		b.sent = make(map[raft.ServerAddress]uint64)
	}
	b.sent[peer] = args.PrevLogEntry + uint64(len(args.Entries))
}

// far says whether the peer lags too far for a pipeline.
func (b *backlog) far(peer raft.ServerAddress) bool {
	log := b.log.Load()
	if log == nil {
		return false
	}
	last, err := log.LastIndex()
	b.mu.Lock()
	defer b.mu.Unlock()
	return err == nil && last > b.sent[peer]+backlogLimit
}

// topUp cuts the entries to the bytes of so many requests, at least one entry, or adds those that follow while they fit. This node may have lost its leadership
// since Raft made the request, long ago if a link was waited for, and its log may be another leader's by now: nothing is added unless
// the log still holds the last entry that the request has, and none of a later term.
func (b *backlog) topUp(args *raft.AppendEntriesRequest, requests, maxBytes int) {
	n := cutEntries(args.Entries, requests*maxBytes)
	log := b.log.Load()
	if n < len(args.Entries) || log == nil {
		args.Entries = args.Entries[:n]
		return
	}
	var more []*raft.Log
	if log.whole(func() { more = log.following(args, requests*maxBytes, requests*wireMaxEntries) }) {
		args.Entries = append(args.Entries, more...)
	}
}

// rest asks for a trigger if the log goes on behind what a request has.
func (b *backlog) rest(args *raft.AppendEntriesRequest) {
	log := b.log.Load()
	if log == nil || b.more == nil {
		return
	}
	if last, err := log.LastIndex(); err == nil && last > endOf(args).index {
		b.more()
	}
}

// following returns the entries that fit behind those of the request.
func (l *Log) following(args *raft.AppendEntriesRequest, maxBytes, maxEntries int) (more []*raft.Log) {
	end, term, size := args.PrevLogEntry, args.PrevLogTerm, 0
	for _, e := range args.Entries {
		end, term = e.Index, e.Term
		size += entrySize(e)
	}
	last, err := l.LastIndex()
	if err != nil {
		return nil
	}
	if end > 0 {
		var e raft.Log
		if err := l.GetLog(end, &e); err != nil || e.Term != term {
			return nil
		}
	}
	for next := end + 1; next <= last && len(args.Entries)+len(more) < maxEntries; next++ {
		e := new(raft.Log)
		if err := l.GetLog(next, e); err != nil || e.Term > args.Term {
			return more
		}
		if size += entrySize(e); size > maxBytes && len(args.Entries)+len(more) > 0 {
			return more
		}
		more = append(more, e)
	}
	return more
}
