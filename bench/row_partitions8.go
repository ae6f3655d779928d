package main

import "time"

// One partition alone: what each of the eight is asked for, and what all of them together are.
const (
	oursOne64 = "raftmq-one-64"
	oursOne   = "raftmq-one"
)

func partitions8() row {
	s := sending{inFlight: 8 * 64, partitions: 8, duration: 10 * time.Second}
	one := s
	one.partitions = 1
	one64 := one
	one64.inFlight = 64
	return row{
		name: "partitions8", work: "eight partitions, 64 in flight each",
		sides: []side{{ours, sendRaftmq(s)}, {oursOne64, sendRaftmq(one64)}, {oursOne, sendRaftmq(one)}, {theirs, sendNATS(natsOptions{}, s)}},
		measures: []measure{
			{what: "messages/s, to NATS without fsync", of: ratio(ours, theirs, rate), must: 1.2, goal: 2, unit: " ×"},
			{what: "messages/s, to one partition with 64 in flight", of: ratio(ours, oursOne64, rate), must: 1, goal: 1.3, unit: " ×"},
			{what: "messages/s, to one partition with 512 in flight", of: ratio(ours, oursOne, rate), unit: " ×"},
		},
	}
}
