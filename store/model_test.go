package store

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"raftmq/internal/vfs"
	"raftmq/message"
)

// history is a partition's log as a list, with what each entry does to a store.
type history []step

type step struct {
	e      Entry
	at     int64 // store time
	places []Place
	keys   []string
	trim   bool // before the entry, drop all but the last few segments
}

// newHistory makes n entries: no-ops, small and large batches over several
// queues, and trims.
func newHistory(t testing.TB, seed uint64, n int) history {
	t.Helper()
	r := rand.New(rand.NewPCG(seed, 1))
	h := make(history, n)
	for i := range h {
		st := &h[i]
		st.e = Entry{Index: uint64(i + 1), Term: 1 + uint64(i/50), Type: uint8(r.IntN(3)), AppendedAt: int64(i), Data: []byte("head")}
		st.at = 1000 + int64(i) - r.Int64N(5)
		st.trim = r.IntN(25) == 0
		for j := range r.IntN(6) {
			m := message.Message{Topic: "t", QueueID: int32(r.IntN(3)), Body: make([]byte, r.IntN(3000))}
			for k := range m.Body {
				m.Body[k] = byte(r.Uint32())
			}
			key := fmt.Sprintf("k%d-%d", i, j)
			if r.IntN(2) == 0 {
				m.Properties = "UNIQ_KEY\x01" + key + "\x02"
			} else {
				m.Properties = "TAGS\x01x\x02KEYS\x01common " + key + "\x02"
			}
			from := len(st.e.Data)
			var err error
			st.e.Data, err = m.AppendRecord(st.e.Data)
			require.NoError(t, err)
			st.places = append(st.places, Place{Queue: message.Queue{Topic: "t", ID: m.QueueID}, Start: from, Size: len(st.e.Data) - from, Tag: int32(j)})
			st.keys = append(st.keys, key)
		}
	}
	return h
}

// apply does to s what the entry after s.Last says.
func (h history) apply(s *Store) error {
	st := h[s.Last().Index]
	if s.NeedsRoll(len(st.e.Data)) {
		if err := s.Roll(func(b []byte) []byte { return append([]byte("floor"), b...) }); err != nil {
			return err
		}
	}
	if st.trim {
		if err := s.Trim(s.Last().Position - 2*minSegment); err != nil {
			return err
		}
	}
	_, err := s.Append(st.e, st.at, st.places)
	return err
}

// play applies what is missing up to entry to.
func (h history) play(t testing.TB, s *Store, to uint64) {
	t.Helper()
	for s.Last().Index < to {
		require.NoError(t, h.apply(s))
	}
}

// requireSame checks that s answers as want does, in every way. A trim whose files
// were removed is not undone by a power cut that undoes its entry: until that is
// applied again s may lack what lies below its first entry, and nothing else.
func requireSame(t testing.TB, h history, want, s *Store) {
	t.Helper()
	wm, wd := want.Digest()
	m, d := s.Digest()
	require.Equal(t, wm, m)
	require.Equal(t, wd, d)
	first := s.First()
	ahead := first != want.First()
	require.True(t, !ahead || first.Index > want.First().Index && slices.Contains(want.Segments(), first), "first %v, %v", first, want.First())
	require.Equal(t, want.Queues(), s.Queues())
	for _, q := range want.Queues() {
		wlo, whi := want.Bounds(q)
		lo, hi := s.Bounds(q)
		require.Equal(t, whi, hi, "end of %v", q)
		if lo != wlo {
			require.True(t, ahead && lo > wlo, "start of %v", q)
			b, err := want.Read(q, lo-1, 1, 1, nil)
			require.NoError(t, err)
			_, pos := message.SplitPhysicalOffset(message.Record(b.Records).PhysicalOffset())
			require.Less(t, Position(pos), first.Position, "start of %v", q)
		}
		for off := lo; off < hi; {
			wb, err := want.Read(q, off, 7, 20000, nil)
			require.NoError(t, err)
			b, err := s.Read(q, off, 7, 20000, nil)
			require.NoError(t, err)
			wb.Min = lo
			require.Equal(t, wb, b)
			off = b.Next
		}
		for ms := int64(990); ms < 1000+int64(len(h)); ms += 17 {
			for _, upper := range []bool{false, true} {
				w, err := want.SeekTime(q, ms, upper)
				require.NoError(t, err)
				g, err := s.SeekTime(q, ms, upper)
				require.NoError(t, err)
				require.Equal(t, max(w, lo), g)
			}
		}
	}
	for i := s.First().Index + 1; i <= m.Index; i++ {
		we, err := want.Entry(i)
		require.NoError(t, err)
		e, err := s.Entry(i)
		require.NoError(t, err)
		require.Equal(t, we, e)
		if i%7 == 0 && len(h[i-1].keys) > 0 {
			rs, err := s.Lookup("t", h[i-1].keys[0], 5, 0, 0)
			require.NoError(t, err)
			require.Len(t, rs, 1, "key %s of entry %d", h[i-1].keys[0], i)
		}
	}
	_, err := s.Entry(s.First().Index)
	require.ErrorIs(t, err, ErrNotFound)
	term, err := s.Term(s.First().Index)
	require.NoError(t, err)
	require.Equal(t, first.Term, term)
	f, at, err := s.Floor()
	require.NoError(t, err)
	require.Equal(t, first, at)
	require.Equal(t, first.Index > 0, len(f) > 0)
	ws, err := want.Lookup("t", "common", 30, 0, 0)
	require.NoError(t, err)
	rs, err := s.Lookup("t", "common", 30, 0, 0)
	require.NoError(t, err)
	if ahead {
		ws = ws[:min(len(ws), len(rs))]
	}
	require.Equal(t, ws, rs)
}

