package run

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
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
	Other   string // another release's raftmq; "": there is none
	Stock   string // RocketMQ's Go client, conformance/stockclient; "": it is not there
	Store   string // where history.jsonl, schedule.json and the nodes' files go; must exist, without them
	Seed    history.Seed
	// Workloads are names, or "mixed" alone for all of them.
	Workloads []string
	Faults    []string      // kinds to draw from; empty: none
	Schedule  []Planned     // the faults; nil: drawn by the seed
	Backend   string        // one of Backends; "": the best that is possible here
	World     World         // in place of processes; nil: they are. Program and Backend do not count then
	Limit     time.Duration // of the load; longer, if the faults are not over
	Rate      int           // operations per second, all workloads together
	Say       func(format string, args ...any)
}

// Nodes is how many a run has.
const Nodes = 3

const (
	topic       = "jepsen-log"
	partitions  = 3
	nodes       = Nodes
	enoughSends = 0.6              // of those planned; who waits through a fault sends nothing, so the load goes on until they were begun
	longRun     = 10 * time.Minute // and more: its logs have longer segments, or a node has tens of thousands of files, and takes ever longer to be copied and started
	longSegment = "1048576"
	overtime    = 3                // how many times its time, and a minute, a run takes at most, if the cluster needs long to be well after its faults
	probes      = 10 * time.Second // for a send in each queue after the last fault
	drainLimit  = 120 * time.Second
	alikeLimit  = 60 * time.Second
	lateEffect  = 4 * time.Second // behind the last send; a node holds a request for 2.5 s, and what its asker has given up may be stored so late
)

// run is what the parts of a run share.
type run struct {
	o       Options
	cluster *cluster.Cluster
	links   *link.Net        // nil: they cannot be broken
	breaks  bool             // so can disks and clocks
	clients []*client.Client // one per node, each naming all nodes, that one first
	lossy   []*client.Client // the same, with replies thrown away
	replies []*lossy         // to those
	pinned  []*client.Client // one per node, each speaking to that node alone
	parts   []*part
	ledger  *ledger // of transactions
	history *history.Writer
	sends   int // planned
	begun   time.Time
	sent    time.Time // when the last send had its outcome
	process atomic.Int64
	healed  []string // what was not well after the last fault
}

