package main

import "time"

func cpu() row {
	s := sending{inFlight: 1024, duration: 10 * time.Second}
	return row{
		name: "cpu", work: "servers' CPU per message at 1,024 in flight",
		sides:    []side{{ours, sendRaftmq(s)}, {theirs, sendNATS(natsOptions{}, s)}},
		measures: []measure{{what: "microseconds, to NATS", of: ratio(ours, theirs, cpuPerMsg), must: 1, goal: 0.5, less: true, unit: " ×"}},
	}
}
