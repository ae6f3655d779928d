package main

import "time"

const oursOne = "raftmq-one" // one partition, with as many in flight

func partitions8() row {
	s := sending{inFlight: 8 * 64, partitions: 8, duration: 10 * time.Second}
	one := s
	one.partitions = 1
	return row{
		name: "partitions8", work: "eight partitions, 64 in flight each",
		sides: []side{{ours, sendRaftmq(s)}, {oursOne, sendRaftmq(one)}, {theirs, sendNATS(natsOptions{}, s)}},
		measures: []measure{
			{what: "messages/s, to NATS without fsync", of: ratio(ours, theirs, rate), must: 1.2, goal: 2, unit: " ×"},
			{what: "messages/s, to one partition with 512 in flight", of: ratio(ours, oursOne, rate), must: 1, goal: 1.3, unit: " ×"},
		},
	}
}
