package fsm

import (
	"context"
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"raftmq/message"
	"raftmq/store"
)

var (
	retries = message.Queue{Topic: "%RETRY%g", ID: 1}
	letters = message.Queue{Topic: "%DLQ%g", ID: 1}
)

func putsBack(t testing.TB, q message.Queue, source store.Position, delivery uint64, dueMs int64) PutBack {
	return PutBack{Group: "g", Source: source, Delivery: delivery, DueMs: dueMs, Record: records(t, q, 1, 10)}
}

func (r *replica) putsBack(atMs int64, items ...PutBack) []Status {
	r.t.Helper()
	return r.do(EncodePutBacks(nil, atMs, items)).(PutBacksResult).Items
}

// A delivery that is put back again, since an answer was lost, is found done: before the
// message has come, after it has, in the same entry, and after a restart.
func TestADeliveryIsPutBackOnce(t *testing.T) {
	r := newReplica(t)
	one := putsBack(t, retries, 1000, 7, 5000)
	require.Equal(t, []Status{Stored, Duplicate}, r.putsBack(1000, one, one))
	one.DueMs = 6000 // the leader takes the time when it is asked
	require.Equal(t, []Status{Duplicate}, r.putsBack(2000, one))
	r = r.restart()
	require.Equal(t, FireResult{Done: true, Count: 1}, r.fireAt(5000))
	require.Equal(t, []Status{Duplicate}, r.putsBack(7000, one))
	require.EqualValues(t, 1, r.end(retries))
	require.Empty(t, r.dueBy(math.MaxInt64))

	// It is another delivery when an operator has moved the group back.
	again := one
	again.Delivery, again.DueMs = 8, 9000
	require.Equal(t, []Status{Stored}, r.putsBack(7000, again))
	require.True(t, r.fireAt(9000).Done)
	r = r.restart()
	// Who still asks for the first has had it.
	one.DueMs = 12000
	require.Equal(t, []Status{Duplicate, Duplicate}, r.putsBack(10000, one, again))
	require.EqualValues(t, 2, r.end(retries))
	// And another group's, or another message, is another.
	other := putsBack(t, message.Queue{Topic: "%RETRY%h"}, 1000, 7, 9000)
	other.Group = "h"
	require.Equal(t, []Status{Stored, Stored}, r.putsBack(10001, other, putsBack(t, retries, 1001, 7, 12000)))
}

// Who does not say which delivery it was is believed to ask again while the message is still
// to come, or lies among the dead letters; and never when nothing is there any more.
func TestAMessageIsPutBackOnceWhileItIsToCome(t *testing.T) {
	r := newReplica(t)
	later := putsBack(t, retries, 1000, 0, 5000)
	dead := putsBack(t, letters, 2000, 0, 0)
	require.Equal(t, []Status{Stored, Stored}, r.putsBack(1000, later, dead))
	require.Equal(t, []Status{Duplicate, Duplicate}, r.putsBack(2000, later, dead))
	require.Equal(t, []Status{Duplicate}, r.putsBack(2000, putsBack(t, letters, 1000, 0, 0)), "it comes, and can be buried then")
	require.Equal(t, []Status{Stored}, r.putsBack(2000, putsBack(t, retries, 2000, 0, 5000)), "a dead letter does not come")
	require.Equal(t, []Status{Stored, Duplicate}, r.putsBack(2000, putsBack(t, letters, 3000, 0, 0), putsBack(t, letters, 3000, 0, 0)))
	r.fireAt(5000)
	later.DueMs = 9000
	require.Equal(t, []Status{Stored}, r.putsBack(6000, later), "it has come, and was handled for all that is known")

	// What was taken back does not come, and a dead letter that was taken out is none.
	waits := r.dueBy(math.MaxInt64)
	require.Len(t, waits, 1)
	require.Equal(t, []bool{true}, r.do(EncodeRecall(nil, 6001, []store.TimerKey{waits[0].Key})).(RecallResult).Items)
	require.Equal(t, []UnearthStatus{TakenOut}, r.do(EncodeUnearth(nil, 6002, "g", letters, []Unearth{{From: 1, To: 2}})).(UnearthResult).Items)
	r = r.restart()
	require.Equal(t, []Status{Stored, Stored}, r.putsBack(6003, later, putsBack(t, letters, 3000, 0, 0)))
}

