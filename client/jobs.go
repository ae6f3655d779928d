package client

import (
	"sync"
	"time"
)

// jobs is the line before the handlers. It is bounded by the claims that fill
// it.
type jobs struct {
	mu       sync.Mutex
	cond     sync.Cond
	list     []*job
	inFlight int
	stopped  bool
	timers   map[*time.Timer]struct{}
}

func newJobs() *jobs {
	j := &jobs{timers: make(map[*time.Timer]struct{})}
	j.cond.L = &j.mu
	return j
}

func (q *jobs) add(js []*job) {
	if len(js) == 0 {
		return
	}
	q.mu.Lock()
	if !q.stopped {
		q.list = append(q.list, js...)
	}
	q.mu.Unlock()
	q.cond.Broadcast()
}

// addLater adds j after d.
func (q *jobs) addLater(j *job, d time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.stopped {
		return
	}
	var t *time.Timer
	t = time.AfterFunc(d, func() {
		q.mu.Lock()
		delete(q.timers, t)
		q.mu.Unlock()
		q.add([]*job{j})
	})
	q.timers[t] = struct{}{}
}

// take waits for up to limit jobs of one queue; jobs that no longer count are
// dropped. ok is false after stop.
func (q *jobs) take(limit int) (batch []*job, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for {
		for !q.stopped && len(q.list) == 0 {
			q.cond.Wait()
		}
		if q.stopped {
			return nil, false
		}
		for len(q.list) > 0 && len(batch) < limit && (len(batch) == 0 || q.list[0].claim == batch[0].claim) {
			j := q.list[0]
			q.list[0] = nil
			q.list = q.list[1:]
			if j.live() {
				batch = append(batch, j)
			}
		}
		if len(batch) > 0 {
			q.inFlight += len(batch)
			return batch, true
		}
	}
}

func (q *jobs) finished(n int) {
	q.mu.Lock()
	q.inFlight -= n
	q.mu.Unlock()
}

func (q *jobs) counts() (waiting, inFlight int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.list) + len(q.timers), q.inFlight
}

// stop drops what waits; handlers at work go on.
func (q *jobs) stop() {
	q.mu.Lock()
	q.stopped, q.list = true, nil
	for t := range q.timers {
		t.Stop()
	}
	clear(q.timers)
	q.mu.Unlock()
	q.cond.Broadcast()
}
