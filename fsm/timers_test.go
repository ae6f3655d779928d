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

func delayed(t testing.TB, q message.Queue, p Producer, dueMs int64) Delayed {
	return Delayed{item(t, q, 1, p), dueMs}
}

func (r *replica) delay(atMs int64, items ...Delayed) []DelayedResult {
	r.t.Helper()
	return r.do(EncodeDelay(nil, atMs, items)).(DelayResult).Items
}

// dueBy is what a leader puts into an entry.
func (r *replica) dueBy(ms int64) []Due {
	cursor, _ := r.Timers()
	return (&history{t: r.t, replica: r}).waiting(cursor, ms, math.MaxInt)
}

func (r *replica) fireAt(ms int64) FireResult {
	r.t.Helper()
	cursor, _ := r.Timers()
	return r.do(EncodeFire(nil, ms, cursor, r.dueBy(ms))).(FireResult)
}

// What is to come at its time is in no queue until then, comes once and in order of
// times, and is known under one position meanwhile.
func TestADelayedMessageComesOnceAtItsTime(t *testing.T) {
	r := newReplica(t)
	q := queue(0)
	res := r.delay(1000, delayed(t, q, producer(1, 0, 0), 3000), delayed(t, q, Producer{}, 2000), delayed(t, q, Producer{}, 1000))
	require.Equal(t, []bool{true, true, false}, []bool{res[0].Waits, res[1].Waits, res[2].Waits})
	require.EqualValues(t, 1, r.end(q), "what is due at once is a message")
	require.EqualValues(t, 0, res[2].Offset)

	again := r.delay(1001, delayed(t, q, producer(1, 0, 0), 9000))
	require.Equal(t, Duplicate, again[0].Status)
	require.True(t, again[0].Waits)
	require.Equal(t, res[0].Physical, again[0].Physical, "the first receipt")

	require.False(t, r.do(EncodeFire(nil, 1999, store.TimerKey{}, r.dueBy(2000))).(FireResult).Done, "never early")
	early := EncodeFire(nil, 2500, store.TimerKey{}, r.dueBy(2500))
	require.Equal(t, FireResult{Done: true, Count: 1}, r.do(early))
	require.Equal(t, FireResult{}, r.do(early), "once")
	r = r.restart()
	require.Equal(t, FireResult{}, r.do(early), "once, after a restart too")
	require.Len(t, r.dueBy(math.MaxInt64), 1)
	require.Equal(t, FireResult{Done: true, Count: 1}, r.fireAt(3000))
	require.EqualValues(t, 3, r.end(q))
	for i, want := range []int64{3000, 2000} {
		_, pos := message.SplitPhysicalOffset(res[i].Physical[0])
		due, err := r.DueOf(store.Position(pos))
		require.NoError(t, err)
		require.Equal(t, want, due)
		_, err = r.DueOf(store.Position(pos) + 1)
		require.ErrorIs(t, err, store.ErrNotFound, "nothing was accepted there")
	}
	b, err := r.Store().Read(q, 0, 9, 1<<20, nil)
	require.NoError(t, err)
	var stored []int64
	for rest := b.Records; len(rest) > 0; {
		rec, err := message.ParseRecord(rest)
		require.NoError(t, err)
		stored = append(stored, rec.StoreTimestamp())
		rest = rest[len(rec):]
	}
	require.Equal(t, []int64{1000, 2500, 3000}, stored)
}

// What was taken back does not come; what is due cannot be taken back.
func TestARecallCountsUntilTheTimeHasCome(t *testing.T) {
	r := newReplica(t)
	q := queue(0)
	r.delay(1000, delayed(t, q, Producer{}, 2000), delayed(t, q, Producer{}, 3000))
	all := r.dueBy(math.MaxInt64)
	keys := []store.TimerKey{all[0].Key, all[1].Key}
	require.Equal(t, []bool{false, true}, r.do(EncodeRecall(nil, 2000, keys)).(RecallResult).Items)
	require.Len(t, r.dueBy(math.MaxInt64), 1)
	// A leader that saw it before it was taken back cannot bring it back.
	require.False(t, r.do(EncodeKeep(nil, 2000, 1, all)).(FireResult).Done)
	r = r.restart()
	require.Len(t, r.dueBy(math.MaxInt64), 1)
	require.Equal(t, FireResult{Done: true, Count: 1}, r.fireAt(3000))
	require.EqualValues(t, 1, r.end(q))
}

