package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"raftmq/jepsen/check"
	"raftmq/jepsen/history"
	"raftmq/jepsen/run"
	"raftmq/jepsen/sim"
)

// tried is what became of a seed: a line of seeds.jsonl.
type tried struct {
	Seed      uint64  `json:"seed"`
	Verdict   string  `json:"verdict"` // of the history; broke: there was none to judge
	Said      string  `json:"said,omitempty"`
	Workload  string  `json:"workload"`
	Nemesis   string  `json:"nemesis"`
	Seconds   float64 `json:"seconds"`   // that it took
	Processor float64 `json:"processor"` // of them, seconds of processor time of the nodes and clients
	Simulated float64 `json:"simulated"` // that passed
	Requests  int     `json:"requests"`
	Faults    int     `json:"faults"`
	Elections int     `json:"elections"` // won, in all groups
	Powerless int     `json:"powerless"` // nodes that lost their power
	Starts    int     `json:"starts"`    // of nodes, after their first
	Dir       string  `json:"dir,omitempty"`
}

const broke = "broke"

// mostUnknown is how many of the seeds, of one, may be unknown: some faults find nothing
// to strike, and some loads are held up by what they struck.
const mostUnknown = 0.1

func (x tried) failed() bool { return x.Verdict == check.Invalid.String() || x.Verdict == broke }

func simCommand() *cobra.Command {
	var seeds, from uint64
	var jobs, times int
	var store string
	var keep bool
	var budget time.Duration
	c := &cobra.Command{
		Use: "sim", Short: "Run many seeds in simulated time, with simulated disks and links", Args: cobra.NoArgs,
		Long: `Runs three whole nodes in one process whose time, network and disks are
simulated, under loads and faults that follow from a seed, once for each seed, and
judges each history. A minute takes a few seconds.

The store gets a line per seed in seeds.jsonl; seeds that are there are not run
again, so a run that was broken off goes on when it is started again. The folder of
a seed that failed is kept, is run again to see how often it fails, and then with
as few faults as do; those of valid ones are removed.

Exits with 2 if more than a tenth of the seeds are unknown.`,
		Example: "  jepsen sim --seeds 1000\n  jepsen sim --seeds 1 --from 4711 --keep",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := sim.Possible(); err != nil {
				return err
			}
			if seeds < 1 || jobs < 1 || times < 1 {
				return errors.New("at least one seed, one job and one time are needed")
			}
			h := &hunter{out: cmd.OutOrStdout(), store: store, keep: keep, times: times, budget: budget}
			h.try = h.simulate
			return h.run(cmd.Context(), from, seeds, jobs)
		},
	}
	f := c.Flags()
	f.Uint64Var(&seeds, "seeds", 100, "how many")
	f.Uint64Var(&from, "from", 1, "the first")
	f.IntVar(&jobs, "jobs", runtime.NumCPU(), "seeds that run at once, each on one processor")
	f.StringVar(&store, "store", "jepsen-sim", "directory of what is found")
	f.BoolVar(&keep, "keep", false, "keep the folders of all seeds")
	f.IntVar(&times, "times", 5, "how often a seed that failed, and each attempt to have it fail with fewer faults, is run again")
	f.DurationVar(&budget, "budget", 5*time.Minute, "begin no attempt after it; 0: look for nothing smaller")
	return c
}

// hunter runs seeds.
type hunter struct {
	out    io.Writer
	store  string
	keep   bool
	times  int
	budget time.Duration
	// try makes a run and says what it came to. An error: it could not be made.
	try func(ctx context.Context, s setting, plan []run.Planned) (tried, error)

	mu   sync.Mutex
	file *os.File
	all  []tried
}

func (h *hunter) run(ctx context.Context, from, seeds uint64, jobs int) (err error) {
	if err := os.MkdirAll(h.store, 0o755); err != nil {
		return err
	}
	if seeds-1 > math.MaxUint64-from {
		return fmt.Errorf("there are no %d seeds from %d on", seeds, from)
	}
	name := filepath.Join(h.store, "seeds.jsonl")
	before, torn, err := readTried(name)
	if err != nil {
		return err
	}
	if h.file, err = os.OpenFile(name, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.file.Close()) }()
	if torn { // else the next line would be part of it
		if _, err := h.file.WriteString("\n"); err != nil {
			return err
		}
	}
	for seed, x := range before {
		if seed-from < seeds { // of those that are asked for
			h.all = append(h.all, x)
		}
	}
	todo := make(chan uint64)
	var wg sync.WaitGroup
	var failed error
	for range jobs {
		wg.Go(func() {
			for seed := range todo {
				if err := h.seed(ctx, seed); err != nil {
					h.mu.Lock()
					failed = cmp.Or(failed, err)
					h.mu.Unlock()
				}
			}
		})
	}
	began := time.Now()
	for i := range seeds {
		seed := from + i
		if _, known := before[seed]; known {
			continue
		}
		h.mu.Lock()
		stop := failed != nil
		h.mu.Unlock()
		if stop || ctx.Err() != nil {
			break
		}
		todo <- seed
	}
	close(todo)
	wg.Wait()
	if err := cmp.Or(failed, ctx.Err()); err != nil {
		return err
	}
	return h.sum(time.Since(began))
}

