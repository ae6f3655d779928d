package raftlog

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

var errPipelineBroken = errors.New("raftlog: pipeline broken")

// AppendEntriesPipeline opens a pipeline on the data link that exists, or appears within a second. A peer that lags far gets none: see
// backlog.go.
func (g *GroupTransport) AppendEntriesPipeline(_ raft.ServerID, target raft.ServerAddress) (raft.AppendPipeline, error) {
	if g.backlog.far(target) {
		return nil, raft.ErrPipelineReplicationNotSupported
	}
	node, incarnation := NodeOf(target)
	link, err := g.t.peer(node).data.wait(linkWait, g.done)
	if err != nil {
		return nil, err
	}
	p := &appendPipeline{
		g: g, link: link, incarnation: incarnation,
		ready: make(chan raft.AppendFuture, 4*pipelineWindow), broken: make(chan struct{}), room: make(chan struct{}, 1),
	}
	g.mu.Lock()
	g.pipes = append(slices.Clip(g.pipes), p)
	g.mu.Unlock()
	return p, nil
}

// forget takes a pipeline off those that entries are sent ahead through.
func (g *GroupTransport) forget(p *appendPipeline) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.pipes = slices.DeleteFunc(slices.Clone(g.pipes), func(other *appendPipeline) bool { return other == p })
}

// appendPipeline keeps up to 16 requests and 8 MiB under way. The first that fails or is refused breaks it: its future is delivered, those
// behind it fail without being delivered, and AppendEntries answers an error from then on. Raft stops reading a pipeline at the
// first refusal but goes on sending until told; one that waited for its reader would then wait for ever (hashicorp/raft issue 612).
//
// A request of more than MaxBytes is sent as several, each within MaxBytes; its future is answered with the last one, or with the first
// that is not a success. (Cutting it short instead would leave the rest until Raft's next trigger.) A smaller one is topped up. What was
// sent ahead of it (ahead.go) is not sent again.
type appendPipeline struct {
	g           *GroupTransport
	link        *peerLink
	incarnation uint64
	ready       chan raft.AppendFuture
	broken      chan struct{} // closed with err
	room        chan struct{} // a hint that the window moved; the one sender waits for it

	sending sync.Mutex // held from a request's place in flying to its place on the wire

	mu     sync.Mutex
	err    error
	flying []*pipelinedAppend // in order
	bytes  int
	alarm  *time.Timer        // looks at the oldest of flying; nil: not set
	term   uint64             // of Raft's requests
	end    logEnd             // of what was sent; 0: nothing yet
	ahead  []*pipelinedAppend // sent, and Raft has not asked for it yet; in order, up to end
}

// pipelinedAppend is one request on the wire.
type pipelinedAppend struct {
	whole  *appendFuture // nil: sent ahead, and not asked for
	last   bool          // no more parts of the request follow
	size   int
	since  time.Time
	prev   uint64
	end    logEnd
	answer *raft.AppendEntriesResponse // a success, kept while whole is nil or more parts follow
}

// endOf is the last entry that a request verifies.
func endOf(args *raft.AppendEntriesRequest) logEnd {
	if n := len(args.Entries); n > 0 {
		return logEnd{args.Entries[n-1].Term, args.Entries[n-1].Index}
	}
	return logEnd{args.PrevLogTerm, args.PrevLogEntry}
}

func appendSize(args *raft.AppendEntriesRequest) int {
	size := 128
	for _, l := range args.Entries {
		size += entrySize(l)
	}
	return size
}

