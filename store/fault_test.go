package store

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"raftmq/internal/vfs"
	"raftmq/message"
)

// settled is a store with sealed segments, synced, on its disk, and its state.
func settled(t *testing.T, entries uint64) (*vfs.Mem, history, saved) {
	t.Helper()
	h := newHistory(t, 4, int(entries)+50)
	for i := range h {
		h[i].trim = false
	}
	disk := vfs.NewMem(1)
	s := openMem(t, disk, nil)
	h.play(t, s, entries)
	var k saved
	require.NoError(t, k.save(s))
	require.NoError(t, s.Close())
	return disk, h, k
}

func flip(b []byte) { b[0] ^= 0x10 }

// A newer version's file is refused by name, whichever kind it is, and is left
// as it is.
func TestNewerVersionIsRefusedByName(t *testing.T) {
	for _, kind := range []string{".log", ".q", ".keys", "trim", ".floor"} {
		disk, _, k := settled(t, 200)
		names, err := disk.List("p")
		require.NoError(t, err)
		s := openMem(t, disk, k.state)
		if kind == "trim" || kind == ".floor" {
			require.NoError(t, s.Trim(s.Last().Position/2))
			require.NoError(t, k.save(s))
			names, err = disk.List("p")
			require.NoError(t, err)
		}
		first := s.First()
		require.NoError(t, s.Close())
		var name string
		for _, n := range names {
			if strings.HasSuffix(n, kind) && n != nextSegment && (kind != ".floor" || strings.HasPrefix(n, fmt.Sprintf("%020d", first.Position))) {
				name = filepath.Join("p", n)
			}
		}
		require.NotEmpty(t, name, kind)
		head := map[string]int{".log": 60, ".q": 60, ".keys": 28, "trim": 16, ".floor": 16}[kind]
		require.NoError(t, disk.Damage(name, 0, int64(head)+4, func(b []byte) {
			be.PutUint32(b[4:], formatVersion+1)
			be.PutUint32(b[head:], crc32.Checksum(b[:head], castagnoli))
		}))
		s, err = Open("p", small(disk), k.state)
		if kind == ".floor" {
			require.NoError(t, err)
			_, _, err = s.Floor()
		}
		if err == nil {
			_, err = s.Lookup("t", "common", 1000, 0, 0)
		}
		require.ErrorIs(t, err, ErrVersion, kind)
		require.ErrorContains(t, err, name)
		if s != nil {
			require.NoError(t, s.Close())
		}
	}
	_, err := Open("p", Options{FS: vfs.NewMem(1)}, []byte{stateVersion + 1})
	require.ErrorIs(t, err, ErrVersion)
}

// A version that decayed is damage like any other: the rest of the head is as a file of this version has it.
func TestAVersionThatDecayedIsDamage(t *testing.T) {
	files := map[string]struct {
		b    []byte
		read func(b []byte) error
	}{
		"log":    {origin{Mark{7, 3, 4096}, 4000, 1234}.encode(), func(b []byte) error { _, err := decodeHead("f", b); return err }},
		"q":      {encodeQueueHead(5), func(b []byte) error { return checkQueueHead("f", b, 5) }},
		"keys":   {encodeRun([]keyPlace{{9, 64}}, 4096), func(b []byte) error { _, _, err := decodeRun("f", b, 0, int64(len(b))); return err }},
		"timers": {(&timerRun{count: 1}).encodeHead(), func(b []byte) error { _, err := decodeTimerHead("f", b, timerRunSize(1)); return err }},
		"trim":   {encodeCut(4096), func(b []byte) error { _, err := decodeCut("f", b); return err }},
		"floor":  {encodeFloor(nil, []byte("bytes")), func(b []byte) error { _, _, err := decodeFloor("f", b); return err }},
	}
	for kind, f := range files {
		require.NoError(t, f.read(f.b), kind)
		for bit := 4 * 8; bit < 8*8; bit++ {
			b := slices.Clone(f.b)
			b[bit/8] ^= 1 << (bit % 8)
			err := f.read(b)
			require.ErrorIs(t, err, ErrDamaged, "%s bit %d", kind, bit)
			require.NotErrorIs(t, err, ErrVersion, "%s bit %d", kind, bit)
		}
	}
	st := state{mark: Mark{9, 2, 5000}, frame: 4900}
	for bit := range 8 {
		b := st.encode()
		b[0] ^= 1 << bit
		_, err := decodeState(b)
		require.ErrorIs(t, err, ErrDamaged)
		require.NotErrorIs(t, err, ErrVersion)
		_, _, err = decodeFloor("f", encodeFloor(b, nil))
		require.ErrorIs(t, err, ErrDamaged)
	}
}

