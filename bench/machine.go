package main

import (
	"bufio"
	"os"
	"runtime"
	"strconv"
	"strings"
)

// processorTime reads the first line of Linux's /proc/stat, in ticks: what the host gave to others,
// and all. Both are 0 where the system does not say.
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

// loadAverage is the mean number of running processes in the last minute; 0 if the system does not say.
func loadAverage() float64 {
	b, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return 0
	}
	s, _, _ := strings.Cut(string(b), " ")
	v, _ := strconv.ParseFloat(s, 64)
	return v
}

// describeMachine names processors, memory and kernel in one line.
func describeMachine() string {
	words := []string{strconv.Itoa(runtime.NumCPU()) + " processors"}
	if m := lineOf("/proc/cpuinfo", "model name"); m != "" {
		words[0] += " (" + m + ")"
	}
	if kb, err := strconv.ParseFloat(strings.TrimSuffix(lineOf("/proc/meminfo", "MemTotal"), " kB"), 64); err == nil {
		words = append(words, strconv.FormatFloat(kb/1e6, 'f', 0, 64)+" GB of memory")
	}
	if b, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		words = append(words, runtime.GOOS+" "+strings.TrimSpace(string(b)))
	} else {
		words = append(words, runtime.GOOS)
	}
	return strings.Join(words, ", ")
}

// lineOf is what stands behind "key:" in a file of such lines; empty if nothing does.
func lineOf(file, key string) string {
	f, err := os.Open(file)
	if err != nil {
		return ""
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if k, v, ok := strings.Cut(s.Text(), ":"); ok && strings.TrimSpace(k) == key {
			return strings.TrimSpace(v)
		}
	}
	return ""
}
