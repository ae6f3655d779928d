package link

import (
	"math/rand/v2"
	"sync"
	"time"
)

// Rule is what happens to what goes one way. The zero Rule lets all pass at once.
type Rule struct {
	Cut       bool          // nothing passes
	Reset     bool          // connections are reset, from both ends
	Delay     time.Duration // each packet is late by so much
	Jitter    time.Duration // and by up to so much more, each by itself: packets overtake each other
	Loss      float64       // chance of a packet to be lost
	Duplicate float64       // to come twice
	Corrupt   float64       // to have a bit changed
	Rate      int64         // bytes a second; 0: no limit. What would wait longer than a second is lost
	Only      Class         // other classes pass; "": it is for all
}

// Class is what a packet belongs to.
type Class string

// Classes. Whatever is neither has none.
const (
	Raft   Class = "raft"   // between nodes, forwarded requests too
	Gossip Class = "gossip" // TCP and UDP
)

// Counts are how often a rule struck.
type Counts struct{ Passed, Dropped, Delayed, Doubled, Corrupted, Reset uint64 }

// Struck is how often anything was done to what went by.
func (c Counts) Struck() uint64 {
	return c.Dropped + c.Delayed + c.Doubled + c.Corrupted + c.Reset
}

// Link is one way from one host to another. Its methods may be used concurrently.
type Link struct {
	mu      sync.Mutex
	rule    Rule
	rng     *rand.Rand
	counts  Counts
	free    time.Time     // when what the rate let in has left
	changed chan struct{} // closes when the rule changes
}

// longestQueue is how long a packet waits for its turn on a slow link, at most.
const longestQueue = time.Second

// Set puts r in force.
func (l *Link) Set(r Rule) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rule, l.free = r, time.Time{}
	close(l.changed)
	l.changed = make(chan struct{})
}

// Rule is that in force for a class, and a channel that closes when it is no more.
func (l *Link) Rule(c Class) (Rule, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ruleLocked(c), l.changed
}

func (l *Link) ruleLocked(c Class) Rule {
	if l.rule.Only != "" && l.rule.Only != c {
		return Rule{}
	}
	return l.rule
}

// Counts are those since the link was made.
func (l *Link) Counts() Counts {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.counts
}

// Fate is what becomes of a packet.
type Fate struct {
	After   []time.Duration // for each copy that arrives, how late; none: it is lost
	Corrupt int             // the bit to change, from 0; -1: none
	Reset   bool            // answer both ends with a reset; it is lost
}

// Packet draws what becomes of a packet of so many bytes.
func (l *Link) Packet(c Class, size int) Fate {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := l.ruleLocked(c)
	f := Fate{Corrupt: -1}
	switch {
	case r.Reset:
		l.counts.Reset++
		f.Reset = true
		return f
	case r.Cut, r.Loss > 0 && l.rng.Float64() < r.Loss:
		l.counts.Dropped++
		return f
	}
	wait, ok := l.queueLocked(r, size)
	if !ok {
		l.counts.Dropped++
		return f
	}
	f.After = append(f.After, wait+l.latenessLocked(r))
	if r.Duplicate > 0 && l.rng.Float64() < r.Duplicate {
		l.counts.Doubled++
		f.After = append(f.After, wait+l.latenessLocked(r))
	}
	if r.Corrupt > 0 && l.rng.Float64() < r.Corrupt {
		l.counts.Corrupted++
		f.Corrupt = l.rng.IntN(size * 8)
	}
	if f.After[0] > 0 {
		l.counts.Delayed++
	}
	l.counts.Passed++
	return f
}

// queueLocked is how long a packet waits for the rate's sake; false: too long.
func (l *Link) queueLocked(r Rule, size int) (time.Duration, bool) {
	if r.Rate <= 0 {
		return 0, true
	}
	now := time.Now()
	if l.free.Before(now) {
		l.free = now
	}
	if l.free.Sub(now) > longestQueue {
		return 0, false
	}
	l.free = l.free.Add(time.Duration(float64(size) / float64(r.Rate) * float64(time.Second)))
	return l.free.Sub(now), true
}

func (l *Link) latenessLocked(r Rule) time.Duration {
	d := r.Delay
	if r.Jitter > 0 {
		d += time.Duration(l.rng.Int64N(int64(r.Jitter)))
	}
	return d
}

// resend is what a lost packet costs a stream: TCP's shortest retransmission
// timeout on Linux.
const resend = 200 * time.Millisecond

// Chunk draws how late a piece of a stream comes. A relay of streams loses, doubles
// and damages nothing: what is lost or damaged costs the time to send it again, what is
// doubled costs nothing. What is cut off or reset is for Rule to say.
func (l *Link) Chunk(c Class, size int) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := l.ruleLocked(c)
	d := l.latenessLocked(r)
	for packets := 1 + size/1448; r.Loss+r.Corrupt > 0 && packets > 0; packets-- {
		switch x := l.rng.Float64(); {
		case x < r.Loss:
			l.counts.Dropped++
			d += resend
		case x < r.Loss+r.Corrupt:
			l.counts.Corrupted++
			d += resend
		}
	}
	if r.Rate > 0 {
		now := time.Now()
		if l.free.Before(now) {
			l.free = now
		}
		l.free = l.free.Add(time.Duration(float64(size) / float64(r.Rate) * float64(time.Second)))
		d += l.free.Sub(now)
	}
	if d > 0 {
		l.counts.Delayed++
	}
	l.counts.Passed++
	return d
}

// Held counts a stream's piece, or a connection, that a cut keeps back.
func (l *Link) Held() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.counts.Dropped++
}

// Broke counts a connection that was reset.
func (l *Link) Broke() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.counts.Reset++
}
