package main

import (
	"fmt"
	"slices"
	"strings"
)

// rows in the order of the table.
func rows() []row {
	return []row{
		send64(), send1024(), partitions8(), engine(), send1(), endToEnd(), backlog(), cpu(), tenMinutes(), small(), huge(),
		idle300(), partitions1000(), killed(), frozen(), timers(), log5GB(), pulls(), connections(), natsProcs(),
		rocketMQ1(), rocketMQ64(), rocketMQ1024(),
		curveInFlight(), curvePartitions(), curveSize(), curveBacklog(),
	}
}

// pick returns the rows that are named, in the order of the table; all if none is.
func pick(all []row, names string) ([]row, error) {
	if names == "" {
		return all, nil
	}
	wanted := strings.Split(names, ",")
	var picked []row
	for _, w := range all {
		if i := slices.Index(wanted, w.name); i >= 0 {
			picked = append(picked, w)
			wanted = slices.Delete(wanted, i, i+1)
		}
	}
	if len(wanted) > 0 {
		return nil, fmt.Errorf("no row %s", strings.Join(wanted, ", "))
	}
	return picked, nil
}