// small has every file as small as it can be, so that a short history has many.
func small(disk vfs.FS) Options {
	return Options{FS: disk, SegmentBytes: minSegment, Number: 3, queueFile: 16}
}

func openMem(t testing.TB, disk *vfs.Mem, state []byte) *Store {
	t.Helper()
	s, err := Open("p", small(disk), state)
	require.NoError(t, err)
	t.Cleanup(func() { s.Close() })
	return s
}

// saved is what a caller keeps of checkpoints elsewhere.
type saved struct {
	state []byte
	mark  Mark
}

func (k *saved) save(s *Store) error { return k.saveAfter(s, func() error { return nil }) }

// saveAfter does something between capture and Sync, as the appender may.
func (k *saved) saveAfter(s *Store, f func() error) error {
	state, m := s.Checkpoint()
	if err := f(); err != nil {
		return err
	}
	if err := s.Sync(m); err != nil {
		return err
	}
	k.state, k.mark = state, m
	return nil
}

// some applies up to n entries.
func (h history) some(s *Store, n int) error {
	for ; n > 0 && s.Last().Index < uint64(len(h)); n-- {
		if err := h.apply(s); err != nil {
			return err
		}
	}
	return nil
}

// Whatever operation of the disk the power is cut before, and whatever the cut
// leaves of what was not synced, the store opens at the last checkpoint that was
// kept, and the rest appended again gives the same bytes.
func TestPowerCutAtAnyOperation(t *testing.T) {
	const entries = 90
	h := newHistory(t, 1, entries)
	want := openMem(t, vfs.NewMem(0), nil)
	h.play(t, want, entries)
	run := func(disk *vfs.Mem, k *saved) error {
		s, err := Open("p", small(disk), k.state)
		if err != nil {
			return err
		}
		defer s.Close()
		for s.Last().Index < entries {
			if err := h.apply(s); err != nil {
				return err
			}
			if s.Last().Index%11 == 0 {
				if err := k.saveAfter(s, func() error { return h.some(s, int(s.Last().Index%3)*3) }); err != nil {
					return err
				}
			}
		}
		return nil
	}
	disk := vfs.NewMem(7)
	require.NoError(t, run(disk, new(saved)))
	ops := disk.Ops()
	require.Greater(t, ops, uint64(100))
	step := uint64(1)
	if testing.Short() {
		step = 7
	}
	for n := uint64(1); n <= ops; n += step {
		disk := vfs.NewMem(n)
		disk.CutAt(n, vfs.Cut{Seed: n, Keep: 0}, vfs.Cut{Seed: n, Keep: 0.5}, vfs.Cut{Seed: n + 1, Keep: 0.5}, vfs.Cut{Seed: n, Keep: 1})
		var k saved
		if run(disk, &k) == nil {
			continue // the background did less this time
		}
		left, op := disk.Left()
		for i, d := range left {
			again := k
			d.CutAt(d.Ops()+1+n%23, vfs.Cut{Seed: n, Keep: 0.5}) // and once more, soon after
			_ = run(d, &again)
			if two, _ := d.Left(); two != nil {
				d = two[0]
			}
			d.CutAt(0)
			s, err := Open("p", small(d), again.state)
			require.NoError(t, err, "cut before %v, disk %d", op, i)
			require.Equal(t, again.mark.Index, s.Last().Index)
			h.play(t, s, entries)
			requireSame(t, h, want, s)
			require.Equal(t, want.First(), s.First())
			require.NoError(t, s.Close())
		}
	}
}

