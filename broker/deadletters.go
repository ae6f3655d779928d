package broker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"raftmq/fsm"
	"raftmq/message"
	"raftmq/raftlog"
	"raftmq/remoting"
	"raftmq/store"
)

// listedLetters is how many dead letters a request is about if it is not said.
const listedLetters = 1000

// errGaps: a dead letter was not taken out, and its message not stored again.
var errGaps = errors.New("broker: too many gaps in the dead letters of this partition are remembered: take out what lies beside those that are gone, or all")

// deadLetters answers operators: it lists dead letters of a group, has them handled
// again, or drops them. A request for one queue is answered by its leader; one for all
// is put together of those.
func (b *Broker) deadLetters(ctx context.Context, r *request) *remoting.Command {
	var h remoting.DeadLettersHeader
	if err := h.Decode(r.Ext); err != nil {
		return r.failed(err)
	}
	if err := message.CheckGroup(h.Group); err != nil {
		return r.failed(err)
	}
	if h.Max == 0 {
		h.Max = listedLetters
	}
	if h.Slot >= 0 {
		return b.deadLettersOf(ctx, r, &h)
	}
	if err := b.catchUp(ctx); err != nil {
		return r.failed(errNotHere)
	}
	g, ok := b.catalogue.Group(h.Group)
	if !ok {
		return r.refuse(remoting.SubscriptionGroupNotExist, "group %s does not exist", h.Group)
	}
	all := remoting.DeadLetterList{Letters: []remoting.DeadLetter{}}
	listed := 0 // bytes: an answer must fit a frame
	for _, s := range b.catalogue.Slots() {
		for queue, id := range g.Retry[s.ID] {
			at := remoting.LetterPlace{Slot: int32(s.ID), Queue: int32(queue)}
			if id == 0 || at.Slot < h.From.Slot || at.Slot == h.From.Slot && at.Queue < h.From.Queue {
				continue
			}
			if h.Max <= int32(all.Done)+int32(len(all.Letters)) || listed >= maxPullBytes {
				all.Next = &at
				return r.ReplyWith(nil, remoting.EncodeBody(all))
			}
			sub, its := *r, h
			its.Slot, its.Queue, its.Max = at.Slot, at.Queue, h.Max-int32(all.Done)-int32(len(all.Letters))
			sub.Command = remoting.NewRequest(r.Code, its)
			sub.SetExt(extOurs, r.Ext[extOurs])
			reply := b.deadLettersOf(ctx, &sub, &its)
			if reply.Code == remoting.TopicNotExist {
				continue // deleted meanwhile
			}
			if reply.Code != remoting.OK && all.Done > 0 { // what is answered counts for all of them
				return r.refuse(remoting.OutcomeUnknown, "%d were taken out, then in %s, queue %d: %s", all.Done, brokerName(s.ID), queue, reply.Remark)
			}
			if reply.Code != remoting.OK {
				reply.Opaque = r.Opaque
				return reply
			}
			var part remoting.DeadLetterList
			if err := remoting.DecodeBody(reply.Body, &part); err != nil {
				return r.failed(err)
			}
			all.Letters = append(all.Letters, part.Letters...)
			for _, l := range part.Letters {
				listed += len(l.Record)
			}
			all.Done, all.Gone, all.NoRoom = all.Done+part.Done, all.Gone+part.Gone, all.NoRoom+part.NoRoom
			if part.Next != nil {
				all.Next = part.Next
				return r.ReplyWith(nil, remoting.EncodeBody(all))
			}
		}
	}
	return r.ReplyWith(nil, remoting.EncodeBody(all))
}

