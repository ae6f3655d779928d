package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// curve is how a row's results are drawn: its sides are named "series value".
type curve struct {
	title  string
	x      string // the axis, with its unit
	panels []panel
}

// panel is one figure over x.
type panel struct {
	title, figure string
	log           bool
}

// point is a side's place on a curve.
func point(side string) (series string, x float64, err error) {
	series, number, ok := strings.Cut(side, " ")
	if !ok {
		return "", 0, fmt.Errorf("side %q is not of a curve", side)
	}
	x, err = strconv.ParseFloat(number, 64)
	return series, x, err
}

func at(series string, x int) string { return series + " " + strconv.Itoa(x) }

// curveTime is how long each point is measured, curveWarm how long it is warmed up; curveRounds each.
const (
	curveTime   = 5 * time.Second
	curveWarm   = 4 * time.Second
	curveRounds = 2
)

// sendCurve measures sends over the values that change what is sent.
func sendCurve(values []int, with func(x int) sending) (sides []side) {
	for _, x := range values {
		s := with(x)
		s.duration, s.warm = curveTime, curveWarm
		sides = append(sides, side{at(ours, x), sendRaftmq(s)}, side{at(theirs, x), sendNATS(natsOptions{}, s)})
	}
	return sides
}

var (
	perSecond = panel{title: "messages a second", figure: rate, log: true}
	tail      = panel{title: "p99, ms", figure: p99, log: true}
)

func curveInFlight() row {
	return row{
		name: "curve-inflight", work: "sends of 1 KB over messages in flight, one partition", rounds: curveRounds,
		sides: sendCurve([]int{1, 4, 16, 64, 256, 1024, 4096}, func(x int) sending { return sending{inFlight: x} }),
		curve: &curve{title: "1 KB, one partition", x: "messages in flight", panels: []panel{perSecond, tail}},
	}
}

func curvePartitions() row {
	return row{
		name: "curve-partitions", work: "sends of 1 KB over partitions, 64 in flight each", rounds: curveRounds,
		sides: sendCurve([]int{1, 2, 4, 8, 16, 32, 64}, func(x int) sending { return sending{inFlight: 64 * x, partitions: x} }),
		curve: &curve{title: "1 KB, 64 in flight for each partition", x: "partitions", panels: []panel{perSecond, tail}},
	}
}

// bytesInFlight bounds what a curve of sizes has in flight.
const bytesInFlight = 32 << 20

func curveSize() row {
	return row{
		name: "curve-size", work: "sends over body size, 64 in flight but at most 32 MiB, one partition", rounds: curveRounds,
		sides: sendCurve([]int{64, 256, 1 << 10, 4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20, 4 << 20}, func(x int) sending {
			return sending{inFlight: min(64, bytesInFlight/x), size: x}
		}),
		curve: &curve{title: "one partition, 64 in flight, at most 32 MiB", x: "bytes of a body", panels: []panel{{title: "MB a second", figure: bandwidth, log: true}, tail}},
	}
}

func curveBacklog() row {
	var sides []side
	for _, x := range []int{1_000, 10_000, 100_000, 500_000, 1_000_000} {
		sides = append(sides, side{at(ours, x), readRaftmq(x)}, side{at(theirs, x), readNATS(x)})
	}
	return row{
		name: "curve-backlog", work: "reading a backlog of 1 KB messages over its length, joining included", rounds: curveRounds,
		sides: sides,
		curve: &curve{title: "1 KB, one consumer", x: "messages of the backlog", panels: []panel{perSecond}},
	}
}
