package run

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

// Planned is a fault of the schedule, as offsets from the first send.
type Planned struct {
	At     time.Duration `json:"at"`
	Kind   string        `json:"kind"`             // a name of Kinds
	Target string        `json:"target"`           // leader or follower of the first partition, or a node's number from 0
	For    time.Duration `json:"for"`              // until it is undone
	Draw   uint64        `json:"draw"`             // what the fault draws itself follows from this
	Beside bool          `json:"beside,omitempty"` // it begins while the one before is in force
}

// Bounds of the schedule.
const (
	firstFault            = time.Second
	shortQuiet, longQuiet = time.Second, 4 * time.Second
	calm                  = 2 * time.Second // without faults at the end
	firstLasts            = 2 * time.Second // at least, so that somebody is seen to follow a leader
)

// schedule draws the faults of a run: one at a time, and now and then one of the network
// beside another that breaks no link. Two thirds are at a leader, the first one and recipes always. Each kind comes once
// before any comes again; of the later turns, power losses of all nodes have several places.
func schedule(rng *rand.Rand, kinds []string, nodes int, limit time.Duration) ([]Planned, error) {
	var out []Planned
	for _, k := range kinds {
		if kindOf(k) == nil {
			return nil, fmt.Errorf("no fault %q", k)
		}
	}
	draw := func(kind string, at time.Duration) Planned {
		k := kindOf(kind)
		p := Planned{At: at, Kind: kind, Target: "leader", For: k.short, Draw: rng.Uint64()}
		if k.long > k.short {
			p.For += time.Duration(rng.Int64N(int64(k.long - k.short))).Round(time.Millisecond)
		}
		if rng.IntN(3) == 0 && len(out) > 0 && k.area != "recipe" {
			p.Target = fmt.Sprint(rng.IntN(nodes))
		}
		return p
	}
	var network, others []string
	for _, k := range kinds {
		if kindOf(k).area == "network" {
			network = append(network, k)
		} else {
			others = append(others, k)
		}
	}
	var hat, later []string
	for _, k := range kinds {
		for range 1 + kindOf(k).more {
			later = append(later, k)
		}
	}
	for at := firstFault; len(kinds) > 0; {
		if len(hat) == 0 {
			if hat = slices.Clone(kinds); len(out) > 0 {
				hat = slices.Clone(later)
			}
			rng.Shuffle(len(hat), func(i, j int) { hat[i], hat[j] = hat[j], hat[i] })
		}
		p := draw(hat[0], at)
		hat = hat[1:]
		if len(out) == 0 {
			p.For = max(p.For, firstLasts)
		}
		if p.At+p.For+calm > limit {
			break
		}
		out = append(out, p)
		end := p.At + p.For
		if len(network) > 0 && slices.Contains(others, p.Kind) && rng.IntN(3) == 0 {
			b := draw(network[rng.IntN(len(network))], p.At+p.For/4)
			b.For, b.Beside = min(b.For, p.For), true
			if b.At+b.For+calm <= limit && !kindOf(p.Kind).links { // a link has one rule: the one would undo the other
				out = append(out, b)
				end = max(end, b.At+b.For)
			}
		}
		at = end + shortQuiet + time.Duration(rng.Int64N(int64(longQuiet-shortQuiet))).Round(time.Millisecond)
	}
	if len(kinds) > 0 && len(out) == 0 {
		return nil, fmt.Errorf("%v is too short for a fault", limit)
	}
	return out, nil
}

// rounds are the faults of a plan, each with those beside it. One that has lost the other, since
// that was left out of the plan, is a fault like any.
func rounds(plan []Planned) (out [][]Planned) {
	var end time.Duration // of the last one that others may be beside
	for _, p := range plan {
		if p.Beside && p.At < end {
			out[len(out)-1] = append(out[len(out)-1], p)
			continue
		}
		p.Beside, end = false, p.At+p.For
		out = append(out, []Planned{p})
	}
	return out
}