// deadLettersOf is deadLetters of one queue.
func (b *Broker) deadLettersOf(ctx context.Context, r *request, h *remoting.DeadLettersHeader) *remoting.Command {
	r.slot = int(h.Slot)
	topic := message.DLQTopic(h.Group)
	_, part, refusal := b.locate(ctx, r, topic, h.Queue)
	if refusal != nil {
		return refusal
	}
	if part.ID == 0 {
		return r.refuse(remoting.TopicNotExist, "the topic of dead letters in queue %d was deleted", h.Queue)
	}
	q := message.Queue{Topic: topic, ID: h.Queue}
	return b.atEnd(ctx, r, part, func(ctx context.Context, p *partition) (*remoting.Command, error) {
		if h.Op == remoting.RedriveLetters && p.refuses.Load() {
			return r.failed(errNoDisk), nil
		}
		list := remoting.DeadLetterList{Letters: []remoting.DeadLetter{}}
		var take []fsm.Unearth
		bytes := 0
		flush := func() error {
			if len(take) == 0 {
				return nil
			}
			v, err := p.propose(ctx, fsm.EncodeUnearth(nil, b.atMs(), h.Group, q, take))
			if err != nil {
				return err
			}
			take, bytes = nil, 0
			return takenOut(&list, v.(fsm.UnearthResult).Items)
		}
		next, err := p.eachDeadLetter(h, q, func(rec message.Record) (bool, error) {
			switch h.Op {
			case remoting.ListLetters:
				if bytes > 0 && bytes+len(rec) > maxPullBytes {
					return false, nil
				}
				list.Letters = append(list.Letters, remoting.DeadLetter{Slot: part.Slot, Queue: h.Queue, Offset: int64(rec.QueueOffset()), Record: rec})
				bytes += len(rec)
				return true, nil
			case remoting.PurgeLetters:
				take = append(take, fsm.Unearth{From: rec.QueueOffset(), To: rec.QueueOffset() + 1})
			default:
				again, err := redriven(rec, h.Group, p.desc.Topic)
				if err != nil {
					return false, err
				}
				if again == nil {
					list.NoRoom++
					return true, nil
				}
				if bytes+len(again) > fireBytes {
					if err := flush(); err != nil {
						return false, err
					}
				}
				take = append(take, fsm.Unearth{From: rec.QueueOffset(), To: rec.QueueOffset() + 1, Record: again})
				bytes += len(again)
			}
			if bytes += fsm.UnearthHead; bytes > fireBytes {
				return true, flush()
			}
			return true, nil
		})
		if err == nil {
			err = flush()
		}
		if err != nil && list.Done > 0 {
			err = fmt.Errorf("%w: %d were taken out, then: %v", raftlog.ErrUnknownOutcome, list.Done, err)
		}
		if err != nil {
			return nil, err
		}
		if next != nil && h.Op == remoting.ListLetters {
			list.Next = &remoting.LetterPlace{Slot: h.Slot, Queue: h.Queue, Offset: int64(*next)}
		}
		return r.ReplyWith(nil, remoting.EncodeBody(list)), nil
	})
}

// takenOut counts what became of the dead letters of a command: others may be taken out
// behind one that is not.
func takenOut(list *remoting.DeadLetterList, items []fsm.UnearthStatus) (err error) {
	for _, s := range items {
		switch s {
		case fsm.TakenOut:
			list.Done++
		case fsm.GoneBefore:
			list.Gone++
		default:
			err = errGaps
		}
	}
	return err
}

// eachDeadLetter gives the dead letters that are asked for and are there to visit, in
// order, at most as many as are asked for, until that does not take one. It returns where
// it stopped if there may be more.
func (p *partition) eachDeadLetter(h *remoting.DeadLettersHeader, q message.Queue, visit func(message.Record) (taken bool, err error)) (*message.Offset, error) {
	lo, hi := p.store().Bounds(q)
	if h.From.Slot == h.Slot && h.From.Queue == h.Queue {
		lo = max(lo, message.Offset(h.From.Offset))
	}
	if h.Offset >= 0 {
		lo, hi = max(lo, message.Offset(h.Offset)), min(hi, message.Offset(h.Offset)+1)
	}
	for n := int32(0); lo < hi; {
		batch, err := p.store().Read(q, lo, 32, maxPullBytes, nil)
		if errors.Is(err, store.ErrOffset) && batch.Min > lo { // trimmed meanwhile
			lo = batch.Min
			continue
		}
		if err != nil {
			return nil, err
		}
		for rest := batch.Records; len(rest) > 0 && lo < hi; {
			rec, err := message.ParseRecord(rest)
			if err != nil {
				return nil, err
			}
			rest = rest[len(rec):]
			if lo = rec.QueueOffset() + 1; lo > hi || !p.machine.Buried(h.Group, q, rec.QueueOffset()) {
				continue
			}
			at := rec.QueueOffset()
			if n >= h.Max {
				return &at, nil
			}
			if taken, err := visit(rec); err != nil || !taken {
				return &at, err
			}
			if n++; n >= h.Max && h.Op != remoting.ListLetters { // only a list says whether there are more
				return nil, nil
			}
		}
		lo = max(lo, batch.Next)
	}
	return nil, nil
}

