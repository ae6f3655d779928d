package run

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"raftmq/client"
	"raftmq/jepsen/cluster"
	"raftmq/jepsen/history"
	"raftmq/jepsen/link"
)

// Options are a run's.
type Options struct {
	Program string // the raftmq to run
	Store   string // where history.jsonl, schedule.json and the nodes' files go; must exist, without them
	Seed    history.Seed
	Faults  []string      // kinds to draw from; empty: none
	Backend string        // one of Backends; "": the best that is possible here
	Limit   time.Duration // of the load; longer, if the faults are not over
	Rate    int           // sends per second, all together
	Say     func(format string, args ...any)
}

const (
	topic      = "jepsen-log"
	group      = "jepsen-group"
	partitions = 3
	queues     = 2 // of a partition
	nodes      = 3
	senders    = 12
	members    = 2
	overtime   = 3                // how many times its time a run takes at most, if the cluster needs long to be well after its faults
	probes     = 10 * time.Second // for a send in each queue after the last fault
	drainLimit = 120 * time.Second
	alikeLimit = 60 * time.Second
)

// run is what the parts of a run share.
type run struct {
	o       Options
	cluster *cluster.Cluster
	links   *link.Net        // nil: they cannot be broken
	clients []*client.Client // one per node, each naming all nodes, that one first
	lossy   []*client.Client // the same, with replies thrown away
	history *history.Writer
	begun   time.Time
	process atomic.Int64
	healed  []string // what was not well after the last fault
}

func queueName(number int) string { return topic + "/" + strconv.Itoa(number) }

// Run does it and returns when all processes are gone. An error says that the run
// could not be made, or its history not be written to the end; that the cluster did
// not hold is for the history to say.
func Run(ctx context.Context, o Options) (err error) {
	plan, err := schedule(o.Seed.Stream("nemesis"), o.Faults, nodes, o.Limit)
	if err != nil {
		return err
	}
	b, err := json.MarshalIndent(plan, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(o.Store, "schedule.json"), append(b, '\n'), 0o644); err != nil {
		return err
	}
	backend, err := o.backend()
	if err != nil {
		return err
	}
	r := &run{o: o}
	if r.history, err = history.Create(filepath.Join(o.Store, "history.jsonl")); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.history.Close()) }()
	p := history.Plan{Seed: uint64(o.Seed), Workload: "log", Nemesis: fmt.Sprint(o.Faults), Groups: []string{group}, Sends: int(float64(o.Rate) * o.Limit.Seconds()),
		Faults: len(plan), Gentle: gentle(plan), Batches: true, Readers: 1, Idempotent: true}
	for i := range nodes {
		p.Nodes = append(p.Nodes, "n"+strconv.Itoa(i+1))
	}
	for q := range partitions * queues {
		p.Queues = append(p.Queues, queueName(q))
	}
	r.history.Add(history.Op{Process: "run", Type: history.Info, F: history.Run, Run: &p})
	data := filepath.Join(o.Store, "nodes")
	if err := os.Mkdir(data, 0o755); err != nil {
		return err
	}
	net, err := r.open(backend)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, net.Close()) }()
	o.Say("starting %d nodes on %s: %s", nodes, backend.Name, backend.Why)
	r.cluster, err = cluster.Start(ctx, cluster.Options{Program: o.Program, Dir: data, Nodes: nodes, Slots: partitions, Network: net, Faults: backend.build, Args: serverArgs, OnExit: func(node, how string) {
		r.history.Add(history.Op{Process: "nemesis", Type: history.Info, F: history.Fault, Node: node, Fault: &history.Effect{Kind: "exit"}, Error: how})
	}})
	if err != nil {
		return err
	}
	defer func() {
		op := history.Op{Process: "run", Type: history.OK, F: history.Stopped}
		if stop := r.cluster.Stop(); stop != nil {
			op.Type, op.Error = history.Info, stop.Error()
		}
		r.history.Add(op)
	}()
	all := r.cluster.Endpoints()
	for i := range nodes {
		endpoints := client.WithEndpoints(append(append([]string(nil), all[i:]...), all[:i]...)...)
		l := &lossy{to: r.cluster.Dial, rng: o.Seed.Stream("lossy/" + strconv.Itoa(i))}
		for _, x := range []struct {
			to   *[]*client.Client
			opts []client.Option
		}{{&r.clients, []client.Option{endpoints, client.WithDialer(r.cluster.Dial)}}, {&r.lossy, []client.Option{endpoints, client.WithDialer(l.dial)}}} {
			cl, err := dial(ctx, x.opts...)
			if err != nil {
				return err
			}
			defer cl.Close(context.WithoutCancel(ctx))
			*x.to = append(*x.to, cl)
		}
	}
	if err := r.clients[0].Admin().CreateTopic(ctx, client.TopicConfig{Name: topic, Partitions: partitions, Queues: queues}); err != nil {
		return err
	}
	if err := r.load(ctx, plan); err != nil {
		return err
	}
	return r.end(ctx)
}

// dial is client.Dial, and again if the reply was lost.
func dial(ctx context.Context, opts ...client.Option) (cl *client.Client, err error) {
	for range 5 {
		if cl, err = client.Dial(ctx, opts...); err == nil {
			break
		}
	}
	return cl, err
}

// load runs senders, readers and members under the faults, heals, and lets the
// group come to the end.
func (r *run) load(ctx context.Context, plan []Planned) error {
	watch, stopWatching := context.WithCancel(ctx)
	var watchers sync.WaitGroup
	defer watchers.Wait()
	defer stopWatching()
	failed := make(chan error, members)
	for i := range members {
		m, err := r.member(i)
		if err != nil {
			return err
		}
		watchers.Go(func() { failed <- m(watch) })
	}
	watchers.Go(func() { r.read(watch) })
	watchers.Go(func() { r.ask(watch) })

	r.o.Say("%d sends/s for %v, %d faults", r.o.Rate, r.o.Limit, len(plan))
	r.begun = time.Now()
	sending, stop := context.WithCancel(ctx)
	defer stop()
	var wg sync.WaitGroup
	for i := range senders {
		s, err := r.sender(i)
		if err != nil {
			return err
		}
		wg.Go(func() { s.run(sending) })
	}
	wg.Go(func() {
		defer stop()
		until, cancel := context.WithTimeout(sending, overtime*r.o.Limit)
		defer cancel()
		r.nemesis(until, plan)
		select {
		case <-time.After(time.Until(r.begun.Add(r.o.Limit))):
		case <-sending.Done():
		}
	})
	wg.Wait()
	if err := ctx.Err(); err != nil {
		return err
	}
	r.o.Say("healing")
	if err := r.mend(); err != nil {
		r.healed = append(r.healed, err.Error())
	}
	for _, n := range r.cluster.Nodes {
		if err := n.AwaitReady(ctx); err != nil {
			r.healed = append(r.healed, err.Error())
		}
	}
	if err := r.probe(ctx); err != nil {
		r.healed = append(r.healed, err.Error())
	}
	r.drain(ctx)
	stopWatching()
	watchers.Wait()
	close(failed)
	for err := range failed {
		if err != nil {
			return err
		}
	}
	return ctx.Err()
}
