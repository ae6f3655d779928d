package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/hashicorp/go-hclog"
)

// timerSlack is how late the kernel may end a wait of an idle thread, so that one wake-up serves what comes due within it: hundreds of Raft
// groups have timers at random times of their own, and waking up is most of what they cost. What comes from the network ends a wait
// at once, and a thread with work to do looks at the timers itself.
const timerSlack = 10 * time.Millisecond

// slackEvery is how often threads are looked for that the runtime's monitor started: all others inherit the slack.
const slackEvery = 30 * time.Second

// keepSlack allows slack until ctx is done. Without it all works, and an idle node takes more of a processor.
func keepSlack(ctx context.Context, log hclog.Logger) {
	for {
		if err := allowSlack(); err != nil {
			log.Info("no timer slack; an idle node wakes up for each timer", "error", err)
			return
		}
		select {
		case <-time.After(slackEvery):
		case <-ctx.Done():
			return
		}
	}
}

// allowSlack holds for the threads that there are, but for the runtime's monitor, the second that every Go program starts: it sleeps for 20
// microseconds at a time.
func allowSlack() error {
	names, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return err
	}
	threads := make([]int, 0, len(names))
	for _, n := range names {
		id, err := strconv.Atoi(n.Name())
		if err != nil {
			return err
		}
		threads = append(threads, id)
	}
	slices.Sort(threads)
	for i, id := range threads {
		if i == 1 {
			continue
		}
		err := os.WriteFile(fmt.Sprintf("/proc/%d/timerslack_ns", id), strconv.AppendInt(nil, int64(timerSlack), 10), 0)
		if err != nil && !os.IsNotExist(err) { // a thread may have ended
			return err
		}
	}
	return nil
}
