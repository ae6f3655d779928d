package main

import (
	"fmt"
	"slices"
	"strings"
)

// figureWords are how figures are told, in this order; one that is not here is not told. None of the machine's is here.
var figureWords = []struct{ name, format string }{
	{rate, "%s/s"}, {bandwidth, "%s MB/s"}, {p50, "p50 %s ms"}, {p99, "p99 %s ms"}, {"p999_ms", "p99.9 %s ms"}, {"max_ms", "at most %s ms"},
	{cpuPerMsg, "%s µs of CPU a message"}, {idleCPU, "%s %% of a core"}, {rssAnon, "RssAnon %s MB"}, {anonPeak, "at most %s MB"},
	{createTime, "created in %s s"}, {failoverTime, "led elsewhere in %s s"}, {readyTime, "ready in %s s"}, {"ready_p50_ms", "ready in %s ms"}, {"log_bytes", "%s bytes of log"},
	{gapMedian, "gap %s ms"}, {gapMost, "longest %s ms"}, {gapAbove, "%s above 500 ms"}, {gapFaults, "of %s"},
	{"held", "%s held"}, {wakeTime, "answered in %s ms"}, {"opened_s", "opened in %s s"}, {"connections", "connections: %s"},
}

// tell is the figures in words.
func (f figures) tell() string {
	var words []string
	for _, w := range figureWords {
		v, ok := f[w.name]
		if !ok || f[sentCount] == 0 && f[rate] == 0 && (w.name == bandwidth || w.name == p50 || w.name == p99) {
			continue
		}
		if v == 0 && (w.name == p50 || w.name == p99 || w.name == "p999_ms" || w.name == "max_ms") {
			continue // a load that times no single message
		}
		words = append(words, fmt.Sprintf(w.format, number(v)))
	}
	return strings.Join(words, ", ")
}

// number has three digits that count; a whole number has none behind the point.
func number(v float64) string {
	s := plainNumber(v)
	if head, tail, ok := strings.Cut(s, "."); ok && v == float64(int64(v)) && strings.Trim(tail, "0") == "" {
		return head
	}
	return s
}

// sideNames are what sides are called in the document.
var sideNames = map[string]string{
	ours: "raftmq", oursOne64: "raftmq, one partition, 64 in flight", oursOne: "raftmq, one partition, 512 in flight", theirs: "NATS, without fsync", theirsSync: "NATS, with fsync", loopback: "a plain copy",
	"raftmq-64": "raftmq, 64", "engine-64": "alone, 64", "raftmq-1024": "raftmq, 1,024", "engine-1024": "alone, 1,024",
	oursWire: "raftmq", theirsDledger: "RocketMQ, DLedger", theirsMaster: "RocketMQ, a master that syncs and two slaves",
	theirsShared: "NATS, shared", theirs + "-1024": "NATS, 1,024", theirsShared + "-1024": "NATS, shared, 1,024",
}

func sideName(s string) string {
	if name, ok := sideNames[s]; ok {
		return name
	}
	return s
}

// sorted returns the names of a map in order.
func sorted[V any](m map[string]V) []string {
	var names []string
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// backward is s from its end: ours comes before theirs.
func backward(s []string) []string {
	slices.Reverse(s)
	return s
}
