package raftlog

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// netSession is one control or data connection that another node dialled: requests come in, answers go out. Its reader never waits for
// a group or a handler: what does not fit into their queues is refused.
type netSession struct {
	t    *Transport
	from netHello
	peer []byte // node.incarnation of the other end
	out  *netOutbox

	calls   chan struct{} // slots for handlers
	notices chan wireNotice

	mu    sync.Mutex
	beats []byte // answers to heartbeats gathered for the next frame
	nbeat int
}

type wireNotice struct {
	kind byte
	msg  []byte
}

// serveSession serves conn until it ends, and returns when its goroutines have. hangUp closes it without ceremony.
func (t *Transport) serveSession(conn net.Conn, h netHello, hangUp func()) {
	s := &netSession{
		t: t, from: h, peer: []byte(nodeAddress(h.node, h.incarnation)), out: newOutbox(replyOutbox),
		calls: make(chan struct{}, maxCalls), notices: make(chan wireNotice, maxNotices),
	}
	ctx, cancel := context.WithCancel(t.ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		err := s.out.run(conn, &t.stats)
		s.out.close(err)
		hangUp()
	})
	if h.class == classControl {
		wg.Go(func() { s.notify(ctx) })
	}
	err := s.read(ctx, conn, &wg)
	cancel()
	close(s.notices)
	s.out.close(err)
	hangUp()
	wg.Wait()
}

// send queues an answer; a peer that does not read its answers is cut off.
func (s *netSession) send(f *outFrame) {
	if err := s.out.put(f, nil); err == errOutboxFull {
		s.out.close(err)
	}
}

func (s *netSession) read(ctx context.Context, conn net.Conn, wg *sync.WaitGroup) error {
	r := bufio.NewReaderSize(conn, 64<<10)
	small := make([]byte, 4<<10)
	for {
		kind, err := r.Peek(wireHeadBytes + 1)
		if err != nil {
			return err
		}
		buf := small
		switch kind[wireHeadBytes] {
		case wireAppend, wireCall, wireNotify:
			buf = nil // kept beyond this round
		}
		b, err := readPayload(r, s.t.frameLimit, buf)
		if err != nil {
			return err
		}
		s.t.stats.framesIn.Add(1)
		s.t.stats.bytesIn.Add(uint64(len(b) + wireHeadBytes))
		if err := s.take(ctx, b, wg); err != nil {
			s.t.log.Warn("connection dropped", "from", s.from.node, "error", err)
			return err
		}
	}
}

func (s *netSession) take(ctx context.Context, b []byte, wg *sync.WaitGroup) error {
	r := &wireReader{b: b[1:]}
	switch kind := b[0]; kind {
	case wirePing:
		seq := r.uint()
		s.send(seal(binary.AppendUvarint(newPayload(wirePong, 10), seq)))
		return r.end()
	case wireAppend, wireVote, wirePreVote, wireTimeoutNow:
		target := r.target()
		cmd, err := s.decode(kind, r)
		if err != nil {
			return err
		}
		s.deliver(target, cmd, len(b), false)
		return nil
	case wireHeartbeats:
		n := r.uint()
		if n > wireMaxBeats {
			return errWireShort
		}
		for range n {
			target := r.target()
			a := &raft.AppendEntriesRequest{RPCHeader: r.rpcHeader(s.peer)}
			a.Leader, a.Term = a.Addr, r.uint()
			if r.err != nil {
				return r.err
			}
			s.deliver(target, a, 64, true)
		}
		return r.end()
	case wireCall:
		call, handler, left := r.uint(), r.byte(), r.uint()
		if r.err != nil {
			return r.err
		}
		s.handle(ctx, call, handler, left, r.rest(), wg)
		return nil
	case wireNotify:
		n := wireNotice{kind: r.byte()}
		if r.err != nil {
			return r.err
		}
		n.msg = r.rest()
		select {
		case s.notices <- n:
		default:
			s.t.stats.notices.Add(1)
		}
		return nil
	default:
		return fmt.Errorf("%w: kind %d as a request", errWireShort, kind)
	}
}

