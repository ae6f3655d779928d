package store

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"raftmq/internal/vfs"
	"raftmq/internal/vfs/vfstest"
	"raftmq/message"
)

// peerStore is a Peer in the same process.
type peerStore struct{ *Store }

func (p peerStore) Starts(context.Context) ([]Mark, error) { return p.Segments(), nil }

func (p peerStore) Raw(_ context.Context, start Position, off int64, b []byte) error {
	return p.Store.Raw(start, off, b)
}

func (p peerStore) FloorFile(_ context.Context, start Position) ([]byte, error) {
	return p.Store.FloorFile(start)
}

// places finds an entry's records as newHistory made them.
func (h history) places(e Entry) ([]Place, error) { return h[e.Index-1].places, nil }

func (h history) mender(disk vfs.FS, state []byte, peers ...Peer) *Mender {
	return &Mender{Dir: "p", Options: small(disk), State: state, Peers: peers, Places: h.places}
}

// filesOf is what Open needs of p, with the sizes.
func filesOf(t *testing.T, disk *vfs.Mem) map[string]int64 {
	t.Helper()
	names, err := disk.List("p")
	require.NoError(t, err)
	sizes := make(map[string]int64)
	for _, n := range names {
		if n == nextSegment {
			continue
		}
		f, err := disk.Open(filepath.Join("p", n))
		require.NoError(t, err)
		sizes[n], err = f.Size()
		require.NoError(t, err)
		require.NoError(t, f.Close())
	}
	return sizes
}

// Whatever file is damaged, and wherever, or missing, it is mended: from peers if it
// is of the log, else from the log. The store is then what it was. The active segment
// is mended like the others.
func TestAnyFileIsMended(t *testing.T) {
	disk, h, k := settled(t, 100)
	want := openMem(t, disk.CrashKeeping(0, 1), k.state)
	ahead := openMem(t, vfs.NewMem(9), nil)
	h.play(t, ahead, 130)
	kinds := map[string]int{}
	for name, size := range filesOf(t, disk) {
		end := size
		if name == filepath.Base(want.active().name) {
			end = int64(want.Last().Position - want.active().start)
		}
		for _, at := range []int64{-1, end / 2, 0, 8, 20, 70, end - 1} {
			if at >= end || testing.Short() && at != -1 && at != end/2 {
				continue
			}
			what := fmt.Sprintf("%s at %d", name, at)
			left := disk.CrashKeeping(0, 1)
			if at < 0 {
				require.NoError(t, left.Remove(filepath.Join("p", name)))
			} else {
				require.NoError(t, left.Damage(filepath.Join("p", name), at, 1, flip))
			}
			kinds[filepath.Ext(name)]++
			require.NoError(t, h.mender(left, k.state, peerStore{ahead}).Mend(t.Context(), []string{name}), what)
			left = left.CrashKeeping(0, 0)
			s, err := Open("p", small(left), k.state)
			require.NoError(t, err, what)
			found, _ := verify(t, s, 0)
			require.Empty(t, found, what)
			requireSame(t, h, want, s)
			require.NoError(t, s.Close())
		}
	}
	for _, kind := range []string{".log", ".q", ".keys", ".floor"} {
		require.Positive(t, kinds[kind], kind)
	}
}

// An index of keys that is to be built again needs the log and the queues: what is damaged there, and nobody has named, is mended too.
func TestWhatKeepsAnIndexFromBeingBuiltIsMended(t *testing.T) {
	disk, h, k := settled(t, 100)
	want := openMem(t, disk.CrashKeeping(0, 1), k.state)
	require.NoError(t, disk.Remove(want.segments[1].keys.name))
	q := message.Queue{Topic: "t", ID: 1}
	lo, err := want.search(want.queues[q], 0, want.queues[q].written, func(p queuePlace) bool { return p.pos >= want.segments[1].start })
	require.NoError(t, err)
	base, ok := want.baseOf(want.queues[q].bases, lo)
	require.True(t, ok)
	require.NoError(t, disk.Damage(queueName("p", q, base), placeAt(base, lo), 1, flip))
	require.NoError(t, disk.Damage(want.segments[1].name, 200, 1, flip))
	require.NoError(t, h.mender(disk, k.state, peerStore{want}).Mend(t.Context(), nil))
	s := openMem(t, disk, k.state)
	found, _ := verify(t, s, 0)
	require.Empty(t, found)
	requireSame(t, h, want, s)
}

