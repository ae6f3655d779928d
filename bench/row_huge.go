package main

import "time"

// copies is how often a message's bytes are written on one machine with three nodes: to the write-ahead log and to
// the commit log of each.
const copies = 6

func huge() row {
	s := sending{inFlight: 8, size: 4 << 20, duration: 10 * time.Second, warm: 3 * time.Second}
	return row{
		name: "huge", work: "4 MB messages, 8 in flight",
		sides: []side{{ours, sendRaftmq(s)}, {theirs, sendNATS(natsOptions{}, s)}},
		measures: []measure{{
			what: "bytes/s, to the disk's synced writes of 1 MB ÷ 6 copies", unit: " %", must: 60, goal: 80,
			of: func(at look) float64 { return 100 * at(ours, bandwidth) / (at(ours, diskStream) / copies) },
		}},
	}
}
