package main

import "time"

func tenMinutes() row {
	s := sending{inFlight: 64, duration: 10 * time.Minute}
	return row{
		name: "tenminutes", work: "ten minutes at 64 in flight, write-back included", rounds: 1,
		sides: []side{{ours, sendRaftmq(s)}},
		measures: []measure{{
			what: "p99, to p50", unit: " ×", must: 8, goal: 5, less: true,
			of: func(at look) float64 { return at(ours, p99) / at(ours, p50) },
		}},
	}
}
