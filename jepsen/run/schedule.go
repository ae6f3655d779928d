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
	Kind   string        `json:"kind"`   // kill or pause
	Target string        `json:"target"` // leader of the first partition, or a node's number from 0
	For    time.Duration `json:"for"`    // until it is undone
}

// Bounds of the schedule. A leader that is paused for less than its followers wait
// stays the leader, so pauses are of both kinds.
const (
	firstFault            = time.Second
	shortKill, longKill   = 500 * time.Millisecond, 3 * time.Second
	shortPause, longPause = 500 * time.Millisecond, 7 * time.Second
	shortQuiet, longQuiet = time.Second, 4 * time.Second
	calm                  = 2 * time.Second // without faults at the end
)

// Kinds are the faults that a schedule can have.
var Kinds = []string{"kill", "pause"}

// schedule draws the faults of a run: one at a time, two thirds of them at a leader,
// the first one always.
func schedule(rng *rand.Rand, kinds []string, nodes int, limit time.Duration) ([]Planned, error) {
	var out []Planned
	for _, k := range kinds {
		if !slices.Contains(Kinds, k) {
			return nil, fmt.Errorf("no fault %q", k)
		}
	}
	between := func(low, high time.Duration) time.Duration {
		return low + time.Duration(rng.Int64N(int64(high-low))).Round(time.Millisecond)
	}
	for at := firstFault; len(kinds) > 0; {
		p := Planned{At: at, Kind: kinds[rng.IntN(len(kinds))], Target: "leader"}
		if rng.IntN(3) == 0 && len(out) > 0 {
			p.Target = fmt.Sprint(rng.IntN(nodes))
		}
		p.For = between(shortKill, longKill)
		if p.Kind == "pause" {
			p.For = between(shortPause, longPause)
		}
		if len(out) == 0 {
			p.For = max(p.For, 2*time.Second)
		}
		if p.At+p.For+calm > limit {
			break
		}
		out = append(out, p)
		at = p.At + p.For + between(shortQuiet, longQuiet)
	}
	if len(kinds) > 0 && len(out) == 0 {
		return nil, fmt.Errorf("%v is too short for a fault", limit)
	}
	return out, nil
}
