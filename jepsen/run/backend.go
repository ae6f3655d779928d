package run

import (
	"errors"
	"fmt"
	"io"
	"time"

	"raftmq/jepsen/cluster"
	"raftmq/jepsen/link"
	"raftmq/jepsen/netns"
	"raftmq/jepsen/proxy"
	"raftmq/jepsen/vclock"
)

// Backend is how nodes are run and joined.
type Backend struct {
	Name string
	Why  string // it is taken, or cannot be; in words
	Can  bool
	// What can be broken.
	Links, Nodes bool
	build        bool // the program is a test build
}

// Backends are the ways to run nodes with a program, the best first, and whether they
// are possible here.
func Backends(program string) ([]Backend, error) {
	build, err := cluster.TakesFaults(program)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", program, err)
	}
	spaces := Backend{Name: "netns", Can: true, Links: true, Nodes: build, build: build, Why: "network namespaces and TAP devices can be made"}
	if err := netns.Possible(); err != nil {
		spaces.Can, spaces.Why = false, err.Error()
	}
	relays := Backend{Name: "proxy", Can: build, Links: true, Nodes: build, build: build, Why: "the program is a test build, whose nodes call each other through relays"}
	if !build {
		relays.Why = "the program is no test build (-tags faults): its nodes cannot be told to call each other through relays"
	}
	return []Backend{spaces, relays, {Name: "loopback", Can: true, Nodes: build, build: build, Why: "needs nothing; links cannot be broken"}}, nil
}

// Timers says why a node cannot have timers of its own here; nil: it can.
func Timers() error { return vclock.Possible() }

// backend is the one to run on; near: processes that are no nodes must reach them.
func (o Options) backend(near bool) (b Backend, err error) {
	links, build, timers := Needs(o.Faults)
	if o.World != nil {
		return simulated, o.simulable(near)
	}
	all, err := Backends(o.Program)
	if err != nil {
		return b, err
	}
	if timers {
		if err := vclock.Possible(); err != nil {
			return b, fmt.Errorf("a node's own timers: %w", err)
		}
	}
	var why []error
	for _, b := range all {
		switch {
		case o.Backend != "" && b.Name != o.Backend:
			continue
		case !b.Can:
			err = errors.New(b.Why)
		case near && b.Name == "netns":
			err = errors.New("stock clients do not reach nodes there")
		case links && !b.Links:
			err = errors.New("links cannot be broken there")
		case build && !b.Nodes:
			err = errors.New("disks and clocks are broken in a test build only (-tags faults)")
		default:
			return b, nil
		}
		why = append(why, fmt.Errorf("backend %s: %w", b.Name, err))
	}
	if len(why) == 0 {
		return b, fmt.Errorf("no backend %q", o.Backend)
	}
	return b, errors.Join(why...)
}

// Network is a cluster's, to be closed after it.
type Network interface {
	cluster.Network
	io.Closer
}

// open makes the network.
func (r *run) open(b Backend) (Network, error) {
	names := []string{}
	for i := range nodes {
		names = append(names, fmt.Sprintf("n%d", i+1))
	}
	links := link.New(append(names, "clients"), r.o.Seed.Stream)
	if r.o.World != nil {
		r.links = links
		return r.o.World.Join(links), nil
	}
	switch b.Name {
	case "netns":
		r.links = links
		return netns.New(links)
	case "proxy":
		r.links = links
		return proxy.NewNetwork(links), nil
	}
	return cluster.Loopback{}, nil
}

// serverArgs make a node do within a run what otherwise takes hours, and its files small
// enough to have several of each.
var serverArgs = []string{"--max-body", "262144", "--wal-segment-bytes", "4194304", "--segment-bytes", "1048576", "--scrub-every", "3s", "--digest-interval", "5s", "--delete-when", "any"}

// leastRetention is for how long messages are kept where nothing else is set: longer than a
// run, and within what clocks jump by.
const leastRetention = time.Hour

// gentle reports that no fault of a plan takes a leader away for sure.
func gentle(plan []Planned) bool {
	for _, p := range plan {
		if kindOf(p.Kind).unseats && p.Target == "leader" {
			return false
		}
	}
	return true
}
