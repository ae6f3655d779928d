package broker

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"raftmq/fsm"
	"raftmq/store"
)

// What waits for its time is in every replica's index. The leader looks what is due by
// T, the time that was applied, and puts it into entries by value; when something is
// due by the clock and T has not come to it, an entry that carries the time comes
// before. See fsm's timers.

const (
	timerEvery = 50 * time.Millisecond
	fireBytes  = 256 << 10 // of records in an entry; one alone may be larger
	fireWait   = 5 * time.Second
	never      = math.MaxInt64
)

// timers is what this node knows of when a partition's timers are due, while it leads.
type timers struct {
	firing atomic.Bool
	term   uint64 // in which next is known; of watchTimers and fire, which take turns
	next   int64  // when the next one is due, Unix ms; never: none waits
	pause  time.Time

	// keeping is locked while what waits is appended again, and for reading while
	// something is taken back: each would have the other done again.
	keeping sync.RWMutex
}

// watchTimers looks for what is due in partitions that are led here.
func (b *Broker) watchTimers() {
	tick := time.NewTicker(timerEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-b.ctx.Done():
			return
		}
		now, tight := b.atMs(), b.room.last().tight
		for _, p := range b.local() {
			added := p.store().EarliestTimer()
			if p.timers.firing.Load() {
				if added != never { // to be looked at when it is over
					p.store().TimerAdded(added)
				}
				continue
			}
			term, leads := p.replica.Leads()
			if !leads || !p.leads() {
				p.timers.term = 0
				continue
			}
			if p.timers.next = min(p.timers.next, added); p.timers.term == term && p.timers.next > now {
				continue
			}
			if tight || !b.timeIsSound() || time.Now().Before(p.timers.pause) { // messages would wait for room, and offsets behind them
				continue
			}
			p.timers.firing.Store(true)
			b.wg.Go(func() {
				defer p.timers.firing.Store(false)
				if err := p.fire(b, term); err != nil {
					p.timers.term, p.timers.pause = 0, time.Now().Add(time.Second)
					if b.ctx.Err() == nil && !errors.Is(err, errNotHere) {
						b.log.Warn("deliver what is due", "partition", p.desc.ID, "topic", p.desc.Topic, "error", err) // again in a second
					}
				}
			})
		}
	}
}

// aheadAtMost is by how much T may be ahead of the clock for dueBy to mind. What sends it further is no
// node that was cut off, but clocks that a majority had wrong: then to wait would be to stall.
const aheadAtMost = time.Minute

// dueBy is when something that is due by the clock is to come. T may be ahead of the clock: a leader whose
// timers ran too fast while it was cut off from the others' clocks moves it. What is due by then would come at
// once, so early, and waits until the clock has passed T instead.
func (p *partition) dueBy(clockMs, due int64) int64 {
	t := p.machine.Now()
	if due <= clockMs || t-clockMs > aheadAtMost.Milliseconds() {
		return due
	}
	return max(due, t+1)
}

// fire delivers what is due, and notes when the next is.
func (p *partition) fire(b *Broker, term uint64) error {
	ctx, cancel := context.WithTimeout(b.ctx, time.Minute)
	defer cancel()
	if p.timers.term != term { // what was committed before must be here
		if err := p.replica.ReadIndex(ctx); err != nil {
			return errNotHere
		}
	}
	for {
		cursor, now := p.machine.Timers()
		dues, next, err := p.due(cursor, now)
		if err != nil {
			return err
		}
		if len(dues) == 0 {
			if next > b.atMs() {
				p.timers.term, p.timers.next = term, next
				return nil
			}
			if _, err := p.proposeFor(ctx, fireWait, fsm.EncodeTick(nil, b.atMs())); err != nil {
				return err
			}
			continue
		}
		v, err := p.proposeFor(ctx, fireWait, fsm.EncodeFire(nil, now, cursor, dues))
		if err != nil {
			return err
		}
		if res := v.(fsm.FireResult); !res.Done {
			return errors.New("broker: the replicas did not take what is due")
		}
		b.fired.Add(uint64(len(dues)))
		if x := b.rates.slot(p.desc.Slot); x != nil {
			x.timersUp.Add(int64(len(dues)))
		}
	}
}

func (p *partition) proposeFor(ctx context.Context, wait time.Duration, cmd []byte) (any, error) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	return p.propose(ctx, cmd)
}

// due returns what is due at now behind the cursor, as much as fits an entry; and if
// nothing is, when the next will be.
func (p *partition) due(cursor store.TimerKey, now int64) (dues []fsm.Due, next int64, err error) {
	var failed error
	bytes := 0
	err = p.store().Timers(cursor, now, func(t store.Timer) bool {
		if bytes += int(t.Size) + fsm.DueHead; bytes > fireBytes && len(dues) > 0 {
			return false
		}
		var d fsm.Due
		if d, failed = p.byValue(t); failed != nil {
			return false
		}
		dues = append(dues, d)
		return true
	})
	if err = errors.Join(err, failed); err != nil || len(dues) > 0 {
		return dues, 0, err
	}
	next = never
	for _, until := range []int64{now + time.Minute.Milliseconds(), now + 24*time.Hour.Milliseconds(), never} { // what is near is cheap to look for
		err = p.store().Timers(store.TimerKey{DueMs: now, ID: never}, until, func(t store.Timer) bool {
			next = t.DueMs
			return false
		})
		if err != nil || next < never {
			break
		}
	}
	return nil, next, err
}

// byValue reads what waits.
func (p *partition) byValue(t store.Timer) (fsm.Due, error) {
	rec, err := p.store().TimerRecord(t)
	if err != nil {
		return fsm.Due{}, fmt.Errorf("message that waits at %d until %d: %w", t.At, t.DueMs, err)
	}
	return fsm.Due{Key: t.TimerKey, Record: rec}, nil
}

// timersBelow returns how many bytes of records wait that lie below a position.
func (p *partition) timersBelow(below store.Position) (bytes int64, err error) {
	cursor, _ := p.machine.Timers()
	err = p.store().Timers(cursor, never, func(t store.Timer) bool {
		if t.At < below {
			bytes += int64(t.Size) + fsm.DueHead
		}
		return true
	})
	return bytes, err
}

// keepTimers appends again what waits below a position, so that the log can be
// trimmed there.
func (p *partition) keepTimers(ctx context.Context, b *Broker, below store.Position) error {
	p.timers.keeping.Lock()
	defer p.timers.keeping.Unlock()
	if err := p.replica.ReadIndex(ctx); err != nil {
		return errNotHere
	}
	seen, _ := p.machine.Applied()
	var dues []fsm.Due
	bytes := 0
	var failed error
	flush := func() bool {
		v, err := p.proposeFor(ctx, fireWait, fsm.EncodeKeep(nil, b.atMs(), seen, dues))
		if err == nil && !v.(fsm.FireResult).Done {
			err = errors.New("broker: something was taken back meanwhile")
		}
		failed, dues, bytes = err, nil, 0
		return err == nil
	}
	cursor, _ := p.machine.Timers()
	err := p.store().Timers(cursor, never, func(t store.Timer) bool {
		if t.At >= below {
			return true
		}
		if bytes += int(t.Size) + fsm.DueHead; bytes > fireBytes && len(dues) > 0 {
			if !flush() {
				return false
			}
			bytes = int(t.Size) + fsm.DueHead
		}
		var d fsm.Due
		if d, failed = p.byValue(t); failed != nil {
			return false
		}
		dues = append(dues, d)
		return true
	})
	if err == nil && failed == nil && len(dues) > 0 {
		flush()
	}
	return errors.Join(err, failed)
}
