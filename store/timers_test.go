package store

import (
	"context"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftmq/internal/vfs"
	"raftmq/message"
)

// timerModel makes entries that do something to timers, and knows what waits.
type timerModel struct {
	t     *testing.T
	rnd   *rand.Rand
	log   []timerEntryOf
	waits map[TimerKey]bool
	taken map[TimerKey]bool // back
}

type timerEntryOf struct {
	e   Entry
	ops []TimerOp
}

// next makes the entry after those that were made, for a store that has them all.
func (m *timerModel) next(s *Store, n int) {
	e := Entry{Index: uint64(len(m.log)) + 1, Term: 1, Data: []byte("command")}
	var ops []TimerOp
	var keys []TimerKey
	for k := range m.waits {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, TimerKey.Compare)
	var added []TimerKey // by place in the data
	for range n {
		at := len(e.Data)
		switch {
		case len(keys) > 0 && m.rnd.IntN(4) == 0:
			k := keys[m.rnd.IntN(len(keys))]
			ops = append(ops, TimerOp{DueMs: k.DueMs, ID: k.ID, Start: at})
			e.Data = append(e.Data, 0) // no two ops at one place
			delete(m.waits, k)
			m.taken[k] = true
		default:
			x := message.Message{Topic: "t", Body: make([]byte, m.rnd.IntN(100))}
			var err error
			e.Data, err = x.AppendRecord(e.Data)
			require.NoError(m.t, err)
			op := TimerOp{DueMs: int64(m.rnd.IntN(1000)), Start: at, Size: len(e.Data) - at}
			ops = append(ops, op)
			added = append(added, TimerKey{op.DueMs, Position(at)})
		}
	}
	base := s.Last().Position + FrameData
	if s.NeedsRoll(len(e.Data)) {
		base += segmentHead
	}
	for _, k := range added {
		m.waits[TimerKey{k.DueMs, base + k.ID}] = true
	}
	m.log = append(m.log, timerEntryOf{e, ops})
}

func (m *timerModel) appendTo(s *Store) {
	for s.Last().Index < uint64(len(m.log)) {
		x := m.log[s.Last().Index]
		if s.NeedsRoll(len(x.e.Data)) {
			require.NoError(m.t, s.Roll(same))
		}
		x.e.Data = slices.Clone(x.e.Data)
		_, err := s.AppendTimers(x.e, 1, nil, x.ops)
		require.NoError(m.t, err)
	}
}

// check compares what waits, and that each record is what was appended.
func (m *timerModel) check(s *Store) {
	var got []TimerKey
	require.NoError(m.t, s.Timers(TimerKey{DueMs: -1}, math.MaxInt64, func(t Timer) bool {
		got = append(got, t.TimerKey)
		_, err := s.TimerRecord(t)
		require.NoError(m.t, err)
		return true
	}))
	var want []TimerKey
	for k := range m.waits {
		want = append(want, k)
	}
	slices.SortFunc(want, TimerKey.Compare)
	require.Equal(m.t, want, got)
	taken := make(map[TimerKey]bool)
	all, err := s.TakenBack(math.MaxInt, func(t Timer) { taken[t.TimerKey] = true })
	require.NoError(m.t, err)
	require.True(m.t, all)
	require.Equal(m.t, m.taken, taken)
	for range 5 {
		k := TimerKey{int64(m.rnd.IntN(1000)), 5}
		if len(want) > 0 && m.rnd.IntN(2) == 0 {
			k = want[m.rnd.IntN(len(want))]
		}
		x, err := s.TimerOf(k)
		require.Equal(m.t, m.waits[k], err == nil && x.Size > 0, err)
	}
}

