package raftlog

import (
	"context"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// readRounds lets all readers that arrive while a round is under way share the
// next one.
type readRounds struct {
	mu   sync.Mutex
	next *readRound // not yet begun
	busy bool
	over bool // the replica closes: no round begins
}

type readRound struct {
	done  chan struct{}
	index uint64
	err   error
}

// readTimeout bounds one round: peers answer from memory.
const readTimeout = time.Second

// readPoll is how often a waiting reader looks at the log again.
const readPoll = 10 * time.Millisecond

// ReadIndex returns when everything that was acknowledged anywhere before the
// call is applied here. ErrNotLeader: this replica cannot know; ask the leader.
//
// The library's VerifyLeader is not enough: it counts an answer that was sent
// before the question. Here the term is asked for, on connections that match
// answers to questions: when a majority still is in our term after the commit
// index was read, no newer leader had been elected before, because a voter raises
// its term before it votes.
func (r *Replica) ReadIndex(ctx context.Context) error {
	index, err := r.readRound(ctx)
	if err != nil {
		return err
	}
	return r.waitApplied(ctx, index)
}

// CatchUp is ReadIndex on any replica: a follower asks the leader for the index.
func (r *Replica) CatchUp(ctx context.Context) error {
	if _, ok := r.Leads(); ok {
		return r.ReadIndex(ctx)
	}
	node, _ := r.Leader()
	if node == "" {
		return ErrNotLeader
	}
	index, err := r.host.ask(ctx, node, kindRead, r.cfg.Group, 1)
	if err != nil {
		return err
	}
	return r.waitApplied(ctx, index[0])
}

func (r *Replica) reached(applied, index uint64) bool {
	return applied >= index || r.raft.CommitIndex() >= index && !r.commandsAfter(applied, index)
}

// readRound has a majority confirm that this replica leads, together with all
// who ask meanwhile, and returns the commit index from before.
func (r *Replica) readRound(ctx context.Context) (uint64, error) {
	round := r.joinRound()
	if round == nil {
		return 0, ErrClosed
	}
	select {
	case <-round.done:
		return round.index, round.err
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	case <-r.closing:
		return 0, ErrClosed
	}
}

func (r *Replica) joinRound() *readRound {
	q := &r.reads
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.over {
		return nil
	}
	if q.next == nil {
		q.next = &readRound{done: make(chan struct{})}
		if !q.busy {
			q.busy = true
			r.wg.Go(r.runRounds)
		}
	}
	return q.next
}

func (q *readRounds) close() {
	q.mu.Lock()
	q.over = true
	q.mu.Unlock()
}

func (r *Replica) runRounds() {
	q := &r.reads
	for {
		q.mu.Lock()
		round := q.next
		q.next = nil
		if round == nil {
			q.busy = false
			q.mu.Unlock()
			return
		}
		q.mu.Unlock()
		round.index, round.err = r.confirm()
		close(round.done)
	}
}

// confirm reads the commit index and has a majority confirm the term.
func (r *Replica) confirm() (uint64, error) {
	term, ok := r.Leads()
	if !ok || r.raft.CurrentTerm() != term {
		return 0, ErrNotLeader
	}
	index := r.raft.CommitIndex()
	conf := r.configuration()
	ctx, cancel := context.WithTimeout(context.Background(), readTimeout)
	defer cancel()
	voters, agree, asked := 0, 0, 0
	answers := make(chan bool, len(conf.Servers))
	for _, s := range conf.Servers {
		if s.Suffrage != raft.Voter {
			continue
		}
		voters++
		if s.ID == r.self {
			agree++
			continue
		}
		asked++
		r.wg.Go(func() {
			t, err := r.host.askMember(ctx, s.Address, kindTerm, r.cfg.Group, 1)
			answers <- err == nil && t[0] == term
		})
	}
	for ; asked > 0 && agree <= voters/2; asked-- {
		select {
		case ok := <-answers:
			if ok {
				agree++
			}
		case <-r.closing:
			return 0, ErrClosed
		}
	}
	if agree <= voters/2 || r.raft.CurrentTerm() != term {
		return 0, ErrNotLeader
	}
	return index, nil
}

// waitApplied waits until the machine has applied every command up to index. A
// no-op at the end never reaches it and is not waited for, once it is known to be
// committed: what a follower has there may be a deposed leader's.
func (r *Replica) waitApplied(ctx context.Context, index uint64) error {
	for {
		at, grown, err := r.apply.progress()
		if err != nil {
			return err
		}
		if r.reached(at.index, index) {
			return nil
		}
		look := time.NewTimer(readPoll)
		select {
		case <-grown:
		case <-look.C: // a no-op that arrives does not grow the state
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-r.closing:
			return ErrClosed
		}
	}
}

// commandsAfter reports whether (from, to] holds an entry that reaches the
// machine by itself.
func (r *Replica) commandsAfter(from, to uint64) bool {
	var l raft.Log
	for ; to > from; to-- {
		if err := r.cfg.Logs.GetLog(to, &l); err != nil || l.Type == raft.LogCommand || l.Type == raft.LogConfiguration {
			return true
		}
	}
	return false
}
