package broker

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"raftmq/fsm"
	"raftmq/message"
	"raftmq/raftlog"
)

// committer gathers offset commits, most of them one-way, into one entry per
// interval.
type committer struct {
	p    *partition
	now  func() time.Time
	stop chan struct{}
	wg   sync.WaitGroup
	wake chan struct{}

	mu      sync.Mutex
	closed  bool
	waiting []*commitItem
	byKey   map[commitKey]*commitItem
}

// commitKey is what makes two commits one: of the same owner, since another's may
// be refused.
type commitKey struct {
	group, owner string
	epoch        uint64
	queue        message.Queue
}

type commitItem struct {
	offset fsm.CommitOffset
	by     time.Time         // the first deadline of those in it; zero: none
	done   []chan commitDone // of capacity 1, of those who wait
}

type commitDone struct {
	status fsm.CommitStatus
	err    error
}

const (
	commitEvery = 20 * time.Millisecond
	maxCommits  = 4096 // waiting per partition
)

func newCommitter(p *partition, now func() time.Time) *committer {
	c := &committer{p: p, now: now, stop: make(chan struct{}), byKey: make(map[commitKey]*commitItem), wake: make(chan struct{}, 1)}
	c.wg.Go(c.run)
	return c
}

// add queues a commit; done, if it is not nil, gets its outcome. errBusy, errNotHere: it is
// not queued.
func (c *committer) add(ctx context.Context, o fsm.CommitOffset, done chan commitDone) error {
	by := byOf(ctx)
	// One beyond the end will be refused, and must not take another's place.
	_, end := c.p.store().Bounds(o.Queue)
	c.mu.Lock()
	defer c.mu.Unlock()
	k := commitKey{o.Group, o.Owner, o.Epoch, o.Queue}
	it := c.byKey[k]
	switch {
	case c.closed:
		return errNotHere
	case it != nil && o.Offset <= end:
		it.offset.Offset = max(it.offset.Offset, o.Offset)
		if it.by.IsZero() || !by.IsZero() && by.Before(it.by) {
			it.by = by
		}
	case len(c.waiting) >= maxCommits:
		return errBusy
	default:
		// What is in o is of a request's header, which is answered and given up before.
		o.Group, o.Owner, o.Queue.Topic = strings.Clone(o.Group), strings.Clone(o.Owner), strings.Clone(o.Queue.Topic)
		k = commitKey{o.Group, o.Owner, o.Epoch, o.Queue}
		it = &commitItem{offset: o, by: by}
		c.waiting = append(c.waiting, it)
		if o.Offset <= end {
			c.byKey[k] = it
		}
	}
	if done != nil {
		it.done = append(it.done, done)
	}
	select {
	case c.wake <- struct{}{}:
	default:
	}
	return nil
}

func (c *committer) take() []*commitItem {
	c.mu.Lock()
	defer c.mu.Unlock()
	batch := c.waiting
	c.waiting = nil
	clear(c.byKey)
	return batch
}

func (c *committer) run() {
	for {
		select {
		case <-c.wake:
		case <-c.stop:
			return
		}
		c.propose(c.take())
		select {
		case <-time.After(commitEvery):
		case <-c.stop:
			return
		}
	}
}

// propose makes one entry of batch and answers whoever waits.
func (c *committer) propose(batch []*commitItem) {
	batch = slices.DeleteFunc(batch, func(it *commitItem) bool {
		over := late(it.by)
		if over {
			it.answer(commitDone{err: errLate})
		}
		return over
	})
	if len(batch) == 0 {
		return
	}
	offsets := make([]fsm.CommitOffset, len(batch))
	for i, it := range batch {
		offsets[i] = it.offset
	}
	ctx, cancel := context.WithTimeout(context.Background(), forwardWait)
	defer cancel()
	v, err := c.p.propose(ctx, fsm.EncodeCommit(nil, c.now().UnixMilli(), offsets))
	res, ok := v.(fsm.CommitResult)
	if err == nil && (!ok || len(res.Items) != len(batch)) {
		err = fmt.Errorf("%w: result %T", raftlog.ErrUnknownOutcome, v)
	}
	for i, it := range batch {
		d := commitDone{err: err}
		if err == nil {
			d.status = res.Items[i]
		}
		it.answer(d)
	}
}

func (it *commitItem) answer(d commitDone) {
	for _, c := range it.done {
		c <- d
	}
}

// close refuses what waits.
func (c *committer) close() {
	close(c.stop)
	c.wg.Wait()
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	for _, it := range c.take() {
		it.answer(commitDone{err: errNotHere})
	}
}
