package store

import (
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"raftmq/internal/vfs"
	"raftmq/message"
)

// What a checkpoint names that was captured before a trim is synced with it, though
// the trim came before Sync.
func TestTrimBetweenCheckpointAndSync(t *testing.T) {
	for _, keep := range []float64{0, 0.5, 1} {
		disk := vfs.NewMem(1)
		s := openMem(t, disk, nil)
		fill(t, s, 1, 300, same)
		state, m := s.Checkpoint()
		require.NoError(t, s.Trim(s.Segments()[2].Position))
		require.NoError(t, s.Sync(m))
		s = openMem(t, disk.CrashKeeping(1, keep), state)
		for i := uint64(1); i <= 300; i++ {
			_, err := s.Entry(i)
			require.NoError(t, err)
		}
	}
}

// The state before a trim can be opened, whether the files are gone or not: it then
// starts where they end.
func TestStateFromBeforeATrimCanBeOpened(t *testing.T) {
	for syncs := range 3 {
		for seed := range uint64(10) {
			disk := vfs.NewMem(seed)
			s := openMem(t, disk, nil)
			fill(t, s, 1, 300, same)
			old, m := s.Checkpoint()
			require.NoError(t, s.Sync(m))
			to := s.Segments()[2]
			require.NoError(t, s.Trim(to.Position))
			for range syncs {
				require.NoError(t, s.Sync(s.Last()))
			}
			s = openMem(t, disk.Crash(seed), old)
			require.Equal(t, m, s.Last())
			require.NoError(t, s.Trim(to.Position))
			require.Equal(t, to, s.First())
			for _, q := range s.Queues() {
				lo, hi := s.Bounds(q)
				for off := lo; off < hi; off++ {
					_, err := s.Read(q, off, 1, 1, nil)
					require.NoError(t, err)
				}
			}
		}
	}
}

// A state that ends where the oldest segment starts names nothing that a trim to
// there leaves: the files stay until a later one was kept.
func TestStateThatEndsWhereATrimGoes(t *testing.T) {
	for seed := range uint64(10) {
		disk := vfs.NewMem(seed)
		s := openMem(t, disk, nil)
		var k saved
		for i := uint64(1); k.state == nil; i++ {
			e, places := entry(t, i, message.Queue{Topic: "t"}, 2, 700)
			if s.NeedsRoll(len(e.Data)) && i > 100 {
				require.NoError(t, k.save(s))
				require.NoError(t, s.Roll(same))
				require.NoError(t, s.Trim(s.active().start))
			} else if s.NeedsRoll(len(e.Data)) {
				require.NoError(t, s.Roll(same))
			}
			_, err := s.Append(e, 1, places)
			require.NoError(t, err)
		}
		require.NoError(t, s.Sync(s.Last()))
		s = openMem(t, disk.Crash(seed), k.state)
		require.Equal(t, k.mark, s.Last())
	}
}

// A trim finds where the queues start also when the floor there is damaged.
func TestTrimWithoutAFloor(t *testing.T) {
	disk, _, k := settled(t, 300)
	s := openMem(t, disk, k.state)
	want := openMem(t, disk.CrashKeeping(0, 1), k.state)
	to := s.Segments()[2].Position
	require.NoError(t, disk.Damage(segmentName("p", to, "floor"), 30, 1, flip))
	require.NoError(t, s.Trim(to))
	require.NoError(t, want.Trim(to))
	for _, q := range s.Queues() {
		lo, _ := s.Bounds(q)
		wlo, _ := want.Bounds(q)
		require.Positive(t, lo)
		require.Equal(t, wlo, lo)
	}
	require.Equal(t, want.First(), s.First())
}

// The files of what is trimmed go: segments, floors, keys, and those of a queue all
// of whose messages are gone.
func TestTrimmedFilesGo(t *testing.T) {
	disk := vfs.NewMem(1)
	s := openMem(t, disk, nil)
	fill(t, s, 1, 300, same)
	require.NoError(t, s.Sync(s.Last()))
	files := func() map[string]int {
		names, err := disk.List("p")
		require.NoError(t, err)
		n := map[string]int{}
		for _, name := range names {
			if name != nextSegment {
				n[filepath.Ext(name)]++
			}
		}
		return n
	}
	before := files()
	require.Greater(t, before[".q"], 20)
	starts := s.Segments()
	require.NoError(t, s.Trim(starts[len(starts)-2].Position))
	require.NoError(t, s.Sync(s.Last()))
	require.NoError(t, s.Sync(s.Last()))
	after := files()
	require.Equal(t, 2, after[".log"])
	require.Equal(t, 2, after[".floor"])
	require.LessOrEqual(t, after[".keys"], 2)
	q := message.Queue{Topic: "t", ID: 1}
	lo, hi := s.Bounds(q)
	require.LessOrEqual(t, after[".q"], 2*int((hi-lo)/16+2))
}

