package broker

import (
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// rateEvery is the time between two samples of what is counted.
const rateEvery = 10 * time.Second

// maxMeters bounds what is counted by group and partition: further ones are not.
const (
	maxMeters = 1 << 14
	meterCost = 1 << 10 // bytes, with its place
)

// window is a time that rates are told of: so many samples, each so many ticks after the
// one before. The oldest is never older than the time that the window is named for.
type window struct{ samples, ticks, from int }

const (
	perMinute = iota
	perHour
	perDay
	allSamples = 6 + 6 + 24
)

var windows = [...]window{perMinute: {6, 1, 0}, perHour: {6, 60, 6}, perDay: {24, 360, 12}}

// at is where the sample of a tick is kept.
func (w window) at(tick int) int { return w.from + tick/w.ticks%w.samples }

// meter is a count since the node began, and what it was at the latest ticks.
type meter struct {
	atomic.Int64
	was [allSamples]int64 // guarded by rates.mu
	// Of a slot only: the count at local midnight, today's and yesterday's.
	morning, before int64
}

// slotMeters are of one slot at this node.
type slotMeters struct {
	in, out            meter // messages stored by this node as leader, and read by clients here
	inBytes            atomic.Int64
	timersIn, timersUp meter // messages that were stored to wait, and whose time had come
}

// groupMeter is of what a group reads of a partition.
type groupMeter struct {
	partition uint64
	group     string
}

// rates counts for operators what comes and goes at this node.
type rates struct {
	slots []slotMeters
	gets  sync.Map // groupMeter: *meter
	n     atomic.Int64

	mu    sync.Mutex
	began time.Time
	tick  int
	at    [allSamples]time.Time // of the samples
	day   int                   // of the year, of the last tick
}

func newRates(slots int, now time.Time) *rates {
	return &rates{slots: make([]slotMeters, slots), began: now, day: now.YearDay()}
}

// slot is the slot's meters; nil: there are none.
func (s *rates) slot(i int) *slotMeters {
	if i < 0 || i >= len(s.slots) {
		return nil
	}
	return &s.slots[i]
}

// put counts messages that were stored in a partition that is led here.
func (s *rates) put(p *partition, n, bytes int) {
	p.in.Add(int64(n))
	if x := s.slot(p.desc.Slot); x != nil {
		x.in.Add(int64(n))
		x.inBytes.Add(int64(bytes))
	}
}

// get counts messages that a group has read of a partition here.
func (s *rates) get(p *partition, group string, n int) {
	if x := s.slot(p.desc.Slot); x != nil {
		x.out.Add(int64(n))
	}
	key := groupMeter{p.desc.ID, group}
	m, ok := s.gets.Load(key)
	if !ok {
		if s.n.Add(1) > maxMeters {
			s.n.Add(-1)
			return
		}
		key.group = strings.Clone(group) // not the request's bytes
		if m, ok = s.gets.LoadOrStore(key, new(meter)); ok {
			s.n.Add(-1)
		}
	}
	m.(*meter).Add(int64(n))
}

// sample notes all counts. parts are those that are open.
func (s *rates) sample(now time.Time, parts []*partition) {
	open := make(map[uint64]bool, len(parts))
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tick++
	for _, w := range windows {
		if s.tick%w.ticks == 0 {
			s.at[w.at(s.tick)] = now
		}
	}
	for _, p := range parts {
		open[p.desc.ID] = true
		s.note(&p.in)
	}
	s.gets.Range(func(key, m any) bool {
		if m := m.(*meter); open[key.(groupMeter).partition] && !s.idle(m) {
			s.note(m)
			return true
		}
		s.gets.Delete(key)
		s.n.Add(-1)
		return true
	})
	next := now.YearDay() != s.day
	s.day = now.YearDay()
	for i := range s.slots {
		for _, m := range []*meter{&s.slots[i].in, &s.slots[i].out, &s.slots[i].timersIn, &s.slots[i].timersUp} {
			s.note(m)
			if next {
				m.before, m.morning = m.morning, m.Load()
			}
		}
	}
}

func (s *rates) note(m *meter) {
	n := m.Load()
	for _, w := range windows {
		if s.tick%w.ticks == 0 {
			m.was[w.at(s.tick)] = n
		}
	}
}

// idle reports whether m has counted nothing for a day.
func (s *rates) idle(m *meter) bool {
	w := windows[perDay]
	return s.tick%w.ticks == 0 && s.tick/w.ticks > w.samples && m.was[w.at(s.tick)] == m.Load()
}

// count is what was counted in a time.
type count struct {
	sum int64
	tps float64
}

// of is what m counted in a window.
func (s *rates) of(m *meter, w int, now time.Time) count {
	return s.back(m, w, windows[w].samples-1, now)
}

// back is what m counted since the sample that is so many before the window's latest.
func (s *rates) back(m *meter, w, samples int, now time.Time) count {
	s.mu.Lock()
	defer s.mu.Unlock()
	x := windows[w]
	since, was := s.began, int64(0)
	if s.tick/x.ticks > samples {
		i := x.at(s.tick - samples*x.ticks)
		since, was = s.at[i], m.was[i]
	}
	c := count{sum: m.Load() - was}
	if d := now.Sub(since).Seconds(); d > 0 {
		c.tps = float64(c.sum) / d
	}
	return c
}

// mornings are a slot's count at midnight, today's and yesterday's.
func (s *rates) mornings(m *meter) (today, yesterday int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return m.morning, m.before
}

// sampleRates runs until the node stops.
func (b *Broker) sampleRates() {
	tick := time.NewTicker(rateEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			b.rates.sample(b.now(), b.local())
		case <-b.ctx.Done():
			return
		}
	}
}