// What waits is what was appended and not taken back: through flushes, merges, power
// cuts, and opens as of the last state that was kept.
func TestTimersSurvivePowerCutsAndMerges(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	m := &timerModel{t: t, rnd: rand.New(rand.NewPCG(seed, 1)), waits: make(map[TimerKey]bool), taken: make(map[TimerKey]bool)}
	disk := vfs.NewMem(seed)
	o := Options{FS: disk, SegmentBytes: minSegment, Number: 3}
	s, err := Open("p", o, nil)
	require.NoError(t, err)
	var state []byte
	most := 0
	for range 120 {
		m.next(s, 1+m.rnd.IntN(20))
		m.appendTo(s)
		if m.rnd.IntN(2) == 0 {
			var mark Mark
			state, mark = s.Checkpoint()
			require.NoError(t, s.Sync(mark))
		}
		s.mu.RLock()
		most = max(most, len(s.timers.runs))
		s.mu.RUnlock()
		if m.rnd.IntN(10) == 0 {
			require.NoError(t, s.Close())
			disk = disk.Crash(m.rnd.Uint64())
			o.FS = disk
			s, err = Open("p", o, state)
			require.NoError(t, err)
			m.appendTo(s)
		}
		if m.rnd.IntN(5) == 0 {
			m.check(s)
		}
	}
	m.check(s)
	require.Greater(t, most, 3)
	require.NoError(t, s.Close())
}

// Many runs become few, and what is passed goes; that something was taken back is known
// as long as the log that says so is there.
func TestTimersAreMerged(t *testing.T) {
	m := &timerModel{t: t, rnd: rand.New(rand.NewPCG(1, 1)), waits: make(map[TimerKey]bool), taken: make(map[TimerKey]bool)}
	disk := vfs.NewMem(1)
	s, err := Open("p", Options{FS: disk, SegmentBytes: minSegment}, nil)
	require.NoError(t, err)
	for range 3 * timerFan {
		m.next(s, 50)
		m.appendTo(s)
		_, mark := s.Checkpoint()
		require.NoError(t, s.Sync(mark))
		s.kick()
	}
	m.check(s)
	require.Eventually(t, func() bool {
		s.kick()
		s.mu.RLock()
		defer s.mu.RUnlock()
		return len(s.timers.runs) < timerFan && !s.timers.merging
	}, 1e10, 1e6)
	m.check(s)
	merge := func(most int) {
		for range 3 * timerFan {
			m.next(s, 1)
			m.appendTo(s)
			_, mark := s.Checkpoint()
			require.NoError(t, s.Sync(mark))
		}
		require.Eventually(t, func() bool {
			s.kick()
			return s.TimerCount() < most
		}, 1e10, 1e6)
	}
	s.ForgetTimers(TimerKey{DueMs: 900})
	taken := slices.Collect(maps.Keys(m.taken))
	require.Greater(t, len(taken), 100)
	merge(len(taken) + 300)
	for _, k := range taken {
		x, err := s.TimerOf(k)
		require.NoError(t, err)
		require.Zero(t, x.Size)
		require.Greater(t, x.At, s.First().Position)
	}
	require.NoError(t, s.Trim(s.Last().Position))
	s.ForgetTimers(TimerKey{DueMs: 1000})
	merge(100)
	require.NoError(t, s.Close())
}

// What was taken back does not wait again when the run that says so went with a trim, and
// one that was merged of those around it did not.
func TestWhatWasTakenBackDoesNotWaitAgainAfterATrim(t *testing.T) {
	disk := vfs.NewMem(1)
	o := Options{FS: disk, SegmentBytes: minSegment}
	s, err := Open("p", o, nil)
	require.NoError(t, err)
	const due = 1 << 40
	var state []byte
	add := func(data []byte, ops ...TimerOp) {
		e := Entry{Index: s.Last().Index + 1, Term: 1, Data: data}
		if s.NeedsRoll(len(data)) {
			require.NoError(t, s.Roll(same))
		}
		_, err := s.AppendTimers(e, 1, nil, ops)
		require.NoError(t, err)
		var mark Mark
		state, mark = s.Checkpoint()
		require.NoError(t, s.Sync(mark))
	}
	record, err := (&message.Message{Topic: "t"}).AppendRecord(nil)
	require.NoError(t, err)
	waits := func() { add(slices.Clone(record), TimerOp{DueMs: due, Size: len(record)}) }
	waiting := func() (keys []TimerKey) {
		require.NoError(t, s.Timers(TimerKey{}, math.MaxInt64, func(x Timer) bool {
			_, err := s.TimerRecord(x)
			require.NoError(t, err)
			keys = append(keys, x.TimerKey)
			return true
		}))
		return keys
	}
	waits()
	keys := waiting()
	require.Len(t, keys, 1)
	taken := []TimerOp{{DueMs: due, ID: keys[0].ID}} // and so many others that they are a run of the next size
	for i := range timerFan * timerFlush {
		taken = append(taken, TimerOp{DueMs: due, ID: 1<<30 + Position(i)})
	}
	add([]byte("taken back"), taken...)
	add(make([]byte, minSegment)) // which fills a segment of its own
	for range timerFan - 1 {
		waits()
	}
	require.Eventually(t, func() bool {
		s.kick()
		names, err := disk.List("p")
		require.NoError(t, err)
		return len(slices.DeleteFunc(names, func(n string) bool { return !isTimerRun(n) })) == 2
	}, 10*time.Second, time.Millisecond, "the small ones are merged")
	want := waiting()
	require.Len(t, want, timerFan-1)
	require.NoError(t, s.Trim(s.Last().Position))
	require.Positive(t, s.First().Position)
	add([]byte("trimmed"))
	require.Equal(t, want, waiting())
	require.NoError(t, s.Close())
	s, err = Open("p", o, state)
	require.NoError(t, err)
	require.Equal(t, want, waiting())
	require.NoError(t, s.Close())
}

