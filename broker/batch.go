package broker

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"

	"raftmq/fsm"
	"raftmq/raftlog"
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

// appendItem is one request's records, on their way into an entry.
type appendItem struct {
	item fsm.Delayed
	done chan appendDone // capacity 1
}

type appendDone struct {
	result fsm.DelayedResult
	err    error // errNotHere, or raftlog.ErrUnknownOutcome
}

// appender turns items into entries for one partition.
type appender struct {
	propose func(cmd []byte) (*raftlog.Proposal, error)
	now     func() time.Time
	delayed bool // items wait for their time
	in      chan *appendItem
	flying  chan struct{} // one token per entry in flight
	stop    chan struct{}
	gone    chan struct{} // closed when every item that was taken is answered
	wg      sync.WaitGroup
}

func newAppender(propose func([]byte) (*raftlog.Proposal, error), now func() time.Time, delayed bool) *appender {
	a := &appender{propose: propose, now: now, delayed: delayed, in: make(chan *appendItem, waitingItems), flying: make(chan struct{}, entriesFlying), stop: make(chan struct{}), gone: make(chan struct{})}
	a.wg.Go(a.run)
	return a
}

// append stores item's records. The error is errNotHere or errBusy (certainly not
// stored), or raftlog.ErrUnknownOutcome.
func (a *appender) append(ctx context.Context, item fsm.Item) (fsm.ItemResult, error) {
	res, err := a.delay(ctx, fsm.Delayed{Item: item})
	return res.ItemResult, err
}

// delay is append to an appender of what is to come at its time.
func (a *appender) delay(ctx context.Context, item fsm.Delayed) (fsm.DelayedResult, error) {
	it := a.put(item)
	if it == nil {
		return fsm.DelayedResult{}, errBusy
	}
	return a.wait(ctx, it)
}

// delayAll is delay of several, in their order. After an error one of them may be
// stored, if it is not said that none is.
func (a *appender) delayAll(ctx context.Context, items []fsm.Delayed) ([]fsm.DelayedResult, error) {
	waits := make([]*appendItem, 0, len(items))
	for _, item := range items {
		if it := a.put(item); it != nil {
			waits = append(waits, it)
		}
	}
	var failed error
	results := make([]fsm.DelayedResult, 0, len(items))
	for _, it := range waits {
		res, err := a.wait(ctx, it)
		if err != nil {
			failed = err
		}
		if err == nil || !errors.Is(err, errNotHere) {
			results = append(results, res) // stored, or maybe
		}
	}
	switch {
	case len(waits) < len(items) && len(results) == 0:
		return nil, errBusy
	case failed == nil && len(results) == len(items):
		return results, nil
	case len(results) == 0:
		return nil, errNotHere
	case errors.Is(failed, raftlog.ErrUnknownOutcome):
		return nil, failed
	}
	return nil, fmt.Errorf("%w: some of %d messages are stored", raftlog.ErrUnknownOutcome, len(items))
}

// put has an item go into an entry; nil: too many wait.
func (a *appender) put(item fsm.Delayed) *appendItem {
	it := &appendItem{item: item, done: make(chan appendDone, 1)}
	select {
	case a.in <- it:
		return it
	default:
		return nil
	}
}

// wait waits for what became of an item.
func (a *appender) wait(ctx context.Context, it *appendItem) (fsm.DelayedResult, error) {
	select {
	case d := <-it.done:
		return d.result, d.err
	case <-a.gone:
		select {
		case d := <-it.done:
			return d.result, d.err
		default:
			return fsm.DelayedResult{}, errNotHere // nobody took it
		}
	case <-ctx.Done():
		return fsm.DelayedResult{}, fmt.Errorf("%w: %w", raftlog.ErrUnknownOutcome, context.Cause(ctx))
	}
}

func (a *appender) run() {
	var held *appendItem // did not fit the last entry
	for {
		first := held
		held = nil
		if first == nil {
			select {
			case first = <-a.in:
			case <-a.stop:
				return
			}
		}
		select {
		case a.flying <- struct{}{}:
		case <-a.stop:
			first.done <- appendDone{err: errNotHere}
			return
		}
		for range gatherYields {
			runtime.Gosched()
		}
		items := []*appendItem{first}
		bytes := len(first.item.Records)
	gather:
		for bytes < gatherBytes {
			select {
			case it := <-a.in:
				if bytes+len(it.item.Records) > gatherBytes {
					held = it
					break gather
				}
				items = append(items, it)
				bytes += len(it.item.Records)
			default:
				break gather
			}
		}
		a.send(items, bytes)
	}
}

// send proposes one entry; its answer is waited for elsewhere.
func (a *appender) send(items []*appendItem, bytes int) {
	p, err := a.propose(a.encode(items, bytes))
	if err != nil {
		<-a.flying
		answerAll(items, errNotHere)
		return
	}
	a.wg.Go(func() {
		v, err := p.Wait(context.Background())
		<-a.flying
		switch results := resultsOf(v); {
		case errors.Is(err, raftlog.ErrNotLeader):
			answerAll(items, errNotHere)
		case err != nil:
			answerAll(items, err)
		case len(results) != len(items):
			answerAll(items, fmt.Errorf("%w: result %T", raftlog.ErrUnknownOutcome, v))
		default:
			for i, it := range items {
				it.done <- appendDone{result: results[i]}
			}
		}
	})
}

func (a *appender) encode(items []*appendItem, bytes int) []byte {
	dst := make([]byte, 0, bytes+64*len(items)+64)
	if a.delayed {
		all := make([]fsm.Delayed, len(items))
		for i, it := range items {
			all[i] = it.item
		}
		return fsm.EncodeDelay(dst, a.now().UnixMilli(), all)
	}
	all := make([]fsm.Item, len(items))
	for i, it := range items {
		all[i] = it.item.Item
	}
	return fsm.EncodeAppend(dst, a.now().UnixMilli(), all)
}

// resultsOf are the answers to the items of an entry; none: it was not answered.
func resultsOf(v any) []fsm.DelayedResult {
	switch r := v.(type) {
	case fsm.DelayResult:
		return r.Items
	case fsm.AppendResult:
		all := make([]fsm.DelayedResult, len(r.Items))
		for i := range r.Items {
			all[i].ItemResult = r.Items[i]
		}
		return all
	}
	return nil
}

func answerAll(items []*appendItem, err error) {
	for _, it := range items {
		it.done <- appendDone{err: err}
	}
}

// close refuses what waits and returns when every entry in flight is answered;
// the replica must have been closed before.
func (a *appender) close() {
	close(a.stop)
	a.wg.Wait()
	close(a.gone)
}