// A queue's first files are lost, and the first entries of them are trimmed: what takes their place has their names, and their entries.
func TestAQueuesFileThatIsLostAfterATrimIsMended(t *testing.T) {
	disk, h, k := settled(t, 250)
	s := openMem(t, disk, k.state)
	for _, g := range s.Segments()[1:] {
		require.NoError(t, s.Trim(g.Position))
		for range 3 {
			require.NoError(t, k.save(s))
		}
		for _, q := range s.Queues() {
			bases := s.queues[q].bases
			lo, _ := s.Bounds(q)
			for n := range min(3, len(bases)-1) {
				if bases[0] == lo {
					continue
				}
				left := disk.CrashKeeping(0, 1)
				for _, base := range bases[:n+1] {
					require.NoError(t, left.Remove(queueName("p", q, base)))
				}
				_, err := Open("p", small(left), k.state)
				require.ErrorIs(t, err, ErrDamaged)
				require.NoError(t, h.mender(left, k.state).Mend(t.Context(), nil), "%v %d", q, n)
				s2 := openMem(t, left, k.state)
				requireSame(t, h, s, s2)
				require.Equal(t, bases, s2.queues[q].bases)
				found, _ := verify(t, s2, 0)
				require.Empty(t, found)
				require.NoError(t, s2.Close())
			}
		}
	}
}

// What Open meets is mended though nobody has named it.
func TestWhatKeepsAStoreFromOpeningIsMended(t *testing.T) {
	disk, h, k := settled(t, 100)
	want := openMem(t, disk.CrashKeeping(0, 1), k.state)
	for _, n := range []string{filepath.Base(want.segments[0].name), filepath.Base(want.segments[1].name), filepath.Base(want.active().name), "t@1.0.q"} {
		require.NoError(t, disk.Remove(filepath.Join("p", n)))
	}
	_, err := Open("p", small(disk), k.state)
	require.ErrorIs(t, err, ErrDamaged)
	require.NoError(t, h.mender(disk, k.state, peerStore{want}).Mend(t.Context(), nil))
	requireSame(t, h, want, openMem(t, disk, k.state))
}

// A peer whose copy is damaged too, or that cannot be reached, is passed over; without
// a good one nothing is changed.
func TestOnlyAGoodCopyIsTaken(t *testing.T) {
	disk, h, k := settled(t, 100)
	want := openMem(t, disk.CrashKeeping(0, 1), k.state)
	name := want.segments[1].name
	bad := func(at int64) *Store {
		left := disk.CrashKeeping(0, 1)
		s := openMem(t, left, k.state)
		require.NoError(t, left.Damage(name, at, 1, flip))
		return s
	}
	gone := openMem(t, disk.CrashKeeping(0, 1), k.state)
	require.NoError(t, gone.Close())
	require.NoError(t, disk.Damage(name, 5000, 1, flip))
	before := filesOf(t, disk)
	err := h.mender(disk, k.state, peerStore{bad(4000)}, peerStore{gone}, peerStore{bad(6000)}).Mend(t.Context(), []string{filepath.Base(name)})
	require.ErrorIs(t, err, ErrNoCopy)
	require.NoError(t, disk.Remove(filepath.Join("p", mendName)))
	require.Equal(t, before, filesOf(t, disk))
	s := openMem(t, disk, k.state)
	found, _ := verify(t, s, 0)
	require.Contains(t, found, name)
	require.NoError(t, s.Close())
	require.NoError(t, h.mender(disk, k.state, peerStore{bad(4000)}, peerStore{gone}, peerStore{want}).Mend(t.Context(), []string{filepath.Base(name)}))
	requireSame(t, h, want, openMem(t, disk, k.state))
}

// A store takes a peer's place whole, whatever is in its directory: of the peer's
// state, from where the peer's log begins.
func TestAPeerIsCopiedWhole(t *testing.T) {
	for _, trim := range []bool{false, true} {
		other, _, _ := settled(t, 60)
		h := newHistory(t, 8, 140)
		for i := range h {
			h[i].trim = trim && i == 110
		}
		pd := vfs.NewMem(3)
		peer := openMem(t, pd, nil)
		h.play(t, peer, 100)
		var k saved
		require.NoError(t, k.save(peer))
		h.play(t, peer, 130)
		step := uint64(23)
		if testing.Short() {
			step = 130
		}
		for cut := uint64(0); cut < 400; cut += step {
			disk := other.CrashKeeping(0, 1)
			if cut > 0 {
				disk.CutAt(cut, vfs.Cut{Seed: cut, Keep: 0.5})
			}
			err := h.mender(disk, k.state, nil).Copy(t.Context(), peerStore{peer})
			if left, _ := disk.Left(); len(left) > 0 {
				disk = left[0]
				err = h.mender(disk, k.state, nil).Copy(t.Context(), peerStore{peer})
			}
			require.NoError(t, err, "cut at %d", cut)
			s, err := Open("p", small(disk.CrashKeeping(0, 0)), k.state)
			require.NoError(t, err)
			require.Equal(t, peer.First(), s.First())
			found, _ := verify(t, s, 0)
			require.Empty(t, found)
			h.play(t, s, 130)
			requireSame(t, h, peer, s)
			require.NoError(t, s.Close())
		}
	}
}

