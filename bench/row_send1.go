package main

import "time"

func send1() row {
	s := sending{inFlight: 1, duration: 10 * time.Second}
	return row{
		name: "send1", work: "one in flight",
		sides: []side{{ours, sendRaftmq(s)}, {theirs, sendNATS(natsOptions{}, s)}, {theirsSync, sendNATS(natsOptions{syncAlways: true}, s)}},
		measures: []measure{{
			what: "p50, to the disk's fdatasync p50 of the run", unit: " ×", must: 3.5, goal: 2, less: true,
			of: func(at look) float64 { return at(ours, p50) / at(ours, diskSync) },
		}},
	}
}
