package broker

import (
	"cmp"
	"context"
	"errors"
	"net/netip"
	"slices"

	"raftmq/fsm"
	"raftmq/message"
	"raftmq/remoting"
	"raftmq/store"
)

// Bounds of what one question looks at in a partition.
const (
	explainedRecords = 32   // of a topic with the id
	explainedGroups  = 256  // whose retries and dead letters are looked through
	explainedWaiting = 4096 // timers, as many transactions, and of either as many that are gone
)

// explainMessage answers what became of a message: all of it is in its partition, where
// also its retries and dead letters are.
func (b *Broker) explainMessage(ctx context.Context, r *request) *remoting.Command {
	var h remoting.ExplainHeader
	if err := h.Decode(r.Ext); err != nil {
		return r.failed(err)
	}
	named := []remoting.ExplainHeader{h}
	if h.Topic == "" {
		var refusal *remoting.Command
		if named, refusal = b.byOffsetID(ctx, r, h.ID); refusal != nil {
			return refusal
		}
	}
	life := remoting.MessageLife{}
	for _, h := range named {
		for k, v := range h.Encode() {
			r.SetExt(k, v)
		}
		var err error
		if life, err = b.explainEach(ctx, r, h); err != nil {
			return r.orReply(err, nil)
		}
		if len(life.Steps) > 0 {
			break
		}
	}
	return r.orReply(nil, life)
}

// explainEach puts together what the partitions of a topic know of a message.
func (b *Broker) explainEach(ctx context.Context, r *request, h remoting.ExplainHeader) (remoting.MessageLife, error) {
	life := remoting.MessageLife{Steps: []remoting.MessageStep{}}
	err := b.eachPartition(ctx, r, h.Topic, func(_ context.Context, _ fsm.Topic, p *partition) (*remoting.Command, error) {
		part, err := b.explainIn(p, h)
		if err != nil {
			return nil, err
		}
		return r.ReplyWith(nil, remoting.EncodeBody(part)), nil
	}, func(body []byte) error {
		var part remoting.MessageLife
		if err := remoting.DecodeBody(body, &part); err != nil {
			return err
		}
		life.Steps = append(life.Steps, part.Steps...)
		life.Partition = append(life.Partition, part.Partition...)
		return nil
	})
	return life, err
}

// byOffsetID finds the topic and the unique key of the record that an offset id names.
// The id has the listener that it was stored through, so the slot; of a node that has
// left, every slot's partition of that number is asked for a record of that host. If no
// queue has one, the topics are returned that it may be of, in no queue, with the id
// itself.
func (b *Broker) byOffsetID(ctx context.Context, r *request, id string) (named []remoting.ExplainHeader, refusal *remoting.Command) {
	host, physical, err := message.ParseOffsetID(id)
	if err != nil || physical < 0 {
		return nil, r.refuse(remoting.QueryNotFound, "%s is no offset id; a unique key or a key needs its topic", id)
	}
	number, _ := message.SplitPhysicalOffset(physical)
	unheard := b.catchUp(ctx)
	known := b.slotOf(host)
	for _, s := range b.catalogue.Slots() {
		if known >= 0 && s.ID != known {
			continue
		}
		part, ok := b.partitionNumbered(s.ID, number)
		if !ok {
			continue
		}
		sub := &request{Command: remoting.NewRequest(remoting.ViewMessageByID, remoting.ViewMessageHeader{Offset: physical}), slot: s.ID, from: r.from}
		reply := b.viewMessage(ctx, sub)
		if reply.Code == remoting.ServiceNotAvailable {
			return nil, r.refuse(reply.Code, "%s", reply.Remark)
		}
		rec, err := message.ParseRecord(reply.Body)
		if reply.Code == remoting.OK && err == nil && (known >= 0 || rec.StoreHost() == host) {
			unique, _ := rec.Property(message.PropUniqueKey)
			return []remoting.ExplainHeader{{Topic: part.Topic, ID: cmp.Or(unique, id)}}, nil
		}
		if may := (remoting.ExplainHeader{Topic: part.Topic, ID: id}); !slices.Contains(named, may) {
			named = append(named, may)
		}
	}
	switch {
	case unheard != nil && (known < 0 || len(named) == 0):
		return nil, r.refuse(remoting.ServiceNotAvailable, "the message may be in a topic that is not known here, and the catalogue has no leader")
	case len(named) > 0:
		return named, nil
	}
	return nil, r.refuse(remoting.QueryNotFound, "no partition is known by the number that the offset id %s names", id)
}

