package main

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
)

// figures are what a run measured, by name. The unit is the end of the name: _ms, _us, _s, _mb (1e6 bytes), _percent, per_s; a count has none.
type figures map[string]float64

// Names that several rows share. Those of the loads are the ones that "raftmq bench -o json" prints.
const (
	rate       = "msgs_per_s"
	bandwidth  = "mb_per_s"
	p50        = "p50_ms"
	p99        = "p99_ms"
	sentCount  = "sent"
	cpuPerMsg  = "cpu_us"           // of all servers together, per message
	idleCPU    = "idle_cpu_percent" // of one core, all servers together
	rssAnon    = "rss_anon_mb"      // of the server that has most
	diskSync   = "fdatasync_p50_ms" // of 4 KiB, before the run
	diskSync99 = "fdatasync_p99_ms"
	load1m     = "load_1m"       // of the machine, at the end of a run
	steal      = "steal_percent" // of its processor time, given to others during a run
	diskStream = "disk_mb_per_s" // synced 1 MB writes on pre-written space
)

// parseFigures keeps the numbers of a JSON object.
func parseFigures(b []byte) (figures, error) {
	var all map[string]any
	if err := json.Unmarshal(b, &all); err != nil {
		return nil, fmt.Errorf("parse figures: %w", err)
	}
	f := make(figures)
	for name, v := range all {
		if x, ok := v.(float64); ok {
			f[name] = x
		}
	}
	return f, nil
}

// median is that of the values that are numbers; NaN if there is none. Of an even
// number it is the mean of the two in the middle.
func median(of []float64) float64 {
	var s []float64
	for _, v := range of {
		if !math.IsNaN(v) && !math.IsInf(v, 0) {
			s = append(s, v)
		}
	}
	if len(s) == 0 {
		return math.NaN()
	}
	slices.Sort(s)
	if len(s)%2 == 0 {
		return (s[len(s)/2-1] + s[len(s)/2]) / 2
	}
	return s[len(s)/2]
}

// quantile of a sorted list; 0 of an empty one.
func quantile(sorted []float64, q float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]
}