// readTried reads the lines of an earlier run. A line may be torn, the last one: torn.
func readTried(name string) (out map[uint64]tried, torn bool, err error) {
	out = make(map[uint64]tried)
	b, err := os.ReadFile(name)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, false, err
	}
	for line := range bytes.Lines(b) {
		var x tried
		if json.Unmarshal(line, &x) == nil {
			out[x.Seed] = x
		}
	}
	return out, len(b) > 0 && b[len(b)-1] != '\n', nil
}

// seed runs one, and looks closer at one that fails.
func (h *hunter) seed(ctx context.Context, seed uint64) error {
	p := sim.Draw(history.Seed(seed))
	s := setting{Workload: strings.Join(p.Workloads, ","), Nemesis: strings.Join(p.Nemesis, ","), Backend: sim.Backend, Limit: p.Limit, Rate: p.Rate, Seed: seed}
	x, err := h.try(ctx, s, nil)
	if err != nil {
		return err
	}
	closer := x.failed()
	if !closer && !h.keep && x.Verdict == check.Valid.String() {
		if err := os.RemoveAll(x.Dir); err != nil {
			return err
		}
		x.Dir = ""
	}
	h.mu.Lock()
	h.all = append(h.all, x)
	b, err := json.Marshal(x)
	if err == nil {
		_, err = h.file.Write(append(b, '\n'))
	}
	if x.Verdict != check.Valid.String() {
		fmt.Fprintf(h.out, "seed %d: %s: %s\n  workload %s, nemesis %s\n  %s\n", seed, x.Verdict, x.Said, x.Workload, x.Nemesis, x.Dir)
	}
	if closer {
		fmt.Fprintf(h.out, "  again: %s sim --from %d --seeds 1 --keep --store %s-again\n", os.Args[0], seed, h.store)
	}
	h.mu.Unlock()
	if err != nil || !closer || h.budget <= 0 {
		return err
	}
	return h.closer(ctx, s, x)
}

// simulate is try in simulated time.
func (h *hunter) simulate(ctx context.Context, s setting, plan []run.Planned) (tried, error) {
	began := time.Now()
	x := tried{Seed: s.Seed, Workload: s.Workload, Nemesis: s.Nemesis}
	dir, took, err := perform(ctx, io.Discard, io.Discard, h.store, s, programs{}, plan)
	var rep *check.Report
	if err == nil {
		var ops []history.Op
		if ops, rep, err = judge(io.Discard, filepath.Join(dir, historyFile)); rep != nil {
			x.count(ops)
			if err != nil || h.keep {
				if err := conclude(dir, ops, rep, s.again()); err != nil {
					return x, err
				}
			}
		}
	}
	x.Dir, x.Seconds, x.Processor = dir, time.Since(began).Seconds(), took.Seconds()
	switch {
	case ctx.Err() != nil:
		return x, context.Cause(ctx)
	case rep != nil:
		x.Verdict, x.Said = rep.Verdict.String(), words(rep)
	case errors.Is(err, errBroke):
		x.Verdict, x.Said = broke, firstWords(filepath.Join(dir, said))
		if ops, err := history.Load(filepath.Join(dir, historyFile)); err == nil {
			x.count(ops)
		}
	default:
		return x, err
	}
	return x, nil
}

// count adds what a history tells of.
func (x *tried) count(ops []history.Op) {
	for i := range ops {
		op := &ops[i]
		x.Simulated = float64(op.Time) / 1e9
		switch {
		case op.Type == history.Invoke:
			x.Requests++
		case op.Event != nil && strings.HasPrefix(op.Event.What, "leadership") && strings.Contains(op.Event.What, "lead=true"):
			x.Elections++
		case op.Fault != nil:
			switch k := op.Fault.Kind; {
			case k == "start":
				x.Starts++
			case k == "exit" || k == "heal" || k == "resume":
			default:
				x.Faults++
				x.Powerless += powerless(k)
			}
		}
	}
}

