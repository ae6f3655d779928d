package main

import (
	"context"
	"time"
)

// engineAlone runs Raft and the write-ahead log in one process, without a broker.
func engineAlone(s sending) func(context.Context, *lab) (figures, error) {
	return func(ctx context.Context, l *lab) (figures, error) {
		s := s
		s.duration = l.duration(s.duration)
		b, err := l.output(ctx, nil, l.program, append(append([]string{"bench", "engine"}, s.flags()...), "-o", "json")...)
		if err != nil {
			return nil, err
		}
		return parseFigures(b)
	}
}

func engine() row {
	few, many := sending{inFlight: 64, duration: 10 * time.Second}, sending{inFlight: 1024, duration: 10 * time.Second}
	percent := func(of, to string) func(look) float64 {
		return func(at look) float64 { return 100 * at(of, rate) / at(to, rate) }
	}
	return row{
		name: "engine", work: "against Raft and the write-ahead log alone",
		sides: []side{{"raftmq-64", sendRaftmq(few)}, {"engine-64", engineAlone(few)}, {"raftmq-1024", sendRaftmq(many)}, {"engine-1024", engineAlone(many)}},
		measures: []measure{
			{what: "messages/s at 64 in flight", of: percent("raftmq-64", "engine-64"), must: 70, goal: 85, unit: " %"},
			{what: "messages/s at 1,024 in flight", of: percent("raftmq-1024", "engine-1024"), must: 70, goal: 85, unit: " %"},
		},
	}
}
