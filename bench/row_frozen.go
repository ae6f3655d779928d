package main

import (
	"syscall"
	"time"
)

func frozen() row {
	return row{
		name: "frozen", work: "leader frozen (SIGSTOP) under load, 20 times (NATS 10), the client's gap", rounds: 1,
		sides: []side{{ours, gapsRaftmq("pause", 20)}, {theirs, gapsNATS(syscall.SIGSTOP, 10, 6*time.Second)}},
		measures: []measure{
			{what: "median", of: figure(ours, gapMedian), must: 1500, goal: 600, less: true, unit: " ms"},
			{what: "longest", of: figure(ours, gapMost), must: 3000, less: true, unit: " ms"},
		},
	}
}
