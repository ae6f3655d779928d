package faultfs

import (
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftmq/internal/vfs"
)

// disk is a folder with a layer, and the power to cut.
type disk struct {
	t          *testing.T
	root, twin string
	*FS
}

func newDisk(t *testing.T) *disk {
	t.Helper()
	dir := t.TempDir()
	d := &disk{t: t, root: filepath.Join(dir, "data"), twin: filepath.Join(dir, "twin")}
	require.NoError(t, os.Mkdir(d.root, 0o750))
	d.open()
	return d
}

// open is a new process; what the kernel has stays.
func (d *disk) open() {
	d.t.Helper()
	var err error
	d.FS, err = Open(d.root, d.twin)
	require.NoError(d.t, err)
}

func (d *disk) cut(keep float64) Lost {
	d.t.Helper()
	lost, err := Cut(d.root, d.twin, keep, rand.New(rand.NewPCG(1, 2)))
	require.NoError(d.t, err)
	d.open()
	return lost
}

func (d *disk) path(name string) string { return filepath.Join(d.root, name) }

func (d *disk) create(name, bytes string) vfs.File {
	d.t.Helper()
	f, err := d.Create(d.path(name))
	require.NoError(d.t, err)
	d.t.Cleanup(func() { f.Close() })
	d.write(f, 0, bytes)
	return f
}

func (d *disk) write(f vfs.File, off int64, bytes string) {
	d.t.Helper()
	_, err := f.WriteAt([]byte(bytes), off)
	require.NoError(d.t, err)
}

func (d *disk) reopen(name string) vfs.File {
	d.t.Helper()
	f, err := d.Open(d.path(name))
	require.NoError(d.t, err)
	d.t.Cleanup(func() { f.Close() })
	return f
}

func (d *disk) bytes(name string) string {
	d.t.Helper()
	b, err := os.ReadFile(d.path(name))
	require.NoError(d.t, err)
	return string(b)
}

func TestAPowerCutLosesWhatWasNotSynced(t *testing.T) {
	d := newDisk(t)
	f := d.create("a", "durable")
	require.NoError(t, f.SyncData())
	require.NoError(t, d.SyncDir(d.root))
	d.write(f, 0, "changed, and longer")
	d.create("b", "no name")
	lost := d.cut(0)
	require.Equal(t, "durable", d.bytes("a"))
	require.NoFileExists(t, d.path("b"))
	require.Equal(t, Lost{Sectors: 1, Names: 1}, lost)
}

func TestAKillLosesNothingAndALaterPowerCutDoes(t *testing.T) {
	d := newDisk(t)
	f := d.create("a", "one")
	require.NoError(t, f.Sync())
	require.NoError(t, d.SyncDir(d.root))
	d.write(f, 0, "two")
	d.open()
	require.Equal(t, "two", d.bytes("a"))
	d.cut(0)
	require.Equal(t, "one", d.bytes("a"))

	d.write(d.reopen("a"), 0, "two")
	d.open()
	require.NoError(t, d.reopen("a").Sync(), "by a process that did not write it")
	require.Zero(t, d.cut(0))
	require.Equal(t, "two", d.bytes("a"))
}

// A map reads what was written, durable or not, and outlives its file's handle.
func TestAMapShowsWhatAPowerCutLoses(t *testing.T) {
	d := newDisk(t)
	f := d.create("a", strings.Repeat("-", 2*vfs.PageSize))
	require.NoError(t, f.Sync())
	require.NoError(t, d.SyncDir(d.root))
	m, err := f.Map(2 * vfs.PageSize)
	require.NoError(t, err)
	d.write(f, 0, "one")
	require.NoError(t, f.SyncData())
	d.write(f, 0, "two")
	require.NoError(t, f.Close())
	require.ErrorIs(t, f.Close(), os.ErrClosed)
	d.write(d.reopen("a"), vfs.PageSize, "three")
	require.Equal(t, "two--", string(m.Bytes()[:5]))
	require.Equal(t, "three", string(m.Bytes()[vfs.PageSize:][:5]))
	require.NoError(t, m.Unmap())
	d.cut(0)
	require.Equal(t, "one--", d.bytes("a")[:5])
	require.Equal(t, "-----", d.bytes("a")[vfs.PageSize:][:5])
}

