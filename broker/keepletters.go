package broker

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"raftmq/fsm"
	"raftmq/message"
	"raftmq/store"
)

// keepLetters stores again, at the ends of their queues, what a trim would take of
// retries that their group has not consumed and of dead letters that no group has and
// that are not old. Each is taken out of its old place with it, so it is kept once.
func (p *partition) keepLetters(ctx context.Context, b *Broker, below store.Position) error {
	return p.eachLetters(ctx, b, func(l letters) error { return p.keepQueue(ctx, b, l, below) })
}

// lettersBelow returns how many bytes keepLetters would store again.
func (p *partition) lettersBelow(ctx context.Context, b *Broker, below store.Position) (bytes int64, err error) {
	err = p.eachLetters(ctx, b, func(l letters) error {
		return p.eachToKeep(b, l, below, func(rec message.Record) error {
			bytes += int64(len(rec)) + fsm.UnearthHead
			return ctx.Err()
		})
	})
	return bytes, err
}

// letters are a queue of a group's retries or dead letters.
type letters struct {
	group string
	queue message.Queue
	from  message.Offset // what lies before is consumed
	dead  bool
}

// eachLetters gives those of p to visit. Of a deleted group there are none: no group
// will have queues of these numbers again.
func (p *partition) eachLetters(ctx context.Context, b *Broker, visit func(letters) error) error {
	asked := false // the catalogue's leader, of a group that is not known here
	for _, q := range p.store().Queues() {
		l := letters{queue: q}
		retry := false
		if l.group, retry = message.RetryGroup(q.Topic); !retry {
			l.group, l.dead = message.DLQGroup(q.Topic)
		}
		if !retry && !l.dead {
			continue
		}
		if !asked && !b.hasLetters(p, l) {
			if err := b.catchUp(ctx); err != nil {
				return fmt.Errorf("ask whether group %s is deleted: %w", l.group, err)
			}
			asked = true
		}
		if !b.hasLetters(p, l) {
			continue
		}
		l.from, _ = p.store().Bounds(q)
		if l.dead {
			l.from = max(l.from, p.consumed(q))
		} else if off, ok := p.machine.Committed(l.group, q); ok {
			l.from = max(l.from, off)
		}
		if err := visit(l); err != nil {
			return fmt.Errorf("keep what is in %s %d: %w", q.Topic, q.ID, err)
		}
	}
	return nil
}

// hasLetters reports whether the queue is one of its group's, by what is known here.
func (b *Broker) hasLetters(p *partition, l letters) bool {
	g, _ := b.catalogue.Group(l.group)
	ids := g.Retry[p.desc.Slot]
	return int(l.queue.ID) < len(ids) && ids[l.queue.ID] == p.desc.ID
}

// consumed is how far the group that is furthest has consumed a queue.
func (p *partition) consumed(q message.Queue) (most message.Offset) {
	for _, g := range p.machine.Groups() {
		if off, ok := p.machine.Committed(g, q); ok {
			most = max(most, off)
		}
	}
	return most
}

// keptLetters are letters of a queue that are stored again by one command.
type keptLetters struct {
	items []fsm.Unearth
	bytes int
	next  message.Offset // all before is taken out by these, or by those of the command before
}

// add adds the queue's next. What lies before it is gone, or is to go, and is taken out
// first: so the letter lies beside what is gone, which is one gap for the state instead of
// many, and nothing goes beyond a letter that is refused.
func (k *keptLetters) add(rec message.Record) {
	off := rec.QueueOffset()
	if off > k.next {
		k.items = append(k.items, fsm.Unearth{From: k.next, To: off})
		k.bytes += fsm.UnearthHead
	}
	k.items = append(k.items, fsm.Unearth{From: off, To: off + 1, Record: rec})
	k.bytes += len(rec) + fsm.UnearthHead
	k.next = off + 1
}

// keepQueue is keepLetters of one queue.
func (p *partition) keepQueue(ctx context.Context, b *Broker, l letters, below store.Position) error {
	var keep keptLetters
	flush := func() error {
		if len(keep.items) == 0 {
			return nil
		}
		v, err := p.proposeFor(ctx, fireWait, fsm.EncodeUnearth(nil, b.atMs(), l.group, l.queue, keep.items))
		if err != nil {
			return err
		}
		for _, s := range v.(fsm.UnearthResult).Items {
			if s != fsm.TakenOut && s != fsm.GoneBefore {
				return errGaps
			}
		}
		keep.items, keep.bytes = nil, 0
		return nil
	}
	err := p.eachToKeep(b, l, below, func(rec message.Record) error {
		if keep.bytes+len(rec) > fireBytes {
			if err := flush(); err != nil {
				return err
			}
		}
		keep.add(rec)
		return nil
	})
	if err != nil {
		return err
	}
	return flush()
}

// eachToKeep gives what of a queue lies below a position and is to be kept to visit. It
// does not give what comes meanwhile.
func (p *partition) eachToKeep(b *Broker, l letters, below store.Position, visit func(message.Record) error) error {
	_, end := p.store().Bounds(l.queue)
	for from := l.from; from < end; {
		batch, err := p.store().Read(l.queue, from, 32, maxPullBytes, nil)
		if errors.Is(err, store.ErrOffset) {
			return nil
		}
		if err != nil {
			return err
		}
		for rest := batch.Records; len(rest) > 0; {
			rec, err := message.ParseRecord(rest)
			if err != nil {
				return err
			}
			rest = rest[len(rec):]
			if p.positionOf(rec.PhysicalOffset()) >= below {
				return nil
			}
			if !p.machine.Buried(l.group, l.queue, rec.QueueOffset()) || l.dead && b.tooOld(rec) {
				continue
			}
			if err := visit(rec); err != nil {
				return err
			}
		}
		from = batch.Next
	}
	return nil
}

// tooOld reports whether a dead letter has been there as long as it is kept.
func (b *Broker) tooOld(rec message.Record) bool {
	if b.cfg.RetentionDead < 0 {
		return false
	}
	since := rec.StoreTimestamp()
	if v, ok := rec.Property(message.PropDLQTime); ok {
		if ms, err := strconv.ParseInt(v, 10, 64); err == nil {
			since = ms
		}
	}
	return b.atMs()-since >= b.cfg.RetentionDead.Milliseconds()
}
