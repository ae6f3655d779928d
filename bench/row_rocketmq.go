package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Names of sides that RocketMQ's own frames are sent to.
const (
	oursWire      = "raftmq-wire"
	rocketPrefix  = "rocketmq"
	theirsDledger = rocketPrefix + "-dledger"
	theirsMaster  = rocketPrefix + "-sync"
)

// wireWarming is longer than warming: Java compiles what is hot as it goes.
const wireWarming = 20 * time.Second

// sendWire warms a cluster up and measures sends.
func sendWire(ctx context.Context, l *lab, s sending, nameServer string, pids []int) (figures, error) {
	args := func(d time.Duration) []string {
		return []string{"wire-load", "--name-server", nameServer, "--in-flight", fmt.Sprint(s.inFlight), "--size", fmt.Sprint(s.bytes()), "--duration", l.duration(d).String()}
	}
	if _, err := l.output(ctx, nil, l.self, args(wireWarming)...); err != nil {
		return nil, err
	}
	before := cpuTime(pids)
	b, err := l.output(ctx, nil, l.self, args(s.duration)...)
	if err != nil {
		return nil, err
	}
	f, err := parseFigures(b)
	if err != nil {
		return nil, err
	}
	f.perMessage(cpuTime(pids) - before)
	return f.sure()
}

func sendWireRaftmq(s sending) func(context.Context, *lab) (figures, error) {
	return func(ctx context.Context, l *lab) (f figures, err error) {
		c, err := startRaftmq(ctx, l)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, c.stop()) }()
		return sendWire(ctx, l, s, c.nodes[0].NameServer, c.pids())
	}
}

func sendRocketMQ(kind rocketKind, s sending) func(context.Context, *lab) (figures, error) {
	return func(ctx context.Context, l *lab) (f figures, err error) {
		c, err := startRocketMQ(ctx, l, kind)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, c.stop()) }()
		return sendWire(ctx, l, s, c.nameServer, c.pids())
	}
}

// rocketMQ is raftmq beside RocketMQ itself, with the same frames from the same load.
func rocketMQ(name, work string, inFlight int) row {
	s := sending{inFlight: inFlight, duration: 10 * time.Second}
	return row{
		name: name, work: work + ", RocketMQ's frames",
		sides: []side{{oursWire, sendWireRaftmq(s)}, {theirsDledger, sendRocketMQ(rocketDledger, s)}, {theirsMaster, sendRocketMQ(rocketSync, s)}},
		measures: []measure{
			{what: "messages/s, to RocketMQ's Raft (DLedger), which does not sync first", of: ratio(oursWire, theirsDledger, rate), unit: " ×"},
			{what: "messages/s, to a RocketMQ master that syncs, and one of two slaves", of: ratio(oursWire, theirsMaster, rate), unit: " ×"},
			{what: "p99, to RocketMQ's Raft", of: ratio(oursWire, theirsDledger, p99), less: true, unit: " ×"},
			{what: "p99, to a RocketMQ master that syncs", of: ratio(oursWire, theirsMaster, p99), less: true, unit: " ×"},
		},
	}
}

func rocketMQ1() row    { return rocketMQ("rocketmq1", "one in flight", 1) }
func rocketMQ64() row   { return rocketMQ("rocketmq64", "64 in flight, one queue", 64) }
func rocketMQ1024() row { return rocketMQ("rocketmq1024", "1,024 in flight, one queue", 1024) }
