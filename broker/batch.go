package broker

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"time"

	"raftmq/fsm"
	"raftmq/raftlog"
	"raftmq/remoting"
)

// Group commit: what arrives while entries are in flight goes into the next one.
// Measured on two cores with three replicas, an entry per message gives a third
// of the throughput at 64 in flight and a tenth at 512.
const (
	gatherBytes   = 256 << 10 // of records per entry; one item alone may be larger
	entriesFlying = 2
	gatherYields  = 4       // give other requests' goroutines a chance to join
	waitingItems  = 1 << 14 // requests waiting per partition
)

var (
	// errNotHere: this node does not lead the partition; certainly not stored.
	errNotHere = errors.New("broker: not the leader")
	// errBusy: too many requests wait already; certainly not stored.
	errBusy = errors.New("broker: too many requests are waiting")
	// errNoDisk: the disks of too many replicas are full; certainly not stored.
	errNoDisk = errors.New("broker: the disks of a majority of the replicas are full")
	// errNoRoom: the partition keeps as many offsets as it may; nothing was changed.
	errNoRoom = errors.New("broker: too many offsets are kept in this partition")
)

// appendItem is one request's part of an entry, on its way into one.
type appendItem[I, R any] struct {
	item I
	by   time.Time          // in no entry from then on; zero: whenever
	done chan appendDone[R] // capacity 1
}

type appendDone[R any] struct {
	result R
	err    error // errNotHere, or raftlog.ErrUnknownOutcome
}

// gathering is how items of a kind become entries.
type gathering[I, R any] struct {
	size   func(*I) int                                   // of an item's records
	encode func(dst []byte, atMs int64, items []I) []byte // a command
	split  func(result any) ([]R, bool)                   // a command's result, one by one
	limit  int                                            // requests waiting
}

var messages = gathering[fsm.Item, fsm.ItemResult]{
	size:   func(it *fsm.Item) int { return len(it.Records) },
	encode: fsm.EncodeAppend,
	split: func(v any) ([]fsm.ItemResult, bool) {
		r, ok := v.(fsm.AppendResult)
		return r.Items, ok
	},
	limit: waitingItems,
}

var delays = gathering[fsm.Delayed, fsm.DelayedResult]{
	size:   func(it *fsm.Delayed) int { return len(it.Records) },
	encode: fsm.EncodeDelay,
	split: func(v any) ([]fsm.DelayedResult, bool) {
		r, ok := v.(fsm.DelayResult)
		return r.Items, ok
	},
	limit: waitingItems,
}

var putBacks = gathering[fsm.PutBack, fsm.Status]{
	size:   func(p *fsm.PutBack) int { return len(p.Record) + fsm.PutBackHead },
	encode: fsm.EncodePutBacks,
	split: func(v any) ([]fsm.Status, bool) {
		r, ok := v.(fsm.PutBacksResult)
		return r.Items, ok
	},
	limit: waitingItems,
}

// appender turns items into entries for one partition.
type appender[I, R any] struct {
	gathering[I, R]
	room    *remoting.Budget // nil: as much as there is
	propose func(cmd []byte, then func(result any, err error)) error
	now     func() time.Time
	in      waitLine[I, R]
	flying  chan struct{} // one token per entry in flight
	stop    chan struct{}
	gone    chan struct{} // closed when every item that was taken is answered
	over    chan struct{} // closed when nobody is to wait any more
	wg      sync.WaitGroup
}

func newAppender[I, R any](g gathering[I, R], room *remoting.Budget, propose func([]byte, func(any, error)) error, now func() time.Time) *appender[I, R] {
	a := &appender[I, R]{gathering: g, room: room, propose: propose, now: now, in: waitLine[I, R]{limit: g.limit, came: make(chan struct{}, 1)}, flying: make(chan struct{}, entriesFlying), stop: make(chan struct{}), gone: make(chan struct{}), over: make(chan struct{})}
	a.wg.Go(a.run)
	return a
}

// append gives item's result. The error is errNotHere or errBusy (certainly not
// stored), or raftlog.ErrUnknownOutcome.
func (a *appender[I, R]) append(ctx context.Context, item I) (R, error) {
	it, err := a.put(ctx, item)
	if err != nil {
		var none R
		return none, err
	}
	return a.wait(ctx, it)
}

// appendAll is append of several, in their order. After an error some of them may be
// stored, unless it says that none is.
func (a *appender[I, R]) appendAll(ctx context.Context, items []I) ([]R, error) {
	waits := make([]*appendItem[I, R], 0, len(items))
	for _, item := range items {
		it, err := a.put(ctx, item)
		if err != nil && len(waits) == 0 {
			return nil, err
		}
		if err != nil {
			break
		}
		waits = append(waits, it)
	}
	var failed error
	results, refused := make([]R, 0, len(items)), 0
	for _, it := range waits {
		res, err := a.wait(ctx, it)
		switch {
		case errors.Is(err, errNotHere):
			refused++
		case err != nil:
			failed = err
		}
		results = append(results, res)
	}
	switch {
	case failed != nil:
		return nil, failed
	case refused == len(waits):
		return nil, errNotHere
	case refused > 0 || len(waits) < len(items):
		return nil, fmt.Errorf("%w: some of %d messages are stored", raftlog.ErrUnknownOutcome, len(items))
	}
	return results, nil
}

