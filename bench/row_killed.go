package main

import (
	"syscall"
	"time"
)

func killed() row {
	return row{
		name: "killed", work: "leader killed with -9 under load, 50 times (NATS 10), the client's gap", rounds: 1,
		sides: []side{{ours, gapsRaftmq("kill", 50)}, {theirs, gapsNATS(syscall.SIGKILL, 10, 4*time.Second)}},
		measures: []measure{
			{what: "median", of: figure(ours, gapMedian), must: 500, goal: 150, less: true, unit: " ms"},
			{what: "longest but one", of: figure(ours, gapSecond), must: 1500, less: true, unit: " ms"},
			{what: "longest", of: figure(ours, gapMost), goal: 500, less: true, unit: " ms"},
		},
	}
}
