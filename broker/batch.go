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
	item fsm.Item
	done chan appendDone // capacity 1
}

type appendDone struct {
	result fsm.ItemResult
	err    error // errNotHere, or raftlog.ErrUnknownOutcome
}

// appender turns items into entries for one partition.
type appender struct {
	propose func(cmd []byte, then func(result any, err error)) error
	now     func() time.Time
	in      chan *appendItem
	flying  chan struct{} // one token per entry in flight
	stop    chan struct{}
	gone    chan struct{} // closed when every item that was taken is answered
	wg      sync.WaitGroup
}

func newAppender(propose func([]byte, func(any, error)) error, now func() time.Time) *appender {
	a := &appender{propose: propose, now: now, in: make(chan *appendItem, waitingItems), flying: make(chan struct{}, entriesFlying), stop: make(chan struct{}), gone: make(chan struct{})}
	a.wg.Go(a.run)
	return a
}

// append stores item's records. The error is errNotHere or errBusy (certainly not
// stored), or raftlog.ErrUnknownOutcome.
func (a *appender) append(ctx context.Context, item fsm.Item) (fsm.ItemResult, error) {
	it := &appendItem{item: item, done: make(chan appendDone, 1)}
	select {
	case a.in <- it:
	default:
		return fsm.ItemResult{}, errBusy
	}
	select {
	case d := <-it.done:
		return d.result, d.err
	case <-a.gone:
		select {
		case d := <-it.done:
			return d.result, d.err
		default:
			return fsm.ItemResult{}, errNotHere // nobody took it
		}
	case <-ctx.Done():
		return fsm.ItemResult{}, fmt.Errorf("%w: %w", raftlog.ErrUnknownOutcome, context.Cause(ctx))
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

// send proposes one entry.
func (a *appender) send(items []*appendItem, bytes int) {
	all := make([]fsm.Item, len(items))
	for i, it := range items {
		all[i] = it.item
	}
	cmd := fsm.EncodeAppend(make([]byte, 0, bytes+64*len(items)+64), a.now().UnixMilli(), all)
	a.wg.Add(1)
	err := a.propose(cmd, func(v any, err error) {
		defer a.wg.Done()
		<-a.flying
		switch r, ok := v.(fsm.AppendResult); {
		case errors.Is(err, raftlog.ErrNotLeader):
			answerAll(items, errNotHere)
		case err != nil:
			answerAll(items, err)
		case !ok || len(r.Items) != len(items):
			answerAll(items, fmt.Errorf("%w: result %T", raftlog.ErrUnknownOutcome, v))
		default:
			for i, it := range items {
				it.done <- appendDone{result: r.Items[i]}
			}
		}
	})
	if err != nil {
		a.wg.Done()
		<-a.flying
		answerAll(items, errNotHere)
	}
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
