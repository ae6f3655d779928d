package client

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"

	"raftmq/message"
)

// readerGroup is a name nodes know as a tool's; readers keep no offsets.
const readerGroup = "TOOLS_CONSUMER"

// Reader reads a topic's queues without a group: from anywhere, as often as
// wanted. Its methods may be called beside one All or UntilEnd.
type Reader struct {
	c       *Client
	topic   string
	start   Position
	filter  Filter
	only    []int
	ctx     context.Context // ends with Close
	cancel  context.CancelFunc
	reading sync.Mutex

	mu     sync.Mutex
	queues map[int]*place // not changed once made; nil before they are known
	gone   bool           // the topic was deleted: what is in another by its name came since
}

// place is where a reader is in a queue.
type place struct {
	number int // among the topic's queues, which may be others when it was made again
	key    laneKey
	next   int64
	gen    int // raised by Seek
	again  context.CancelFunc
	end    int64 // UntilEnd stops here; -1: never
}

// OffsetRange is what a queue holds, and the next offset that is read.
type OffsetRange struct{ Min, Max, Next int64 }

// ReaderOption changes a reader.
type ReaderOption func(*Reader)

// FromPosition is where reading starts in every queue. Default: Earliest.
func FromPosition(p Position) ReaderOption { return func(r *Reader) { r.start = p } }

// Queues reads only the queues with these numbers. Default: all, also those that the topic
// is given later, within a minute.
func Queues(numbers ...int) ReaderOption { return func(r *Reader) { r.only = numbers } }

// FromFilter reads only what the filter wants. Default: All.
func FromFilter(f Filter) ReaderOption { return func(r *Reader) { r.filter = f } }

// NewReader returns a reader; it asks nothing before it is used.
func (c *Client) NewReader(topic string, opts ...ReaderOption) (*Reader, error) {
	if err := invalid(message.CheckTopic(topic)); err != nil {
		return nil, err
	}
	if c.isClosed() {
		return nil, ErrClosed
	}
	r := &Reader{c: c, topic: topic}
	for _, o := range opts {
		o(r)
	}
	if err := r.filter.check(); err != nil {
		return nil, fmt.Errorf("read %s: %w", topic, err)
	}
	r.ctx, r.cancel = context.WithCancel(c.ctx)
	return r, nil
}

// All yields messages, in order within each queue, until the loop breaks or ctx
// ends. An error is the last thing it yields; a later All goes on after the
// last message yielded, after ErrTopicNotFound at the begin of a topic that was made
// again. ctx's end is yielded as an error.
func (r *Reader) All(ctx context.Context) iter.Seq2[*Delivery, error] { return r.read(ctx, false) }

// UntilEnd is All up to the ends as of its start. It yields nothing of an empty
// topic, and no error at the ends.
func (r *Reader) UntilEnd(ctx context.Context) iter.Seq2[*Delivery, error] {
	return r.read(ctx, true)
}

// Seek makes a queue be read from p next.
func (r *Reader) Seek(ctx context.Context, queue int, p Position) error {
	if err := r.open(ctx); err != nil {
		return err
	}
	pl := r.known()[queue]
	if pl == nil {
		return fmt.Errorf("%w: reader of %s has no queue %d", ErrInvalid, r.topic, queue)
	}
	o, err := r.c.resolve(ctx, pl.key, p)
	if err != nil {
		return err
	}
	r.mu.Lock()
	pl.next = o
	pl.gen++
	if pl.again != nil {
		pl.again()
	}
	r.mu.Unlock()
	return nil
}

// Offsets asks for what each queue holds.
func (r *Reader) Offsets(ctx context.Context) (map[int]OffsetRange, error) {
	if err := r.open(ctx); err != nil {
		return nil, err
	}
	queues := r.known()
	out := make(map[int]OffsetRange, len(queues))
	for n, pl := range queues {
		low, high, err := r.c.bounds(ctx, pl.key)
		if err != nil {
			return nil, err
		}
		r.mu.Lock()
		out[n] = OffsetRange{low, high, pl.next}
		r.mu.Unlock()
	}
	return out, nil
}