// A byte that is not what was written is found, named, and not taken for a timer.
func TestDamagedTimersAreFound(t *testing.T) {
	m := &timerModel{t: t, rnd: rand.New(rand.NewPCG(1, 1)), waits: make(map[TimerKey]bool), taken: make(map[TimerKey]bool)}
	disk := vfs.NewMem(1)
	var told []string
	o := Options{FS: disk, OnDamage: func(d *Damage) { told = append(told, d.File) }}
	s, err := Open("p", o, nil)
	require.NoError(t, err)
	for range 20 {
		m.next(s, 20)
		m.appendTo(s)
	}
	state, mark := s.Checkpoint()
	require.NoError(t, s.Sync(mark))
	f, err := disk.Open(timerName("p", 0))
	require.NoError(t, err)
	flip := func(off int64) {
		b := make([]byte, 1)
		_, err := f.ReadAt(b, off)
		require.NoError(t, err)
		b[0] ^= 1
		_, err = f.WriteAt(b, off)
		require.NoError(t, err)
	}
	flip(timerBlock + 100)
	require.ErrorIs(t, s.Timers(TimerKey{}, math.MaxInt64, func(Timer) bool { return true }), ErrDamaged)
	require.Equal(t, []string{timerName("p", 0)}, told)
	var found []string
	_, err = s.Verify(context.Background(), 0, func(context.Context, int) error { return nil }, func(d *Damage) { found = append(found, d.File) })
	require.NoError(t, err)
	require.Equal(t, told, found)
	flip(timerBlock + 100)
	flip(10)
	require.NoError(t, s.Close())
	_, err = Open("p", o, state)
	require.ErrorIs(t, err, ErrDamaged)
	require.True(t, strings.Contains(err.Error(), ".timers"), err)
}

// A head is refused, or says what the file can hold; a block is read only whole.
func FuzzTimerRun(f *testing.F) {
	good := (&timerRun{count: 3, last: 9}).encodeHead()
	f.Add(good, int64(2*timerBlock))
	f.Add(good[:9], int64(timerBlock))
	f.Fuzz(func(t *testing.T, b []byte, size int64) {
		r, err := decodeTimerHead("x", b, size)
		if err != nil {
			return
		}
		require.Equal(t, size, r.size())
		require.Equal(t, b[:timerHead], r.encodeHead())
	})
}

// BenchmarkTimers measures what of many waiting timers is due.
func BenchmarkTimers(b *testing.B) {
	for _, n := range []int{100_000, 1_000_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			s, err := Open(b.TempDir(), Options{}, nil)
			require.NoError(b, err)
			defer s.Close()
			rnd := rand.New(rand.NewPCG(1, 1))
			for i := range n {
				s.timers.mem = append(s.timers.mem, Timer{TimerKey: TimerKey{rnd.Int64N(1 << 38), Position(i + 1)}, At: Position(i + 1), Size: 1})
				if len(s.timers.mem) == timerFlush {
					require.NoError(b, s.flushNow())
					s.mergeTimersSoon()
				}
			}
			for b.Loop() {
				k := 0
				require.NoError(b, s.Timers(TimerKey{DueMs: rnd.Int64N(1 << 37)}, 1<<38, func(Timer) bool { k++; return k < 256 }))
			}
		})
	}
}
