package vfs_test

import (
	"errors"
	"io"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"raftmq/internal/vfs"
)

// conformance is what both disks do alike, each case in an empty directory.
var conformance = []struct {
	name string
	run  func(t *testing.T, d vfs.FS, dir string)
}{
	{"create is exclusive", func(t *testing.T, d vfs.FS, dir string) {
		f := create(t, d, dir+"/a")
		require.Equal(t, dir+"/a", f.Name())
		_, err := d.Create(dir + "/a")
		require.ErrorIs(t, err, fs.ErrExist)
		_, err = d.Create(dir + "/none/a")
		require.ErrorIs(t, err, fs.ErrNotExist)
	}},
	{"open needs the file", func(t *testing.T, d vfs.FS, dir string) {
		_, err := d.Open(dir + "/a")
		require.ErrorIs(t, err, fs.ErrNotExist)
		_, err = d.Open(dir + "/none/a")
		require.ErrorIs(t, err, fs.ErrNotExist)
		create(t, d, dir+"/a")
		f, err := d.Open(dir + "/a")
		require.NoError(t, err)
		require.NoError(t, f.Close())
	}},
	{"closed is closed", func(t *testing.T, d vfs.FS, dir string) {
		f, err := d.Create(dir + "/a")
		require.NoError(t, err)
		require.NoError(t, f.Close())
		require.ErrorIs(t, f.Close(), fs.ErrClosed)
		require.ErrorIs(t, f.Sync(), fs.ErrClosed)
		require.ErrorIs(t, f.SyncData(), fs.ErrClosed)
		_, err = f.WriteAt([]byte("x"), 0)
		require.ErrorIs(t, err, fs.ErrClosed)
		_, err = f.ReadAt(make([]byte, 1), 0)
		require.ErrorIs(t, err, fs.ErrClosed)
		_, err = f.Map(1)
		require.ErrorIs(t, err, fs.ErrClosed)
		require.ErrorIs(t, f.Allocate(0, 1), fs.ErrClosed)
	}},
	{"written through is read, whatever was in memory", func(t *testing.T, d vfs.FS, dir string) {
		f := create(t, d, dir+"/a")
		write(t, f, 0, strings.Repeat("a", 5*vfs.Block)) // dirty, and read below, so that both are in memory
		requireContent(t, d, dir+"/a", strings.Repeat("a", 5*vfs.Block))
		for _, c := range []struct {
			n, off, skew int
		}{{vfs.Block, vfs.Block, 0}, {2 * vfs.Block, 0, 0}, {2 * vfs.Block, vfs.Block, 8}, {100, 4000, 0}, {vfs.Block, 4 * vfs.Block, 0}, {vfs.Block, 7 * vfs.Block, 0}, {0, 0, 0}} {
			b := vfs.Aligned(c.n + c.skew)[c.skew:]
			for i := range b {
				b[i] = byte('b' + i%20)
			}
			require.NoError(t, f.WriteThrough(b, int64(c.off)))
			got := make([]byte, c.n)
			n, err := f.ReadAt(got, int64(c.off))
			require.Equal(t, c.n, n, "%v", err)
			require.Equal(t, string(b), string(got))
		}
		size, err := f.Size()
		require.NoError(t, err)
		require.Equal(t, int64(8*vfs.Block), size)
		require.NoError(t, d.Rename(dir+"/a", dir+"/b")) // the handle is the file's, not the name's
		create(t, d, dir+"/a")
		b := vfs.Aligned(vfs.Block)
		copy(b, "renamed")
		require.NoError(t, f.WriteThrough(b, 0))
		require.NoError(t, f.Close())
		require.ErrorIs(t, f.WriteThrough(b, 0), fs.ErrClosed)
		requireContent(t, d, dir+"/a", "")
		g, err := d.Open(dir + "/b")
		require.NoError(t, err)
		defer g.Close()
		got := make([]byte, 7)
		_, err = g.ReadAt(got, 0)
		require.NoError(t, err)
		require.Equal(t, "renamed", string(got))
	}},
	{"list is sorted", func(t *testing.T, d vfs.FS, dir string) {
		names, err := d.List(dir)
		require.NoError(t, err)
		require.Empty(t, names)
		create(t, d, dir+"/c")
		create(t, d, dir+"/a")
		require.NoError(t, d.MkdirAll(dir+"/b/deep"))
		names, err = d.List(dir)
		require.NoError(t, err)
		require.Equal(t, []string{"a", "b", "c"}, names)
		_, err = d.List(dir + "/none")
		require.ErrorIs(t, err, fs.ErrNotExist)
	}},
	{"mkdir all again", func(t *testing.T, d vfs.FS, dir string) {
		require.NoError(t, d.MkdirAll(dir+"/x/y"))
		require.NoError(t, d.MkdirAll(dir+"/x/y"))
		create(t, d, dir+"/x/f")
		require.Error(t, d.MkdirAll(dir+"/x/f/z"))
		require.NoError(t, vfs.MakeDir(d, dir+"/x/y/1/2"))
		_, err := d.List(dir + "/x/y/1/2")
		require.NoError(t, err)
	}},
	{"rename replaces", func(t *testing.T, d vfs.FS, dir string) {
		write(t, create(t, d, dir+"/a"), 0, "new")
		write(t, create(t, d, dir+"/b"), 0, "old content")
		require.NoError(t, d.Rename(dir+"/a", dir+"/b"))
		requireContent(t, d, dir+"/b", "new")
		_, err := d.Open(dir + "/a")
		require.ErrorIs(t, err, fs.ErrNotExist)
		require.ErrorIs(t, d.Rename(dir+"/a", dir+"/b"), fs.ErrNotExist)
		require.NoError(t, d.MkdirAll(dir+"/sub"))
		require.NoError(t, d.Rename(dir+"/b", dir+"/sub/b"))
		requireContent(t, d, dir+"/sub/b", "new")
		require.Error(t, d.Rename(dir+"/sub/b", dir+"/sub"))
	}},
	{"removed files stay usable", func(t *testing.T, d vfs.FS, dir string) {
		f := create(t, d, dir+"/a")
		write(t, f, 0, "still here")
		m := mapped(t, f, 4096)
		require.NoError(t, d.Remove(dir+"/a"))
		require.ErrorIs(t, d.Remove(dir+"/a"), fs.ErrNotExist)
		require.Equal(t, "still here", read(t, f, 0, 10))
		require.Equal(t, "still here", string(m.Bytes()[:10]))
		write(t, f, 0, "Still")
		require.Equal(t, "Still here", string(m.Bytes()[:10]))
		require.NoError(t, f.Sync())
	}},
	{"remove needs an empty directory", func(t *testing.T, d vfs.FS, dir string) {
		require.NoError(t, d.MkdirAll(dir+"/x"))
		create(t, d, dir+"/x/a")
		require.Error(t, d.Remove(dir+"/x"))
		require.NoError(t, d.Remove(dir+"/x/a"))
		require.NoError(t, d.Remove(dir+"/x"))
	}},
	{"remove all", func(t *testing.T, d vfs.FS, dir string) {
		require.NoError(t, d.MkdirAll(dir+"/x/y"))
		create(t, d, dir+"/x/a")
		create(t, d, dir+"/x/y/b")
		require.NoError(t, d.RemoveAll(dir+"/x"))
		require.NoError(t, d.RemoveAll(dir+"/x"))
		require.NoError(t, d.RemoveAll(dir+"/none/x"))
		names, err := d.List(dir)
		require.NoError(t, err)
		require.Empty(t, names)
	}},
	{"read and write", func(t *testing.T, d vfs.FS, dir string) {
		f := create(t, d, dir+"/a")
		write(t, f, 4090, "across pages")
		requireSize(t, f, 4102)
		require.Equal(t, "\x00\x00across pages", read(t, f, 4088, 14))
		n, err := f.ReadAt(make([]byte, 20), 4092)
		require.Equal(t, 10, n)
		require.ErrorIs(t, err, io.EOF)
		n, err = f.ReadAt(make([]byte, 1), 9000)
		require.Zero(t, n)
		require.ErrorIs(t, err, io.EOF)
		_, err = f.ReadAt(make([]byte, 1), -1)
		require.Error(t, err)
		_, err = f.WriteAt([]byte("x"), -1)
		require.Error(t, err)
		n, err = f.WriteAt(nil, 1<<20)
		require.NoError(t, err)
		require.Zero(t, n)
		requireSize(t, f, 4102)
	}},
	{"truncate cuts and extends with zeros", func(t *testing.T, d vfs.FS, dir string) {
		f := create(t, d, dir+"/a")
		write(t, f, 0, "0123456789")
		write(t, f, 8192, "far")
		require.NoError(t, f.Truncate(4))
		requireSize(t, f, 4)
		require.NoError(t, f.Truncate(8200))
		require.Equal(t, "0123\x00\x00", read(t, f, 0, 6))
		require.Equal(t, "\x00\x00\x00", read(t, f, 8192, 3))
		require.Error(t, f.Truncate(-1))
	}},
	{"allocate keeps bytes and grows", func(t *testing.T, d vfs.FS, dir string) {
		f := create(t, d, dir+"/a")
		write(t, f, 0, "keep")
		require.NoError(t, f.Allocate(0, 10000))
		requireSize(t, f, 10000)
		require.NoError(t, f.Allocate(100, 10))
		requireSize(t, f, 10000)
		require.Equal(t, "keep\x00", read(t, f, 0, 5))
		require.Error(t, f.Allocate(-1, 5))
		require.Error(t, f.Allocate(0, 0))
	}},
	{"map and file are one", func(t *testing.T, d vfs.FS, dir string) {
		f := create(t, d, dir+"/a")
		write(t, f, 0, "before")
		m := mapped(t, f, 16384) // longer than the file
		require.Len(t, m.Bytes(), 16384)
		require.Equal(t, "before", string(m.Bytes()[:6]))
		require.NoError(t, f.Allocate(0, 10000))
		require.Equal(t, "before\x00", string(m.Bytes()[:7]))
		write(t, f, 4094, "across")
		write(t, f, 4096, "RO")
		require.Equal(t, "acROss", string(m.Bytes()[4094:4100]))
		page := strings.Repeat("p", vfs.PageSize) // written whole
		write(t, f, vfs.PageSize, page)
		require.Equal(t, "ac"+page, string(m.Bytes()[4094:2*vfs.PageSize]))
		write(t, f, 10000, "grown")
		require.Equal(t, "\x00grown", string(m.Bytes()[9999:10005]))
		write(t, f, 16382, "over the map's end")
		require.Equal(t, "ov", string(m.Bytes()[16382:]))
		require.Equal(t, "over the map's end", read(t, f, 16382, 18))
		write(t, f, 20000, "behind it")
		require.Equal(t, "behind it", read(t, f, 20000, 9))
		require.NoError(t, f.SyncData())
		require.Equal(t, "\x00grown", string(m.Bytes()[9999:10005]))
		require.NoError(t, f.WriteBack(0, 0))
		require.NoError(t, f.WriteBack(4096, 4096))
		require.NoError(t, f.Drop(0, 0))
		require.NoError(t, m.Unmap())
		require.Nil(t, m.Bytes())
		require.NoError(t, m.Unmap())
		require.Equal(t, "acpp", read(t, f, 4094, 4))
		again := mapped(t, f, 32768) // longer than the one before
		require.Equal(t, "\x00grown", string(again.Bytes()[9999:10005]))
	}},
	{"two maps are one", func(t *testing.T, d vfs.FS, dir string) {
		f := create(t, d, dir+"/a")
		require.NoError(t, f.Allocate(0, 8192))
		a, b := mapped(t, f, 8192), mapped(t, f, 4096)
		write(t, f, 0, "hello")
		require.Equal(t, "hello", string(a.Bytes()[:5]))
		require.Equal(t, "hello", string(b.Bytes()[:5]))
		require.NoError(t, a.Unmap())
		g, err := d.Open(dir + "/a") // by another handle
		require.NoError(t, err)
		defer g.Close()
		write(t, g, 0, "J")
		require.Equal(t, "Jello", string(b.Bytes()[:5]))
	}},
	{"a map outlives its file's handle", func(t *testing.T, d vfs.FS, dir string) {
		f, err := d.Create(dir + "/a")
		require.NoError(t, err)
		require.NoError(t, f.Allocate(0, 4096))
		m := mapped(t, f, 4096)
		require.NoError(t, f.Close())
		g, err := d.Open(dir + "/a")
		require.NoError(t, err)
		defer g.Close()
		write(t, g, 0, "late")
		require.Equal(t, "late", string(m.Bytes()[:4]))
		require.NoError(t, m.Unmap())
		require.Equal(t, "late", read(t, g, 0, 4))
	}},
	{"truncate under a map", func(t *testing.T, d vfs.FS, dir string) {
		f := create(t, d, dir+"/a")
		require.NoError(t, f.Allocate(0, 8192))
		m := mapped(t, f, 8192)
		write(t, f, 10, "gone")
		write(t, f, 5000, "gone")
		require.NoError(t, f.Truncate(12))
		require.Equal(t, "go\x00\x00", string(m.Bytes()[10:14]))
		require.NoError(t, f.Truncate(8192))
		require.Equal(t, "go\x00\x00", string(m.Bytes()[10:14]))
		require.Equal(t, "\x00\x00\x00\x00", string(m.Bytes()[5000:5004]))
	}},
	{"the rest of the last page is zeros in a map", func(t *testing.T, d vfs.FS, dir string) {
		f := create(t, d, dir+"/a")
		write(t, f, 0, strings.Repeat("x", 4096))
		require.NoError(t, f.Truncate(3))
		m := mapped(t, f, 4096)
		require.Equal(t, "xxx"+strings.Repeat("\x00", 4093), string(m.Bytes()))
	}},
	{"sizes of maps are checked", func(t *testing.T, d vfs.FS, dir string) {
		f := create(t, d, dir+"/a")
		_, err := f.Map(0)
		require.ErrorIs(t, err, fs.ErrInvalid)
		_, err = f.Map(-1)
		require.ErrorIs(t, err, fs.ErrInvalid)
	}},
	{"lock is exclusive", func(t *testing.T, d vfs.FS, dir string) {
		l, err := d.Lock(dir + "/new/LOCK")
		require.NoError(t, err)
		_, err = d.Lock(dir + "/new/LOCK")
		require.ErrorIs(t, err, vfs.ErrLocked)
		names, err := d.List(dir + "/new")
		require.NoError(t, err)
		require.Equal(t, []string{"LOCK"}, names)
		require.NoError(t, l.Close())
		l, err = d.Lock(dir + "/new/LOCK")
		require.NoError(t, err)
		require.NoError(t, l.Close())
	}},
	{"space", func(t *testing.T, d vfs.FS, dir string) {
		free, total, err := d.Space(dir)
		require.NoError(t, err)
		require.Positive(t, free)
		require.LessOrEqual(t, free, total)
		_, _, err = d.Space(dir + "/none")
		require.ErrorIs(t, err, fs.ErrNotExist)
	}},
	{"directories sync", func(t *testing.T, d vfs.FS, dir string) {
		create(t, d, dir+"/a")
		require.NoError(t, d.SyncDir(dir))
		require.ErrorIs(t, d.SyncDir(dir+"/none"), fs.ErrNotExist)
	}},
	{"whole files", func(t *testing.T, d vfs.FS, dir string) {
		require.NoError(t, vfs.WriteFile(d, dir+"/a", []byte("one")))
		create(t, d, dir+"/a.tmp") // left by a crash
		require.NoError(t, vfs.WriteFile(d, dir+"/a", nil))
		requireContent(t, d, dir+"/a", "")
		require.NoError(t, vfs.WriteFile(d, dir+"/a", []byte("three")))
		requireContent(t, d, dir+"/a", "three")
		_, err := vfs.ReadFile(d, dir+"/a", 4)
		require.Error(t, err)
		_, err = vfs.ReadFile(d, dir+"/b", 4)
		require.ErrorIs(t, err, fs.ErrNotExist)
	}},
}

