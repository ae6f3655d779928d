package vfs_test

import (
	"bytes"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"raftmq/internal/vfs"
)

// newFile is a Mem with a file of whose name and size the disk is sure.
func newFile(t testing.TB, size int64) (*vfs.Mem, vfs.File) {
	t.Helper()
	d := vfs.NewMem(1)
	require.NoError(t, vfs.MakeDir(d, "dir"))
	f := create(t, d, "dir/file")
	if size > 0 {
		require.NoError(t, f.Allocate(0, size))
	}
	require.NoError(t, f.Sync())
	require.NoError(t, d.SyncDir("dir"))
	return d, f
}

func content(t testing.TB, d vfs.FS, name string) []byte {
	t.Helper()
	b, err := vfs.ReadFile(d, name, 1<<30)
	require.NoError(t, err)
	return b
}

func TestSyncedBytesSurviveEveryCrash(t *testing.T) {
	for _, sync := range []func(f vfs.File) error{vfs.File.Sync, vfs.File.SyncData} {
		d, f := newFile(t, 0)
		b := bytes.Repeat([]byte("synced!."), 2000)
		write(t, f, 100, string(b))
		require.NoError(t, sync(f))
		for seed := range uint64(50) {
			require.Equal(t, b, content(t, d.CrashClone(seed), "dir/file")[100:])
		}
	}
}

func TestUnsyncedSectorsAreKeptOrLostByThemselves(t *testing.T) {
	d, f := newFile(t, 64*vfs.SectorSize)
	write(t, f, 0, strings.Repeat("a", 64*vfs.SectorSize))
	require.NoError(t, f.SyncData())
	write(t, f, 0, strings.Repeat("b", 64*vfs.SectorSize))
	kept := map[int]bool{}
	for seed := range uint64(20) {
		b, n := content(t, d.CrashClone(seed), "dir/file"), 0
		for s := range 64 {
			sector := b[s*vfs.SectorSize:][:vfs.SectorSize]
			if sector[0] == 'b' {
				n++
			}
			require.Equal(t, bytes.Repeat(sector[:1], vfs.SectorSize), sector, "torn inside a sector")
		}
		kept[n] = true
		require.InDelta(t, 32, n, 24)
	}
	require.Greater(t, len(kept), 3)
	require.Equal(t, byte('a'), content(t, d.CrashKeeping(1, 0), "dir/file")[0])
	require.NotContains(t, string(content(t, d.CrashKeeping(1, 0), "dir/file")), "b")
	require.NotContains(t, string(content(t, d.CrashKeeping(1, 1), "dir/file")), "a")
}

func TestUnsyncedSizeIsKeptOrLost(t *testing.T) {
	d, f := newFile(t, 1000)
	require.NoError(t, f.Allocate(0, 5000))
	require.NoError(t, f.Truncate(300))
	sizes := map[int]bool{}
	for seed := range uint64(100) {
		sizes[len(content(t, d.CrashClone(seed), "dir/file"))] = true
	}
	require.Equal(t, map[int]bool{1000: true, 5000: true, 300: true}, sizes)
	require.NoError(t, f.SyncData())
	require.Len(t, content(t, d.CrashKeeping(1, 0), "dir/file"), 300)
}

// What was cut off and is not durable so comes back whole.
func TestUnsyncedTruncateLosesNothingDurable(t *testing.T) {
	d, f := newFile(t, 0)
	write(t, f, 0, strings.Repeat("x", 9000))
	require.NoError(t, f.Sync())
	require.NoError(t, f.Truncate(512))
	for seed := range uint64(50) {
		b := content(t, d.CrashClone(seed), "dir/file")
		require.Equal(t, bytes.Repeat([]byte("x"), len(b)), b)
		require.Contains(t, []int{512, 9000}, len(b))
	}
}