// powerless is how many nodes lose their power by a fault.
func powerless(kind string) int {
	switch kind {
	case "power", "torn", "truncate-power":
		return 1
	case "power-majority":
		return 2
	case "power-all", "torn-all", "kill-power", "failed-sync-power":
		return run.Nodes
	}
	return 0
}

// words are the first contradiction of a report, or why it is not known.
func words(rep *check.Report) string {
	for _, want := range []check.Verdict{check.Invalid, check.Unknown} {
		for _, r := range rep.Results {
			if r.Verdict != want {
				continue
			}
			if len(r.Violations) > 0 {
				return r.ID + ": " + r.Violations[0].Text
			}
			return r.ID + ": " + strings.Join(r.Notes, "; ")
		}
	}
	return ""
}

// firstWords is what a process that broke off said of it.
func firstWords(file string) string {
	b, _ := os.ReadFile(file)
	for l := range strings.Lines(string(b)) {
		if l = strings.TrimSpace(l); strings.HasPrefix(l, "panic:") || strings.HasPrefix(l, "fatal error:") || strings.HasPrefix(l, "SIGQUIT") {
			return l
		}
	}
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	return strings.Join(lines[max(0, len(lines)-3):], " | ")
}

// closer runs what failed again, and then with ever fewer faults.
func (h *hunter) closer(ctx context.Context, s setting, x tried) error {
	tell := func(format string, args ...any) {
		h.mu.Lock()
		defer h.mu.Unlock()
		fmt.Fprintf(h.out, "  seed %d: "+format+"\n", append([]any{s.Seed}, args...)...)
	}
	b, err := os.ReadFile(filepath.Join(x.Dir, scheduleFile))
	var plan []run.Planned
	if err == nil {
		err = json.Unmarshal(b, &plan)
	}
	if err != nil {
		return err
	}
	best := x
	fails := func(less []run.Planned) (bool, error) {
		y, err := h.try(ctx, s, less)
		if err != nil {
			return false, err
		}
		if y.failed() {
			best = y
			return true, nil
		}
		return false, os.RemoveAll(y.Dir)
	}
	hits := 0
	for range h.times {
		hit, err := fails(plan)
		if err != nil {
			return err
		}
		if hit {
			hits++
		}
	}
	tell("fails in %d of %d more runs", hits, h.times)
	if hits == 0 {
		return nil
	}
	fewest, err := shrink(plan, h.budget, func(less []run.Planned) (bool, error) {
		for range h.times {
			if hit, err := fails(less); hit || err != nil {
				return hit, err
			}
		}
		return false, nil
	})
	if err != nil {
		return err
	}
	tell("fails with %d of %d faults: %s: %s\n  again: %s replay %s", len(fewest), len(plan), best.Dir, best.Said, os.Args[0], best.Dir)
	return nil
}

// sum says what all seeds came to. The error has the worst verdict.
func (h *hunter) sum(took time.Duration) error {
	var t tried
	verdicts := make(map[string]int)
	for _, x := range h.all {
		verdicts[x.Verdict]++
		t.Seconds += x.Seconds
		t.Processor += x.Processor
		t.Simulated += x.Simulated
		t.Requests += x.Requests
		t.Faults += x.Faults
		t.Elections += x.Elections
		t.Powerless += x.Powerless
		t.Starts += x.Starts
	}
	var counts []string
	for v, n := range verdicts {
		counts = append(counts, fmt.Sprintf("%d %s", n, v))
	}
	slices.Sort(counts)
	n := float64(max(1, len(h.all)))
	fmt.Fprintf(h.out, "%d seeds in %v: %s\n", len(h.all), took.Round(time.Second), strings.Join(counts, ", "))
	fmt.Fprintf(h.out, "%.1f h simulated; %d requests, %d faults, %d elections, %d power losses, %d restarts\n", t.Simulated/3600, t.Requests, t.Faults, t.Elections, t.Powerless, t.Starts)
	fmt.Fprintf(h.out, "per seed: %.1f s, %.2f s of processor time, %.0f s simulated, %.0f requests, %.1f faults, %.1f elections, %.1f power losses\n", t.Seconds/n, t.Processor/n, t.Simulated/n, float64(t.Requests)/n, float64(t.Faults)/n, float64(t.Elections)/n, float64(t.Powerless)/n)
	switch {
	case verdicts[check.Invalid.String()]+verdicts[broke] > 0:
		return verdictError{check.Invalid}
	case float64(verdicts[check.Unknown.String()]) > mostUnknown*n:
		return verdictError{check.Unknown}
	}
	return nil
}
