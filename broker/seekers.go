package broker

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// seekers are the requests that wait for a group's leader. One goroutine looks for all of a group's: thousands of held pulls that each
// look every few milliseconds take the processors that an election needs, and wait for ever.
type seekers struct {
	pulls atomic.Int64 // that wait

	mu     sync.Mutex
	groups map[uint64]chan struct{} // closed when a leader is known
}

const (
	lookOften  = 5 * time.Millisecond
	lookSeldom = 320 * time.Millisecond // for a leader that stays away; and before a request tries one again that did not answer
	pullShare  = 400 * time.Microsecond // of that pause for each pull that waits: together they try so often and no more
)

// awaitLeader waits for pause, since the leader that did not answer may still be the one that is known; then until a leader of the group
// is known and alive, or the group is gone. False: the deadline has come, or ctx or the node has ended.
func (b *Broker) awaitLeader(ctx context.Context, lane lane, group uint64, pause time.Duration, deadline time.Time) bool {
	ctx, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	defer context.AfterFunc(b.ctx, cancel)()
	if lane == lanePulls {
		pause = max(pause, time.Duration(b.seekers.pulls.Add(1))*pullShare)
		defer b.seekers.pulls.Add(-1)
	}
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return false
	}
	select {
	case <-b.sought(group):
		return true
	case <-ctx.Done():
		return false
	}
}

// sought returns what is closed when a leader of the group is known and alive, or the group or the node is gone.
func (b *Broker) sought(group uint64) <-chan struct{} {
	s := &b.seekers
	s.mu.Lock()
	defer s.mu.Unlock()
	found := s.groups[group]
	if found == nil {
		found = make(chan struct{})
		if s.groups == nil {
			s.groups = make(map[uint64]chan struct{})
		}
		s.groups[group] = found
		go b.seek(group, found) // ends with the node
	}
	return found
}

func (b *Broker) seek(group uint64, found chan struct{}) {
	for wait := lookOften; !b.led(group) && b.exists(group) && b.ctx.Err() == nil; wait = min(wait+wait/8, lookSeldom) {
		select {
		case <-time.After(wait):
		case <-b.ctx.Done():
		}
	}
	b.seekers.mu.Lock()
	delete(b.seekers.groups, group)
	b.seekers.mu.Unlock()
	close(found)
}

func (b *Broker) exists(group uint64) bool {
	_, ok := b.catalogue.Partition(group)
	return ok || group == catalogueGroup
}
