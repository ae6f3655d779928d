package main

import (
	"runtime"
	"time"
)

const theirsShared = "nats-shared" // each server has its share of the processors

// natsProcs finds out whether NATS is faster if each server reckons with its share of the machine, as "raftmq dev" has its nodes do.
func natsProcs() row {
	share := max(1, (runtime.NumCPU()+2)/3)
	few, many := sending{inFlight: 64, duration: 10 * time.Second}, sending{inFlight: 1024, duration: 10 * time.Second}
	return row{
		name: "natsprocs", work: "NATS alone, GOMAXPROCS of a server its share or its own choice",
		sides: []side{
			{theirs, sendNATS(natsOptions{}, few)}, {theirsShared, sendNATS(natsOptions{procs: share}, few)},
			{theirs + "-1024", sendNATS(natsOptions{}, many)}, {theirsShared + "-1024", sendNATS(natsOptions{procs: share}, many)},
		},
		measures: []measure{
			{what: "messages/s at 64 in flight, shared to not", of: ratio(theirsShared, theirs, rate), unit: " ×"},
			{what: "messages/s at 1,024 in flight, shared to not", of: ratio(theirsShared+"-1024", theirs+"-1024", rate), unit: " ×"},
		},
	}
}