// Close ends what reads; the reader cannot be used again.
func (r *Reader) Close() error {
	r.cancel()
	return nil
}

// known are the queues that are read.
func (r *Reader) known() map[int]*place {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.queues
}

// open finds the queues and where each starts, once.
func (r *Reader) open(ctx context.Context) error {
	if r.ctx.Err() != nil {
		return ErrClosed
	}
	if r.known() != nil {
		return nil
	}
	rt, err := r.c.routes.renew(ctx, r.topic)
	if err != nil {
		return err
	}
	numbers := rt.readable
	if len(r.only) > 0 {
		numbers = r.only
	}
	r.mu.Lock()
	start := r.startIn(r.gone)
	r.mu.Unlock()
	queues := make(map[int]*place, len(numbers))
	for _, n := range numbers {
		if n < 0 || n >= len(rt.all) {
			return fmt.Errorf("%w: topic %s has no queue %d", ErrInvalid, r.topic, n)
		}
		pl := &place{number: n, key: laneKey{r.topic, rt.key(n)}}
		if pl.next, err = r.c.resolve(ctx, pl.key, start); err != nil {
			return err
		}
		queues[n] = pl
	}
	r.mu.Lock()
	if r.queues == nil {
		r.queues = queues
	}
	r.mu.Unlock()
	return nil
}

// startIn is where a queue is begun; later: all that is in it came after the reader began.
func (r *Reader) startIn(later bool) Position {
	if later && r.start.kind == atLatest {
		return Earliest()
	}
	return r.start
}

// forget has the topic begun anew: it was deleted, and there may be another by its name, in
// which the places mean nothing.
func (r *Reader) forget() {
	r.mu.Lock()
	r.queues, r.gone = nil, true
	r.mu.Unlock()
}

// grow finds queues that were added to the topic, and the numbers that all have. Only the goroutine that
// reads, or what it has watch for it, does.
func (r *Reader) grow(ctx context.Context) (more []*place, err error) {
	if len(r.only) > 0 {
		return nil, nil
	}
	rt, err := r.c.routes.renew(ctx, r.topic)
	if err != nil {
		return nil, err
	}
	queues := make(map[int]*place)
	for _, pl := range r.known() {
		if n, there := rt.numbers[pl.key.queue]; there {
			queues[n] = pl
		}
	}
	for _, n := range rt.readable {
		if queues[n] != nil {
			continue
		}
		pl := &place{key: laneKey{r.topic, rt.key(n)}}
		if pl.next, err = r.c.resolve(ctx, pl.key, r.startIn(true)); err != nil {
			return nil, err
		}
		queues[n], more = pl, append(more, pl)
	}
	r.mu.Lock()
	for n, pl := range queues {
		pl.number = n
	}
	r.queues = queues
	r.mu.Unlock()
	return more, nil
}

// watch hands over queues that are added while the topic is read, or, for a later reading,
// were before.
func (r *Reader) watch(ctx context.Context, again bool, added chan<- []*place) {
	wait := routePoll
	if again {
		wait = 0
	}
	for ; sleep(ctx, wait) == nil; wait = routePoll {
		more, err := r.grow(ctx)
		if err != nil && ctx.Err() == nil {
			r.c.log.Warn("look for further queues", "topic", r.topic, "error", err) // again in the next round
		}
		if len(more) == 0 {
			continue
		}
		select {
		case added <- more:
		case <-ctx.Done():
			return
		}
	}
}

// got is what a queue's goroutine hands over: a pull's messages, an error, or
// that the queue is at its end.
type got struct {
	pl   *place
	gen  int
	ds   []*Delivery
	next int64
	err  error
	end  bool
}