// What is remembered of put-backs is bounded by its encoding and by age, and goes with its
// group.
func TestPutBacksAreForgotten(t *testing.T) {
	r := newReplica(t)
	r.putBacks.budget = 3 * (putBackSize + textSize("g"))
	for i := range 5 {
		require.Equal(t, []Status{Stored}, r.putsBack(1000, putsBack(t, retries, store.Position(i), 1, 0)))
	}
	require.Equal(t, 3, r.putBacks.order.Len())
	require.Equal(t, []Status{Duplicate, Stored}, r.putsBack(1000, putsBack(t, retries, 2, 1, 0), putsBack(t, retries, 1, 1, 0)))
	require.Equal(t, []Status{Stored}, r.putsBack(1001+putBackMs, putsBack(t, retries, 9, 1, 0)))
	require.Equal(t, 1, r.putBacks.order.Len())
	small := len(r.small())
	require.True(t, r.Knows("g"), "else it would not be dropped")
	r.do(EncodeDropGroup(nil, 1002+putBackMs, "g"))
	require.False(t, r.Knows("g"))
	require.True(t, r.putBacks.empty())
	require.Zero(t, r.putBacks.size)
	require.Less(t, len(r.small()), small)

	bad := putsBack(t, queue(0), 1, 1, 0)
	long := putsBack(t, retries, 1, 1, 0)
	long.Group = strings.Repeat("g", maxName+1)
	beyond := putsBack(t, retries, -1, 1, 0)
	torn := putsBack(t, retries, 1, 1, 0)
	torn.Record = torn.Record[:len(torn.Record)-1]
	require.Equal(t, []Status{Malformed, Malformed, Malformed, Malformed}, r.putsBack(1, bad, long, beyond, torn))
}

// Whoever may ask again is not forgotten for others: one more is let in only if it takes the
// place of one that is old, or of itself. What is on its way counts. The machine decides
// nothing by it, so that replicas need not agree on it.
func TestPutBacksAreLetInByTime(t *testing.T) {
	r := newReplica(t)
	size := putBackSize + textSize("g")
	r.putBacks.budget = 4 * size
	at := func(source store.Position) PutBack { return putsBack(t, retries, source, 1, 0) }
	room := func(source store.Position, now int64, flying int) bool {
		p := at(source)
		require.Equal(t, size, p.Size())
		return r.PutBackRoom(&p, now, flying)
	}
	for i := range store.Position(3) {
		require.True(t, room(i, 1000+int64(i), 0))
		r.putsBack(1000+int64(i), at(i))
	}
	require.True(t, room(9, 1002, 0))
	require.False(t, room(9, 1002, 1), "another is on its way")
	r.putsBack(1003, at(3))
	require.False(t, room(9, 1003, 0))
	require.True(t, room(2, 1003, 0), "it is known")
	require.False(t, room(9, 999+PutBackWindow, 0))
	require.True(t, room(9, 1000+PutBackWindow, 0), "the oldest is old")
	require.False(t, room(9, 1000+PutBackWindow, 1))
	require.True(t, room(9, 1001+PutBackWindow, size))

	r = r.restart()
	r.putBacks.budget = 4 * size
	require.False(t, room(9, 1003, 0))
	require.True(t, room(9, 1000+PutBackWindow, 0))
	r.putsBack(1001+PutBackWindow, at(0)) // of those that are old one is asked for again, and done
	require.Equal(t, 2*size, r.putBacks.young)
	r.putsBack(1001+PutBackWindow, at(4))
	require.Equal(t, 3*size, r.putBacks.young)
	require.Equal(t, []Status{Stored}, r.putsBack(1001+PutBackWindow, at(0)), "it was forgotten when it was old")
	again := at(2)
	again.Delivery = 2
	require.Equal(t, []Status{Stored}, r.putsBack(1002+PutBackWindow, again))
	sum := 0
	for e := r.putBacks.order.Front(); e != nil; e = e.Next() {
		if p := e.Value.(*putBack); p.at+PutBackWindow > 1002+PutBackWindow {
			sum += p.size()
		}
	}
	require.Equal(t, sum, r.putBacks.young)
	r.do(EncodeDropGroup(nil, 1002+PutBackWindow, "g"))
	require.Zero(t, r.putBacks.young)
	require.Nil(t, r.putBacks.edge)
}

// What waits after it was put back is found in the log, when the index is lost.
func TestPutBacksAreIndexedFromTheLog(t *testing.T) {
	r := newReplica(t)
	one := putsBack(t, retries, 1000, 7, 5000)
	require.Equal(t, []Status{Stored, Duplicate, Stored}, r.putsBack(1000, one, one, putsBack(t, letters, 2000, 8, 0)))
	for len(r.Store().Segments()) < 3 {
		r.send(1002, Item{Queue: queue(0), Records: records(t, queue(0), 4, 2000), Count: 4})
	}
	r = r.restart()
	want := timersOf(t, r, 0)
	require.Len(t, want, 1)
	state, sync := r.Checkpoint()
	require.NoError(t, sync())
	require.NoError(t, r.Close())
	st, err := StoreState(state)
	require.NoError(t, err)
	names, err := r.disk.List("p")
	require.NoError(t, err)
	var lost []string
	for _, n := range names {
		if strings.HasSuffix(n, ".timers") {
			lost = append(lost, n)
			require.NoError(t, r.disk.Remove("p/"+n))
		}
	}
	require.NotEmpty(t, lost)
	m := &store.Mender{Dir: "p", State: st, Places: Places(), Timers: TimerOps(), Options: store.Options{FS: r.disk, SegmentBytes: segmentBytes, Number: 7}}
	require.NoError(t, m.Mend(context.Background(), lost))
	r = openReplica(t, r.disk, state)
	require.Equal(t, want, timersOf(t, r, 0))
}