func TestDisksBehaveAlike(t *testing.T) {
	for _, c := range conformance {
		t.Run(c.name+"/os", func(t *testing.T) { c.run(t, vfs.OS{}, t.TempDir()) })
		t.Run(c.name+"/mem", func(t *testing.T) {
			m := vfs.NewMem(1)
			require.NoError(t, m.MkdirAll("/data"))
			c.run(t, m, "/data")
		})
		// What a power cut left is a disk like any other.
		t.Run(c.name+"/crashed mem", func(t *testing.T) {
			m := vfs.NewMem(1)
			require.NoError(t, vfs.MakeDir(m, "data/here"))
			c.run(t, m.Crash(7), "data/here")
		})
	}
}

func create(t testing.TB, d vfs.FS, name string) vfs.File {
	t.Helper()
	f, err := d.Create(name)
	require.NoError(t, err)
	t.Cleanup(func() { f.Close() })
	return f
}

func mapped(t testing.TB, f vfs.File, size int64) vfs.Mapping {
	t.Helper()
	m, err := f.Map(size)
	require.NoError(t, err)
	t.Cleanup(func() { m.Unmap() })
	return m
}

func write(t testing.TB, f vfs.File, off int64, s string) {
	t.Helper()
	n, err := f.WriteAt([]byte(s), off)
	require.NoError(t, err)
	require.Equal(t, len(s), n)
}

func read(t testing.TB, f vfs.File, off int64, n int) string {
	t.Helper()
	b := make([]byte, n)
	got, err := f.ReadAt(b, off)
	if !errors.Is(err, io.EOF) {
		require.NoError(t, err)
	}
	return string(b[:got])
}

func requireSize(t testing.TB, f vfs.File, want int64) {
	t.Helper()
	size, err := f.Size()
	require.NoError(t, err)
	require.Equal(t, want, size)
}

func requireContent(t testing.TB, d vfs.FS, name, want string) {
	t.Helper()
	b, err := vfs.ReadFile(d, filepath.Clean(name), 1<<30)
	require.NoError(t, err)
	require.Equal(t, want, string(b))
}
