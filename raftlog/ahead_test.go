package raftlog_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"raftmq/internal/vfs"
	"raftmq/raftlog"
)

// The followers' syncs run beside the leader's, not after it.
func TestACommandTakesOneSync(t *testing.T) {
	inFleet(t, nil, func(t *testing.T, f *fleet) {
		f.put(many("before", 10)...) // the pipelines are open
		synctest.Wait()
		leader := f.leader()
		const sync = 100 * time.Millisecond
		f.slowDisks(sync)
		for _, c := range many("timed", 5) {
			began := time.Now()
			_, err := leader.replicas[0].Propose(t.Context(), []byte(c))
			require.NoError(t, err)
			require.Less(t, time.Since(began), 2*sync)
			time.Sleep(time.Second) // what follows an entry is synced too
		}
		f.slowDisks(0)
		f.equal()
		f.once(many("timed", 5)...)
	})
}

// What a majority of followers has synced is not acknowledged before the leader has, too. When it dies first, the command is done or it is
// not, for all; here it was on both.
func TestALeaderDiesBeforeItsOwnSync(t *testing.T) {
	inFleet(t, nil, func(t *testing.T, f *fleet) {
		f.put(many("before", 10)...)
		synctest.Wait()
		leader := f.leader()
		hung := f.disks[leader.name].Inject(vfs.Fault{Ops: vfs.Syncs, Hang: true})
		answer := make(chan error, 1)
		go func() {
			_, err := leader.replicas[0].Propose(t.Context(), []byte("ahead"))
			answer <- err
		}()
		<-hung.Struck()
		last := leader.replicas[0].Stats().Last
		for name, n := range f.nodes {
			if name != leader.name {
				eventually(t, "the followers have it", func() bool { return n.replicas[0].Stats().Last > last })
			}
		}
		synctest.Wait()
		require.Empty(t, answer, "acknowledged without the leader's sync")
		hung.Release()
		f.cut(leader.name, 7)
		if err := <-answer; err != nil {
			require.ErrorIs(t, err, raftlog.ErrUnknownOutcome)
		}
		f.leader()
		f.start(leader.name)
		f.equal()
		f.once("ahead")
	})
}

// A leader whose own write fails stops. What it had sent ahead has an unknown outcome, and the same one everywhere.
func TestALeaderCannotWriteWhatItSentAhead(t *testing.T) {
	inFleet(t, nil, func(t *testing.T, f *fleet) {
		f.put(many("before", 10)...)
		synctest.Wait()
		leader := f.leader()
		f.disks[leader.name].Inject(vfs.Fault{Ops: vfs.Syncs, Err: errors.New("input/output error")})
		_, err := leader.replicas[0].Propose(t.Context(), []byte("ahead"))
		require.ErrorIs(t, err, raftlog.ErrUnknownOutcome)
		f.cut(leader.name, 7)
		f.leader()
		f.start(leader.name)
		f.put(many("after", 10)...)
		f.equal()
		f.once(append(many("before", 10), many("after", 10)...)...)
		all, _ := f.witnesses[1].commands()
		require.Equal(t, 1, count(all, "ahead"), "both followers had it")
	})
}

func count(all []string, c string) (n int) {
	for _, a := range all {
		if a == c {
			n++
		}
	}
	return n
}