// What is written through is durable, and nothing that was written before it, into the same file.
func TestWhatIsWrittenThroughMakesNothingElseDurable(t *testing.T) {
	for _, again := range []bool{false, true} {
		d := newDisk(t)
		f := d.create("a", strings.Repeat("-", 4*vfs.PageSize))
		require.NoError(t, f.Sync())
		require.NoError(t, d.SyncDir(d.root))
		d.write(f, vfs.PageSize-2, "four")
		d.write(f, 2*vfs.PageSize-2, "four")
		d.write(f, 3*vfs.PageSize, "one")
		if again { // by a process that knows nothing of what was written before
			d.open()
			f = d.reopen("a")
		}
		b := vfs.Aligned(vfs.PageSize)
		for i := range b {
			b[i] = '+'
		}
		require.NoError(t, f.WriteThrough(b, vfs.PageSize))
		require.Equal(t, "fo+", d.bytes("a")[vfs.PageSize-2:vfs.PageSize+1])
		require.Equal(t, "+ur", d.bytes("a")[2*vfs.PageSize-1:2*vfs.PageSize+2])
		lost := d.cut(0)
		require.Equal(t, 3, lost.Sectors)
		require.Equal(t, strings.Repeat("-", vfs.PageSize)+string(b)+strings.Repeat("-", 2*vfs.PageSize), d.bytes("a"))

		f = d.reopen("a")
		d.write(f, 0, "one")
		require.NoError(t, f.WriteThrough(b, vfs.PageSize))
		require.NoError(t, f.SyncData())
		require.Zero(t, d.cut(0))
		require.Equal(t, "one-", d.bytes("a")[:4])
	}
}

// Writes in more places than are kept are durable when synced all the same, and what a
// failed sync lost before stays lost.
func TestManyScatteredWritesAreDurableWhenSynced(t *testing.T) {
	d := newDisk(t)
	f := d.create("a", strings.Repeat("-", 4*vfs.PageSize))
	require.NoError(t, f.Sync())
	require.NoError(t, d.SyncDir(d.root))
	require.NoError(t, d.SetRules([]Rule{{Ops: []string{OpSync}, Times: 1, Error: "EIO"}}))
	d.write(f, 0, "lost")
	require.ErrorIs(t, f.SyncData(), syscall.EIO)
	for i := range int64(maxSpans + 100) {
		d.write(f, vfs.PageSize+2*i, "x")
	}
	require.NoError(t, f.SyncData())
	require.Equal(t, "lost", d.bytes("a")[:4])
	d.cut(0)
	require.Equal(t, strings.Repeat("-", vfs.PageSize)+strings.Repeat("x-", maxSpans+100), d.bytes("a")[:vfs.PageSize+2*(maxSpans+100)])
}

func TestSizesAreDurableWhenSynced(t *testing.T) {
	d := newDisk(t)
	f := d.create("a", "0123456789")
	require.NoError(t, f.Sync())
	require.NoError(t, d.SyncDir(d.root))
	require.NoError(t, f.Truncate(4))
	require.NoError(t, f.Allocate(0, 8))
	require.NoError(t, f.SyncData())
	d.cut(0)
	require.Equal(t, "0123\x00\x00\x00\x00", d.bytes("a"), "what was cut off does not come back")
}

func TestARenameIsThereOrNot(t *testing.T) {
	kept := 0
	for seed := range uint64(40) {
		d := newDisk(t)
		f := d.create("a", "old")
		require.NoError(t, f.Sync())
		require.NoError(t, d.SyncDir(d.root))
		n := d.create("a.tmp", "new")
		require.NoError(t, n.Sync())
		if seed%2 == 0 {
			require.NoError(t, d.SyncDir(d.root))
		}
		require.NoError(t, d.Rename(d.path("a.tmp"), d.path("a")))
		_, err := Cut(d.root, d.twin, 0.5, rand.New(rand.NewPCG(seed, 1)))
		require.NoError(t, err)
		if d.bytes("a") == "new" {
			kept++
			require.NoFileExists(t, d.path("a.tmp"))
		} else {
			require.Equal(t, "old", d.bytes("a"))
		}
	}
	require.Greater(t, kept, 5)
	require.Less(t, kept, 35)
}

func TestARemovalThatWasNotSyncedIsUndone(t *testing.T) {
	d := newDisk(t)
	require.NoError(t, d.create("a", "there").Sync())
	require.NoError(t, d.SyncDir(d.root))
	require.NoError(t, d.Remove(d.path("a")))
	d.create("b", "may have its inode")
	d.cut(0)
	require.Equal(t, "there", d.bytes("a"))
	require.NoFileExists(t, d.path("b"))
	require.NoError(t, d.Remove(d.path("a")))
	require.NoError(t, d.SyncDir(d.root))
	d.cut(0)
	require.NoFileExists(t, d.path("a"))
}

// The process is killed when the file is gone, and the layer does not know it yet.
func TestAKillAmidARemovalIsARemovalThatWasNotSynced(t *testing.T) {
	d := newDisk(t)
	require.NoError(t, d.create("a", "there").Sync())
	require.NoError(t, d.SyncDir(d.root))
	require.NoError(t, os.Remove(d.path("a")))
	d.open()
	d.cut(0)
	require.Equal(t, "there", d.bytes("a"))
}

