package raftlog

import (
	"bufio"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// peerLink is one connection that this node dialled: requests go out, answers come back.
type peerLink struct {
	p    *netPeer
	conn *heldConn
	out  *netOutbox
	peer []byte // node.incarnation of the other end
	dead chan struct{}

	mu       sync.Mutex
	err      error // set once, with dead
	last     uint64
	pending  map[uint64]*linkCall
	beats    []byte // heartbeats gathered for the next frame
	beating  int
	beatsDue time.Time
}

// linkCall is one request waiting for its answer. answer is called once, by the link's reader or by whoever ends the link, and must not
// wait: r holds the answer's fields when err is nil.
type linkCall struct {
	frame  *outFrame // nil: not made yet, or the call travels in a frame of heartbeats; guarded by the link
	answer func(r *wireReader, err error)
}

func newLink(p *netPeer, conn *heldConn, incarnation uint64) *peerLink {
	return &peerLink{
		p: p, conn: conn, out: newOutbox(outboxBytes), dead: make(chan struct{}),
		peer:    []byte(nodeAddress(p.node, incarnation)),
		pending: make(map[uint64]*linkCall),
	}
}

// serve reads answers until the link ends, and returns when its writer has ended too.
func (l *peerLink) serve() {
	var writer sync.WaitGroup
	writer.Go(func() {
		if err := l.out.run(l.conn, &l.p.t.stats); err != nil {
			l.fail(err)
		}
	})
	l.fail(l.read())
	writer.Wait()
}

// fail ends the link: what was not begun is certainly undelivered, what was is unknown.
func (l *peerLink) fail(err error) {
	l.mu.Lock()
	if l.err != nil {
		l.mu.Unlock()
		return
	}
	l.err = err
	close(l.dead)
	l.mu.Unlock()
	// From here nothing is added, and after this nothing is queued or begun: a call without a frame never will be.
	l.out.close(err)
	l.conn.hangUp()
	l.mu.Lock()
	pending := l.pending
	l.pending = nil
	answers := make([]func(), 0, len(pending))
	for _, c := range pending {
		why := fmt.Errorf("%w: %s: %w", ErrLinkLost, l.p.node, err)
		if c.frame == nil || !l.out.begun(c.frame) {
			why = unreachable(l.p.node, err)
		}
		answers = append(answers, func() { c.answer(nil, why) })
	}
	l.mu.Unlock()
	for _, answer := range answers {
		answer()
	}
}

func (l *peerLink) read() error {
	r := bufio.NewReaderSize(l.conn, 64<<10)
	buf := make([]byte, 512)
	for {
		b, err := readPayload(r, l.p.t.frameLimit, buf)
		if err != nil {
			return err
		}
		l.p.t.stats.framesIn.Add(1)
		l.p.t.stats.bytesIn.Add(uint64(len(b) + wireHeadBytes))
		l.p.hear()
		if err := l.take(b); err != nil {
			return err
		}
	}
}

func (l *peerLink) take(b []byte) error {
	r := &wireReader{b: b[1:]}
	switch b[0] {
	case wirePong:
		r.uint()
		return r.end()
	case wireReply:
		call, status := r.uint(), r.byte()
		if r.err != nil {
			return r.err
		}
		c := l.remove(call)
		if c == nil {
			return nil // given up
		}
		if status != wireOK {
			c.answer(nil, l.refusal(status, string(r.rest())))
			return nil
		}
		c.answer(r, nil)
		return r.err
	case wireBeats:
		n := r.uint()
		if n > wireMaxBeats {
			return errWireShort
		}
		for range n {
			call, status := r.uint(), r.byte()
			text := ""
			if status != wireOK {
				text = r.text(wireMaxName)
			}
			c := l.remove(call)
			switch {
			case r.err != nil:
				if c != nil {
					c.answer(nil, r.err)
				}
				return r.err
			case c == nil && status == wireOK:
				r.appendAnswer(&raft.AppendEntriesResponse{}, raft.RPCHeader{})
			case c == nil:
			case status != wireOK:
				c.answer(nil, l.refusal(status, text))
			default:
				c.answer(r, nil)
			}
		}
		return r.end()
	}
	return fmt.Errorf("%w: kind %d as an answer", errWireShort, b[0])
}

func (l *peerLink) refusal(status byte, text string) error {
	if status == wireRefused {
		return fmt.Errorf("%w: %s: %s", ErrRefused, l.p.node, text)
	}
	return &RemoteError{Node: l.p.node, Text: text}
}

// add registers a call; its id goes into the frame.
func (l *peerLink) add(c *linkCall) (uint64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return 0, unreachable(l.p.node, l.err)
	}
	l.last++
	l.pending[l.last] = c
	return l.last, nil
}

// remove takes a call out, so that its answer will not be called by anyone else; nil: somebody else has, or will.
func (l *peerLink) remove(id uint64) *linkCall {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.pending[id]
	delete(l.pending, id)
	return c
}

// send registers c, has its frame made and queues it, waiting for room until stop. An error means that it was certainly not
// sent and that c.answer is not and will not be called.
func (l *peerLink) send(c *linkCall, frame func(call uint64) *outFrame, stop <-chan struct{}) (uint64, error) {
	id, err := l.add(c)
	if err != nil {
		return 0, err
	}
	f := frame(id)
	if f.size > l.p.t.frameLimit+wireHeadBytes {
		if l.remove(id) == nil {
			return id, nil // answered with the link's end
		}
		return 0, fmt.Errorf("raftlog: frame of %d bytes to %s: the limit is %d", f.size, l.p.node, l.p.t.frameLimit)
	}
	l.mu.Lock()
	c.frame = f
	l.mu.Unlock()
	if err := l.out.put(f, stop); err != nil {
		if l.remove(id) == nil {
			return id, nil
		}
		return 0, unreachable(l.p.node, err)
	}
	return id, nil
}

// call sends a request and waits for its answer, which decode reads. The time-out is counted from here; stop and ctx-like channels give
// up early. Outcomes: nil; ErrUnreachable (not delivered); ErrRefused (no effect); RemoteError; ErrLinkLost (unknown).
func (l *peerLink) call(frame func(call uint64) *outFrame, decode func(*wireReader), timeout time.Duration, stop <-chan struct{}) error {
	done := make(chan error, 1)
	c := &linkCall{answer: func(r *wireReader, err error) {
		if err == nil {
			decode(r)
			err = r.err
		}
		done <- err
	}}
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	id, err := l.send(c, frame, stop)
	if err != nil {
		return err
	}
	select {
	case err := <-done:
		return err
	case <-timer.C:
		err = fmt.Errorf("%w: no answer from %s in %v", ErrLinkLost, l.p.node, timeout)
	case <-stop:
		err = fmt.Errorf("%w: %s: given up", ErrLinkLost, l.p.node)
	}
	if l.remove(id) == nil {
		return <-done // it is being answered
	}
	return err // even if it still waits in the queue: it will be sent
}