// Whatever operation of a repair the power is cut before, the repair can be made
// again; once it was said to be done nothing of it is lost.
func TestARepairThatIsCutIsMadeAgain(t *testing.T) {
	disk, h, k := settled(t, 60)
	want := openMem(t, disk.CrashKeeping(0, 1), k.state)
	log, queue := filepath.Base(want.segments[1].name), "t@0.16.q"
	cuts := 60
	if testing.Short() {
		cuts = 10
	}
	vfstest.CutPower(t, vfstest.Options{Seed: 1, Cuts: cuts, Recover: true}, func() vfstest.Run {
		d := disk.CrashKeeping(0, 1)
		require.NoError(t, d.Damage(filepath.Join("p", log), 500, 1, flip))
		require.NoError(t, d.Damage(filepath.Join("p", queue), 100, 1, flip))
		started, done := false, false
		return vfstest.Run{
			Work: func(work *vfs.Mem) error {
				if !started { // on the damaged disk's files
					started = true
					if err := copyDisk(d, work); err != nil {
						return err
					}
				}
				err := h.mender(work, k.state, peerStore{want}).Mend(context.Background(), []string{log, queue})
				done = err == nil
				return err
			},
			Check: func(left *vfs.Mem) error {
				if _, err := left.List("p"); err != nil {
					return nil // it was cut before there was anything
				}
				if have, _ := left.List("p"); len(have) < len(filesOf(t, d)) && !done {
					return nil
				}
				if !done {
					if err := h.mender(left, k.state, peerStore{want}).Mend(context.Background(), []string{log, queue}); err != nil {
						return err
					}
				}
				s, err := Open("p", small(left), k.state)
				if err != nil {
					return err
				}
				defer s.Close()
				_, err = s.Verify(context.Background(), 0, unpaced, func(x *Damage) { err = errors.Join(err, x) })
				return err
			},
		}
	})
}

// copyDisk gives to the files of p, durably.
func copyDisk(from, to *vfs.Mem) error {
	if err := vfs.MakeDir(to, "p"); err != nil {
		return err
	}
	names, err := from.List("p")
	if err != nil {
		return err
	}
	for _, n := range names {
		b, err := vfs.ReadFile(from, filepath.Join("p", n), 64<<20)
		if err == nil {
			err = vfs.WriteFile(to, filepath.Join("p", n), b)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// A peer that began at a floor does not know the frame before its first segment; the
// one here does.
func TestAPeersFirstSegmentIsJoinedToTheOneBefore(t *testing.T) {
	disk, h, k := settled(t, 100)
	want := openMem(t, disk.CrashKeeping(0, 1), k.state)
	peer := openMem(t, vfs.NewMem(2), nil)
	at := want.segments[2].start
	floor, err := want.FloorFile(at)
	require.NoError(t, err)
	_, state, err := decodeFloor("floor", floor)
	require.NoError(t, err)
	require.NoError(t, peer.Reset(state[len("floor"):], state))
	h.play(t, peer, 130)
	name := filepath.Base(want.segments[2].name)
	require.NoError(t, disk.Damage(filepath.Join("p", name), 3000, 1, flip))
	require.NoError(t, h.mender(disk, k.state, peerStore{peer}).Mend(t.Context(), []string{name}))
	requireSame(t, h, want, openMem(t, disk, k.state))
}

// A repair that copies a replica whole and ends before it is done loses none of what waits
// for its time, though the store is then mended and opened as it was.
func TestACopyThatEndsEarlyLosesNoTimers(t *testing.T) {
	m := &timerModel{t: t, rnd: rand.New(rand.NewPCG(1, 1)), waits: make(map[TimerKey]bool), taken: make(map[TimerKey]bool)}
	options := func(disk vfs.FS) Options { return Options{FS: disk, SegmentBytes: minSegment, Number: 3} }
	open := func(disk *vfs.Mem) *Store {
		s, err := Open("p", options(disk), nil)
		require.NoError(t, err)
		t.Cleanup(func() { s.Close() })
		return s
	}
	disk := vfs.NewMem(1)
	own, peer := open(disk), open(vfs.NewMem(2))
	for range 60 {
		m.next(own, 30)
		m.appendTo(own)
		m.appendTo(peer)
	}
	require.Greater(t, len(own.Segments()), 1)
	var before, after saved
	require.NoError(t, before.save(own))
	require.NoError(t, after.save(peer))
	require.NoError(t, own.Close())
	mender := func(state []byte, places func(Entry) ([]Place, error)) *Mender {
		return &Mender{
			Dir: "p", Options: options(disk), State: state, Peers: []Peer{peerStore{peer}}, Places: places,
			Timers: func(e Entry, _ Position, _ int64) ([]TimerOp, error) { return m.log[e.Index-1].ops, nil },
		}
	}
	ends := errors.New("the node ends")
	err := mender(after.state, func(Entry) ([]Place, error) { return nil, ends }).Copy(t.Context(), peerStore{peer})
	require.ErrorIs(t, err, ends)
	none := func(Entry) ([]Place, error) { return nil, nil }
	require.NoError(t, mender(before.state, none).Mend(t.Context(), nil))
	s, err := Open("p", options(disk), before.state)
	require.NoError(t, err)
	m.check(s)
	require.NoError(t, s.Close())
	require.NoError(t, mender(after.state, none).Copy(t.Context(), peerStore{peer}))
	s, err = Open("p", options(disk), after.state)
	require.NoError(t, err)
	m.check(s)
	require.NoError(t, s.Close())
}
