package raftlog

import (
	"sync/atomic"
	"time"
)

// patience calls a function when time is up, unless stopped before. Time in which this process did not run (it was stopped, or its
// machine) counts for a quarter at most: a disk is not to blame for it.
type patience struct {
	timer   *time.Timer
	part    time.Duration
	left    int
	stopped atomic.Bool
}

const patienceParts = 4

func newPatience(d time.Duration, f func()) *patience {
	p := &patience{part: d / patienceParts, left: patienceParts}
	armed := make(chan struct{})
	p.timer = time.AfterFunc(p.part, func() {
		<-armed
		if p.left--; p.stopped.Load() {
			return
		}
		if p.left == 0 {
			f()
			return
		}
		p.timer.Reset(p.part)
	})
	close(armed)
	return p
}

// stop ends it; f may be running already.
func (p *patience) stop() {
	p.stopped.Store(true)
	p.timer.Stop()
}
