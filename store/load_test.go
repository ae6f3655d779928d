package store

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"raftmq/internal/vfs"
	"raftmq/message"
)

// What a state says was synced and is not there is damage: Open refuses it.
func TestOpenRefusesWhatLostSyncedBytes(t *testing.T) {
	disk, _, k := settled(t, 300)
	names, err := disk.List("p")
	require.NoError(t, err)
	for _, n := range names {
		if !strings.HasSuffix(n, ".log") && !strings.HasSuffix(n, ".q") || n == nextSegment {
			continue
		}
		left := disk.CrashKeeping(0, 1)
		f, err := left.Open("p/" + n)
		require.NoError(t, err)
		require.NoError(t, f.Truncate(70))
		_, err = Open("p", small(left), k.state)
		require.ErrorIs(t, err, ErrDamaged, n)
		require.ErrorContains(t, err, n)
		left = disk.CrashKeeping(0, 1)
		require.NoError(t, left.Remove("p/"+n))
		_, err = Open("p", small(left), k.state)
		require.ErrorIs(t, err, ErrDamaged, n)
		_, err = left.List("p")
		require.NoError(t, err)
	}
}

// The end of every segment is looked at on Open: of the last by its checksum, of the
// others by what the next says. Room that was reserved behind it hides nothing.
func TestOpenSeesThatASegmentLacksItsEnd(t *testing.T) {
	disk, _, k := settled(t, 300)
	s := openMem(t, disk, k.state)
	segments := s.segments
	last := s.frame
	require.NoError(t, s.Close())
	for i, g := range segments {
		end, frame := g.end, last
		if i+1 < len(segments) {
			frame = segments[i+1].frame
		}
		left := disk.CrashKeeping(0, 1)
		require.NoError(t, left.Damage(g.name, int64(frame-g.start), int64(end-frame), func(b []byte) { clear(b) }))
		_, err := Open("p", small(left), k.state)
		require.ErrorIs(t, err, ErrDamaged)
		require.ErrorContains(t, err, g.name)
		if i == 0 || i+1 == len(segments) {
			continue
		}
		left = disk.CrashKeeping(0, 1) // one is missing, and the one before is longer than it was
		require.NoError(t, left.Remove(g.name))
		f, err := left.Open(segments[i-1].name)
		require.NoError(t, err)
		require.NoError(t, f.Truncate(1<<20))
		_, err = Open("p", small(left), k.state)
		require.ErrorIs(t, err, ErrDamaged)
		require.ErrorContains(t, err, segments[i-1].name)
	}
}

// SegmentBytes may be lower than in the life before.
func TestSegmentsMayBecomeSmaller(t *testing.T) {
	disk := vfs.NewMem(1)
	s, err := Open("p", Options{FS: disk, SegmentBytes: 32 << 20}, nil)
	require.NoError(t, err)
	q := message.Queue{Topic: "t", ID: 1}
	for i := uint64(1); i <= 6; i++ {
		e, places := entry(t, i, q, 2, 1<<20)
		_, err := s.Append(e, 1, places)
		require.NoError(t, err)
	}
	var k saved
	require.NoError(t, k.save(s))
	require.NoError(t, s.Close())
	s, err = Open("p", Options{FS: disk, SegmentBytes: minSegment}, k.state)
	require.NoError(t, err)
	defer s.Close()
	e, places := entry(t, 7, q, 2, 1<<20)
	require.True(t, s.NeedsRoll(len(e.Data)))
	require.NoError(t, s.Roll(same))
	_, err = s.Append(e, 1, places)
	require.NoError(t, err)
	for i := uint64(1); i <= 7; i++ {
		_, err = s.Entry(i)
		require.NoError(t, err)
	}
	b, err := s.Read(q, 10, 4, 8<<20, nil)
	require.NoError(t, err)
	require.Equal(t, 4, b.Count)
}

