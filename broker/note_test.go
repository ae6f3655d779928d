package broker

import (
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftmq/internal/vfs"
)

// The note of a quarantine that cannot be read is written anew before the replica is opened: what opens it removes
// files that are half written.
func TestANoteIsNotWrittenWhileItsReplicaIsOpened(t *testing.T) {
	l := newLone(t)
	l.leader()
	l.stop()
	name, dir := l.quarantinePath(l.part), l.partitionDir(l.part)
	require.NoError(t, vfs.WriteFile(l.mem, name, []byte("decayed")))
	half := filepath.Base(name) + ".tmp"
	wait := func(there bool) { // in vain, if nobody writes while another opens
		for end := time.Now().Add(time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
			names, _ := l.mem.List(dir + "/.") // no operation of the node's
			if slices.Contains(names, half) == there {
				return
			}
		}
	}
	l.mem.SetHook(func(op vfs.Op) error {
		switch {
		case op.Kind == vfs.OpList && op.Name == dir:
			wait(true)
		case op.Kind == vfs.OpRename && filepath.Base(op.Name) == half:
			wait(false)
		}
		return nil
	})
	l.run()
	var failed error
	eventually(t, func() bool {
		select {
		case failed = <-l.Failed():
		default:
		}
		_, open := l.partition(l.part)
		return failed != nil || open && len(l.sick.ids()) == 1 && len(l.sick.toNote()) == 0
	})
	l.mem.SetHook(nil)
	require.NoError(t, failed)
	var q quarantine
	require.NoError(t, readSealed(l.mem, name, 1<<20, quarantineVersion, &q))
	require.True(t, q.Whole)
}