// AppendEntries sends a request, waiting for room in the window. Called by one goroutine at a time.
func (p *appendPipeline) AppendEntries(args *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) (raft.AppendFuture, error) {
	f := &appendFuture{start: time.Now(), args: args, resp: resp, done: make(chan struct{})}
	if cutEntries(args.Entries, p.g.t.cfg.MaxBytes) == len(args.Entries) {
		p.g.backlog.topUp(args, pipelineTopUp, p.g.t.cfg.MaxBytes)
		defer p.g.backlog.rest(args)
	}
	p.sending.Lock()
	defer p.sending.Unlock()
	if err := p.awaitReader(); err != nil {
		return nil, err
	}
	part := *args
	if p.claim(&part, f); len(args.Entries) > 0 && len(part.Entries) == 0 {
		return f, nil
	}
	for {
		n := cutEntries(part.Entries, p.g.t.cfg.MaxBytes)
		rest := part.Entries[n:]
		part.Entries = part.Entries[:n]
		sent := part
		p.g.clamp(&sent)
		if err := p.send(&sent, f, len(rest) == 0); err != nil {
			return nil, err
		}
		if len(rest) == 0 {
			args.LeaderCommitIndex = sent.LeaderCommitIndex
			return f, nil
		}
		end := part.Entries[n-1]
		part.PrevLogEntry, part.PrevLogTerm, part.Entries = end.Index, end.Term, rest
	}
}

func (p *appendPipeline) send(args *raft.AppendEntriesRequest, f *appendFuture, last bool) error {
	a := &pipelinedAppend{whole: f, last: last, size: appendSize(args), since: time.Now(), prev: args.PrevLogEntry, end: endOf(args)}
	if err := p.enter(a); err != nil {
		return err
	}
	p.mu.Lock()
	p.term = args.Term
	if len(p.ahead) == 0 {
		p.end = a.end
	}
	p.mu.Unlock()
	err := p.write(args, a, p.broken)
	if err != nil {
		p.fail(err, nil)
	}
	return err
}

// write puts a request that has a place in the window on the wire. Without stop it does not wait for room there. An error: certainly not
// sent.
func (p *appendPipeline) write(args *raft.AppendEntriesRequest, a *pipelinedAppend, stop <-chan struct{}) error {
	answer := new(raft.AppendEntriesResponse)
	read := p.link.readAppend(answer)
	c := &linkCall{answer: func(r *wireReader, err error) {
		if err == nil {
			read(r)
			err = r.err
		}
		p.answered(a, answer, err)
	}}
	_, err := p.link.send(c, func(call uint64) *outFrame {
		return encodeAppend(wireTarget{call, p.g.id, p.incarnation}, args, string(p.g.t.self))
	}, stop)
	return err
}

// enter waits for a place in the window.
func (p *appendPipeline) enter(a *pipelinedAppend) error {
	for {
		p.mu.Lock()
		if p.err != nil {
			defer p.mu.Unlock()
			return p.err
		}
		entered := p.enterLocked(a)
		p.mu.Unlock()
		if entered {
			return nil
		}
		select {
		case <-p.room:
		case <-p.broken:
		case <-p.g.done:
			p.fail(raft.ErrTransportShutdown, nil)
		}
	}
}

// enterLocked takes a place in the window if there is one.
func (p *appendPipeline) enterLocked(a *pipelinedAppend) bool {
	if n := len(p.flying); n > 0 && (n >= pipelineWindow || p.bytes+a.size > pipelineBytes) {
		return false
	}
	p.flying = append(p.flying, a)
	p.bytes += a.size
	if p.alarm == nil {
		p.alarm = p.g.t.after(callTimeout, p.overdue)
	}
	return true
}

// awaitReader waits until answers are taken, which nothing tells; rare, since taking them is quick. A reader that is gone without a
// refusal breaks the pipeline. Then there is room for the answers to all that is under way, and to one request more.
func (p *appendPipeline) awaitReader() error {
	full := func() bool { return len(p.ready) >= cap(p.ready)-pipelineWindow-1 }
	for wait := time.Duration(0); full(); wait += readerPoll {
		if wait >= callTimeout {
			p.fail(fmt.Errorf("%w: nobody takes the answers", errPipelineBroken), nil)
		}
		select {
		case <-time.After(readerPoll):
		case <-p.broken:
			return p.err
		case <-p.g.done:
			p.fail(raft.ErrTransportShutdown, nil)
		}
	}
	return nil
}

const readerPoll = time.Millisecond

