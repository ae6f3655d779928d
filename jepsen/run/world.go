package run

import (
	"errors"
	"fmt"
	"slices"

	"raftmq/jepsen/cluster"
	"raftmq/jepsen/link"
)

// World is where a run's nodes live if they are no processes.
type World interface {
	cluster.World
	// Join makes the network of the world's nodes, and of the clients behind them.
	Join(links *link.Net) Network
}

// simulated is the backend of a World.
var simulated = Backend{Name: "simulated", Why: "time, network and disks are simulated", Can: true, Links: true, Nodes: true, build: true}

// world is the cluster's; nil without one.
func (o Options) world() cluster.World {
	if o.World == nil {
		return nil
	}
	return o.World
}

// simulable says why a run in a World is not possible; near: it has workloads that need
// programs of this machine.
func (o Options) simulable(near bool) error {
	if near {
		return errors.New("stock clients do not reach simulated nodes")
	}
	for _, name := range o.Faults {
		if !Simulable(name) {
			return fmt.Errorf("fault %s: a simulated node cannot be stopped, have timers of its own, or run short of what a machine gives", name)
		}
	}
	return nil
}

// Simulable reports whether a fault is possible in a World.
func Simulable(fault string) bool {
	k := kindOf(fault)
	return k != nil && !k.stops && !k.timers && !k.other && k.here == nil && k.area != "resource"
}

// Simulated are the workloads that are possible in a World.
func Simulated() (names []string) {
	for _, w := range all {
		if !w.Apart && !w.Unmixed {
			names = append(names, w.Name)
		}
	}
	return names
}

// ExpandSimulated is Expand for a World: of areas, and of all, it gives what is possible
// there.
func ExpandSimulated(names []string) ([]string, error) {
	all, err := Expand(names)
	return slices.DeleteFunc(all, func(f string) bool { return !Simulable(f) && !slices.Contains(names, f) }), err
}
