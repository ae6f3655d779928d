package faults

import (
	"sync"
	"time"
)

// Clock is a wall clock that jumps and runs at another rate. The zero Clock is right.
type Clock struct {
	mu    sync.Mutex
	set   bool
	real  time.Time // when it was set
	shown time.Time // what it showed then
	rate  float64
}

// Now is the time that it shows.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.nowLocked(time.Now())
}

func (c *Clock) nowLocked(now time.Time) time.Time {
	if !c.set {
		return now
	}
	return c.shown.Add(time.Duration(float64(now.Sub(c.real)) * c.rate))
}

// Do does what o says.
func (c *Clock) Do(o ClockOrder) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	if o.Back {
		c.set = false
	}
	c.shown = c.nowLocked(now).Round(0).Add(o.Jump)
	c.real, c.rate = now, o.Rate
	if c.rate == 0 {
		c.rate = 1
	}
	c.set = !o.Back || o.Jump != 0 || c.rate != 1
}

// Both are the time that it shows and the machine's, at one moment.
func (c *Clock) Both() (shown, real time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	real = time.Now()
	return c.nowLocked(real), real
}
