package main

import "time"

// Names of sides.
const (
	ours       = "raftmq"
	theirs     = "nats"
	theirsSync = "nats-sync" // sync_interval: always
)

func send64() row {
	s := sending{inFlight: 64, duration: 10 * time.Second}
	return row{
		name: "send64", work: "64 in flight, one partition",
		sides: []side{{ours, sendRaftmq(s)}, {theirs, sendNATS(natsOptions{}, s)}, {theirsSync, sendNATS(natsOptions{syncAlways: true}, s)}},
		measures: []measure{
			{what: "messages/s, to NATS without fsync", of: ratio(ours, theirs, rate), must: 1.1, goal: 1.5, unit: " ×"},
			{what: "messages/s, to NATS with fsync", of: ratio(ours, theirsSync, rate), must: 2.5, goal: 4, unit: " ×"},
		},
	}
}
