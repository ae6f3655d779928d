package main

import "time"

func small() row {
	s := sending{inFlight: 1024, size: 128, duration: 10 * time.Second}
	return row{
		name: "small", work: "128-byte messages, 1,024 in flight",
		sides:    []side{{ours, sendRaftmq(s)}, {theirs, sendNATS(natsOptions{}, s)}},
		measures: []measure{{what: "messages/s, to NATS without fsync", of: ratio(ours, theirs, rate), must: 1.5, goal: 3, unit: " ×"}},
	}
}
