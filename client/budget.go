package client

import (
	"context"
	"fmt"
	"slices"
	"sync"
)

// budget bounds messages and bytes that are on their way. Who waits for room has it in turn,
// so that what is small does not keep what is large waiting.
type budget struct {
	maxMessages int
	maxBytes    int64
	mu          sync.Mutex
	messages    int
	bytes       int64
	waiting     []*waiter     // the longest first
	emptied     chan struct{} // closes when all was given back; nil: nobody waits for that
}

// waiter is a request for room.
type waiter struct {
	messages int
	bytes    int64
	has      chan struct{} // closes when it has the room
}

// take waits for room. One request always has room in an empty budget, but one
// of more messages or bytes than the whole is ErrBufferFull at once.
func (b *budget) take(ctx context.Context, messages int, bytes int64) error {
	if messages > b.maxMessages || bytes > b.maxBytes {
		return fmt.Errorf("%w: %d messages, %d bytes above %d, %d", ErrBufferFull, messages, bytes, b.maxMessages, b.maxBytes)
	}
	b.mu.Lock()
	if len(b.waiting) == 0 && b.fitsLocked(messages, bytes) {
		b.messages += messages
		b.bytes += bytes
		b.mu.Unlock()
		return nil
	}
	w := &waiter{messages, bytes, make(chan struct{})}
	b.waiting = append(b.waiting, w)
	b.mu.Unlock()
	select {
	case <-w.has:
		return nil
	case <-ctx.Done():
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	at := slices.Index(b.waiting, w)
	if at < 0 { // it has the room since
		return nil
	}
	b.waiting = slices.Delete(b.waiting, at, at+1)
	b.admitLocked() // those behind it may fit
	return fmt.Errorf("%w: %w", ErrBufferFull, ctx.Err())
}

func (b *budget) fitsLocked(messages int, bytes int64) bool {
	return b.messages+messages <= b.maxMessages && b.bytes+bytes <= b.maxBytes
}

// admitLocked gives room to those who wait, in their order.
func (b *budget) admitLocked() {
	n := 0
	for _, w := range b.waiting {
		if !b.fitsLocked(w.messages, w.bytes) {
			break
		}
		b.messages += w.messages
		b.bytes += w.bytes
		close(w.has)
		n++
	}
	clear(b.waiting[:n])
	b.waiting = b.waiting[n:]
}

func (b *budget) give(messages int, bytes int64) {
	b.mu.Lock()
	b.messages -= messages
	b.bytes -= bytes
	b.admitLocked()
	if b.messages == 0 && b.emptied != nil {
		close(b.emptied)
		b.emptied = nil
	}
	b.mu.Unlock()
}

// idle waits until all is given back.
func (b *budget) idle(ctx context.Context) error {
	b.mu.Lock()
	if b.messages == 0 {
		b.mu.Unlock()
		return nil
	}
	if b.emptied == nil {
		b.emptied = make(chan struct{})
	}
	emptied := b.emptied
	b.mu.Unlock()
	select {
	case <-emptied:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