func TestATornCutKeepsSectorsWhole(t *testing.T) {
	d := newDisk(t)
	const sectors = 200
	f := d.create("a", strings.Repeat("o", sectors*vfs.SectorSize))
	require.NoError(t, f.Sync())
	require.NoError(t, d.SyncDir(d.root))
	d.write(f, 0, strings.Repeat("n", sectors*vfs.SectorSize))
	lost := d.cut(0.5)
	require.Equal(t, sectors, lost.Sectors+lost.SectorsKept)
	require.InDelta(t, sectors/2, lost.Sectors, 30)
	for b := []byte(d.bytes("a")); len(b) > 0; b = b[vfs.SectorSize:] {
		require.Equal(t, strings.Repeat(string(b[:1]), vfs.SectorSize), string(b[:vfs.SectorSize]))
	}
}

// What a failed sync was to write is read on, is passed over by syncs that succeed, of
// later processes too, and is gone with the power, unless it was written again.
func TestAFailedSyncLosesPagesThatLookFine(t *testing.T) {
	d := newDisk(t)
	f := d.create("a", strings.Repeat("-", 2*vfs.PageSize))
	require.NoError(t, f.Sync())
	require.NoError(t, d.SyncDir(d.root))
	fail := func() {
		require.NoError(t, d.SetRules([]Rule{{Ops: []string{OpSync}, Name: "a", Times: 1, Error: "EIO"}}))
	}
	fail()
	d.write(f, 0, "one")
	d.write(f, vfs.PageSize, "two")
	require.ErrorIs(t, f.SyncData(), syscall.EIO)
	require.Equal(t, []int64{1}, d.Hits())
	require.NoError(t, f.SyncData())
	d.open()
	f = d.reopen("a")
	require.NoError(t, f.Sync())
	d.write(f, vfs.PageSize, "two")
	require.NoError(t, f.Sync())
	require.Equal(t, "one", d.bytes("a")[:3])
	lost := d.cut(0)
	require.Equal(t, 1, lost.Sectors)
	require.Equal(t, "---", d.bytes("a")[:3])
	require.Equal(t, "two", d.bytes("a")[vfs.PageSize:][:3])
}

func TestRulesStrikeWhatTheySay(t *testing.T) {
	d := newDisk(t)
	f := d.create("log", "bytes")
	require.NoError(t, d.SetRules([]Rule{{Ops: []string{OpRead}, Name: "l?g", Skip: 1, Error: "EIO"}, {Full: true, Error: "ENOSPC"}}))
	_, err := f.ReadAt(make([]byte, 2), 0)
	require.NoError(t, err)
	_, err = f.ReadAt(make([]byte, 2), 0)
	require.ErrorIs(t, err, syscall.EIO)
	d.write(f, 0, "there")
	_, err = f.WriteAt([]byte("more"), 4)
	require.ErrorIs(t, err, vfs.ErrNoSpace)
	require.ErrorIs(t, f.Allocate(0, 6), vfs.ErrNoSpace)
	_, err = d.Create(d.path("x"))
	require.ErrorIs(t, err, vfs.ErrNoSpace)
	free, _, err := d.Space(d.root)
	require.NoError(t, err)
	require.Zero(t, free)
	require.NoError(t, d.SetRules(nil))
	d.write(f, 0, "now longer")
	free, _, err = d.Space(d.root)
	require.NoError(t, err)
	require.NotZero(t, free)
	require.Error(t, d.SetRules([]Rule{{Ops: []string{"nonsense"}}}))
	require.Error(t, d.SetRules([]Rule{{Error: "EWHAT"}}))
}

func TestWhatHangsGoesOnWhenTheRulesAreReplaced(t *testing.T) {
	d := newDisk(t)
	f := d.create("a", "x")
	require.NoError(t, d.SetRules([]Rule{{Ops: []string{OpSync}, Hang: time.Hour}}))
	done := make(chan error)
	go func() { done <- f.Sync() }()
	for d.Hits()[0] == 0 {
		time.Sleep(time.Millisecond)
	}
	require.NoError(t, d.SetRules(nil))
	require.NoError(t, <-done)
}

func TestFilesOfOthersStayAsTheKernelHasThem(t *testing.T) {
	d := newDisk(t)
	require.NoError(t, os.MkdirAll(d.path("others"), 0o750))
	require.NoError(t, os.WriteFile(d.path("others/db"), []byte("theirs"), 0o640))
	require.NoError(t, d.SyncDir(d.root))
	d.cut(0)
	require.Equal(t, "theirs", d.bytes("others/db"))
	_, err := Cut(d.root, filepath.Join(d.root, "nowhere"), 0, nil)
	require.True(t, errors.Is(err, os.ErrNotExist))
	require.Equal(t, "theirs", d.bytes("others/db"))
}