// What a map shows may still be lost, and a map that comes or goes syncs nothing.
func TestWritesAreUnsyncedWhateverAMapShows(t *testing.T) {
	for name, sync := range map[string]func(f vfs.File, m vfs.Mapping) error{
		"sync":      func(f vfs.File, m vfs.Mapping) error { return f.Sync() },
		"sync data": func(f vfs.File, m vfs.Mapping) error { return f.SyncData() },
		"unmapped":  func(f vfs.File, m vfs.Mapping) error { m.Unmap(); return f.SyncData() },
	} {
		t.Run(name, func(t *testing.T) {
			d, f := newFile(t, 16384)
			m := mapped(t, f, 1<<16)
			for at := 0; at < 16384; at += 1024 {
				write(t, f, int64(at), strings.Repeat("s", 1024))
			}
			require.Equal(t, 16384, bytes.Count(m.Bytes(), []byte("s")))
			require.NotContains(t, string(content(t, d.CrashKeeping(1, 0), "dir/file")), "s")
			require.NotContains(t, string(content(t, d.CrashKeeping(1, 1), "dir/file")), "\x00")
			half := bytes.Count(content(t, d.CrashClone(1), "dir/file"), []byte("s"))
			require.InDelta(t, 8192, half, 6000)
			require.NoError(t, f.Truncate(20480))
			write(t, f, 16384, "grown")
			require.Len(t, content(t, d.CrashKeeping(1, 0), "dir/file"), 16384)
			require.NoError(t, sync(f, m))
			require.Equal(t, strings.Repeat("s", 16384)+"grown", string(content(t, d.CrashKeeping(1, 0), "dir/file")[:16389]))
		})
	}
}

// Between two syncs an older version of a sector may be what is left.
func TestOverwrittenVersionsMaySurvive(t *testing.T) {
	d, f := newFile(t, 4096)
	for i := range 10 {
		write(t, f, 0, strings.Repeat(string(rune('0'+i)), 4096))
	}
	seen := map[byte]bool{}
	for seed := range uint64(50) {
		seen[content(t, d.CrashClone(seed), "dir/file")[0]] = true
	}
	require.Len(t, seen, 3, "durable, newest and one between: %v", seen)
}

func TestNamesAreUnsyncedUntilSyncDir(t *testing.T) {
	exists := func(d vfs.FS, name string) bool {
		_, err := d.Open(name)
		if err != nil {
			require.ErrorIs(t, err, fs.ErrNotExist)
		}
		return err == nil
	}
	d := vfs.NewMem(1)
	require.NoError(t, d.MkdirAll("a/b"))
	for _, name := range []string{"a/b/1", "a/b/2", "a/b/3"} {
		require.NoError(t, create(t, d, name).Sync())
	}
	require.NoError(t, d.SyncDir("a/b"))
	_, err := d.CrashKeeping(1, 0).List("a")
	require.ErrorIs(t, err, fs.ErrNotExist, "the directory's own name was not synced")
	require.NoError(t, d.SyncDir("a"))
	require.NoError(t, d.SyncDir("/"))
	require.True(t, exists(d.CrashKeeping(1, 0), "a/b/1"))

	require.NoError(t, d.Remove("a/b/1"))
	require.NoError(t, d.Rename("a/b/2", "a/b/2new"))
	require.NoError(t, d.Rename("a/b/3", "a/3"))
	outcomes := map[string]bool{}
	for seed := range uint64(100) {
		c := d.CrashClone(seed)
		require.NotEqual(t, exists(c, "a/b/2"), exists(c, "a/b/2new"), "a rename is one")
		require.NotEqual(t, exists(c, "a/b/3"), exists(c, "a/3"), "a rename is one")
		outcomes[fmt.Sprint(exists(c, "a/b/1"), exists(c, "a/b/2"), exists(c, "a/b/3"))] = true
	}
	require.Len(t, outcomes, 8, "each by itself")

	require.NoError(t, d.SyncDir("a/b"))
	require.False(t, exists(d.CrashKeeping(1, 0), "a/b/1"))
	require.True(t, exists(d.CrashKeeping(1, 0), "a/b/2new"))
	require.True(t, exists(d.CrashKeeping(1, 0), "a/b/3"), "the other directory was not synced")
	require.NoError(t, d.SyncDir("a"))
	require.True(t, exists(d.CrashKeeping(1, 0), "a/3"))
}

