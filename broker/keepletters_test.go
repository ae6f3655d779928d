package broker

import (
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"

	"raftmq/fsm"
	"raftmq/internal/vfs"
	"raftmq/message"
	"raftmq/remoting"
	"raftmq/store"
)

// lettersIn is a partition's machine with n dead letters of group g in queue 0.
type lettersIn struct {
	t *testing.T
	*fsm.PartitionMachine
	queue message.Queue
}

func newLettersIn(t *testing.T, n int) *lettersIn {
	m, err := fsm.OpenPartition("p", fsm.PartitionOptions{Store: store.Options{FS: vfs.NewMem(1), SegmentBytes: 16 << 20, Number: 1}}, nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, m.Close()) })
	l := &lettersIn{t, m, message.Queue{Topic: message.DLQTopic("g")}}
	l.send(l.queue, n)
	return l
}

func (l *lettersIn) do(cmd []byte) any {
	l.t.Helper()
	last, _ := l.Applied()
	res, err := l.Apply([]*raft.Log{{Index: last + 1, Term: 1, Type: raft.LogCommand, Data: cmd}})
	require.NoError(l.t, err)
	return res[0]
}

func (l *lettersIn) send(q message.Queue, n int) {
	l.t.Helper()
	it := fsm.Item{Queue: q, Count: n}
	for range n {
		var err error
		it.Records, err = (&message.Message{Topic: q.Topic, QueueID: q.ID}).AppendRecord(it.Records)
		require.NoError(l.t, err)
	}
	l.do(fsm.EncodeAppend(nil, 1, []fsm.Item{it}))
}

func (l *lettersIn) unearth(q message.Queue, us []fsm.Unearth) []fsm.UnearthStatus {
	l.t.Helper()
	return l.do(fsm.EncodeUnearth(nil, 1, "g", q, us)).(fsm.UnearthResult).Items
}

// fillGaps takes every second letter of another queue out until no gap more is remembered.
func (l *lettersIn) fillGaps() {
	l.t.Helper()
	q := message.Queue{Topic: l.queue.Topic, ID: 1}
	const n = 40_000
	l.send(q, n)
	var us []fsm.Unearth
	for off := message.Offset(0); off < n; off += 2 {
		us = append(us, fsm.Unearth{From: off, To: off + 1})
	}
	require.Contains(l.t, l.unearth(q, us), fsm.NoGap)
}

// Before a trim each letter is stored again, or stays where it is: also when no gap more is
// remembered, so that some are refused.
func TestALetterThatIsNotStoredAgainIsNotGone(t *testing.T) {
	l := newLettersIn(t, 20)
	require.Equal(t, []fsm.UnearthStatus{fsm.TakenOut}, l.unearth(l.queue, []fsm.Unearth{{From: 12, To: 13}}))
	l.fillGaps()
	var keep keptLetters
	for off := message.Offset(5); off < 16; off++ { // who consumed 5 has them behind it
		if !l.Buried("g", l.queue, off) {
			continue
		}
		b, err := l.Store().Read(l.queue, off, 1, 1<<20, nil)
		require.NoError(t, err)
		rec, err := message.ParseRecord(b.Records)
		require.NoError(t, err)
		keep.add(rec)
	}
	_, end := l.Store().Bounds(l.queue)
	stored := 0
	for i, s := range l.unearth(l.queue, keep.items) {
		u := keep.items[i]
		if u.Record == nil {
			continue
		}
		require.Equal(t, s != fsm.TakenOut, l.Buried("g", l.queue, u.From), u.From)
		if s == fsm.TakenOut {
			stored++
		}
	}
	_, now := l.Store().Bounds(l.queue)
	require.EqualValues(t, stored, now-end)
	require.Less(t, stored, 10, "some are refused")
}

// What is to be kept before a trim makes one gap, whatever lies between.
func TestLettersThatAreStoredAgainMakeOneGap(t *testing.T) {
	l := newLettersIn(t, 20)
	var keep keptLetters
	for off := message.Offset(3); off < 16; off += 2 {
		b, err := l.Store().Read(l.queue, off, 1, 1<<20, nil)
		require.NoError(t, err)
		rec, err := message.ParseRecord(b.Records)
		require.NoError(t, err)
		keep.add(rec)
	}
	for _, s := range l.unearth(l.queue, keep.items) {
		require.Equal(t, fsm.TakenOut, s)
	}
	require.Equal(t, []fsm.UnearthStatus{fsm.GoneBefore}, l.unearth(l.queue, []fsm.Unearth{{From: 0, To: 16}}), "it is one")
	_, end := l.Store().Bounds(l.queue)
	require.EqualValues(t, 27, end)
}

// Of a command of which some dead letters are not taken out, those that are count.
func TestDeadLettersBehindOneThatIsRefusedCount(t *testing.T) {
	l := newLettersIn(t, 20)
	require.Equal(t, []fsm.UnearthStatus{fsm.TakenOut}, l.unearth(l.queue, []fsm.Unearth{{From: 12, To: 13}}))
	l.fillGaps()
	items := l.unearth(l.queue, []fsm.Unearth{{From: 12, To: 13}, {From: 2, To: 3}, {From: 13, To: 14}})
	require.Equal(t, []fsm.UnearthStatus{fsm.GoneBefore, fsm.NoGap, fsm.TakenOut}, items)
	var list remoting.DeadLetterList
	require.ErrorIs(t, takenOut(&list, items), errGaps)
	require.EqualValues(t, 1, list.Done)
	require.EqualValues(t, 1, list.Gone)
}

// Before a trim, retries that their group has not consumed are stored again. It may be given some before
// the trim is made, or by a replica that has yet to make it: each once.
func TestRetriesThatAreStoredAgainComeOnce(t *testing.T) {
	l := newLettersIn(t, 1)
	q := message.Queue{Topic: message.RetryTopic("g")}
	l.send(q, 8)
	b := &Broker{admission: newAdmission(Config{MaxRequestBytes: 1 << 20, MaxReplyBytes: 1 << 20, MaxConnections: 1}), rates: newRates(1, time.Now())}
	p := &partition{machine: l.PartitionMachine}
	pulled := func() (offsets []message.Offset) {
		r := &request{Command: remoting.NewRequest(remoting.PullMessage, nil), forwarded: true}
		for from := message.Offset(0); ; {
			reply, next, err := b.readQueue(t.Context(), r, &remoting.PullHeader{ConsumerGroup: "g", MaxMsgNums: 3}, p, q, from, nil)
			require.NoError(t, err)
			if reply == nil {
				return offsets
			}
			for rest := reply.Body; len(rest) > 0; {
				rec, err := message.ParseRecord(rest)
				require.NoError(t, err)
				offsets = append(offsets, rec.QueueOffset())
				rest = rest[len(rec):]
			}
			from = next
		}
	}
	require.Equal(t, []message.Offset{0, 1, 2, 3, 4, 5, 6, 7}, pulled())
	var keep keptLetters
	for off := message.Offset(2); off < 5; off++ { // what lies before is consumed
		got, err := l.Store().Read(q, off, 1, 1<<20, nil)
		require.NoError(t, err)
		rec, err := message.ParseRecord(got.Records)
		require.NoError(t, err)
		keep.add(rec)
	}
	for _, s := range l.unearth(q, keep.items) {
		require.Equal(t, fsm.TakenOut, s)
	}
	require.Equal(t, []message.Offset{5, 6, 7, 8, 9, 10}, pulled())
}
