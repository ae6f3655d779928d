package main

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// result is what a benchmark prints. Steal is the share of the machine's processor
// time that its host gave to others meanwhile; Load the mean number of running
// processes in the last minute, at the end. Both are 0 where the system does not say. What
// has no latencies, reading a backlog, has no quantiles.
type result struct {
	MsgsPerS     float64 `json:"msgs_per_s"`
	MBPerS       float64 `json:"mb_per_s"`
	P50          float64 `json:"p50_ms,omitzero"`
	P90          float64 `json:"p90_ms,omitzero"`
	P99          float64 `json:"p99_ms,omitzero"`
	P999         float64 `json:"p999_ms,omitzero"`
	Max          float64 `json:"max_ms,omitzero"`
	Sent         int64   `json:"sent"`
	Errors       int64   `json:"errors"`
	Unknown      int64   `json:"unknown"`
	Fdatasync    float64 `json:"fdatasync_p50_ms"`
	FdatasyncP99 float64 `json:"fdatasync_p99_ms"`
	Load         float64 `json:"load_1m"`
	Steal        float64 `json:"steal_percent"`
}

// meter remembers the machine at the start of a benchmark.
type meter struct {
	syncs         []float64
	stolen, total float64
}

// meterSyncs is how often a meter syncs, before the benchmark.
const meterSyncs = 200

func beginMeter(dir string) (*meter, error) {
	syncs, err := diskSyncs(dir, meterSyncs)
	if err != nil {
		return nil, err
	}
	m := &meter{syncs: syncs}
	m.stolen, m.total = processorTime()
	return m, nil
}

// end makes a result of the latencies, in ms, of what was done in took.
func (m *meter) end(latencies []float64, took time.Duration, size int) result {
	slices.Sort(latencies)
	n := float64(len(latencies))
	stolen, total := processorTime()
	r := result{
		MsgsPerS: n / took.Seconds(), MBPerS: n * float64(size) / took.Seconds() / 1e6, Sent: int64(n),
		P50: quantile(latencies, 0.5), P90: quantile(latencies, 0.9), P99: quantile(latencies, 0.99), P999: quantile(latencies, 0.999), Max: quantile(latencies, 1),
		Fdatasync: quantile(m.syncs, 0.5), FdatasyncP99: quantile(m.syncs, 0.99), Load: loadAverage(),
	}
	if total > m.total {
		r.Steal = 100 * (stolen - m.stolen) / (total - m.total)
	}
	return r
}

func (r result) print(output, what string) error {
	if output != "table" {
		return json.NewEncoder(os.Stdout).Encode(r)
	}
	latencies := ""
	if r.Max > 0 {
		latencies = fmt.Sprintf("; p50 %.2f ms, p90 %.2f, p99 %.2f, p99.9 %.2f, max %.2f", r.P50, r.P90, r.P99, r.P999, r.Max)
	}
	fmt.Printf("%s\n%.0f messages/s, %.1f MB/s%s\n%d done, %d errors, %d unknown; fdatasync p50 %.3f ms, p99 %.3f; load %.1f, steal %.1f %%\n",
		what, r.MsgsPerS, r.MBPerS, latencies, r.Sent, r.Errors, r.Unknown, r.Fdatasync, r.FdatasyncP99, r.Load, r.Steal)
	return nil
}

// processorTime reads the first line of Linux's /proc/stat: user, nice, system,
// idle, iowait, irq, softirq, steal, in ticks.
func processorTime() (stolen, total float64) {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, 0
	}
	line, _, _ := strings.Cut(string(b), "\n")
	fields := strings.Fields(line)
	for i, s := range fields[1:min(len(fields), 9)] {
		v, _ := strconv.ParseFloat(s, 64)
		total += v
		if i == 7 {
			stolen = v
		}
	}
	return stolen, total
}

func loadAverage() float64 {
	b, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return 0
	}
	s, _, _ := strings.Cut(string(b), " ")
	v, _ := strconv.ParseFloat(s, 64)
	return v
}