// A store whose state is given up is thrown away whole by opening it without one,
// and is built again from a peer's floor and entries: to the same bytes.
func TestDamagedStoreIsBuiltAgainFromAPeer(t *testing.T) {
	h := newHistory(t, 4, 350)
	peer := openMem(t, vfs.NewMem(2), nil)
	h.play(t, peer, 330)
	floor, m, err := peer.Floor()
	require.NoError(t, err)
	require.NotZero(t, m.Index)
	disk, _, k := settled(t, 300)
	s := openMem(t, disk, k.state)
	require.NoError(t, s.Trim(s.Last().Position/2))
	require.NoError(t, s.Sync(s.Last()))
	require.NoError(t, k.save(s))
	require.NoError(t, s.Close())
	require.NoError(t, disk.Damage(s.active().name, 100, 1, flip))
	for seed := range uint64(20) {
		left := disk.CrashKeeping(0, 1)
		s := openMem(t, left, nil)
		require.Zero(t, s.Last().Index)
		require.NoError(t, s.Reset(floor[len("floor"):], floor))
		require.Equal(t, m.Index, s.Last().Index)
		var k saved
		require.NoError(t, k.saveAfter(s, func() error { return h.some(s, 3) }))
		s = openMem(t, left.Crash(seed), k.state)
		h.play(t, s, 350)
		h.play(t, peer, 350)
		requireSame(t, h, peer, s)
	}
}

// A checkpoint that was captured before a Reset, and is synced after it, is whole.
func TestResetBetweenCheckpointAndSync(t *testing.T) {
	peer := openMem(t, vfs.NewMem(2), nil)
	fill(t, peer, 1, 300, same)
	require.NoError(t, peer.Trim(peer.Segments()[3].Position))
	floor, m, err := peer.Floor()
	require.NoError(t, err)
	for _, keep := range []float64{0, 0.5, 1} {
		disk := vfs.NewMem(1)
		s := openMem(t, disk, nil)
		fill(t, s, 1, 100, same)
		var k saved
		require.NoError(t, k.saveAfter(s, func() error { return s.Reset(floor, nil) }))
		fill(t, s, m.Index+1, 300, same)
		s = openMem(t, disk.CrashKeeping(1, keep), k.state)
		require.Equal(t, k.mark, s.Last())
		requireKeys(t, s, 100)
	}
}

// A floor at or below what is there is refused, and nothing happens.
func TestResetGoesOnlyForward(t *testing.T) {
	peer := openMem(t, vfs.NewMem(2), nil)
	fill(t, peer, 1, 300, same)
	require.NoError(t, peer.Trim(peer.Segments()[2].Position))
	floor, m, err := peer.Floor()
	require.NoError(t, err)
	s := openMem(t, vfs.NewMem(1), nil)
	fill(t, s, 1, m.Index, same)
	require.Error(t, s.Reset(floor, nil))
	fill(t, s, m.Index+1, 300, same)
	_, want := peer.Digest()
	_, got := s.Digest()
	require.Equal(t, want, got)
}

// The state from before a Reset can be opened until the one after it is kept.
func TestStateFromBeforeAResetCanBeOpened(t *testing.T) {
	peer := openMem(t, vfs.NewMem(2), nil)
	fill(t, peer, 1, 300, same)
	require.NoError(t, peer.Trim(peer.Segments()[3].Position))
	floor, m, err := peer.Floor()
	require.NoError(t, err)
	for syncs := range 2 {
		for seed := range uint64(10) {
			disk := vfs.NewMem(seed)
			s := openMem(t, disk, nil)
			fill(t, s, 1, 60, same)
			var k saved
			require.NoError(t, k.save(s))
			require.NoError(t, s.Reset(floor, nil))
			fill(t, s, m.Index+1, m.Index+50, same)
			for range syncs {
				require.NoError(t, s.Sync(s.Last()))
			}
			s = openMem(t, disk.Crash(seed), k.state)
			require.Equal(t, k.mark, s.Last())
			fill(t, s, 61, 300, same)
			_, want := peer.Digest()
			_, got := s.Digest()
			require.Equal(t, want, got)
		}
	}
}

// What a crash left half made is removed by Open, and nothing that the owner keeps in the folder, which may be writing it meanwhile.
func TestOpenLeavesTheOwnersFiles(t *testing.T) {
	disk, _, k := settled(t, 100)
	owners := []string{"quarantine.json", "quarantine.json.tmp"}
	own := []string{"trim.tmp", "mend.tmp", "mend-64.tmp", "timers.tmp", "timers2.tmp", "00000000000000000000.floor.tmp"}
	for _, n := range slices.Concat(owners, own) {
		f, err := disk.Create("p/" + n)
		require.NoError(t, err)
		require.NoError(t, f.Close())
	}
	s := openMem(t, disk, k.state)
	require.NoError(t, s.Close())
	names, err := disk.List("p")
	require.NoError(t, err)
	require.Subset(t, names, owners)
	for _, n := range own {
		require.NotContains(t, names, n)
	}
}