// Run does it and returns when all processes are gone. An error says that the run
// could not be made, or its history not be written to the end; that the cluster did
// not hold is for the history to say.
func Run(ctx context.Context, o Options) (err error) {
	plan := o.Schedule
	if plan == nil {
		if plan, err = schedule(o.Seed.Stream("nemesis"), o.Faults, nodes, o.Limit); err != nil {
			return err
		}
	}
	for _, p := range plan {
		if kindOf(p.Kind) == nil {
			return fmt.Errorf("the schedule has no fault %q", p.Kind)
		}
	}
	if err := Missing(o.Faults, o.Other != ""); err != nil {
		return err
	}
	b, err := json.MarshalIndent(plan, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(o.Store, "schedule.json"), append(b, '\n'), 0o644); err != nil {
		return err
	}
	r := &run{o: o}
	workloads, err := choose(o.Workloads)
	if err != nil {
		return err
	}
	if o.Stock == "" && slices.ContainsFunc(workloads, func(w Workload) bool { return w.Apart }) {
		return errors.New("the stock client's program is not there; make stockclient builds it")
	}
	backend, err := o.backend(slices.ContainsFunc(workloads, func(w Workload) bool { return w.Apart }))
	if err != nil {
		return err
	}
	if r.history, err = history.Create(filepath.Join(o.Store, "history.jsonl")); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.history.Close()) }()
	p := r.plan(workloads, plan)
	r.history.Add(history.Op{Process: "run", Type: history.Info, F: history.Run, Run: p})
	data := filepath.Join(o.Store, "nodes")
	if err := os.Mkdir(data, 0o755); err != nil {
		return err
	}
	net, err := r.open(backend)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, net.Close()) }()
	r.breaks = backend.Nodes
	o.Say("starting %d nodes on %s: %s", nodes, backend.Name, backend.Why)
	r.cluster, err = cluster.Start(ctx, cluster.Options{Program: o.Program, Other: o.Other, World: o.world(), Dir: data, Nodes: nodes, Slots: partitions, Network: net, Faults: backend.build && o.World == nil, Args: r.args(), OnExit: func(node, how string) {
		r.history.Add(history.Op{Process: "nemesis", Type: history.Info, F: history.Fault, Node: node, Fault: &history.Effect{Kind: "exit"}, Error: how})
	}, OnStart: func(node string) {
		r.history.Add(history.Op{Process: "nemesis", Type: history.Info, F: history.Started, Node: node})
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
		if err == nil {
			r.witness()
		}
	}()
	defer r.observe(ctx)()
	all := r.cluster.Endpoints()
	for i := range nodes {
		endpoints := client.WithEndpoints(append(append([]string(nil), all[i:]...), all[:i]...)...)
		l := &lossy{to: r.cluster.Dial, rng: o.Seed.Stream("lossy/" + strconv.Itoa(i))}
		r.replies = append(r.replies, l)
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
	for _, n := range r.cluster.Nodes {
		cl, err := dial(ctx, client.WithEndpoints(n.NameServer), client.WithDialer(r.cluster.Only(n)))
		if err != nil {
			return err
		}
		defer cl.Close(context.WithoutCancel(ctx))
		r.pinned = append(r.pinned, cl)
	}
	if err := r.createTopics(ctx); err != nil {
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

// plan divides the rate between the workloads and says what the run is to be.
func (r *run) plan(workloads []Workload, faults []Planned) *history.Plan {
	p := &history.Plan{Seed: uint64(r.o.Seed), Nemesis: strings.Join(r.o.Faults, ","), Faults: len(faults), Gentle: gentle(faults), Proves: []string{"disk", "terms"}, Groups: make(map[string][]string), Copies: make(map[string]history.CopiesOf), Keeps: make(map[string]int64), Retries: make(map[string]history.Retries)}
	var names []string
	for _, w := range workloads {
		names = append(names, w.Name)
		rate := float64(r.o.Rate) / float64(len(workloads))
		r.parts = append(r.parts, &part{Workload: w, rate: rate})
		p.Sends += int(w.Sends * rate * r.o.Limit.Seconds())
		for _, id := range w.Proves {
			if !slices.Contains(p.Proves, id) {
				p.Proves = append(p.Proves, id)
			}
		}
		for g, t := range w.Groups {
			p.Groups[g] = t.names()
		}
		maps.Copy(p.Retries, w.Retries)
	}
	r.sends = p.Sends
	p.Workload = strings.Join(names, ",")
	for i := range nodes {
		p.Nodes = append(p.Nodes, "n"+strconv.Itoa(i+1))
	}
	for _, t := range r.topics() {
		p.Queues = append(p.Queues, t.names()...)
		if least, err := strconv.ParseInt(t.Attributes["retention-bytes"], 10, 64); err == nil {
			p.Trims = append(p.Trims, t.names()...)
			p.Keeps[t.Name] = least
		}
		if t.Copies.Group != "" {
			for _, q := range t.names() {
				p.Copies[q] = t.Copies
			}
		}
	}
	return p
}

// args are the servers' flags: a workload's stand in place of what all runs have, and a long run's in place of both.
func (r *run) args() []string {
	out := append(slices.Clone(serverArgs), "--retention", max(leastRetention, 10*r.o.Limit).String())
	for _, p := range r.parts {
		out = append(out, p.Args...)
	}
	if r.o.Limit >= longRun {
		out = append(out, "--segment-bytes", longSegment)
	}
	return out
}

// load runs the workloads under the faults, heals, and lets the groups come to the
// end.
func (r *run) load(ctx context.Context, plan []Planned) error {
	watch, stopWatching := context.WithCancel(ctx)
	var watchers sync.WaitGroup
	defer watchers.Wait()
	defer stopWatching()
	var mu sync.Mutex
	var failed error
	for _, p := range r.parts {
		if err := p.start(r, p); err != nil {
			return fmt.Errorf("workload %s: %w", p.Name, err)
		}
		for _, w := range p.watches {
			watchers.Go(func() {
				if err := w(watch); err != nil {
					mu.Lock()
					failed = errors.Join(failed, fmt.Errorf("workload %s: %w", p.Name, err))
					mu.Unlock()
				}
			})
		}
	}
	r.o.Say("%d operations/s for %v, %d faults", r.o.Rate, r.o.Limit, len(plan))
	r.begun = time.Now()
	loading, stop := context.WithCancel(ctx)
	defer stop()
	var wg sync.WaitGroup
	for _, p := range r.parts {
		for _, l := range p.loads {
			wg.Go(func() { l(loading) })
		}
	}
	wg.Go(func() {
		defer stop()
		until, cancel := context.WithTimeout(loading, overtime*r.o.Limit+time.Minute)
		defer cancel()
		r.nemesis(until, plan)
		for more := sleep(until, time.Until(r.begun.Add(r.o.Limit))); more && float64(r.history.Sends()) < enoughSends*float64(r.sends); {
			more = sleep(until, 100*time.Millisecond)
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
	r.healed = append(r.healed, sideBySide(r.cluster.Nodes, func(n *cluster.Node) error { return n.AwaitReady(ctx) })...)
	for _, t := range r.topics() {
		if t.Copies.Group != "" {
			continue
		}
		if err := r.probe(ctx, t); err != nil {
			r.healed = append(r.healed, err.Error())
		}
	}
	r.sent = time.Now()
	groups := r.groups()
	sideBySide(slices.Sorted(maps.Keys(groups)), func(g string) error { r.drain(ctx, g, groups[g]); return nil })
	for _, p := range r.parts {
		if p.drain != nil {
			p.drain(ctx, r)
		}
	}
	stopWatching()
	watchers.Wait()
	for _, p := range r.parts {
		if p.settle == nil {
			continue
		}
		if err := p.settle(ctx, r); err != nil {
			r.healed = append(r.healed, err.Error())
		}
	}
	return errors.Join(failed, ctx.Err())
}

// sideBySide does something with all of a list at once, and gives what went wrong: each has the time that one has.
func sideBySide[T any](all []T, do func(T) error) (wrong []string) {
	errs := make([]error, len(all))
	var wg sync.WaitGroup
	for i, x := range all {
		wg.Go(func() { errs[i] = do(x) })
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			wrong = append(wrong, err.Error())
		}
	}
	return wrong
}