// overdue breaks the pipeline if its oldest request has waited for callTimeout, and looks again later otherwise.
func (p *appendPipeline) overdue() {
	p.mu.Lock()
	p.alarm = nil
	if p.err != nil || len(p.flying) == 0 {
		p.mu.Unlock()
		return
	}
	oldest := p.flying[0]
	if left := callTimeout - time.Since(oldest.since); left > 0 {
		p.alarm = p.g.t.after(left, p.overdue)
		p.mu.Unlock()
		return
	}
	p.mu.Unlock()
	p.fail(fmt.Errorf("%w: no answer in %v", ErrLinkLost, callTimeout), oldest.whole)
}

// answered takes the answer to the oldest request.
func (p *appendPipeline) answered(a *pipelinedAppend, answer *raft.AppendEntriesResponse, err error) {
	p.mu.Lock()
	if p.err != nil {
		p.mu.Unlock()
		return
	}
	if p.flying[0] != a && err == nil {
		err = fmt.Errorf("%w: answer out of order", errPipelineBroken)
	}
	if err != nil {
		oldest := p.flying[0]
		p.mu.Unlock()
		p.fail(err, oldest.whole)
		return
	}
	p.flying = p.flying[1:]
	p.bytes -= a.size
	switch {
	case a.whole != nil && (a.last || !answer.Success):
		p.deliverLocked(a.whole, answer)
	case answer.Success:
		a.answer = answer
	}
	p.mu.Unlock()
	if !answer.Success {
		p.fail(fmt.Errorf("%w: refused", errPipelineBroken), nil)
		return
	}
	select {
	case p.room <- struct{}{}:
	default:
	}
}

// deliverLocked hands an answered request to Raft's reader.
func (p *appendPipeline) deliverLocked(f *appendFuture, answer *raft.AppendEntriesResponse) {
	*f.resp = *answer
	f.finish(nil)
	p.ready <- f // there is room: see awaitReader
}

// fail breaks the pipeline. first, if any, is the future to deliver with the error: Raft's reader takes it for a refusal and stops, at
// once rather than at the next trigger.
func (p *appendPipeline) fail(err error, first *appendFuture) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err != nil {
		return
	}
	p.err = err
	close(p.broken)
	p.g.forget(p)
	flying := p.flying
	p.flying, p.ahead = nil, nil
	if p.alarm != nil {
		p.alarm.Stop()
	}
	for _, a := range flying {
		if a.whole != nil {
			a.whole.finish(err)
		}
	}
	if first != nil {
		p.ready <- first
	}
}

// Consumer delivers futures in the order of their requests.
func (p *appendPipeline) Consumer() <-chan raft.AppendFuture { return p.ready }

// Close breaks the pipeline; requests under way may still arrive. A reader that is still there is refused: Raft's sender tells
// it to end, unless it has ended itself where the log cannot be read (see halting.go).
func (p *appendPipeline) Close() error {
	f := &appendFuture{start: time.Now(), args: new(raft.AppendEntriesRequest), resp: new(raft.AppendEntriesResponse), done: make(chan struct{})}
	f.finish(raft.ErrPipelineShutdown)
	p.fail(raft.ErrPipelineShutdown, f)
	return nil
}

// appendFuture is one request of a pipeline.
type appendFuture struct {
	start time.Time
	args  *raft.AppendEntriesRequest
	resp  *raft.AppendEntriesResponse
	once  sync.Once
	err   error
	done  chan struct{}
}

func (f *appendFuture) finish(err error) {
	f.once.Do(func() {
		f.err = err
		close(f.done)
	})
}

// Error waits for the answer.
func (f *appendFuture) Error() error {
	<-f.done
	return f.err
}

// Start is when the request was made.
func (f *appendFuture) Start() time.Time { return f.start }

// Request returns the request.
func (f *appendFuture) Request() *raft.AppendEntriesRequest { return f.args }

// Response returns the answer; zero after an error.
func (f *appendFuture) Response() *raft.AppendEntriesResponse { return f.resp }
