package store

import (
	"errors"
	"os"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"raftmq/internal/vfs"
	"raftmq/message"
)

// Whatever byte of an entry is not what was written, its records are damaged: never
// "not found", since nobody can say so, and never something else.
func TestDamageIsNotTakenForNothing(t *testing.T) {
	disk := vfs.NewMem(1)
	s := openMem(t, disk, nil)
	fill(t, s, 1, 20, same)
	q := message.Queue{Topic: "t", ID: 1}
	b, err := s.Read(q, 4, 1, 1, nil)
	require.NoError(t, err)
	want, err := message.ParseRecord(b.Records)
	require.NoError(t, err)
	_, pos := message.SplitPhysicalOffset(want.PhysicalOffset())
	log := s.active().file
	for i := range len(want) {
		_, err := log.WriteAt([]byte{want[i] ^ 0x41}, pos+int64(i))
		require.NoError(t, err)
		_, err = s.Record(Position(pos))
		require.ErrorIs(t, err, ErrDamaged, "byte %d", i)
		_, err = s.Read(q, 4, 1, 1, nil)
		require.ErrorIs(t, err, ErrDamaged, "byte %d", i)
		_, err = log.WriteAt(want[i:i+1], pos+int64(i))
		require.NoError(t, err)
	}
	got, err := s.Record(Position(pos))
	require.NoError(t, err)
	require.Equal(t, want, got)
	_, err = s.Record(Position(pos + 1))
	require.ErrorIs(t, err, ErrNotFound)
}

// The owner hears of damage once for each file, with the file and the place.
func TestOwnerIsToldOfDamage(t *testing.T) {
	disk, _, k := settled(t, 300)
	log := segmentName("p", 0, "log")
	require.NoError(t, disk.Damage(log, 300, 1, flip))
	o := small(disk)
	var told []*Damage
	o.OnDamage = func(d *Damage) { told = append(told, d) }
	s, err := Open("p", o, k.state)
	require.NoError(t, err)
	defer s.Close()
	for range 3 {
		for i := uint64(1); i <= 10; i++ {
			_, _ = s.Entry(i)
		}
		for _, q := range s.Queues() {
			_, _ = s.Read(q, 0, 32, 1<<20, nil)
		}
	}
	require.Len(t, told, 1)
	require.Equal(t, log, told[0].File)
	require.Less(t, told[0].Offset, int64(301))
}

// Damage that is met when more is to be written to a file is none of the disk's faults: the owner is told, and what was to be written there
// waits in memory, is read, and is written when the file is whole.
func TestDamageThatAWriteMeetsIsNoFault(t *testing.T) {
	disk := vfs.NewMem(1)
	o := small(disk)
	told := make(chan *Damage, 10)
	o.OnDamage = func(d *Damage) { told <- d }
	o.OnFault = func(err error) { t.Error(err) }
	s, err := Open("p", o, nil)
	require.NoError(t, err)
	defer s.Close()
	fill(t, s, 1, 20, same)
	require.NoError(t, s.Sync(s.Last()))
	q := message.Queue{Topic: "t"}
	name := queueName("p", q, 0)
	s.files.forget(name) // as when other files are in use
	require.NoError(t, disk.Damage(name, 9, 1, flip))
	_, end := s.Bounds(q)
	fill(t, s, 21, 24, same)
	for range 2 {
		require.ErrorIs(t, s.Sync(s.Last()), ErrDamaged)
	}
	require.Equal(t, name, (<-told).File)
	require.Empty(t, told)
	b, err := s.Read(q, end, 9, 1<<20, nil)
	require.NoError(t, err)
	require.Positive(t, b.Count)
	fill(t, s, 25, 28, same)
	require.NoError(t, disk.Damage(name, 9, 1, flip))
	require.NoError(t, s.Sync(s.Last()))
	found, _ := verify(t, s, 0)
	require.Empty(t, found)
}

// A disk that cannot read is damage; that a read was not possible now is not.
func TestWhatIsDamage(t *testing.T) {
	for _, c := range []struct {
		op      vfs.OpKind
		err     error
		damaged bool
	}{
		{vfs.OpRead, syscall.EIO, true},
		{vfs.OpOpen, syscall.EIO, true},
		{vfs.OpOpen, syscall.EMFILE, false},
		{vfs.OpOpen, syscall.ENOMEM, false},
	} {
		disk, _, k := settled(t, 200)
		s := openMem(t, disk, k.state)
		q := message.Queue{Topic: "t"}
		lo, _ := s.Bounds(q)
		in := disk.Inject(vfs.Fault{Ops: []vfs.OpKind{c.op}, Name: "*.log", Err: c.err})
		_, err := s.Read(q, lo, 1, 1, nil)
		require.ErrorIs(t, err, c.err)
		require.Equal(t, c.damaged, errors.Is(err, ErrDamaged), "%v: %v", c.op, c.err)
		_, err = s.Entry(1)
		require.ErrorIs(t, err, c.err)
		require.Equal(t, c.damaged, errors.Is(err, ErrDamaged))
		in.Release()
		_, err = s.Read(q, lo, 1, 1, nil)
		require.NoError(t, err)
	}
}

// A fault in mapped memory, here from a file that was cut short, is damage too.
func TestFaultInTheMapIsDamage(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(dir, Options{}, nil)
	require.NoError(t, err)
	defer s.Close()
	fill(t, s, 1, 20, same)
	name := segmentName(dir, 0, "log")
	require.NoError(t, os.Truncate(name, 0))
	_, err = s.Read(message.Queue{Topic: "t", ID: 1}, 0, 1, 1, nil)
	require.ErrorIs(t, err, ErrDamaged)
	require.ErrorIs(t, err, vfs.ErrFault)
	require.ErrorContains(t, err, name)
	_, err = s.Entry(1)
	require.ErrorIs(t, err, ErrDamaged)
}

// Any byte of a state that is not what Checkpoint gave is found.
func TestDamagedStateIsRefused(t *testing.T) {
	disk, _, k := settled(t, 200)
	for i := 1; i < len(k.state); i += 7 {
		state := append([]byte(nil), k.state...)
		state[i] ^= 4
		_, err := Open("p", small(disk), state)
		require.ErrorIs(t, err, ErrDamaged, "byte %d", i)
	}
	_, err := Open("p", small(disk), k.state[:20])
	require.ErrorIs(t, err, ErrDamaged)
}