// What is appended again before a trim waits on, under the same key, on every replica:
// also on one that begins at the floor above where it first lay, and on one whose index
// was built from the log.
func TestWhatIsKeptOutlivesATrim(t *testing.T) {
	r := newReplica(t)
	q := queue(0)
	r.delay(1000, delayed(t, q, Producer{}, 5000), delayed(t, q, Producer{}, 6000), delayed(t, q, Producer{}, 7000))
	before := r.dueBy(math.MaxInt64)
	r.do(EncodeRecall(nil, 1001, []store.TimerKey{before[1].Key}))
	for len(r.Store().Segments()) < 3 {
		r.send(1002, Item{Queue: q, Records: records(t, q, 4, 2000), Count: 4})
	}
	seen, _ := r.Applied()
	require.Equal(t, FireResult{Done: true, Count: 2}, r.do(EncodeKeep(nil, 1003, seen, r.dueBy(math.MaxInt64))))
	to := r.Store().Segments()[1]
	r.do(EncodeTrim(nil, 1004, to.Position))
	want := timersOf(t, r, 0)
	require.Len(t, want, 2)
	require.Equal(t, before[0].Key, want[0].TimerKey)

	floored, index := r.installed()
	require.Equal(t, to.Index, index)
	last, _ := r.Applied()
	for i := index + 1; i <= last; i++ {
		e, err := r.Store().Entry(i)
		require.NoError(t, err)
		floored.do(e.Data)
	}
	require.Equal(t, want, timersOf(t, floored, 0))

	r = r.restart()
	require.Equal(t, want, timersOf(t, r, 0))
	state, sync := r.Checkpoint()
	require.NoError(t, sync())
	require.NoError(t, r.Close())
	st, err := StoreState(state)
	require.NoError(t, err)
	names, err := r.disk.List("p")
	require.NoError(t, err)
	var runs []string
	for _, n := range names {
		if len(n) > 7 && n[len(n)-7:] == ".timers" {
			runs = append(runs, n)
			require.NoError(t, r.disk.Remove("p/"+n))
		}
	}
	require.NotEmpty(t, runs)
	m := &store.Mender{Dir: "p", State: st, Places: Places(), Timers: TimerOps(), Options: store.Options{FS: r.disk, SegmentBytes: segmentBytes, Number: 7}}
	require.NoError(t, m.Mend(context.Background(), runs))
	r = openReplica(t, r.disk, state)
	require.Equal(t, want, timersOf(t, r, 0), "as built from the log")
	require.Equal(t, FireResult{Done: true, Count: 2}, r.fireAt(7000))
}

// Each of several damaged files of the index has it built from the log. What was taken back stays so
// also the second time, and after its time.
func TestWhatWasTakenBackStaysSoHoweverOftenTheIndexIsBuilt(t *testing.T) {
	r := newReplica(t)
	q := queue(0)
	r.delay(1000, delayed(t, q, Producer{}, 5000), delayed(t, q, Producer{}, 6000))
	back := r.dueBy(math.MaxInt64)[0].Key
	r = r.restart()
	require.Equal(t, []bool{true}, r.do(EncodeRecall(nil, 1001, []store.TimerKey{back})).(RecallResult).Items)
	r = r.restart()
	r.do(EncodeTick(nil, 7000))
	want := timersOf(t, r, 0)
	require.Len(t, want, 1)
	state, sync := r.Checkpoint()
	require.NoError(t, sync())
	require.NoError(t, r.Close())
	st, err := StoreState(state)
	require.NoError(t, err)
	names, err := r.disk.List("p")
	require.NoError(t, err)
	var runs []string
	for _, n := range names {
		if strings.HasSuffix(n, ".timers") {
			runs = append(runs, n)
			require.NoError(t, r.disk.Damage("p/"+n, 4096, 1, func(b []byte) { b[0] ^= 4 }))
		}
	}
	require.Len(t, runs, 2)
	m := &store.Mender{Dir: "p", State: st, Places: Places(), Timers: TimerOps(), Options: store.Options{FS: r.disk, SegmentBytes: segmentBytes, Number: 7}}
	require.NoError(t, m.Mend(context.Background(), runs))
	r = openReplica(t, r.disk, state)
	require.Equal(t, want, timersOf(t, r, 0))
	x, err := r.Store().TimerOf(back)
	require.NoError(t, err)
	require.Zero(t, x.Size, "taken back")
	require.Equal(t, FireResult{Done: true, Count: 1}, r.fireAt(7000))
}
