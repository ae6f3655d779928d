package raftlog_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"raftmq/internal/vfs"
)

// A node that fell behind in several groups is restarted while its log is full of entries that it has not applied, and does not know to be
// committed. It catches up.
func TestANodeWhoseLogIsFullLearnsWhatMayBeApplied(t *testing.T) {
	inFleet(t, func(f *fleet) { f.groups, f.maxBytes = 3, 256<<10 }, func(t *testing.T, f *fleet) {
		f.leader()
		behind := f.follower()
		f.stop(behind.name)
		led := func(group int) *fleetNode {
			var found *fleetNode
			eventually(t, "no leader", func() bool {
				for _, n := range f.nodes {
					if _, ok := n.replicas[group].Leads(); ok {
						found = n
					}
				}
				return found != nil
			})
			return found
		}
		size := strings.Repeat("x", 12<<10)
		write := func(what string, n int) {
			for i := range n {
				for g := range f.groups {
					eventually(t, "no majority", func() bool {
						p, err := led(g).replicas[g].Start(fmt.Appendf(nil, "%s %d %s", what, i, size))
						if err == nil {
							_, err = p.Wait(within(t, time.Minute))
						}
						return err == nil
					})
				}
			}
		}
		write("before it is back", 1)
		f.disks[behind.name].SetHook(func(op vfs.Op) error {
			if op.Kind == vfs.OpWrite && strings.HasPrefix(op.Name, "ledger") {
				return vfs.ErrNoSpace // what it takes in stays in its log
			}
			return nil
		})
		behind = f.start(behind.name)
		write("held", 100)
		held := func() (n uint64) {
			for _, r := range behind.replicas {
				n += r.Stats().Last
			}
			return n
		}
		eventually(t, "its log is not full", func() bool {
			before := held()
			time.Sleep(6 * time.Second)
			return before == held() && before > 12
		})
		f.disks[behind.name] = f.disks[behind.name].CrashKeeping(1, 1)
		f.stop(behind.name)
		behind = f.start(behind.name)
		write("more", 20)
		for g := range f.groups {
			f.applies(behind, g, f.witnesses[uint64(g+1)].last().Commands)
		}
	})
}
