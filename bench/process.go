package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// ticksPerSecond is USER_HZ of every Linux that Go runs on.
const ticksPerSecond = 100

// cpuTime is the processor time of processes together, by Linux's /proc. One that has
// ended counts nothing.
func cpuTime(pids []int) time.Duration {
	var ticks float64
	for _, pid := range pids {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			continue
		}
		ticks += statTicks(string(b))
	}
	return time.Duration(ticks * float64(time.Second) / ticksPerSecond)
}

// statTicks is utime and stime of a line of /proc/PID/stat: the 14th and 15th field, of which the second, in
// parentheses, may hold blanks.
func statTicks(stat string) float64 {
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	if len(fields) < 13 {
		return 0
	}
	user, _ := strconv.ParseFloat(fields[11], 64)
	system, _ := strconv.ParseFloat(fields[12], 64)
	return user + system
}

// mostAnon is the largest RssAnon of some processes, in MB: memory that is no file's.
func mostAnon(pids []int) float64 {
	most := 0.0
	for _, pid := range pids {
		kb, err := strconv.ParseFloat(strings.TrimSuffix(lineOf(fmt.Sprintf("/proc/%d/status", pid), "RssAnon"), " kB"), 64)
		if err == nil {
			most = max(most, kb*1024/1e6)
		}
	}
	return most
}

// anonEvery is how often watchAnon looks.
const anonEvery = 500 * time.Millisecond

// watchAnon follows the largest RssAnon of processes until peak is called, which returns it in MB.
func watchAnon(pids func() []int) (peak func() float64) {
	stop, done := make(chan struct{}), make(chan struct{})
	most := 0.0
	go func() { // ends with peak
		defer close(done)
		for {
			most = max(most, mostAnon(pids()))
			select {
			case <-time.After(anonEvery):
			case <-stop:
				return
			}
		}
	}()
	return func() float64 {
		close(stop)
		<-done
		return max(most, mostAnon(pids()))
	}
}

// idle measures what processes do that have nothing to do, after they had time to settle.
func idle(ctx context.Context, settle, watch time.Duration, pids []int) (figures, error) {
	if err := sleep(ctx, settle); err != nil {
		return nil, err
	}
	before, from := cpuTime(pids), time.Now()
	if err := sleep(ctx, watch); err != nil {
		return nil, err
	}
	return figures{idleCPU: 100 * (cpuTime(pids) - before).Seconds() / time.Since(from).Seconds(), rssAnon: mostAnon(pids)}, nil
}
