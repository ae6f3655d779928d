package run

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"time"

	"github.com/stretchr/testify/require"

	"raftmq/client"
	"raftmq/internal/faults"
	"raftmq/internal/vfs/faultfs"
	"raftmq/jepsen/cluster"
	"raftmq/jepsen/history"
	"raftmq/jepsen/link"
	"raftmq/jepsen/vclock"
	"raftmq/remoting"
)

// toys is a world of nodes that are ready at once, take orders, and do nothing.
type toys struct {
	web    *httptest.Server
	serves string // where clients are served; "": nowhere

	mu    sync.Mutex
	lives [nodes]*toy
	pids  int
	deaf  int // takes no orders; -1: none
	rules [nodes][]faultfs.Rule
	wrong [nodes]bool // its clock
	cuts  [nodes]int
	kept  int      // sectors that a power cut leaves
	exits []string // that were told
}

type toy struct {
	pid   int
	ended chan struct{}
	code  int
	last  int // code with which it ends when it is told to
}

func (l *toy) PID() int               { return l.pid }
func (l *toy) Ended() <-chan struct{} { return l.ended }
func (l *toy) Code() int              { return l.code }
func (l *toy) How() string            { return fmt.Sprintf("exit status %d", l.code) }
func (l *toy) Kill() error            { l.end(-1); return nil }
func (l *toy) End()                   { l.end(l.last) }
func (l *toy) end(code int)           { l.code = code; close(l.ended) }

func (w *toys) Begin(p cluster.Place) (cluster.Life, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.pids++
	w.rules[p.Number], w.wrong[p.Number] = nil, false
	w.lives[p.Number] = &toy{pid: w.pids, ended: make(chan struct{})}
	return w.lives[p.Number], nil
}

func (w *toys) Web(ctx context.Context, _ int) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, "tcp", w.web.Listener.Addr().String())
}

func (w *toys) Order(node int, o faults.Order) (a faults.Answer, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if node == w.deaf {
		return a, errors.New("it does not answer")
	}
	if o.Disk != nil {
		w.rules[node] = *o.Disk
	}
	if o.Clock != nil {
		w.wrong[node] = !o.Clock.Back
	}
	return a, nil
}

func (w *toys) CutPower(node int, _ float64, _ *rand.Rand) (faultfs.Lost, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cuts[node]++
	return faultfs.Lost{Sectors: 1, SectorsKept: w.kept}, nil
}

func (w *toys) Wipe(int) error                      { return nil }
func (w *toys) Files(int) fs.FS                     { return fstest.MapFS{} }
func (w *toys) Flip(int, string, int64, byte) error { return nil }

// toyNet has clients of toys speak to one server.
type toyNet struct {
	cluster.Loopback
	w *toys
}

func (n toyNet) Dial(ctx context.Context, _ int, _ string) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, "tcp", n.w.serves)
}

// toyRun is a run of toys.
func toyRun(t *testing.T, replicas func(node int) []cluster.Replica) (*run, *toys) {
	w := &toys{deaf: -1}
	var r *run
	w.web = httptest.NewServer(http.HandlerFunc(func(out http.ResponseWriter, q *http.Request) {
		var rs []cluster.Replica
		if node := slices.Index(hosts(r), q.Host); replicas != nil && node >= 0 {
			rs = replicas(node)
		}
		json.NewEncoder(out).Encode(rs)
	}))
	t.Cleanup(w.web.Close)
	store := t.TempDir()
	h, err := history.Create(filepath.Join(store, "history.jsonl"))
	require.NoError(t, err)
	r = &run{o: Options{Seed: 1, Store: store, Say: t.Logf}, breaks: true, history: h, begun: time.Now()}
	c, err := cluster.Start(t.Context(), cluster.Options{World: w, Dir: t.TempDir(), Nodes: nodes, Slots: partitions, Network: toyNet{w: w}, OnExit: func(node, how string) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.exits = append(w.exits, node+" "+how)
	}})
	require.NoError(t, err)
	t.Cleanup(func() { c.Stop() })
	r.cluster = c
	return r, w
}