func (r *Reader) read(ctx context.Context, untilEnd bool) iter.Seq2[*Delivery, error] {
	return func(yield func(*Delivery, error) bool) {
		if !r.reading.TryLock() {
			yield(nil, fmt.Errorf("%w: reader of %s is being read already", ErrInvalid, r.topic))
			return
		}
		defer r.reading.Unlock()
		gone := false
		defer func() {
			if gone {
				r.forget()
			}
		}()
		fail := func(err error) {
			gone = errors.Is(err, ErrTopicNotFound) && r.known() != nil
			yield(nil, err)
		}
		again := r.known() != nil
		err := r.open(ctx)
		if err == nil && again && untilEnd {
			_, err = r.grow(ctx)
		}
		if err != nil {
			fail(err)
			return
		}
		queues := r.known()
		if untilEnd {
			for _, pl := range queues {
				r.mu.Lock()
				next, gen := pl.next, pl.gen
				r.mu.Unlock()
				low, high, err := r.c.bounds(ctx, pl.key)
				if err != nil {
					fail(err)
					return
				}
				pl.end = high
				r.mu.Lock()
				if next > high && gen == pl.gen { // of another topic by that name
					pl.next = low
				}
				r.mu.Unlock()
			}
		}
		inner, cancel := context.WithCancel(ctx)
		defer context.AfterFunc(r.ctx, cancel)()
		out := make(chan got)
		var wg sync.WaitGroup
		defer wg.Wait()
		defer cancel()
		for _, pl := range queues {
			wg.Go(func() { r.pull(inner, pl, untilEnd, out) })
		}
		added := make(chan []*place)
		if !untilEnd {
			wg.Go(func() { r.watch(inner, again, added) })
		}
		for left := len(queues); left > 0; {
			var g got
			select {
			case more := <-added:
				for _, pl := range more {
					wg.Go(func() { r.pull(inner, pl, untilEnd, out) })
				}
				left += len(more)
				continue
			case g = <-out:
			case <-inner.Done():
				err := ctx.Err()
				if err == nil {
					err = ErrClosed
				}
				yield(nil, err)
				return
			}
			switch {
			case g.err != nil:
				fail(g.err)
				return
			case g.end:
				left--
				continue
			}
			for _, d := range g.ds {
				if untilEnd && d.Offset >= g.pl.end {
					break
				}
				number, ok := r.passed(g, d.Offset+1)
				if !ok {
					break
				}
				d.Queue = number
				if !yield(d, nil) {
					return
				}
			}
			if untilEnd {
				g.next = min(g.next, g.pl.end)
			}
			r.passed(g, g.next)
		}
	}
}

// passed notes that a queue was read up to next, and says which it is; false if Seek moved it.
func (r *Reader) passed(g got, next int64) (number int, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if g.gen != g.pl.gen {
		return 0, false
	}
	g.pl.next = next
	return g.pl.number, true
}

// pull hands over one pull after the other, each ahead of what is yielded by
// at most one.
func (r *Reader) pull(ctx context.Context, pl *place, untilEnd bool, out chan<- got) {
	send := func(g got) bool {
		select {
		case out <- g:
			return true
		case <-ctx.Done():
			return false
		}
	}
	p := puller{c: r.c, group: readerGroup, key: pl.key, filter: r.filter}
	next, gen := int64(0), -1
	for {
		r.mu.Lock()
		if gen != pl.gen {
			next, gen = pl.next, pl.gen
		}
		try, cancel := context.WithCancel(ctx)
		pl.again = cancel
		r.mu.Unlock()
		if untilEnd && next >= pl.end {
			cancel()
			send(got{pl: pl, gen: gen, end: true})
			return
		}
		res, err := p.pull(try, next, pullMost)
		moved := try.Err() != nil
		cancel()
		switch {
		case ctx.Err() != nil:
			return
		case moved:
			continue
		case err != nil:
			send(got{pl: pl, gen: gen, err: err})
			return
		}
		if res.moved {
			// Trimmed, or the topic is another by that name, whose queue ends before the place.
			if next > res.max {
				res.next = res.min
			}
			next = res.next
		} else {
			next = max(next, res.next)
		}
		if !send(got{pl: pl, gen: gen, ds: res.messages, next: next}) {
			return
		}
	}
}