// put has an item go into an entry. What waits for that counts, whether its asker still does or not. errBusy: too many
// wait, or too much; errNotHere: the appender is closed.
func (a *appender[I, R]) put(ctx context.Context, item I) (*appendItem[I, R], error) {
	it := &appendItem[I, R]{item: item, by: byOf(ctx), done: make(chan appendDone[R], 1)}
	if !a.room.Take(a.size(&item)) {
		if a.in.over() {
			return nil, errNotHere
		}
		return nil, errBusy
	}
	if err := a.in.put(it); err != nil {
		a.room.Give(a.size(&item))
		return nil, err
	}
	return it, nil
}

// wait waits for what became of an item.
func (a *appender[I, R]) wait(ctx context.Context, it *appendItem[I, R]) (R, error) {
	var none R
	select {
	case d := <-it.done:
		return d.result, d.err
	case <-a.gone:
		select {
		case d := <-it.done:
			return d.result, d.err
		default:
			return none, errNotHere // nobody took it
		}
	case <-a.over:
		return none, fmt.Errorf("%w: the node stops, and its replica waits for room", raftlog.ErrUnknownOutcome)
	case <-ctx.Done():
		return none, fmt.Errorf("%w: %w", raftlog.ErrUnknownOutcome, context.Cause(ctx))
	}
}

func (a *appender[I, R]) run() {
	var held *appendItem[I, R] // did not fit the last entry
	for {
		first := held
		held = nil
		for first == nil {
			if first = a.take(); first != nil {
				break
			}
			select {
			case <-a.in.came:
			case <-a.stop:
				return
			}
		}
		select {
		case a.flying <- struct{}{}:
		case <-a.stop:
			first.done <- appendDone[R]{err: errNotHere}
			return
		}
		for range gatherYields {
			runtime.Gosched()
		}
		items := []*appendItem[I, R]{first}
		bytes := a.size(&first.item)
		for bytes < gatherBytes {
			it := a.take()
			if it == nil {
				break
			}
			if bytes+a.size(&it.item) > gatherBytes {
				held = it
				break
			}
			items = append(items, it)
			bytes += a.size(&it.item)
		}
		if items = inTime(items); len(items) == 0 {
			<-a.flying
			continue
		}
		a.send(items, bytes)
	}
}

// take is the item that has waited longest, of which waits no more; nil: there is none.
func (a *appender[I, R]) take() *appendItem[I, R] {
	it := a.in.take()
	if it != nil {
		a.room.Give(a.size(&it.item))
	}
	return it
}

// inTime answers the items that are late, and gives the others.
func inTime[I, R any](items []*appendItem[I, R]) []*appendItem[I, R] {
	return slices.DeleteFunc(items, func(it *appendItem[I, R]) bool {
		over := late(it.by)
		if over {
			it.done <- appendDone[R]{err: errLate}
		}
		return over
	})
}

// send proposes one entry.
func (a *appender[I, R]) send(items []*appendItem[I, R], bytes int) {
	all := make([]I, len(items))
	for i, it := range items {
		all[i] = it.item
	}
	cmd := a.encode(make([]byte, 0, bytes+64*len(items)+64), a.now().UnixMilli(), all)
	a.wg.Add(1)
	err := a.propose(cmd, func(v any, err error) {
		defer a.wg.Done()
		<-a.flying
		switch results, ok := a.split(v); {
		case errors.Is(err, raftlog.ErrNotLeader):
			answerAll(items, errNotHere)
		case err != nil:
			answerAll(items, err)
		case !ok || len(results) != len(items):
			answerAll(items, fmt.Errorf("%w: result %T", raftlog.ErrUnknownOutcome, v))
		default:
			for i, it := range items {
				it.done <- appendDone[R]{result: results[i]}
			}
		}
	})
	if err != nil {
		a.wg.Done()
		<-a.flying
		answerAll(items, errNotHere)
	}
}

func answerAll[I, R any](items []*appendItem[I, R], err error) {
	for _, it := range items {
		it.done <- appendDone[R]{err: err}
	}
}

// close refuses what waits and returns when every entry in flight is answered;
// the replica must have been closed before.
func (a *appender[I, R]) close() {
	a.in.close()
	close(a.stop)
	a.wg.Wait()
	close(a.gone)
	for a.take() != nil { // nobody took it
	}
}