// hosts are where the nodes' HTTP is, by node: three ports above the name server's.
func hosts(r *run) (out []string) {
	if r == nil || r.cluster == nil {
		return nil
	}
	for _, n := range r.cluster.Nodes {
		host, port, _ := net.SplitHostPort(n.NameServer)
		var number int
		fmt.Sscan(port, &number)
		out = append(out, net.JoinHostPort(host, fmt.Sprint(number+3)))
	}
	return out
}

func (r *run) hit(seed uint64) *hit {
	h := &hit{run: r, rng: rand.New(rand.NewPCG(seed, 0)), node: r.cluster.Nodes[0], also: r.cluster.Nodes[1:]}
	h.p.For = 300 * time.Millisecond
	return h
}

// What could not be undone when its time was over is undone before the cluster is judged.
func TestAfterTheLastFaultNothingIsBroken(t *testing.T) {
	r, w := toyRun(t, nil)
	_, err := r.cluster.Nodes[0].Order(faults.Order{Disk: &[]faultfs.Rule{{Full: true, Error: "ENOSPC"}}})
	require.NoError(t, err)
	require.NoError(t, r.cluster.Nodes[1].SetClock(vclock.Change{Jump: time.Hour}))
	_, err = r.cluster.Nodes[2].Kill()
	require.NoError(t, err)
	require.NoError(t, r.mend())
	require.Empty(t, w.rules[0])
	require.False(t, w.wrong[1])
	require.True(t, r.cluster.Nodes[2].Running())
}

// A node that cannot be told to hold its syncs leaves no other behind that holds them.
func TestPowerGoesThoughANodeTakesNoOrders(t *testing.T) {
	for seed := range uint64(8) {
		r, w := toyRun(t, nil)
		w.deaf = 1
		h := r.hit(seed)
		require.NoError(t, kindOf("power-all").begin(t.Context(), h), "seed %d", seed)
		require.Equal(t, [nodes]int{1, 1, 1}, w.cuts)
		require.NoError(t, h.undo(t.Context()))
		for i, n := range r.cluster.Nodes {
			require.True(t, n.Running())
			require.Empty(t, w.rules[i])
		}
	}
}

// Of what was torn something was lost, and something is there.
func TestWhatIsTornIsThereInPart(t *testing.T) {
	for _, kept := range []int{0, 1} {
		r, w := toyRun(t, nil)
		w.kept = kept
		h := r.hit(1)
		err := kindOf("torn").begin(t.Context(), h)
		if kept > 0 {
			require.NoError(t, err)
		} else {
			require.ErrorContains(t, err, "no more than a loss of power")
		}
		require.NoError(t, h.undo(t.Context()))
	}
}

// That packets come twice is seen by those that did, not by those that are late beside.
func TestWhatIsOnlyLateDoesNotComeTwice(t *testing.T) {
	r, _ := toyRun(t, nil)
	r.links = link.New([]string{"n1", "n2", "n3", "clients"}, func(string) *rand.Rand { return rand.New(rand.NewPCG(1, 1)) })
	for _, stream := range []bool{true, false} {
		h := r.hit(1)
		require.NoError(t, kindOf("duplicate").begin(t.Context(), h))
		for range 100 {
			if l := r.links.Link(0, 1); stream { // of which nothing is doubled
				l.Chunk(link.Raft, 1000)
			} else {
				l.Packet(link.Gossip, 1000)
			}
		}
		if err := h.proof(t.Context()); stream {
			require.ErrorContains(t, err, "nothing went by that it could strike")
		} else {
			require.NoError(t, err)
			require.Less(t, h.count, int64(100))
		}
		require.NoError(t, h.undo(t.Context()))
	}
}

// A node that must end, since its disk failed, and ends otherwise is told to have ended by itself.
func TestANodeThatMayEndMayNotPanic(t *testing.T) {
	for _, kind := range []string{"fsync-error", "write-error", "fsync-hang"} {
		for _, code := range []int{exitDisk, 2} {
			r, w := toyRun(t, nil)
			h := r.hit(1)
			require.NoError(t, kindOf(kind).begin(t.Context(), h))
			w.lives[0].end(code)
			err := h.proof(t.Context())
			if code == exitDisk {
				require.NoError(t, err)
				require.Empty(t, w.exits)
			} else {
				require.ErrorContains(t, err, "ended with 2")
				require.Len(t, w.exits, 1)
				require.Contains(t, w.exits[0], "n1 exit status 2")
			}
		}
	}
}