// redriven is a dead letter of a topic that its group handles again, with all its attempts;
// nil if its properties have no room for the topic's name: nobody would know it again.
func redriven(rec message.Record, group, topic string) ([]byte, error) {
	m := rec.Message()
	props, ok := message.Unburied(m.Properties, topic)
	if !ok {
		return nil, nil
	}
	m.Topic, m.ReconsumeTimes, m.Properties = message.RetryTopic(group), 0, props
	m.PhysicalOffset, m.QueueOffset, m.StoreTimestamp = 0, 0, 0
	return m.AppendRecord(make([]byte, 0, m.RecordSize()))
}

// listTimers answers operators: what waits for its time in a topic's partitions, what
// comes first first, or one of them.
func (b *Broker) listTimers(ctx context.Context, r *request) *remoting.Command {
	limit, _ := strconv.Atoi(r.Ext["max"])
	if limit <= 0 || limit > listedLetters {
		limit = listedLetters
	}
	topic := r.Ext["topic"]
	var only *store.TimerKey
	if name := r.Ext["recallHandle"]; name != "" {
		h, err := decodeRecallHandle(name)
		slot, ok := parseBrokerName(h.broker)
		if err != nil || !ok {
			return r.refuse(remoting.IllegalOperation, "%v", errHandle)
		}
		topic, only, r.slot = h.topic, &h.key, slot
	}
	all := remoting.TimerList{Timers: []remoting.Timer{}}
	err := b.eachPartition(ctx, r, topic, func(_ context.Context, t fsm.Topic, p *partition) (*remoting.Command, error) {
		var part remoting.TimerList
		if only != nil && p.desc.Slot != r.slot && !r.forwarded {
			return r.ReplyWith(nil, remoting.EncodeBody(part)), nil
		}
		part.Indexed = p.store().TimerCount()
		after, _ := p.machine.Timers() // what came before is still in the index for a while
		until := int64(never)
		if only != nil {
			until = only.DueMs
			if before := (store.TimerKey{DueMs: only.DueMs, ID: only.ID - 1}); before.Compare(after) > 0 {
				after = before
			}
		}
		bytes := 0
		var failed error
		err := p.store().Timers(after, until, func(x store.Timer) bool {
			if only != nil && x.TimerKey != *only {
				return false
			}
			rec, err := p.store().TimerRecord(x)
			if errors.Is(err, store.ErrNotFound) {
				return true // its time has come meanwhile, and it was trimmed
			}
			if err != nil {
				failed = err
				return false
			}
			unique, _ := rec.Property(message.PropUniqueKey)
			timer := remoting.Timer{
				Name:  recallHandle{p.desc.Topic, brokerName(p.desc.Slot), x.TimerKey, unique}.encode(),
				Topic: rec.Topic(), Slot: p.desc.Slot, Queue: rec.QueueID(), Due: x.DueMs, Bytes: int(x.Size), MsgID: unique,
			}
			if only != nil {
				timer.Record = rec
			}
			part.Timers = append(part.Timers, timer)
			bytes += 512 + len(timer.Record)
			return only == nil && len(part.Timers) < limit && bytes < maxPullBytes
		})
		if err = errors.Join(err, failed); err != nil {
			return nil, err
		}
		return r.ReplyWith(nil, remoting.EncodeBody(part)), nil
	}, func(body []byte) error {
		var part remoting.TimerList
		if err := remoting.DecodeBody(body, &part); err != nil {
			return err
		}
		all.Indexed += part.Indexed
		all.Timers = append(all.Timers, part.Timers...)
		slices.SortStableFunc(all.Timers, func(x, y remoting.Timer) int { return cmp.Compare(x.Due, y.Due) })
		all.Timers = all.Timers[:min(len(all.Timers), limit)]
		return nil
	})
	return r.orReply(err, all)
}