// A reader that has found its records when they are trimmed is told that they are
// outside, whether they are read from the map or from a file.
func TestTrimBesideAReader(t *testing.T) {
	for _, reopen := range []bool{false, true} {
		disk := vfs.NewMem(1)
		s := openMem(t, disk, nil)
		fill(t, s, 1, 300, same)
		if reopen {
			var k saved
			require.NoError(t, k.save(s))
			require.NoError(t, s.Close())
			s = openMem(t, disk, k.state)
		}
		to := s.Segments()[2].Position
		q := message.Queue{Topic: "t", ID: 1}
		var once sync.Once
		_, err := s.Read(q, 0, 4, 1<<20, &Filter{Tag: func(int32) bool {
			once.Do(func() {
				require.NoError(t, s.Trim(to))
				require.NoError(t, s.Sync(s.Last()))
				require.NoError(t, s.Sync(s.Last()))
			})
			return true
		}})
		require.ErrorIs(t, err, ErrOffset)
	}
}

// A Sync that waits for the disk holds up neither a trim nor the appender nor
// readers.
func TestAppenderDoesNotWaitForASync(t *testing.T) {
	disk := vfs.NewMem(1)
	s := openMem(t, disk, nil)
	fill(t, s, 1, 200, same)
	in := disk.HangSync(1)
	synced := make(chan error)
	go func() { synced <- s.Sync(s.Last()) }()
	<-in.Struck()
	to := s.Segments()[2]
	require.NoError(t, s.Trim(to.Position))
	fill(t, s, 201, 400, same)
	require.Equal(t, to, s.First())
	q := message.Queue{Topic: "t", ID: 1}
	lo, _ := s.Bounds(q)
	_, err := s.Read(q, lo, 100, 1<<20, nil)
	require.NoError(t, err)
	in.Release()
	require.NoError(t, <-synced)
}

// A read that waits for the disk, be it on opening a file, does not hold up the
// appender, not even when it rolls.
func TestAppenderDoesNotWaitForARead(t *testing.T) {
	for _, name := range []string{"*.q", "*.log"} {
		disk, _, k := settled(t, 200)
		s := openMem(t, disk, k.state)
		in := disk.Inject(vfs.Fault{Ops: []vfs.OpKind{vfs.OpRead}, Name: name, Hang: true})
		read := make(chan error)
		lo, _ := s.Bounds(message.Queue{Topic: "t"})
		go func() {
			_, err := s.Read(message.Queue{Topic: "t"}, lo, 1, 1, nil)
			read <- err
		}()
		<-in.Struck()
		rolled := len(s.Segments()) + 2
		for i := uint64(201); len(s.Segments()) < rolled; i++ {
			fill(t, s, i, i, same)
		}
		in.Release()
		require.NoError(t, <-read)
	}
}

func TestTrimBefore(t *testing.T) {
	disk := vfs.NewMem(1)
	s := openMem(t, disk, nil)
	fill(t, s, 1, 300, same) // entry i is stored at 1000+i
	starts := s.Segments()
	require.Greater(t, len(starts), 4)
	at := int64(1000 + starts[2].Index)
	require.Equal(t, starts[1].Position, s.TrimBefore(at), "the entry at that time stays")
	require.Equal(t, starts[2].Position, s.TrimBefore(at+1))
	require.Equal(t, starts[0].Position, s.TrimBefore(0))
	require.Equal(t, starts[len(starts)-1].Position, s.TrimBefore(1<<60), "the active segment stays")
	var k saved
	require.NoError(t, k.save(s))
	require.NoError(t, s.Close())
	s = openMem(t, disk, k.state)
	require.Equal(t, starts[2].Position, s.TrimBefore(at+1))
}
