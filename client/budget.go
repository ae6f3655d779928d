package client

import (
	"context"
	"fmt"
	"sync"
)

// budget bounds messages and bytes that are on their way.
type budget struct {
	maxMessages int
	maxBytes    int64
	mu          sync.Mutex
	messages    int
	bytes       int64
	freed       chan struct{} // closes when something was given back; nil: nobody waits
}

// take waits for room. One request always has room in an empty budget, but one
// of more messages or bytes than the whole is ErrBufferFull at once.
func (b *budget) take(ctx context.Context, messages int, bytes int64) error {
	if messages > b.maxMessages || bytes > b.maxBytes {
		return fmt.Errorf("%w: %d messages, %d bytes above %d, %d", ErrBufferFull, messages, bytes, b.maxMessages, b.maxBytes)
	}
	for {
		b.mu.Lock()
		if b.messages+messages <= b.maxMessages && b.bytes+bytes <= b.maxBytes {
			b.messages += messages
			b.bytes += bytes
			b.mu.Unlock()
			return nil
		}
		freed := b.waitLocked()
		b.mu.Unlock()
		select {
		case <-freed:
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ErrBufferFull, ctx.Err())
		}
	}
}

func (b *budget) waitLocked() <-chan struct{} {
	if b.freed == nil {
		b.freed = make(chan struct{})
	}
	return b.freed
}

func (b *budget) give(messages int, bytes int64) {
	b.mu.Lock()
	b.messages -= messages
	b.bytes -= bytes
	if b.freed != nil {
		close(b.freed)
		b.freed = nil
	}
	b.mu.Unlock()
}

// idle waits until all is given back.
func (b *budget) idle(ctx context.Context) error {
	for {
		b.mu.Lock()
		if b.messages == 0 {
			b.mu.Unlock()
			return nil
		}
		freed := b.waitLocked()
		b.mu.Unlock()
		select {
		case <-freed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
