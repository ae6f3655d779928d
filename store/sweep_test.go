package store

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"raftmq/internal/vfs"
)

// trimsInSync is a disk on which a trim comes while a Sync is under way.
type trimsInSync struct {
	vfs.FS
	trim func()
}

func (d *trimsInSync) SyncDir(dir string) error {
	if f := d.trim; f != nil {
		d.trim = nil
		f()
	}
	return d.FS.SyncDir(dir)
}

// What is trimmed while a Sync runs is not taken for damaged by who reads it then: its files
// go only after readers were told.
func TestTrimInTheMidstOfASync(t *testing.T) {
	disk := &trimsInSync{FS: vfs.NewMem(1)}
	o := small(disk)
	var damage []*Damage
	o.OnDamage = func(d *Damage) { damage = append(damage, d) }
	s, err := Open("p", o, nil)
	require.NoError(t, err)
	defer s.Close()
	fill(t, s, 1, 300, same)
	require.NoError(t, s.Sync(s.Last()))
	s.round.Lock() // sealed segments are let go
	s.lookAround()
	s.round.Unlock()
	q := s.Queues()[0]
	synced := false
	_, err = s.Read(q, 0, 1000, 1<<20, &Filter{Record: func([]byte) bool {
		if !synced { // the first record was read, those in later segments were not
			synced = true
			require.NoError(t, s.Roll(same))
			disk.trim = func() { require.NoError(t, s.Trim(s.Segments()[3].Position)) }
			require.NoError(t, s.Sync(s.Last()))
			require.Nil(t, disk.trim)
		}
		return true
	}})
	require.NoError(t, err)
	require.Empty(t, damage)
	require.True(t, s.Trimmed())
	require.NoError(t, s.Sync(s.Last()))
	require.False(t, s.Trimmed())
}

// opensLate is a disk on which something comes before a file by that end is opened.
type opensLate struct {
	vfs.FS
	suffix string
	before func()
}

func (d *opensLate) Open(name string) (vfs.File, error) {
	if f := d.before; f != nil && strings.HasSuffix(name, d.suffix) {
		d.before = nil
		f()
	}
	return d.FS.Open(name)
}

// A floor, and keys, that a trim takes away while they are asked for are gone, and not
// damaged.
func TestTrimWhileFloorsAndKeysAreRead(t *testing.T) {
	for kind, read := range map[string]func(s *Store, p Position) error{
		".floor": func(s *Store, p Position) error {
			_, err := s.FloorFile(p)
			require.ErrorIs(t, err, ErrNotFound)
			return nil
		},
		".keys": func(s *Store, _ Position) error {
			_, err := s.Lookup("t", "common", 1<<20, 0, 0)
			return err
		},
	} {
		disk := &opensLate{FS: vfs.NewMem(1), suffix: kind}
		o := small(disk)
		var damage []*Damage
		o.OnDamage = func(d *Damage) { damage = append(damage, d) }
		s, err := Open("p", o, nil)
		require.NoError(t, err)
		defer s.Close()
		fill(t, s, 1, 300, same)
		require.NoError(t, s.Sync(s.Last()))
		marks := s.Segments()
		if kind == ".keys" { // of the segment that is looked at first, below the active one
			disk.suffix = filepath.Base(segmentName("", marks[len(marks)-2].Position, "keys"))
			s.files.forget(segmentName("p", marks[len(marks)-2].Position, "keys"))
		}
		disk.before = func() {
			require.NoError(t, s.Trim(marks[len(marks)-1].Position))
			require.NoError(t, s.Sync(s.Last()))
			require.NoError(t, s.Sync(s.Last()))
			require.False(t, s.Trimmed())
		}
		require.NoError(t, read(s, marks[2].Position), kind)
		require.Nil(t, disk.before, kind)
		require.Empty(t, damage, kind)
	}
}

// makesLate is a disk on which something comes before a file by that name is made.
type makesLate struct {
	vfs.FS
	name   string
	before func()
}

func (d *makesLate) Create(name string) (vfs.File, error) {
	if f := d.before; f != nil && filepath.Base(name) == d.name {
		d.before = nil
		f()
	}
	return d.FS.Create(name)
}

// Keys that are written while their segment is trimmed leave no file.
func TestTrimWhileKeysAreWritten(t *testing.T) {
	mem := vfs.NewMem(1)
	disk := &makesLate{FS: mem}
	s, err := Open("p", small(disk), nil)
	require.NoError(t, err)
	defer s.Close()
	s.round.Lock() // the background does nothing
	fill(t, s, 1, 300, same)
	marks := s.Segments()
	disk.name = filepath.Base(segmentName("", marks[1].Position, "keys")) // those of the next are to be written too
	disk.before = func() { require.NoError(t, s.Trim(marks[3].Position)) }
	for range 3 {
		require.NoError(t, s.Sync(s.Last()))
	}
	s.round.Unlock()
	require.Nil(t, disk.before)
	require.False(t, s.Trimmed())
	names, err := mem.List("p")
	require.NoError(t, err)
	for _, m := range marks[:3] {
		require.NotContains(t, names, filepath.Base(segmentName("", m.Position, "keys")))
	}
}

// What a power cut left of a file that was being replaced goes at the next start.
func TestUnfinishedFilesGo(t *testing.T) {
	disk, _, k := settled(t, 200)
	s := openMem(t, disk, k.state)
	floor := segmentName("p", s.Segments()[1].Position, "floor")
	require.NoError(t, s.Close())
	in := disk.Inject(vfs.Fault{Ops: []vfs.OpKind{vfs.OpRename}})
	require.Error(t, vfs.WriteFile(disk, floor, []byte("mended"))) // as Mender does
	in.Release()
	names, err := disk.List("p")
	require.NoError(t, err)
	require.Contains(t, names, filepath.Base(floor)+".tmp")
	openMem(t, disk, k.state)
	names, err = disk.List("p")
	require.NoError(t, err)
	require.NotContains(t, names, filepath.Base(floor)+".tmp")
}