// A bit of a file's version decays: a replica opens all the same, or says which file it is that is damaged, and is repaired.
func TestAVersionThatDecayedIsRepaired(t *testing.T) {
	for _, kind := range []string{".log", ".q", ".keys"} {
		disk, _, k := settled(t, 200)
		names, err := disk.List("p")
		require.NoError(t, err)
		name := names[slices.IndexFunc(names, func(n string) bool { return strings.HasSuffix(n, kind) })]
		require.NoError(t, disk.Damage("p/"+name, 7, 1, flip))
		s, err := Open("p", small(disk), k.state)
		if err == nil {
			_, err = s.Lookup("t", "common", 1000, 0, 0)
			require.NoError(t, errors.Join(err, s.Close()), kind)
			continue
		}
		var d *Damage
		require.ErrorAs(t, err, &d, kind)
		require.Equal(t, "p/"+name, d.File)
	}
}

// Any byte of the log or of a queue that is not what was written is found when it
// is read, and named; nothing else is served in its place.
func TestDamageIsFoundOnRead(t *testing.T) {
	for where, places := range map[string][]int64{".log": {300, 913, 1526, 2139, 2752}, ".q": {70, 99, 300, 575}} {
		for _, at := range places {
			disk, h, k := settled(t, 300)
			names, err := disk.List("p")
			require.NoError(t, err)
			var name string
			for _, n := range names {
				if name == "" && strings.HasSuffix(n, where) {
					name = filepath.Join("p", n)
				}
			}
			require.NoError(t, disk.Damage(name, at, 1, flip))
			s := openMem(t, disk, k.state)
			bad := 0
			for _, q := range s.Queues() {
				lo, hi := s.Bounds(q)
				for off := lo; off < hi; off++ {
					if _, err := s.Read(q, off, 1, 1, nil); err != nil {
						require.ErrorIs(t, err, ErrDamaged)
						require.ErrorContains(t, err, name)
						bad++
					}
				}
			}
			for i := uint64(1); i <= 300; i++ {
				e, err := s.Entry(i)
				if err != nil {
					require.ErrorIs(t, err, ErrDamaged)
					require.ErrorContains(t, err, name)
					bad++
				} else {
					require.Equal(t, len(h[i-1].e.Data), len(e.Data))
				}
			}
			require.Positive(t, bad, "%s at %d", name, at)
			require.NoError(t, s.Close())
		}
	}
}

// A failed sync is final: no later one says that all is well.
func TestFailedSyncIsFinal(t *testing.T) {
	h := newHistory(t, 4, 100)
	disk := vfs.NewMem(1)
	var faults []error
	s, err := Open("p", Options{FS: disk, SegmentBytes: minSegment, queueFile: 16, OnFault: func(err error) { faults = append(faults, err) }}, nil)
	require.NoError(t, err)
	defer s.Close()
	h.play(t, s, 50)
	eio := errors.New("input/output error")
	in := disk.FailSync(1, eio)
	require.ErrorIs(t, s.Sync(s.Last()), eio)
	in.Release()
	require.ErrorIs(t, s.Sync(s.Last()), eio)
	require.ErrorIs(t, h.apply(s), eio)
	require.Len(t, faults, 1)
}

