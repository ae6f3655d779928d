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
	for _, q := range p.store().Queues() {
		group, retry := message.RetryGroup(q.Topic)
		dead := false
		if !retry {
			group, dead = message.DLQGroup(q.Topic)
		}
		if !retry && !dead {
			continue
		}
		from, _ := p.store().Bounds(q)
		if retry {
			if off, ok := p.machine.Committed(group, q); ok {
				from = max(from, off)
			}
		} else {
			from = max(from, p.consumed(q))
		}
		if err := p.keepQueue(ctx, b, group, q, from, below, dead); err != nil {
			return fmt.Errorf("keep what is in %s %d: %w", q.Topic, q.ID, err)
		}
	}
	return nil
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

// keepQueue is keepLetters of one queue, from an offset on.
func (p *partition) keepQueue(ctx context.Context, b *Broker, group string, q message.Queue, from message.Offset, below store.Position, dead bool) error {
	_, end := p.store().Bounds(q)
	var keep []fsm.Unearth
	bytes := 0
	flush := func() error {
		if len(keep) == 0 {
			return nil
		}
		// All before them is gone, or is to go: one gap for the state instead of many.
		keep = append(keep, fsm.Unearth{From: 0, To: keep[len(keep)-1].To})
		v, err := p.proposeFor(ctx, fireWait, fsm.EncodeUnearth(nil, b.atMs(), group, q, keep))
		if err != nil {
			return err
		}
		for _, s := range v.(fsm.UnearthResult).Items {
			if s != fsm.TakenOut && s != fsm.GoneBefore {
				return errGaps
			}
		}
		keep, bytes = nil, 0
		return nil
	}
	for from < end {
		batch, err := p.store().Read(q, from, 32, maxPullBytes, nil)
		if errors.Is(err, store.ErrOffset) {
			return flush()
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
			if _, pos := message.SplitPhysicalOffset(rec.PhysicalOffset()); store.Position(pos) >= below {
				return flush()
			}
			off := rec.QueueOffset()
			if !p.machine.Buried(group, q, off) || dead && b.tooOld(rec) {
				continue
			}
			keep = append(keep, fsm.Unearth{From: off, To: off + 1, Record: rec})
			if bytes += len(rec) + fsm.UnearthHead; bytes > fireBytes {
				if err := flush(); err != nil {
					return err
				}
			}
		}
		from = batch.Next
	}
	return flush()
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
