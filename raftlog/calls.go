package raftlog

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

var errBusy = errors.New("too many requests wait")

// Handle sets the handler of the control calls and notifications of a kind; it should be set before SetPeers. Calls run each in a
// goroutine of its own, at most 256 for a connection; notifications of one node run one after the other. ctx ends with the caller's
// deadline, its connection, or Close. An error reaches the caller as a RemoteError. req belongs to the handler.
func (t *Transport) Handle(kind byte, h func(ctx context.Context, from string, req []byte) ([]byte, error)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.handlers[kind] = h
}

type noticeKey struct{}

// IsNotice reports whether a handler, whose ctx that is, runs for a notification: nobody gets
// its answer.
func IsNotice(ctx context.Context) bool { return ctx.Value(noticeKey{}) != nil }

func (t *Transport) handler(kind byte) func(context.Context, string, []byte) ([]byte, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.handlers[kind]
}

// Call asks a node on the control connection, behind which pings wait: requests and answers should be small. It waits for a link at
// most a second, and for the answer until ctx ends. Outcomes: nil; ErrUnreachable, certainly not delivered; ErrRefused, delivered
// but not handled; RemoteError, the handler's error; anything else, unknown. A call to this node itself runs the handler here.
func (t *Transport) Call(ctx context.Context, node string, kind byte, req []byte) ([]byte, error) {
	if node == t.node {
		h := t.handler(kind)
		if h == nil {
			return nil, fmt.Errorf("%w: no handler for calls of kind %d", ErrRefused, kind)
		}
		resp, err := h(ctx, node, req)
		if err != nil {
			return nil, &RemoteError{Node: node, Text: err.Error()}
		}
		return resp, nil
	}
	if err := ctx.Err(); err != nil {
		return nil, unreachable(node, err)
	}
	line := t.peer(node).control
	link := line.now()
	if link == nil {
		wait, cancel := context.WithTimeout(ctx, linkWait)
		defer cancel()
		var err error
		if link, err = line.get(wait, nil); err != nil {
			return nil, unreachable(node, err)
		}
	}
	timeout, left := callLimit, uint64(0)
	if d, ok := ctx.Deadline(); ok {
		timeout = max(time.Until(d), time.Millisecond)
		left = uint64(max(timeout/time.Millisecond, 1))
	}
	var resp []byte
	err := link.call(func(call uint64) *outFrame {
		b := binary.AppendUvarint(newPayload(wireCall, 24), call)
		b = binary.AppendUvarint(append(b, kind), left)
		return seal(b, req)
	}, func(r *wireReader) { resp = append([]byte(nil), r.rest()...) }, timeout, ctx.Done())
	if err != nil && ctx.Err() != nil && errors.Is(err, ErrLinkLost) {
		err = fmt.Errorf("%w: %w", err, context.Cause(ctx))
	}
	return resp, err
}

// callLimit bounds a Call whose context has no deadline.
const callLimit = time.Minute

// Notify sends a message without an answer if the node has a link now: nil means queued, no more. ErrUnreachable: certainly not sent.
func (t *Transport) Notify(node string, kind byte, msg []byte) error {
	link := t.peer(node).control.now()
	if link == nil {
		return unreachable(node, nil)
	}
	f := seal(append(newPayload(wireNotify, 1), kind), msg)
	if f.size > t.frameLimit+wireHeadBytes {
		return fmt.Errorf("raftlog: notification of %d bytes: the limit is %d", len(msg), t.frameLimit)
	}
	if err := link.out.put(f, nil); err != nil {
		return unreachable(node, err)
	}
	return nil
}
