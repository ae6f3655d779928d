package run

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"raftmq/jepsen/cluster"
)

// kind is one way to break a cluster.
type kind struct {
	name        string
	area        string // one of Areas
	says        string // in words
	short, long time.Duration
	unseats     bool         // a leader that it is aimed at does not stay it, if it lasts
	links       bool         // needs a network whose links can be broken
	build       bool         // needs a test build
	timers      bool         // needs package vclock
	other       bool         // needs another release's program
	stops       bool         // needs processes, which can be stopped and go on
	apart       bool         // only by its own name: it may show what is known, and not mended
	here        func() error // why this machine cannot do it; nil: any can
	more        int          // how many more times it comes in each turn but the first
	begin       func(ctx context.Context, h *hit) error
}

// hit is a fault under way. What begin sets is done in this order: it lasts, it is
// proved, it is undone.
type hit struct {
	*run
	p      Planned
	rng    *rand.Rand      // of p.Draw
	node   *cluster.Node   // whom it is aimed at
	also   []*cluster.Node // all others, in an order drawn
	beside bool            // another fault is in force too

	pid    int
	detail string                          // what was done
	count  int64                           // how much it did
	lasts  func(ctx context.Context)       // nil: waits for as long as was planned
	proof  func(ctx context.Context) error // that it had an effect; nil: begin saw it
	undo   func(ctx context.Context) error
	undone string // what undo is called
}

// draw is between low and high.
func (h *hit) draw(low, high time.Duration) time.Duration {
	return low + time.Duration(h.rng.Int64N(int64(high-low))).Round(time.Millisecond)
}

// endedWith is an error if the node, which may end by itself and has, did so with none of these exit codes. Then that is
// told like any end by itself: a fault of the disk is no reason to panic.
func (h *hit) endedWith(code int, may ...int) error {
	if slices.Contains(may, code) {
		return nil
	}
	h.node.TellEnd()
	return fmt.Errorf("%s ended with %d, not with %d", h.node.Name, code, may[0])
}

// number is a node's.
func (h *hit) number(n *cluster.Node) int { return slices.Index(h.cluster.Nodes, n) }

// Kinds are the names of the faults, by area.
func Kinds() (names []string) {
	for _, k := range kinds() {
		names = append(names, k.name)
	}
	return names
}

// Areas are the groups that faults can be named by.
var Areas = []string{"process", "resource", "network", "disk", "clock", "recipe"}

// Describe is a table row of each fault: area, name, what it does.
func Describe() (rows [][3]string) {
	for _, k := range kinds() {
		rows = append(rows, [3]string{k.area, k.name, k.says})
	}
	return rows
}

// Expand turns names of faults and areas, and "all", into names of faults, each once. What this
// machine cannot do, what needs another program and what is apart is only there by its own name.
func Expand(names []string) (out []string, err error) {
	for _, name := range names {
		some := false
		for _, k := range kinds() {
			if name == "all" || name == k.area || name == k.name {
				some = true
				if name != k.name && (k.other || k.apart || k.missing() != nil) {
					continue
				}
				if !slices.Contains(out, k.name) {
					out = append(out, k.name)
				}
			}
		}
		if !some {
			return nil, fmt.Errorf("no nemesis %q", name)
		}
	}
	return out, nil
}

// Needs says what the named faults need: links that can be broken, a test build, a
// process's own timers.
func Needs(names []string) (links, build, timers bool) {
	for _, name := range names {
		if k := kindOf(name); k != nil {
			links, build, timers = links || k.links, build || k.build, timers || k.timers
		}
	}
	return links, build, timers
}

// missing says why this machine cannot do it.
func (k *kind) missing() error {
	if k.here == nil {
		return nil
	}
	return k.here()
}

// Missing says why this machine cannot do the named faults; nil: it can, but for what Needs says.
// other says whether another release's program is there.
func Missing(names []string, other bool) error {
	for _, name := range names {
		k := kindOf(name)
		if k == nil {
			continue
		}
		if err := k.missing(); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if k.other && !other {
			return fmt.Errorf("%s: no other program is named (--other)", name)
		}
	}
	return nil
}

func kinds() []kind {
	return slices.Concat(processFaults, resourceFaults, networkFaults, diskFaults, clockFaults, recipes)
}

func kindOf(name string) *kind {
	for _, k := range kinds() {
		if k.name == name {
			return &k
		}
	}
	return nil
}
