package store

import (
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