// Random operations against another store that is never disturbed.
func TestModel(t *testing.T) {
	for seed := range uint64(12) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			const entries = 400
			h := newHistory(t, seed, entries)
			want := openMem(t, vfs.NewMem(0), nil)
			r := rand.New(rand.NewPCG(seed, 2))
			disk := vfs.NewMem(seed)
			var k saved
			s := openMem(t, disk, nil)
			for range 120 {
				switch r.IntN(12) {
				case 0, 1:
					require.NoError(t, k.saveAfter(s, func() error { return h.some(s, r.IntN(30)) }))
				case 2: // killed
					require.NoError(t, s.Close())
					disk = disk.CrashKeeping(0, 1)
					s = openMem(t, disk, k.state)
					require.Equal(t, k.mark.Index, s.Last().Index)
				case 3: // power cut
					require.NoError(t, s.Close())
					disk = disk.Crash(r.Uint64())
					s = openMem(t, disk, k.state)
					require.Equal(t, k.mark.Index, s.Last().Index)
				case 4: // so far behind that a peer's floor is installed
					f, m, err := want.Floor()
					require.NoError(t, err)
					if m.Index > s.Last().Index {
						f = f[len("floor"):]
						require.NoError(t, s.Reset(f, append([]byte("floor"), f...)))
						require.Equal(t, m.Index, s.Last().Index)
						if r.IntN(2) == 0 { // the power fails before it is kept
							require.NoError(t, s.Sync(s.Last()))
							require.NoError(t, s.Close())
							disk = disk.Crash(r.Uint64())
							s = openMem(t, disk, k.state)
							require.Equal(t, k.mark.Index, s.Last().Index)
						} else {
							require.NoError(t, k.save(s))
						}
					}
				case 5:
					h.play(t, s, max(s.Last().Index, want.Last().Index))
					h.play(t, want, s.Last().Index)
					requireSame(t, h, want, s)
				case 6:
					h.play(t, want, min(entries, want.Last().Index+uint64(r.IntN(40))))
				default:
					h.play(t, s, min(entries, s.Last().Index+uint64(r.IntN(20))))
				}
			}
			h.play(t, s, entries)
			h.play(t, want, entries)
			requireSame(t, h, want, s)
			require.Equal(t, want.First(), s.First())
		})
	}
}

// Readers see whole records, densely numbered, while entries are appended,
// rolled, trimmed and synced.
func TestReadersBesideTheAppender(t *testing.T) {
	h := newHistory(t, 5, 600)
	s := openMem(t, vfs.NewMem(1), nil)
	done := make(chan struct{})
	q := message.Queue{Topic: "t", ID: 1}
	errs := make(chan error, 3)
	reader := func(f func() error) {
		for {
			select {
			case <-done:
				errs <- nil
				return
			default:
			}
			if err := f(); err != nil {
				errs <- err
				return
			}
		}
	}
	var next message.Offset
	go reader(func() error {
		grown := s.Appended(q)
		b, err := s.Read(q, next, 16, 64<<10, nil)
		if err != nil {
			if next >= b.Min && next < b.Max {
				return fmt.Errorf("read %d: %w", next, err)
			}
			next = max(next, b.Min)
			if next >= b.Max {
				select {
				case <-grown:
				case <-done:
				}
			}
			return nil
		}
		rest := b.Records
		for range b.Count {
			r, err := message.ParseRecord(rest)
			if err != nil || r.QueueOffset() != next {
				return fmt.Errorf("offset %d: %v %w", next, r, err)
			}
			rest = rest[len(r):]
			next++
		}
		return nil
	})
	go reader(func() error {
		e, err := s.Entry((s.First().Index + s.Last().Index) / 2)
		if err == ErrNotFound {
			return nil
		}
		if err == nil && len(e.Data) < 4 {
			return fmt.Errorf("entry %d without data", e.Index)
		}
		return err
	})
	go reader(func() error {
		if _, err := s.Lookup("t", "common", 5, 0, 0); err != nil {
			return err
		}
		if _, err := s.SeekTime(q, 1200, true); err != nil && err != ErrOffset {
			return err
		}
		return s.Sync(s.Last())
	})
	h.play(t, s, uint64(len(h)))
	close(done)
	for range 3 {
		require.NoError(t, <-errs)
	}
}

func TestReadGivesWhatMatches(t *testing.T) {
	h := newHistory(t, 9, 200)
	s := openMem(t, vfs.NewMem(1), nil)
	h.play(t, s, 200)
	q := message.Queue{Topic: "t", ID: 2}
	lo, hi := s.Bounds(q)
	var all, some []byte
	var tags []int32
	for off := lo; off < hi; off++ {
		b, err := s.Read(q, off, 1, 1, nil)
		require.NoError(t, err)
		require.Equal(t, 1, b.Count, "at least one, whatever its size")
		all = append(all, b.Records...)
	}
	for off := lo; off < hi; {
		b, err := s.Read(q, off, 3, 9000, &Filter{Tag: func(tag int32) bool { tags = append(tags, tag); return tag%2 == 1 }})
		require.NoError(t, err)
		require.LessOrEqual(t, b.Count, 3)
		require.Greater(t, b.Next, off)
		some = append(some, b.Records...)
		off = b.Next
	}
	require.NotEmpty(t, some)
	require.Less(t, len(some), len(all))
	require.True(t, slices.Contains(tags, 1) && slices.Contains(tags, 2))
	_, err := s.Read(q, lo-1, 1, 1, nil)
	require.ErrorIs(t, err, ErrOffset)
	_, err = s.Read(message.Queue{Topic: "none"}, 0, 1, 1, nil)
	require.ErrorIs(t, err, ErrOffset)
	_, err = s.Record(s.Last().Position)
	require.ErrorIs(t, err, ErrNotFound)
	_, err = s.Record(77)
	require.ErrorIs(t, err, ErrNotFound)
}
