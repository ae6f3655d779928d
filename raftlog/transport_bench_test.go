package raftlog_test

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"
)

// BenchmarkAppendRoundTrip is one append after the other over loopback, to a follower that agrees at once.
func BenchmarkAppendRoundTrip(b *testing.B) {
	for _, kib := range []int{1, 8, 64} {
		b.Run(fmt.Sprint(kib, "KiB"), func(b *testing.B) {
			n := newNodeNet()
			g1, g2 := n.open(b, "n1", nil).Group(1), n.open(b, "n2", nil).Group(1)
			serveGroup(b, g2, accept)
			a := appendOf(1, 1, kib<<10)
			var resp raft.AppendEntriesResponse
			b.SetBytes(int64(kib << 10))
			b.ReportAllocs()
			for b.Loop() {
				require.NoError(b, g1.AppendEntries("n2.1", "n2.1", a, &resp))
			}
		})
	}
}

// BenchmarkAppendPipeline keeps the pipeline's window full.
func BenchmarkAppendPipeline(b *testing.B) {
	for _, kib := range []int{1, 8, 64, 256} {
		b.Run(fmt.Sprint(kib, "KiB"), func(b *testing.B) {
			n := newNodeNet()
			g1, g2 := n.open(b, "n1", nil).Group(1), n.open(b, "n2", nil).Group(1)
			serveGroup(b, g2, accept)
			p, err := g1.AppendEntriesPipeline("n2.1", "n2.1")
			require.NoError(b, err)
			total := make(chan int, 1)
			go func() {
				i := 0
				for ; ; i++ {
					select {
					case <-p.Consumer():
					case n := <-total:
						for ; i < n; i++ {
							<-p.Consumer()
						}
						total <- 0
						return
					}
				}
			}()
			a := appendOf(1, 1, kib<<10)
			b.SetBytes(int64(kib << 10))
			b.ReportAllocs()
			sent := 0
			for b.Loop() {
				_, err := p.AppendEntries(a, new(raft.AppendEntriesResponse))
				require.NoError(b, err)
				sent++
			}
			total <- sent
			<-total
			require.NoError(b, p.Close())
		})
	}
}

// BenchmarkIdleGroups reports what 300 groups of three replicas cost while nothing happens, all three nodes in this process: percent
// of one core, and goroutines of a group.
func BenchmarkIdleGroups(b *testing.B) {
	const groups = 300
	n := newNodeNet()
	names := []string{"n1", "n2", "n3"}
	change := func(c *raft.Config) {
		c.HeartbeatTimeout, c.ElectionTimeout, c.LeaderLeaseTimeout = 2*time.Second, 2*time.Second, time.Second
		c.CommitTimeout = 200 * time.Millisecond
	}
	var all [groups][]*replica
	for _, name := range names {
		tr := n.open(b, name, nil)
		tr.SetPeers(names)
		for g := range all {
			all[g] = append(all[g], openReplica(b, tr, name, uint64(g+1), servers(names...), change))
		}
	}
	for _, rs := range all {
		leaderOf(b, rs)
	}
	var before, after syscall.Rusage
	for b.Loop() {
		syscall.Getrusage(syscall.RUSAGE_SELF, &before)
		began := time.Now()
		<-time.After(3 * time.Second)
		syscall.Getrusage(syscall.RUSAGE_SELF, &after)
		used := after.Utime.Nano() + after.Stime.Nano() - before.Utime.Nano() - before.Stime.Nano()
		b.ReportMetric(100*float64(used)/float64(time.Since(began)), "%core")
	}
}
