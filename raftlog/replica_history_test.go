package raftlog_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftmq/internal/vfs"
	"raftmq/raftlog"
)

// attempt is one command that a client proposed once. begun and ended are places in the order of all such moments.
type attempt struct {
	begun, ended int64
	place        uint64 // among all commands, if acknowledged
	err          error
}

// clients propose commands, each once, at any node.
type clients struct {
	nodes atomic.Pointer[map[string]*fleetNode]
	clock atomic.Int64
	stop  atomic.Bool
	wg    sync.WaitGroup

	mu  sync.Mutex
	all map[string]attempt
}

func (c *clients) run(who int, rnd *rand.Rand) {
	for i := 0; !c.stop.Load(); i++ {
		time.Sleep(time.Duration(rnd.IntN(20)) * time.Millisecond)
		n := (*c.nodes.Load())[fmt.Sprint("n", 1+rnd.IntN(4))]
		if n == nil {
			continue
		}
		command := fmt.Sprint(who, " ", i)
		a := attempt{begun: c.clock.Add(1)}
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		v, err := n.replicas[0].Propose(ctx, []byte(command))
		cancel()
		if a.ended, a.err = c.clock.Add(1), err; err == nil {
			a.place = v.(uint64)
		}
		c.mu.Lock()
		c.all[command] = a
		c.mu.Unlock()
	}
}

// check compares what the clients were told with what was applied.
func (c *clients) check(t *testing.T, log []string) (acked, unknown int) {
	place := make(map[string]int)
	earliest := int64(1 << 62) // end of what comes later in the log
	for i := len(log) - 1; i >= 0; i-- {
		require.Zero(t, place[log[i]], "twice: %s", log[i])
		place[log[i]] = i + 1
		a, ok := c.all[log[i]]
		if !ok {
			continue
		}
		require.Less(t, a.begun, earliest, "%s was begun after a later one had ended", log[i])
		if a.err == nil {
			earliest = min(earliest, a.ended)
		}
	}
	for command, a := range c.all {
		switch {
		case a.err == nil:
			acked++
			require.EqualValues(t, a.place, place[command], command)
		case errors.Is(a.err, raftlog.ErrUnknownOutcome):
			unknown++
		default:
			require.True(t, errors.Is(a.err, raftlog.ErrNotLeader) || errors.Is(a.err, raftlog.ErrClosed), a.err)
			require.Zero(t, place[command], "refused and applied: %s", command)
		}
	}
	return acked, unknown
}

// harm does one thing to the cluster.
func (f *fleet) harm(rnd *rand.Rand) string {
	names := []string{"n1", "n2", "n3", "n4"}
	name, other := names[rnd.IntN(4)], names[rnd.IntN(4)]
	n := f.nodes[name]
	var leader *raftlog.Replica
	for _, n := range f.nodes {
		if _, ok := n.replicas[0].Leads(); ok {
			leader = n.replicas[0]
		}
	}
	ctx := within(f.t, 2*time.Second)
	switch what := rnd.IntN(16); {
	case what < 3:
		f.net.cuts.HealAll()
		for _, name := range names {
			if f.nodes[name] == nil {
				f.start(name)
			}
		}
		return "heal"
	case what == 3:
		f.isolate(name)
		return "isolate " + name
	case what == 4:
		f.silence(name)
		return "silence " + name
	case what == 5 && name != other:
		f.net.cuts.Hang(name, other)
		return "hang " + name + " to " + other
	case what == 6 && n != nil:
		f.stop(name)
		return "stop " + name
	case what == 7 && n != nil:
		f.cut(name, rnd.Uint64())
		return "cut " + name
	case what == 8 && rnd.IntN(3) == 0:
		for _, name := range names {
			f.cut(name, rnd.Uint64())
		}
		return "cut all"
	case what >= 9 && what <= 11 && n == nil:
		f.start(name)
		return "start " + name
	case what == 12 && leader != nil:
		return fmt.Sprint("transfer to ", name, ": ", leader.Transfer(ctx, name))
	case what == 13 && n != nil:
		n.replicas[0].Nudge()
		return "nudge " + name
	case what == 14 && n != nil:
		if n.replicas[0].Checkpoint() == nil {
			c, _, _ := n.wal.Group(1).Checkpoint()
			if last, _ := n.wal.Group(1).LastIndex(); last > 0 {
				n.wal.Group(1).DeleteRange(1, min(c.Index, last-1))
			}
		}
		return "forget " + name
	case what == 15 && leader != nil:
		_, prev := leader.Members()
		switch rnd.IntN(3) {
		case 0:
			return fmt.Sprint("learner: ", leader.AddLearner(ctx, "n4.1", prev))
		case 1:
			return fmt.Sprint("voter: ", leader.AddVoter(ctx, "n4.1", prev))
		}
		return fmt.Sprint("remove: ", leader.Remove(ctx, "n4.1", prev))
	}
	return ""
}

// Random histories: commands at any node through cuts, hangs, restarts, power cuts, transfers, floors and changes of members. At the end
// all replicas are equal, what was acknowledged was applied once and in an order that agrees with real time, what was refused was not.
// RAFTMQ_HISTORIES says how many, RAFTMQ_SEED which is the first.
func TestRandomHistories(t *testing.T) {
	histories, first := 12, uint64(1)
	if n, err := strconv.Atoi(os.Getenv("RAFTMQ_HISTORIES")); err == nil {
		histories = n
	}
	if n, err := strconv.ParseUint(os.Getenv("RAFTMQ_SEED"), 10, 64); err == nil {
		first = n
	}
	if testing.Short() {
		histories = min(histories, 3)
	}
	for seed := first; seed < first+uint64(histories); seed++ {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			inFleet(t, func(f *fleet) {
				f.keep = 150
				f.disks["n4"] = vfs.NewMem(seed)
			}, func(t *testing.T, f *fleet) { randomHistory(t, f, seed) })
		})
	}
}

func randomHistory(t *testing.T, f *fleet, seed uint64) {
	rnd := rand.New(rand.NewPCG(seed, 1))
	c := &clients{all: make(map[string]attempt)}
	publish := func() {
		nodes := maps.Clone(f.nodes)
		c.nodes.Store(&nodes)
	}
	f.start("n4")
	publish()
	for who := range 4 {
		mine := rand.New(rand.NewPCG(seed, uint64(2+who)))
		c.wg.Go(func() { c.run(who, mine) })
	}
	for range 120 {
		time.Sleep(time.Duration(rnd.IntN(800)) * time.Millisecond)
		if what := f.harm(rnd); what != "" && testing.Verbose() {
			t.Log(time.Now().Format("05.000"), what)
		}
		publish()
	}
	c.stop.Store(true)
	c.wg.Wait()
	f.net.cuts.HealAll()
	for name := range f.disks {
		if f.nodes[name] == nil {
			f.start(name)
		}
	}
	time.Sleep(20 * time.Second)
	conf, _ := f.leader().replicas[0].Members()
	if len(conf.Servers) == 3 {
		f.stop("n4")
	}
	f.equal()
	log, found := f.witnesses[1].commands()
	require.Empty(t, found)
	acked, unknown := c.check(t, log)
	t.Logf("%d acknowledged, %d unknown, %d applied, term %d", acked, unknown, len(log), f.witnesses[1].last().Term)
	require.NotZero(t, acked)
}