// So is one that may end, since it sees that what it counts on is damaged.
func TestANodeWhoseFilesAreDamagedMayNotPanic(t *testing.T) {
	for _, code := range []int{exitKilled, 2} {
		r, w := toyRun(t, nil)
		h := r.hit(1)
		h.node.MayEnd(true)
		w.lives[0].end(code)
		_, err := h.node.AwaitEnd(t.Context(), time.Minute)
		require.NoError(t, err)
		err = h.startOrReplace(t.Context())
		if code == exitKilled {
			require.NoError(t, err)
			require.True(t, h.node.Running())
			require.Empty(t, w.exits)
		} else {
			require.ErrorContains(t, err, "ended with 2")
			require.Len(t, w.exits, 1)
			require.Contains(t, w.exits[0], "n1 exit status 2")
		}
	}
}

// One that is told to end may not panic either.
func TestANodeThatIsToldToEndEndsWell(t *testing.T) {
	for _, code := range []int{0, 2} {
		r, w := toyRun(t, nil)
		w.lives[0].last = code
		h := r.hit(1)
		err := kindOf("restart").begin(t.Context(), h)
		if code == 0 {
			require.NoError(t, err)
			require.Empty(t, w.exits)
		} else {
			require.Error(t, err)
			require.Len(t, w.exits, 1)
			require.Contains(t, w.exits[0], "n1 exit status 2")
		}
		require.NoError(t, h.undo(t.Context()))
		require.True(t, h.node.Running())
	}
}

// One that does not run, since it has just ended by itself, is not restarted.
func TestANodeThatDoesNotRunIsNotRestarted(t *testing.T) {
	r, _ := toyRun(t, nil)
	h := r.hit(1)
	_, err := h.node.Kill()
	require.NoError(t, err)
	require.ErrorContains(t, kindOf("restart").begin(t.Context(), h), "does not run")
	require.NoError(t, h.undo(t.Context()))
	require.True(t, h.node.Running())
}

// That a clock jumps is seen by the clock: toys take the order, and do not heed it.
func TestAClockThatStaysIsNotStrobed(t *testing.T) {
	r, _ := toyRun(t, nil)
	h := r.hit(1)
	require.ErrorContains(t, kindOf("clock-strobe").begin(t.Context(), h), "the clock is off by ")
}

// That a leader is moved is seen by its terms, not by what it answers.
func TestLeadersThatStayAreNotMoved(t *testing.T) {
	for _, moves := range []bool{true, false} {
		var term atomic.Uint64
		r, w := toyRun(t, func(node int) []cluster.Replica {
			return []cluster.Replica{{ID: 1, Topic: topic, State: []string{"Leader", "Follower", "Follower"}[node], Term: term.Load()}}
		})
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		s := &remoting.Server{Handler: remoting.HandlerFunc(func(_ context.Context, _ *remoting.ServerConn, req *remoting.Command) *remoting.Command {
			switch req.Code {
			case remoting.ListLeaders:
				return req.ReplyWith(nil, remoting.EncodeBody(remoting.PartitionLeaders{Partitions: []remoting.PartitionLeader{{Partition: 1, Topic: topic, Leader: "n1"}}}))
			case remoting.MoveLeader:
				if moves {
					term.Add(1)
				}
			}
			return req.ReplyWith(nil, nil)
		})}
		go s.Serve(ln) // ends with Close
		t.Cleanup(func() { s.Close() })
		w.serves = ln.Addr().String()
		h := r.hit(1)
		require.NoError(t, kindOf("move-leaders").begin(t.Context(), h))
		h.lasts(t.Context())
		require.Positive(t, h.count)
		err = h.proof(t.Context())
		if moves {
			require.NoError(t, err)
		} else {
			require.ErrorContains(t, err, "nobody leads in a later term")
		}
	}
}