func (s *netSession) decode(kind byte, r *wireReader) (any, error) {
	switch kind {
	case wireAppend:
		a, clamped, err := decodeAppend(r, s.peer)
		if clamped {
			s.t.stats.clamped.Add(1)
		}
		return a, err
	case wireVote:
		return decodeVote(r, s.peer)
	case wirePreVote:
		return decodePreVote(r, s.peer)
	default:
		return decodeTimeoutNow(r, s.peer)
	}
}

// deliver hands a request to its group, which answers through respond.
func (s *netSession) deliver(target wireTarget, cmd any, size int, beat bool) {
	in := &inboundRPC{command: cmd, size: size, resp: make(chan raft.RPCResponse, 1), stop: s.out.gone}
	if beat {
		in.respond = func(resp any, err error, refused bool) { s.answerBeat(target.call, resp, err, refused) }
	} else {
		in.respond = func(resp any, err error, refused bool) { s.send(encodeReply(target.call, resp, err, refused)) }
	}
	if now := s.t.incarnation.Load(); target.incarnation != now {
		in.respond(nil, fmt.Errorf("this is incarnation %d, not %d", now, target.incarnation), true)
		return
	}
	s.t.groups.deliver(target.group, in)
}

// answerBeat gathers answers to heartbeats for a tick.
func (s *netSession) answerBeat(call uint64, resp any, err error, refused bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a, ok := resp.(*raft.AppendEntriesResponse)
	if err == nil && !ok {
		err = fmt.Errorf("answer of type %T", resp)
	}
	s.beats = binary.AppendUvarint(s.beats, call)
	if err != nil {
		s.beats = appendText(append(s.beats, failStatus(refused)), shortText(err.Error()))
	} else {
		s.beats = appendAppendAnswer(append(s.beats, wireOK), a)
	}
	if s.nbeat++; s.nbeat == wireMaxBeats {
		s.flushBeatsLocked()
	} else if s.nbeat == 1 {
		s.t.after(beatTick, func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.flushBeatsLocked()
		})
	}
}

func (s *netSession) flushBeatsLocked() {
	if s.nbeat > 0 {
		s.send(beatsFrame(wireBeats, s.nbeat, s.beats))
		s.beats, s.nbeat = nil, 0
	}
}

// beatsFrame is a frame of n heartbeats or answers to heartbeats.
func beatsFrame(kind byte, n int, beats []byte) *outFrame {
	return seal(binary.AppendUvarint(newPayload(kind, 4), uint64(n)), beats)
}

// handle runs the handler of a control call.
func (s *netSession) handle(ctx context.Context, call uint64, kind byte, left uint64, req []byte, wg *sync.WaitGroup) {
	h := s.t.handler(kind)
	if h == nil {
		s.send(encodeReply(call, nil, fmt.Errorf("no handler for calls of kind %d", kind), true))
		return
	}
	select {
	case s.calls <- struct{}{}:
	default:
		s.t.stats.busy.Add(1)
		s.send(encodeReply(call, nil, errBusy, true))
		return
	}
	wg.Go(func() {
		defer func() { <-s.calls }()
		if left > 0 {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, time.Duration(min(left, uint64(time.Hour/time.Millisecond)))*time.Millisecond)
			defer cancel()
		}
		resp, err := h(ctx, s.from.node, req)
		s.send(encodeReply(call, resp, err, false))
	})
}

// notify runs the handlers of notifications, one after the other.
func (s *netSession) notify(ctx context.Context) {
	ctx = context.WithValue(ctx, noticeKey{}, true)
	for n := range s.notices {
		if h := s.t.handler(n.kind); h != nil && ctx.Err() == nil {
			h(ctx, s.from.node, n.msg)
		}
	}
}
