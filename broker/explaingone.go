package broker

import (
	"cmp"
	"errors"
	"slices"
	"strconv"

	"raftmq/fsm"
	"raftmq/message"
	"raftmq/remoting"
	"raftmq/store"
)

// What came of a message that is in no queue, or waited before it was, is in no index by
// its id: decisions and the index of timers name places in the log, and the entries there
// say what the message was. So it is told as long as both are there.

const (
	explainedTimers = 1 << 20  // of the index, looked through for those that were taken back
	explainedBytes  = 32 << 20 // of entries that are read for messages that are rolled back, and as many for those taken back
)

// logReader reads what entries tell of their records, the last one once.
type logReader struct {
	p     *partition
	entry store.Entry
	data  store.Position // where its data begins
	told  map[store.Position]fsm.Told
	bytes int // of all that were read
}

// at is what the log tells of the record at a position; false if it is trimmed there, or no
// such record begins there.
func (l *logReader) at(pos store.Position) (t fsm.Told, ok bool, err error) {
	if pos < l.data || pos >= l.data+store.Position(len(l.entry.Data)) {
		e, data, err := l.p.store().EntryAt(pos)
		if errors.Is(err, store.ErrNotFound) {
			return t, false, nil
		}
		if err != nil {
			return t, false, err
		}
		if l.told, err = fsm.Tell(e, data); err != nil {
			return t, false, err
		}
		l.entry, l.data = e, data
		l.bytes += len(e.Data)
	}
	t, ok = l.told[pos]
	return t, ok, nil
}

// inNoQueue is a step of a record that lies in none, where the log has it.
func (l *logReader) inNoQueue(rec message.Record, pos store.Position, what, group string) remoting.MessageStep {
	s := l.p.step(rec, what, group)
	s.Offset, s.Position, s.OffsetID = -1, int64(pos), ""
	s.Index, s.Term = l.entry.Index, l.entry.Term
	return s
}

// waited is the time that a record waited before it came into its queue; false: it did not.
func (l *logReader) waited(came remoting.MessageStep, rec message.Record) (s remoting.MessageStep, ok bool, err error) {
	t, ok, err := l.at(store.Position(came.Position))
	if err != nil || !ok {
		return s, false, err
	}
	key := t.Key
	s = came
	s.What, s.Groups = remoting.StepWaited, nil
	s.Offset, s.Position, s.OffsetID, s.Index, s.Term = -1, int64(key.ID), "", 0, 0
	s.Due, s.At = key.DueMs, 0
	first, there, err := l.at(key.ID)
	switch {
	case err != nil:
		return s, false, err
	case there:
		s.At, s.Index, s.Term = first.Record.StoreTimestamp(), l.entry.Index, l.entry.Term
	default: // trimmed
		since, _ := rec.Property(message.PropTimerEnqueue)
		s.At, _ = strconv.ParseInt(since, 10, 64)
	}
	return s, true, nil
}

// rolledBackWith are the transactions with an id or a key that were rolled back, as far as
// it is remembered.
func (l *logReader) rolledBackWith(id string) (steps []remoting.MessageStep, unseen int, err error) {
	all := l.p.machine.RolledBack()
	if len(all) > explainedWaiting {
		all, unseen = all[:explainedWaiting], len(all)-explainedWaiting
	}
	slices.SortFunc(all, func(x, y fsm.DecidedHalf) int { return cmp.Compare(y.Position, x.Position) })
	enough := l.bytes + explainedBytes
	for i, x := range all {
		if l.bytes > enough {
			return steps, unseen + len(all) - i, nil
		}
		t, ok, err := l.at(x.Position)
		if err != nil {
			return nil, 0, err
		}
		if !ok || !store.HasKey(t.Record, id) {
			continue
		}
		half := l.inNoQueue(t.Record, x.Position, remoting.StepPrepared, t.Group)
		half.State, half.At, half.Times = verdictNames[fsm.Rollback], t.AtMs, 0
		steps = append(steps, half, remoting.MessageStep{
			What: remoting.StepDecided, MsgID: half.MsgID, Topic: half.Topic, Slot: half.Slot, Queue: half.Queue, Offset: -1, Position: half.Position,
			State: verdictNames[x.Verdict], At: x.Time, By: deciderNames[x.By],
		})
	}
	return steps, unseen, nil
}

// takenBackWith are the messages with an id or a key that waited and were taken back, as far
// as the index of timers has it.
func (l *logReader) takenBackWith(id string) (steps []remoting.MessageStep, unseen int, err error) {
	var gone []store.Timer
	last := func() { // keeps those that were taken back last
		if slices.SortFunc(gone, func(x, y store.Timer) int { return cmp.Compare(y.At, x.At) }); len(gone) > explainedWaiting {
			unseen += len(gone) - explainedWaiting
			gone = gone[:explainedWaiting]
		}
	}
	all, err := l.p.store().TakenBack(explainedTimers, func(t store.Timer) {
		if gone = append(gone, t); len(gone) == 2*explainedWaiting {
			last()
		}
	})
	if err != nil {
		return nil, 0, err
	}
	if last(); !all { // what waits is among them
		unseen += max(1, l.p.store().TimerCount()-explainedTimers)
	}
	slices.SortFunc(gone, func(x, y store.Timer) int { return cmp.Compare(y.ID, x.ID) })
	enough := l.bytes + explainedBytes
	for i, x := range gone {
		if l.bytes > enough {
			return steps, unseen + len(gone) - i, nil
		}
		t, ok, err := l.at(x.ID)
		if err != nil {
			return nil, 0, err
		}
		if !ok || t.Key != x.TimerKey || !store.HasKey(t.Record, id) {
			continue
		}
		group := retriedBy(t.Record)
		wait := l.inNoQueue(t.Record, x.ID, remoting.StepWaited, group)
		wait.Due = x.DueMs
		back := remoting.MessageStep{What: remoting.StepTakenBack, MsgID: wait.MsgID, Topic: wait.Topic, Group: group, Slot: wait.Slot, Queue: wait.Queue, Offset: -1, Position: int64(x.At), Due: x.DueMs}
		switch e, _, err := l.p.store().EntryAt(x.At); {
		case errors.Is(err, store.ErrNotFound):
		case err != nil:
			return nil, 0, err
		default:
			back.At, back.Index, back.Term = max(wait.At, fsm.ProposedMs(e)), e.Index, e.Term
		}
		steps = append(steps, wait, back)
	}
	return steps, unseen, nil
}
