package main

import "time"

func send1024() row {
	s := sending{inFlight: 1024, duration: 10 * time.Second}
	return row{
		name: "send1024", work: "1,024 in flight, one partition",
		sides:    []side{{ours, sendRaftmq(s)}, {theirs, sendNATS(natsOptions{}, s)}, {theirsSync, sendNATS(natsOptions{syncAlways: true}, s)}},
		measures: []measure{{what: "messages/s, to NATS without fsync", of: ratio(ours, theirs, rate), must: 1.2, goal: 2, unit: " ×"}},
	}
}
