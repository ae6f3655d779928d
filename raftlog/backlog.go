package raftlog

import (
	"sync"

	"github.com/hashicorp/raft"
)

// hashicorp/raft sends at most MaxAppendEntries entries per trigger through a pipeline. A trigger is a new proposal, or else the commit
// timeout. A backlog that was there when the pipeline was opened, or that grew while it was full, then goes out at a hundred entries a
// second, or never while the load lasts. So a pipeline is not opened to a peer that lags far, which makes Raft send to it without pause,
// and every request is topped up from the log.

// backlogLimit is how many entries a peer may lag when a pipeline to it is opened.
const backlogLimit = wireMaxEntries

// backlog knows the group's log and how far each peer's copy is known to go.
type backlog struct {
	log raft.LogStore // nil: requests go as Raft makes them

	mu   sync.Mutex
	sent map[raft.ServerAddress]uint64
}

// SetLog says where the group's entries are. Call it before Raft starts.
func (g *GroupTransport) SetLog(log raft.LogStore) { g.backlog.log = log }

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
	if b.log == nil {
		return false
	}
	last, err := b.log.LastIndex()
	b.mu.Lock()
	defer b.mu.Unlock()
	return err == nil && last > b.sent[peer]+backlogLimit
}

// topUp cuts the entries to maxBytes, at least one, or adds those that follow while they fit: none of a later term than the request's,
// since by then this node no longer leads in that term.
func (b *backlog) topUp(args *raft.AppendEntriesRequest, maxBytes int) {
	n := cutEntries(args.Entries, maxBytes)
	if n < len(args.Entries) || b.log == nil {
		args.Entries = args.Entries[:n]
		return
	}
	last, err := b.log.LastIndex()
	if err != nil {
		return
	}
	size := 0
	for _, l := range args.Entries {
		size += entrySize(l)
	}
	for next := args.PrevLogEntry + uint64(n) + 1; next <= last && len(args.Entries) < wireMaxEntries; next++ {
		l := new(raft.Log)
		if err := b.log.GetLog(next, l); err != nil || l.Term > args.Term {
			return
		}
		if size += entrySize(l); size > maxBytes && len(args.Entries) > 0 {
			return
		}
		args.Entries = append(args.Entries, l)
	}
}