// Changes of one name reach the disk in order, and none loses a file that
// another directory durably held.
func TestChangesOfNamesKeepTheirOrder(t *testing.T) {
	for seed := range uint64(200) {
		d := vfs.NewMem(1)
		require.NoError(t, vfs.MakeDir(d, "a"))
		f := create(t, d, "a/x")
		write(t, f, 0, "precious")
		require.NoError(t, f.Sync())
		require.NoError(t, d.SyncDir("a"))

		require.NoError(t, d.MkdirAll("new"))
		require.NoError(t, d.Rename("a/x", "new/y"))
		require.NoError(t, d.Rename("new/y", "new/z"))
		require.NoError(t, d.Remove("a"))
		if seed%2 == 0 {
			require.NoError(t, d.SyncDir("new"))
		}
		c := d.CrashClone(seed)
		found := 0
		for _, name := range []string{"a/x", "new/y", "new/z"} {
			if b, err := vfs.ReadFile(c, name, 100); err == nil {
				found++
				require.Equal(t, "precious", string(b))
			}
		}
		require.Equal(t, 1, found)
	}
}

// Bytes that reached the disk beyond a size that did not are not seen when
// the file grows again.
func TestBytesBeyondTheSizeAreCutByACrash(t *testing.T) {
	d, f := newFile(t, 1000)
	write(t, f, 500, strings.Repeat("x", 900))
	for seed := range uint64(30) {
		c := d.CrashClone(seed)
		g, err := c.Open("dir/file")
		require.NoError(t, err)
		size, err := g.Size()
		require.NoError(t, err)
		require.NoError(t, g.Truncate(1500))
		require.Equal(t, strings.Repeat("\x00", 1500-int(size)), read(t, g, size, 1500))
	}
}

func TestCrashRefusesWhatFollows(t *testing.T) {
	d, f := newFile(t, 4096)
	m := mapped(t, f, 4096)
	left := d.Crash(1)
	<-d.Down()
	_, err := f.WriteAt([]byte("x"), 0)
	require.ErrorIs(t, err, vfs.ErrPowerCut)
	require.ErrorIs(t, f.Sync(), vfs.ErrPowerCut)
	_, err = d.Open("dir/file")
	require.ErrorIs(t, err, vfs.ErrPowerCut)
	require.Zero(t, content(t, left, "dir/file")[0])
	require.Zero(t, m.Bytes()[0], "whoever still reads")
	require.NoError(t, m.Unmap())
	require.NoError(t, f.Close())
}

func TestCutAtRefusesThatOperation(t *testing.T) {
	d, f := newFile(t, 4096)
	n := d.Ops()
	d.CutAt(n+2, vfs.Cut{Keep: 0}, vfs.Cut{Keep: 1})
	write(t, f, 0, "done")
	require.ErrorIs(t, f.SyncData(), vfs.ErrPowerCut)
	left, op := d.Left()
	require.Equal(t, vfs.Op{Kind: vfs.OpSyncData, Name: "dir/file", N: n + 2}, op)
	require.Zero(t, content(t, left[0], "dir/file")[0])
	require.Equal(t, "done", string(content(t, left[1], "dir/file")[:4]))
}

// dump is all that a disk holds, as text.
func dump(t testing.TB, d vfs.FS, dir string) string {
	var s strings.Builder
	names, err := d.List(dir)
	require.NoError(t, err)
	for _, name := range names {
		name = dir + "/" + name
		if _, err := d.List(name); err == nil {
			fmt.Fprintf(&s, "%s/\n%s", name, dump(t, d, name))
		} else {
			fmt.Fprintf(&s, "%s %q\n", name, content(t, d, name))
		}
	}
	return s.String()
}