// A sync that did not fail in time does not fail later.
func TestASyncThatIsToFailDoesSoInTimeOrNot(t *testing.T) {
	r, w := toyRun(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.Error(t, kindOf("failed-sync-power").begin(ctx, r.hit(1)))
	require.Empty(t, w.rules[0])
	w.lives[0].end(exitDisk)
	require.Eventually(t, func() bool { w.mu.Lock(); defer w.mu.Unlock(); return len(w.exits) == 1 }, time.Minute, time.Millisecond, "it may not end any more")
}

// The history names the node that was struck, also if the fault has chosen it itself.
func TestAHalfIsKilledWhereItLies(t *testing.T) {
	r, _ := toyRun(t, func(node int) (rs []cluster.Replica) {
		rs = append(rs, cluster.Replica{ID: 1, Topic: topic, State: []string{"Leader", "Follower", "Follower"}[node], Term: 2})
		for i := range transactionsTopic.Partitions {
			rs = append(rs, cluster.Replica{ID: uint64(4 + i), Topic: transactionsTopic.Name, State: []string{"Follower", "Leader", "Follower"}[node], Term: 2})
		}
		return rs
	})
	r.ledger = &ledger{}
	struck := make(chan struct{})
	go func() {
		defer close(struck)
		for {
			if f := r.ledger.between.Swap(nil); f != nil {
				(*f)(0)
				return
			}
			time.Sleep(time.Millisecond)
		}
	}()
	r.strike(t.Context(), Planned{Kind: "half-kill", Target: "leader", For: 10 * time.Millisecond}, false)
	<-struck
	require.NoError(t, r.history.Close())
	ops, err := history.Load(filepath.Join(r.o.Store, "history.jsonl"))
	require.NoError(t, err)
	require.Len(t, ops, 2)
	for _, op := range ops {
		require.Equal(t, "n2", op.Node, op.Fault.Kind)
		require.True(t, op.Fault.Verified, op.Error)
	}
}

// Whoever leads is killed when the decision is made, and not if its producer knows by then.
func TestWhoHasDecidedIsKilledBeforeItsAnswer(t *testing.T) {
	for _, c := range []struct {
		name          string
		made, answers bool
	}{{"unanswered", true, false}, {"answered", true, true}, {"undecided", false, false}} {
		t.Run(c.name, func(t *testing.T) {
			r, _ := toyRun(t, func(node int) (rs []cluster.Replica) {
				for i := range transactionsTopic.Partitions {
					rs = append(rs, cluster.Replica{ID: uint64(4 + i), Topic: transactionsTopic.Name, State: []string{"Follower", "Leader", "Follower"}[node], Term: 2})
				}
				return rs
			})
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			require.NoError(t, err)
			s := &remoting.Server{Handler: remoting.HandlerFunc(func(_ context.Context, _ *remoting.ServerConn, req *remoting.Command) *remoting.Command {
				if req.Code == remoting.GetBrokerClusterInfo {
					return req.ReplyWith(nil, remoting.EncodeBody(remoting.ClusterInfo{BrokerAddrTable: map[string]remoting.BrokerData{"raftmq-1": {BrokerAddrs: map[int64]string{0: ln.Addr().String()}}}}))
				}
				x := remoting.Transaction{Slot: 1, Offset: 64, State: "pending"}
				if c.made {
					x.State, x.DecidedBy = "rolled back", "producer"
				}
				return req.ReplyWith(nil, remoting.EncodeBody(remoting.TransactionList{Transactions: []remoting.Transaction{x}}))
			})}
			go s.Serve(ln) // ends with Close
			t.Cleanup(func() { s.Close() })
			cl, err := client.Dial(t.Context(), client.WithEndpoints(ln.Addr().String()))
			require.NoError(t, err)
			t.Cleanup(func() { cl.Close(context.Background()) })
			r.clients = append(r.clients, cl)
			h := r.hit(1)
			d := &deciding{name: "1-64", slot: 1, answered: make(chan struct{})}
			if c.answers {
				close(d.answered)
			}
			killed, err := h.killUnanswered(t.Context(), d)
			require.NoError(t, err)
			require.Equal(t, c.made && !c.answers, killed)
			require.Equal(t, !killed, r.cluster.Nodes[1].Running())
			if killed {
				require.Equal(t, r.cluster.Nodes[1], h.node)
				require.Contains(t, h.detail, "1-64 was rolled back")
				require.NoError(t, h.undo(t.Context()))
			}
		})
	}
}