// slotOf is the slot of a node's listener; -1 if no node that is known has it.
func (b *Broker) slotOf(listener netip.AddrPort) int {
	for _, n := range b.members.Nodes() {
		if s := slices.Index(n.Listeners, listener.String()); s >= 0 {
			return s
		}
	}
	return -1
}

// uniqueAt is the unique key of what an offset id names in p that is in no queue, or was in
// none when it got the id; false if it names none.
func (b *Broker) uniqueAt(l *logReader, id string) (unique string, ok bool, err error) {
	host, physical, err := message.ParseOffsetID(id)
	if err != nil || physical < 0 {
		return "", false, nil
	}
	slot := b.slotOf(host)
	if number, _ := message.SplitPhysicalOffset(physical); number != l.p.desc.Number || slot >= 0 && slot != l.p.desc.Slot {
		return "", false, nil
	}
	t, ok, err := l.at(l.p.halfOf(physical))
	if err != nil || !ok || slot < 0 && t.Record.StoreHost() != host {
		return "", false, err
	}
	unique, ok = t.Record.Property(message.PropUniqueKey)
	return unique, ok, nil
}

// explainIn is what p knows of a message.
func (b *Broker) explainIn(p *partition, h remoting.ExplainHeader) (life remoting.MessageLife, err error) {
	applied, _ := p.machine.Applied()
	part := remoting.ExplainedPart{Partition: p.desc.ID, Slot: p.desc.Slot, Node: b.id.Node, Applied: applied}
	var groups []fsm.Group
	for _, g := range b.catalogue.Groups() {
		switch {
		case !slices.Contains(g.Retry[p.desc.Slot], p.desc.ID):
		case len(groups) == explainedGroups:
			part.UnseenGroups++
		default:
			groups = append(groups, g)
		}
	}
	log := &logReader{p: p}
	if unique, ok, err := b.uniqueAt(log, h.ID); err != nil {
		return life, err
	} else if ok {
		h.ID = unique
	}
	look := func(topic, what, group string) error {
		var steps []remoting.MessageStep
		n := 0
		var failed error
		err := p.store().Find(topic, h.ID, 0, 0, func(rec message.Record) bool {
			if n == explainedRecords {
				part.UnseenRecords = true
				return false
			}
			step := p.step(rec, what, group)
			q := message.Queue{Topic: topic, ID: rec.QueueID()}
			for _, g := range groups {
				if group != "" && g.Name != group || what == remoting.StepDead {
					continue
				}
				at := remoting.MessageGroup{Group: g.Name, Committed: -1}
				if off, ok := p.machine.Committed(g.Name, q); ok {
					at.Committed = int64(off)
				}
				step.Groups = append(step.Groups, at)
			}
			if what == remoting.StepDead && !p.machine.Buried(group, q, rec.QueueOffset()) {
				step.State = "taken out"
			}
			steps = append(steps, step)
			if m := rec.Message(); m.PreparedTransactionOffset > 0 {
				steps = append(steps, p.decidedStep(step, m.PreparedTransactionOffset))
			}
			wait, waited, err := log.waited(step, rec)
			if failed = err; err != nil {
				return false
			}
			if waited {
				steps = append(steps, wait)
			}
			n++
			return true
		})
		if errors.Is(err, store.ErrMany) {
			part.UnseenRecords, err = true, nil
		}
		slices.Reverse(steps) // the oldest first
		life.Steps = append(life.Steps, steps...)
		return errors.Join(err, failed)
	}
	err = look(h.Topic, remoting.StepStored, "")
	for _, g := range groups {
		err = errors.Join(err, look(message.RetryTopic(g.Name), remoting.StepRetry, g.Name), look(message.DLQTopic(g.Name), remoting.StepDead, g.Name))
	}
	if err != nil {
		return life, err
	}
	waiting, unseen, err := p.waitingWith(h.ID)
	if err != nil {
		return life, err
	}
	life.Steps = append(life.Steps, waiting...)
	prepared, unseenHalves := p.preparedWith(h.ID)
	life.Steps = append(life.Steps, prepared...)
	part.Unseen = unseen + unseenHalves
	for _, gone := range []func(id string) ([]remoting.MessageStep, int, error){log.rolledBackWith, log.takenBackWith} {
		steps, unseen, err := gone(h.ID)
		if err != nil {
			return life, err
		}
		life.Steps = append(life.Steps, steps...)
		part.UnseenGone += unseen
	}
	life.Partition = []remoting.ExplainedPart{part}
	return life, nil
}