// The seed alone decides, whatever the order in which goroutines ran, and whether
// files are mapped.
func TestSameSeedSameCrash(t *testing.T) {
	build := func(maps bool) *vfs.Mem {
		d := vfs.NewMem(5)
		var wg sync.WaitGroup
		for g := range 4 {
			wg.Go(func() {
				dir := fmt.Sprintf("d%d", g)
				if err := d.MkdirAll(dir); err != nil {
					panic(err)
				}
				for i := range 4 {
					f, err := d.Create(fmt.Sprintf("%s/%d", dir, i))
					if err != nil {
						panic(err)
					}
					if maps {
						if _, err := f.Map(1 << 15); err != nil {
							panic(err)
						}
					}
					for k := range 5 {
						f.WriteAt(bytes.Repeat([]byte{byte('a' + k)}, 6000+700*k), int64(k*900))
					}
				}
			})
		}
		wg.Wait()
		return d
	}
	a, b := build(false), build(true)
	different := false
	for seed := range uint64(5) {
		require.Equal(t, dump(t, a.CrashClone(seed), ""), dump(t, b.CrashClone(seed), ""))
		different = different || dump(t, a.CrashClone(seed), "") != dump(t, a.CrashClone(seed+1), "")
	}
	require.True(t, different)
}

// Random use of one file against plain slices: its map is what was written, and after
// a crash every sector is one of those since the last sync that covered it.
func TestCrashesAgainstAModel(t *testing.T) {
	const size = 5 * vfs.PageSize
	for seed := range uint64(150) {
		random := rand.New(rand.NewPCG(seed, 1))
		d, f := newFile(t, size)
		m := mapped(t, f, []int64{size + vfs.PageSize, size / 2}[seed%2]) // more than the file, or the first half
		now := make([]byte, size)
		versions := make([][]string, size/vfs.SectorSize) // per sector, the durable one first
		for s := range versions {
			versions[s] = []string{string(now[:vfs.SectorSize])}
		}
		sector := func(s int) string { return string(now[s*vfs.SectorSize:][:vfs.SectorSize]) }
		forgetBefore := func(from, to int) {
			for s := from / vfs.SectorSize; s*vfs.SectorSize < to; s++ {
				versions[s] = []string{sector(s)}
			}
		}
		for step := range 60 {
			off := random.IntN(size)
			n := 1 + random.IntN(min(2000, size-off))
			switch k := random.IntN(10); {
			case k < 6:
				if k == 0 { // whole pages
					off &^= vfs.PageSize - 1
					n = min(2*vfs.PageSize, size-off)
				}
				b := bytes.Repeat([]byte{byte(step + 1)}, n)
				copy(now[off:], b)
				write(t, f, int64(off), string(b))
				for s := off / vfs.SectorSize; s*vfs.SectorSize < off+n; s++ {
					versions[s] = append(versions[s], sector(s))
				}
			case k == 6:
				b := bytes.Repeat([]byte{byte(step + 1)}, n)
				copy(now[off:], b)
				require.NoError(t, f.WriteThrough(b, int64(off)))
				forgetBefore(off, off+n)
			case k == 7 && random.IntN(3) == 0:
				require.NoError(t, f.SyncData())
				forgetBefore(0, size)
			case k == 8:
				require.Equal(t, string(now[off:off+n]), read(t, f, int64(off), n))
				inMap := min(size, len(m.Bytes()))
				require.Equal(t, string(now[:inMap]), string(m.Bytes()[:inMap]))
			default:
				keep := []float64{0, 0.5, 1}[random.IntN(3)]
				left := content(t, d.CrashKeeping(random.Uint64(), keep), "dir/file")
				require.Len(t, left, size)
				for s := range versions {
					got := string(left[s*vfs.SectorSize:][:vfs.SectorSize])
					switch keep {
					case 0:
						require.Equal(t, versions[s][0], got)
					case 1:
						require.Equal(t, sector(s), got)
					default:
						require.Contains(t, versions[s], got)
					}
				}
			}
		}
	}
}

// A clone and its origin share pages, but no change.
func TestClonesAreApart(t *testing.T) {
	d, f := newFile(t, 8192)
	write(t, f, 0, strings.Repeat("o", 8192))
	require.NoError(t, f.Sync())
	write(t, f, 4096, "unsynced")
	c := d.CrashKeeping(1, 1)
	g, err := c.Open("dir/file")
	require.NoError(t, err)
	write(t, f, 0, "origin")
	write(t, f, 4096, "ORIGIN")
	write(t, g, 100, "clone")
	require.NoError(t, g.Sync())
	require.Equal(t, "oooooo", string(content(t, c, "dir/file")[:6]))
	require.Equal(t, "unsynced", string(content(t, c, "dir/file")[4096:4104]))
	require.Equal(t, "ooooo", string(content(t, d, "dir/file")[100:105]))
}

