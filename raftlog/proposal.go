package raftlog

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

// command is one that this replica's Raft has not answered.
type command struct {
	key    *byte // its first byte; Raft hands the machine the very bytes that it was given
	future raft.ApplyFuture
	since  time.Time
	then   func(result any, err error)
	asked  bool // somebody waits for the future; guarded by proposals.mu
}

// proposals are the commands that this replica's Raft has not answered.
//
// What becomes of a command is known first where it is applied: in Raft's goroutine for the machine, from which its answer is given. A
// future is waited for, by a goroutine, only when that does not happen soon: leadership was lost, the log took nothing, the disk is
// slow. A goroutine for each command would be woken for each, which costs more than the answer.
type proposals struct {
	r *Replica

	some atomic.Int32 // open
	mu   sync.Mutex
	open map[*byte]*command
	tick bool // look will be called
	over error
}

// answerSoon is how long a command has before its future is waited for.
const answerSoon = 20 * time.Millisecond

func (ps *proposals) start(cmd []byte, then func(any, error)) error {
	if len(cmd) == 0 {
		return fmt.Errorf("raftlog: empty command")
	}
	p := &command{key: &cmd[0], since: time.Now(), then: then}
	ps.mu.Lock()
	if ps.over != nil {
		ps.mu.Unlock()
		return ErrClosed
	}
	ps.open[p.key] = p
	ps.some.Add(1)
	tick := !ps.tick
	ps.tick = true
	ps.mu.Unlock()
	future := ps.r.raft.Apply(cmd, 0) // waits while Raft has a full queue
	ps.mu.Lock()
	p.future = future
	ps.mu.Unlock()
	if tick {
		time.AfterFunc(answerSoon, ps.look)
	}
	return nil
}

// applied answers the commands among logs.
func (ps *proposals) applied(logs []*raft.Log, results []any) {
	if ps.some.Load() == 0 {
		return
	}
	for i, l := range logs {
		if l.Type != raft.LogCommand || len(l.Data) == 0 {
			continue
		}
		if p := ps.take(&l.Data[0]); p != nil {
			p.answer(results[i])
			ps.r.gate.leave()
		}
	}
}

func (p *command) answer(result any) {
	if result == errFault {
		p.then(nil, fmt.Errorf("%w: %w", ErrUnknownOutcome, errFault))
		return
	}
	p.then(result, nil)
}

func (ps *proposals) take(key *byte) *command {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	p := ps.open[key]
	if p != nil {
		delete(ps.open, key)
		ps.some.Add(-1)
	}
	return p
}

// look has the futures waited for that have taken long.
func (ps *proposals) look() {
	if ps.ask(time.Now().Add(-answerSoon)) {
		time.AfterFunc(answerSoon, ps.look)
	}
}

// ask has the futures of commands from before a time waited for; false when none is left.
func (ps *proposals) ask(before time.Time) bool {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	for _, p := range ps.open {
		if p.asked || p.future == nil || p.since.After(before) {
			continue
		}
		p.asked = true
		go func() { // ends when Raft answers: see Close
			err := outcome(p.future.Error())
			if ps.take(p.key) == nil {
				return
			}
			defer ps.r.gate.leave()
			if err != nil {
				p.then(nil, err)
				return
			}
			p.answer(p.future.Response())
		}()
	}
	ps.tick = len(ps.open) > 0
	return ps.tick
}

// end answers what is left: whether it has an effect will not be known here.
func (ps *proposals) end() {
	ps.mu.Lock()
	left := ps.open
	ps.open, ps.over = nil, ErrClosed
	ps.some.Store(0)
	ps.mu.Unlock()
	for _, p := range left {
		p.then(nil, fmt.Errorf("%w: replica closed", ErrUnknownOutcome))
		ps.r.gate.leave()
	}
}

// StartFunc proposes cmd, of at least a byte, without waiting for the outcome. Commands started one after
// the other by one goroutine keep their order. cmd belongs to the log from now on.
// An error is ErrNotLeader or ErrClosed: certainly no effect, and then is not called.
//
// Otherwise then is called once, perhaps before StartFunc returns, with the machine's result or an error.
// ErrNotLeader: certainly no effect. ErrUnknownOutcome: anything else that went wrong. It may be called by
// the goroutine that applies entries: it must not wait.
func (r *Replica) StartFunc(cmd []byte, then func(result any, err error)) error {
	if err := r.gate.propose(); err != nil {
		return err
	}
	if r.raft.State() != raft.Leader {
		r.gate.leave()
		return ErrNotLeader
	}
	if err := r.proposals.start(cmd, then); err != nil {
		r.gate.leave()
		return err
	}
	return nil
}

// Proposal is a command on its way.
type Proposal struct {
	done   chan struct{}
	result any
	err    error
}

// Start is StartFunc for those who wait.
func (r *Replica) Start(cmd []byte) (*Proposal, error) {
	p := &Proposal{done: make(chan struct{})}
	err := r.StartFunc(cmd, func(result any, err error) {
		p.result, p.err = result, err
		close(p.done)
	})
	if err != nil {
		return nil, err
	}
	return p, nil
}

// Wait returns the machine's result for the command. ErrNotLeader: certainly no
// effect. ErrUnknownOutcome: anything else that went wrong, an ended ctx
// included.
func (p *Proposal) Wait(ctx context.Context) (any, error) {
	select {
	case <-p.done:
		return p.result, p.err
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: %w", ErrUnknownOutcome, context.Cause(ctx))
	}
}

// Propose is Start and Wait.
func (r *Replica) Propose(ctx context.Context, cmd []byte) (any, error) {
	p, err := r.Start(cmd)
	if err != nil {
		return nil, err
	}
	return p.Wait(ctx)
}