// A write of the log that fails, with a part of it done or none, is final: the owner is
// told once, every later call says so, and what was appended is still read. The checkpoint
// before opens, whatever a power cut left, and the same entries give the same bytes.
func TestFailedWriteOfTheLogIsFinal(t *testing.T) {
	const kept, entries = 100, 200
	h := newHistory(t, 4, entries)
	before, want := openMem(t, vfs.NewMem(0), nil), openMem(t, vfs.NewMem(0), nil)
	h.play(t, before, kept)
	h.play(t, want, entries)
	for _, c := range []struct {
		err  error
		part int64 // of the frame is written
	}{{syscall.EIO, 0}, {syscall.EIO, 2}, {vfs.ErrNoSpace, 0}, {vfs.ErrNoSpace, 2}} {
		disk := vfs.NewMem(1)
		var faults []error
		o := small(disk)
		o.OnFault = func(err error) { faults = append(faults, err) }
		s, err := Open("p", o, nil)
		require.NoError(t, err)
		h.play(t, s, kept)
		var k saved
		require.NoError(t, k.save(s))
		h.play(t, s, kept+30)
		for s.NeedsRoll(len(h[s.Last().Index].e.Data)) {
			require.NoError(t, h.apply(s))
		}
		next, log := h[s.Last().Index], s.active().name
		last, digest := s.Digest()
		failing := true
		disk.SetHook(func(op vfs.Op) error {
			if op.Kind != vfs.OpWrite || filepath.Ext(op.Name) != ".log" || !failing {
				return nil
			}
			failing = false
			if c.part > 0 {
				f, err := disk.Open(log)
				require.NoError(t, err)
				_, err = f.WriteAt(bytes.Repeat([]byte("torn"), int(op.Len/c.part/4)), op.Off)
				require.NoError(t, errors.Join(err, f.Close()))
			}
			return c.err
		})
		_, final := s.Append(next.e, next.at, next.places)
		require.ErrorContains(t, final, c.err.Error())
		require.ErrorContains(t, final, log)
		require.NotErrorIs(t, final, vfs.ErrNoSpace, "it is not to be tried again")
		require.False(t, failing)
		for name, call := range map[string]func() error{
			"append":  func() error { _, err := s.Append(next.e, next.at, next.places); return err },
			"reserve": func() error { return s.Reserve(10) },
			"roll":    func() error { return s.Roll(same) },
			"trim":    func() error { return s.Trim(s.Last().Position) },
			"sync":    func() error { return s.Sync(s.Last()) },
		} {
			require.Equal(t, final, call(), name)
		}
		require.Equal(t, []error{final}, faults)
		m, d := s.Digest()
		require.Equal(t, last, m)
		require.Equal(t, digest, d)
		for i := s.First().Index + 1; i <= last.Index; i++ {
			we, err := want.Entry(i)
			require.NoError(t, err)
			e, err := s.Entry(i)
			require.NoError(t, err)
			require.Equal(t, we, e)
		}
		_, err = s.Entry(last.Index + 1)
		require.ErrorIs(t, err, ErrNotFound)
		require.NoError(t, s.Close())
		for seed, keep := range []float64{0, 0.5, 1} {
			again := openMem(t, disk.CrashKeeping(uint64(seed), keep), k.state)
			require.Equal(t, k.mark, again.Last())
			requireSame(t, h, before, again)
			h.play(t, again, entries)
			requireSame(t, h, want, again)
		}
	}
}

// So is whatever else a roll, or the room for an entry, meets, but for a full disk.
func TestFailedRollIsFinal(t *testing.T) {
	for _, f := range []vfs.Fault{
		{Ops: []vfs.OpKind{vfs.OpCreate}, Name: "*.floor"},
		{Ops: []vfs.OpKind{vfs.OpWrite}, Name: "*.floor"},
		{Ops: []vfs.OpKind{vfs.OpRename}, Name: nextSegment},
		{Ops: []vfs.OpKind{vfs.OpWrite}, Name: "*.log"},
		{Ops: []vfs.OpKind{vfs.OpAllocate}, Name: "*.log"},
	} {
		disk := vfs.NewMem(1)
		o := small(disk)
		var faults []error
		o.OnFault = func(err error) { faults = append(faults, err) }
		s, err := Open("p", o, nil)
		require.NoError(t, err)
		defer s.Close()
		fill(t, s, 1, 50, same)
		step := func() error { return s.Roll(same) }
		if f.Ops[0] == vfs.OpAllocate {
			step = func() error { return s.Reserve(minSegment) }
		}
		in := disk.Inject(f)
		final := step()
		in.Release()
		require.ErrorIs(t, final, syscall.EIO)
		require.Equal(t, final, step())
		require.Equal(t, final, s.Sync(s.Last()))
		require.Equal(t, []error{final}, faults)
	}
}

// A roll that cannot write the next segment's head is not there, and may be tried again.
func TestARollWithoutAHeadIsTriedAgain(t *testing.T) {
	const entries = 200
	h := newHistory(t, 4, entries)
	want := openMem(t, vfs.NewMem(0), nil)
	h.play(t, want, entries)
	disk := vfs.NewMem(1)
	s := openMem(t, disk, nil)
	rolls := 0
	for s.Last().Index < entries {
		if s.NeedsRoll(len(h[s.Last().Index].e.Data)) {
			rolls++
			before := s.Segments()
			in := disk.Inject(vfs.Fault{Ops: []vfs.OpKind{vfs.OpWrite}, Name: "*.log", Err: vfs.ErrNoSpace})
			require.ErrorIs(t, h.apply(s), vfs.ErrNoSpace)
			in.Release()
			require.Equal(t, before, s.Segments())
		}
		require.NoError(t, h.apply(s))
	}
	require.Greater(t, rolls, 3)
	var k saved
	require.NoError(t, k.save(s))
	requireSame(t, h, want, s)
	requireSame(t, h, want, openMem(t, disk.CrashKeeping(1, 0), k.state))
}