// step describes a record.
func (p *partition) step(rec message.Record, what, group string) remoting.MessageStep {
	m := rec.Message()
	pos := p.positionOf(m.PhysicalOffset)
	s := remoting.MessageStep{
		What: what, Topic: m.Topic, Group: group, Slot: p.desc.Slot, Queue: m.QueueID, Offset: int64(m.QueueOffset), Position: int64(pos),
		OffsetID: message.OffsetID(m.StoreHost, m.PhysicalOffset), At: m.StoreTimestamp, Times: m.ReconsumeTimes, By: m.BornHost.String(), Bytes: len(m.Body),
	}
	s.MsgID, _ = rec.Property(message.PropUniqueKey)
	s.Keys, _ = rec.Property(message.PropKeys)
	s.Tag, _ = rec.Property(message.PropTags)
	s.Reason, _ = rec.Property(message.PropDLQReason)
	s.Index, s.Term, _ = p.store().EntryAround(pos) // of one that is trimmed meanwhile: not known
	return s
}

// decidedStep is the decision that had a record stored.
func (p *partition) decidedStep(of remoting.MessageStep, half int64) remoting.MessageStep {
	pos := p.halfOf(half)
	s := remoting.MessageStep{What: remoting.StepDecided, MsgID: of.MsgID, Topic: of.Topic, Slot: of.Slot, Queue: of.Queue, Offset: -1, Position: int64(pos), State: "committed", At: of.At}
	if d, ok := p.machine.DecisionOf(pos); ok {
		s.At, s.By = d.Time, deciderNames[d.By]
	}
	return s
}

// retriedBy is the group that a record is a retry of; empty if it is none.
func retriedBy(rec message.Record) string {
	if group, ok := message.RetryGroup(rec.Topic()); ok {
		return group
	}
	return ""
}

// waitingWith are the messages with an id or a key that wait for their time.
func (p *partition) waitingWith(id string) (steps []remoting.MessageStep, unseen int, err error) {
	after, _ := p.machine.Timers()
	seen := 0
	var failed error
	err = p.store().Timers(after, never, func(x store.Timer) bool {
		if seen++; seen > explainedWaiting {
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
		if store.HasKey(rec, id) {
			s := p.step(rec, remoting.StepWaiting, retriedBy(rec))
			s.Offset, s.Position, s.Due, s.At = -1, int64(x.At), x.DueMs, 0
			s.OffsetID = ""
			s.Index, s.Term, _ = p.store().EntryAround(x.At)
			steps = append(steps, s)
		}
		return true
	})
	if seen > explainedWaiting {
		unseen = max(1, p.store().TimerCount()-explainedWaiting)
	}
	return steps, unseen, errors.Join(err, failed)
}

// preparedWith are the transactions without a decision with an id or a key.
func (p *partition) preparedWith(id string) (steps []remoting.MessageStep, unseen int) {
	halves := p.machine.Halves(explainedWaiting+1, nil)
	if len(halves) > explainedWaiting {
		pending, _, _ := p.machine.HalfCounts()
		halves, unseen = halves[:explainedWaiting], max(1, pending-explainedWaiting)
	}
	for _, x := range halves {
		rec, err := p.machine.HalfRecord(x)
		if err != nil || !store.HasKey(rec, id) { // decided this moment, or damaged: then the read of it says so
			continue
		}
		s := p.step(rec, remoting.StepPrepared, x.Group)
		s.Offset, s.Position, s.OffsetID, s.At, s.Times, s.State = -1, int64(x.Position), "", x.Born, int32(x.Checks), "pending"
		if x.Parked {
			s.State = "parked"
		}
		s.Index, s.Term, _ = p.store().EntryAround(x.Position)
		steps = append(steps, s)
	}
	return steps, unseen
}
