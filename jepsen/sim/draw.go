package sim

import (
	"slices"
	"strings"
	"time"

	"raftmq/jepsen/history"
	"raftmq/jepsen/run"
)

// Plan is what a seed makes of a simulated run, beside its schedule.
type Plan struct {
	Workloads []string
	Nemesis   []string // names and areas of faults
	Limit     time.Duration
	Rate      int
}

// Bounds of a plan.
const (
	mostWorkloads           = 3
	shortestLoad            = 12 * time.Second
	longestLoad             = 25 * time.Second
	lowestRate, highestRate = 40, 120
)

// Draw makes the plan of a seed: a few loads, and a few areas of faults or all of them.
func Draw(seed history.Seed) (p Plan) {
	rng := seed.Stream("plan")
	loads := run.Simulated()
	rng.Shuffle(len(loads), func(i, j int) { loads[i], loads[j] = loads[j], loads[i] })
	p.Workloads = loads[:1+rng.IntN(mostWorkloads)]
	areas := slices.DeleteFunc(slices.Clone(run.Areas), func(area string) bool {
		some, err := run.ExpandSimulated([]string{area})
		return err != nil || len(some) == 0
	})
	rng.Shuffle(len(areas), func(i, j int) { areas[i], areas[j] = areas[j], areas[i] })
	p.Nemesis = areas[:1+rng.IntN(len(areas)-1)]
	if rng.IntN(4) == 0 {
		p.Nemesis = []string{"all"}
	}
	p.Limit = shortestLoad + time.Duration(rng.Int64N(int64(longestLoad-shortestLoad))).Round(time.Second)
	p.Rate = lowestRate + rng.IntN(highestRate-lowestRate)
	return p
}

func (p Plan) String() string {
	return strings.Join(p.Workloads, ",") + " under " + strings.Join(p.Nemesis, ",")
}
