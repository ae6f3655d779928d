package raftlog_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A replica that is opened again knows soon what is committed and has it, though
// nothing else is written and its leader would come by itself only after the commit
// timeout, 5 to 10 s: one that has all entries, and one that lacks some and whose
// leader was refused meanwhile, because its node did not know the group yet.
func TestAReplicaThatIsOpenedAgainCatchesUpAtOnce(t *testing.T) {
	for name, missed := range map[string][]string{"nothing missed": nil, "entries missed": many("missed", 50)} {
		t.Run(name, func(t *testing.T) {
			inFleet(t, nil, func(t *testing.T, f *fleet) {
				all := many("before", 50)
				f.put(all...)
				x := f.follower().name
				f.disks[x] = f.disks[x].CrashKeeping(1, 1) // no checkpoint
				f.stop(x)
				f.put(missed...)
				all = append(all, missed...)
				time.Sleep(10 * time.Second)
				f.groups = 0
				n := f.start(x)
				time.Sleep(2 * time.Second) // longer than requests wait for a group
				f.groups = 1
				require.NoError(t, f.openGroup(n, 1))
				leader := f.leader(x)
				want := leader.replicas[0].Stats().Commit
				begun := time.Now()
				var index uint64
				var err error
				eventually(t, "the leader answers", func() bool {
					index, err = n.replicas[0].Committed(within(t, time.Second), leader.name)
					return err == nil
				})
				require.GreaterOrEqual(t, index, want)
				eventually(t, "all that was committed is applied", func() bool { return n.replicas[0].Reached(index) })
				require.Less(t, time.Since(begun), time.Second)
				f.equal()
				f.once(all...)
			})
		})
	}
}