// On a full disk an append is refused and nothing of it is seen; with room again
// it goes on, to the same bytes.
func TestFullDiskRefusesAndGoesOn(t *testing.T) {
	const entries = 200
	h := newHistory(t, 4, entries)
	want := openMem(t, vfs.NewMem(0), nil)
	h.play(t, want, entries)
	disk := vfs.NewMem(1)
	s := openMem(t, disk, nil)
	h.play(t, s, 20)
	disk.SetFree(100 << 10)
	var err error
	for err == nil {
		before := s.Last()
		if err = h.apply(s); err != nil {
			require.Equal(t, before.Index, s.Last().Index)
		}
	}
	require.ErrorIs(t, err, vfs.ErrNoSpace)
	disk.SetFree(-1)
	h.play(t, s, entries)
	require.NoError(t, s.Sync(s.Last()))
	requireSame(t, h, want, s)
}

// Readers of a closed store are told so, not that it is damaged.
func TestClosedIsNotDamaged(t *testing.T) {
	disk, _, k := settled(t, 200)
	s := openMem(t, disk, k.state)
	require.NoError(t, s.Close())
	require.NoError(t, s.Close())
	_, err := s.Read(message.Queue{Topic: "t"}, 0, 1, 1, nil)
	require.ErrorIs(t, err, ErrClosed)
	_, err = s.Entry(1)
	require.ErrorIs(t, err, ErrClosed)
	_, err = s.Record(104 + 4)
	require.ErrorIs(t, err, ErrClosed)
	_, err = s.Lookup("t", "common", 1, 0, 0)
	require.ErrorIs(t, err, ErrClosed)
	_, err = s.SeekTime(message.Queue{Topic: "t"}, 1000, false)
	require.ErrorIs(t, err, ErrClosed)
	require.ErrorIs(t, s.Sync(s.Last()), ErrClosed, "nothing is durable by that")
	_, err = s.Append(Entry{Index: s.Last().Index + 1}, 0, nil)
	require.ErrorIs(t, err, ErrClosed)
	require.ErrorIs(t, s.Trim(s.Last().Position), ErrClosed)
}

// The record that a message's body pretends to be is not found at its place.
func TestRecordInsideABodyIsNotOne(t *testing.T) {
	s := openMem(t, vfs.NewMem(1), nil)
	inner := message.Message{Topic: "t", Body: []byte("forged"), PhysicalOffset: message.PhysicalOffset(3, 0)}
	fake, err := inner.AppendRecord(nil)
	require.NoError(t, err)
	outer := message.Message{Topic: "t", Body: fake}
	rec, err := outer.AppendRecord(nil)
	require.NoError(t, err)
	at := segmentHead + FrameData + 88
	message.Stamp(message.Record(rec[88:]), 0, message.PhysicalOffset(3, int64(at)), 1)
	_, err = s.Append(Entry{Index: 1, Term: 1, Data: rec}, 1, []Place{{Queue: message.Queue{Topic: "t"}, Size: len(rec)}})
	require.NoError(t, err)
	_, err = s.Record(at)
	require.ErrorIs(t, err, ErrNotFound)
	got, err := s.Record(segmentHead + FrameData)
	require.NoError(t, err)
	require.Equal(t, crc32.ChecksumIEEE(got.Body()), crc32.ChecksumIEEE(rec[88:88+len(fake)]))
}

// The appender writes queues itself when too much of them waits in memory. If it
// cannot, the entry is not appended, and may be once there is room.
func TestAppendIsWholeWhenQueuesCannotBeWritten(t *testing.T) {
	disk := vfs.NewMem(1)
	s, err := Open("p", Options{FS: disk}, nil)
	require.NoError(t, err)
	defer s.Close()
	in := disk.Inject(vfs.Fault{Ops: []vfs.OpKind{vfs.OpCreate}, Name: "*.q", Err: vfs.ErrNoSpace})
	q := message.Queue{Topic: "t"}
	e, places := entry(t, 1, q, 4000, 1)
	for err == nil {
		e.Index = s.Last().Index + 1
		_, err = s.Append(e, 1, places)
		require.Less(t, s.Last().Index, uint64(200))
	}
	require.ErrorIs(t, err, vfs.ErrNoSpace)
	require.Equal(t, e.Index-1, s.Last().Index)
	_, hi := s.Bounds(q)
	require.EqualValues(t, s.Last().Index*4000, hi)
	in.Release()
	first, err := s.Append(e, 1, places)
	require.NoError(t, err)
	require.Equal(t, hi, first[0])
}