// One goroutine writes and says how far, others read that through the map, sync,
// crash and grow the file: the race detector has nothing to say.
func TestReadersOfAMapBesideWrites(t *testing.T) {
	const size = 1 << 16
	d, f := newFile(t, size)
	m := mapped(t, f, 2*size)
	var end atomic.Int64 // below which it is written
	read := func(i int) error {
		to := int(end.Load())
		for at := max(0, to-300); at < to; at++ {
			if got := m.Bytes()[at]; got != byte(at%251) {
				return fmt.Errorf("%d at %d", got, at)
			}
		}
		return nil
	}
	done := make(chan struct{})
	var wg sync.WaitGroup
	for _, work := range []func(i int) error{
		read,
		read,
		func(i int) error { return f.SyncData() },
		func(i int) error { d.CrashClone(uint64(i)); return nil },
		func(i int) error { _, err := f.WriteAt([]byte("other"), size+int64(i%100)); return err },
		func(i int) error { _, err := f.ReadAt(make([]byte, 100), 1000); return err },
		func(i int) error { return f.Allocate(size, int64(1+i%100)<<8) },
		func(i int) error { return f.Truncate(2*size + int64(i%2)) },
		func(i int) error {
			other, err := f.Map(size)
			if err != nil {
				return err
			}
			return other.Unmap()
		},
	} {
		wg.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-done:
					return
				default:
				}
				if err := work(i); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for at := 0; at < size; {
		b := make([]byte, min(1+at%37, size-at))
		for i := range b {
			b[i] = byte((at + i) % 251)
		}
		write(t, f, int64(at), string(b))
		at += len(b)
		end.Store(int64(at))
	}
	close(done)
	wg.Wait()
}

func BenchmarkCrashClone(b *testing.B) {
	d := vfs.NewMem(1)
	for i := range 8 {
		f, err := d.Create(fmt.Sprint(i))
		require.NoError(b, err)
		write(b, f, 0, strings.Repeat("x", 1<<20))
		require.NoError(b, f.Sync())
		write(b, f, 0, strings.Repeat("y", 1<<16))
	}
	require.NoError(b, d.SyncDir("/"))
	for i := 0; b.Loop(); i++ {
		d.CrashClone(uint64(i))
	}
}

func BenchmarkMappedWriteAndSync(b *testing.B) {
	_, f := newFile(b, 1<<20)
	mapped(b, f, 1<<24)
	record := bytes.Repeat([]byte("r"), 1000)
	for i := 0; b.Loop(); i++ {
		f.WriteAt(record, int64(i)*1000%(1<<20))
		if err := f.SyncData(); err != nil {
			b.Fatal(err)
		}
	}
}

func TestWrittenThroughSurvivesAndNothingElse(t *testing.T) {
	d, f := newFile(t, 4*vfs.Block)
	write(t, f, 0, strings.Repeat("u", 4*vfs.Block))
	b := vfs.Aligned(vfs.Block)
	for i := range b {
		b[i] = 't'
	}
	require.NoError(t, f.WriteThrough(b, vfs.Block))
	lost := false
	for seed := range uint64(20) {
		got := content(t, d.CrashClone(seed), "dir/file")
		require.Equal(t, b, got[vfs.Block:2*vfs.Block])
		lost = lost || got[0] == 0
	}
	require.True(t, lost)
}

// Of a range within a page the sectors are durable that it meets.
func TestSectorsWrittenThroughAreDurableByThemselves(t *testing.T) {
	d, f := newFile(t, 16384)
	write(t, f, 0, strings.Repeat("s", 16384))
	require.NoError(t, f.WriteThrough([]byte(strings.Repeat("t", 100)), 4096+1000)) // sectors 1 and 2 of page 1
	b := content(t, d.CrashKeeping(1, 0), "dir/file")
	require.Equal(t, strings.Repeat("s", 488)+strings.Repeat("t", 100)+strings.Repeat("s", 436), string(b[4096+512:4096+3*512]))
	require.Equal(t, 2*vfs.SectorSize, len(b)-bytes.Count(b, []byte{0}))
}
