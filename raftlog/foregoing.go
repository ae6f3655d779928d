package raftlog

import "github.com/hashicorp/raft"

// A follower in hashicorp/raft stores a request's entries before it takes note of what the request says is committed. If the write-ahead
// log has no room for them, because it is full of entries that wait to be applied, it never learns that those may be: each request fails
// for want of the room that it would win. A node that was restarted while it caught up, with several groups behind, stayed so for ever.
//
// So a request that may find no room is given to Raft in two: first without the entries that the log does not have yet. The leader could
// have sent that one; nobody waits for its answer.

// foregoing is what is given to Raft before a, nil if nothing is won by it.
func (l *Log) foregoing(a *raft.AppendEntriesRequest) *raft.AppendEntriesRequest {
	store, ok := l.LogStore.(interface{ crowded([]*raft.Log) bool })
	if !ok || len(a.Entries) == 0 || !store.crowded(a.Entries) {
		return nil
	}
	first := *a
	first.Entries = a.Entries[:l.shared(a.Entries)]
	if len(first.Entries) == len(a.Entries) {
		return nil // a itself needs no room
	}
	clampCommit(&first)
	applied := l.applied.Load()
	if applied == nil || first.LeaderCommitIndex <= (*applied)() {
		return nil
	}
	return &first
}

// shared is how many of the entries, from the first on, are in the log.
func (l *Log) shared(entries []*raft.Log) int {
	last, err := l.LogStore.LastIndex()
	for i, e := range entries {
		var have raft.Log
		if err != nil || e.Index > last || l.LogStore.GetLog(e.Index, &have) != nil || have.Term != e.Term {
			return i
		}
	}
	return len(entries)
}

// crowded says that the entries would have to wait for room now.
func (g *GroupLog) crowded(entries []*raft.Log) bool {
	w, bytes := g.w, int64(0)
	for _, e := range entries {
		bytes += int64(walEntrySize(e))
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	b, n := w.budgetLocked(), w.entriesNeed(g, len(entries), bytes)
	return len(w.waiting) > 0 || !w.mayHoldLocked(b, &n) || !w.mayWriteLocked(b, &n, w.freeLocked())
}
