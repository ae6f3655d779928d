package broker

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftmq/fsm"
)

// A message a second: what was counted in a window is never more than fits it, and the rate is
// right from the first second on.
func TestRatesAreOfTheTimeThatTheyAreNamedFor(t *testing.T) {
	began := time.Date(2026, 3, 1, 22, 30, 0, 0, time.Local)
	p := &partition{desc: fsm.Partition{ID: 7, Slot: 1}}
	s := newRates(2, began)
	at := func(m *meter, window int, now time.Time) count { return s.of(m, window, now) }
	now := began
	for second := 1; second <= 30*3600; second++ {
		now = now.Add(time.Second)
		s.put(p, 1, 100)
		s.get(p, "g", 2)
		if second%10 == 0 {
			s.sample(now, []*partition{p})
		}
		if second != 1 && second != 59 && second != 3599 && second%3607 != 0 {
			continue
		}
		for window, most := range []int{60, 3600, 24 * 3600} {
			c := at(&p.in, window, now)
			require.InDelta(t, 1, c.tps, 0.001, "window %d, second %d", window, second)
			require.LessOrEqual(t, c.sum, int64(most))
			require.GreaterOrEqual(t, c.sum, int64(min(second, most*20/24)))
			require.Equal(t, c, at(&s.slot(1).in, window, now))
			m, _ := s.gets.Load(groupMeter{7, "g"})
			require.InDelta(t, 2, at(m.(*meter), window, now).tps, 0.001)
		}
		require.Zero(t, at(&s.slot(0).in, perDay, now).sum)
	}
	today, yesterday := s.mornings(&s.slot(1).in)
	require.EqualValues(t, 5400+24*3600, today, "at the last midnight")
	require.EqualValues(t, 5400, yesterday)
	require.EqualValues(t, 30*3600*100, s.slot(1).inBytes.Load())
	require.Nil(t, s.slot(2))
	require.Nil(t, s.slot(noSlot))
}

// Groups come and go, by whatever names: the meters stay within their bound, and make room.
func TestMetersAreBounded(t *testing.T) {
	now := time.Now()
	p, q := &partition{desc: fsm.Partition{ID: 1}}, &partition{desc: fsm.Partition{ID: 2}}
	s := newRates(1, now)
	for i := range maxMeters {
		s.get(p, fmt.Sprint("g", i), 1)
	}
	s.get(q, "late", 1)
	_, ok := s.gets.Load(groupMeter{2, "late"})
	require.False(t, ok)
	s.get(p, "g0", 1) // those that are there count
	m, _ := s.gets.Load(groupMeter{1, "g0"})
	require.EqualValues(t, 2, m.(*meter).Load())

	s.sample(now, []*partition{q}) // p is closed
	require.Zero(t, s.n.Load())
	s.get(q, "late", 3)
	for range 26 * 360 { // a day, and nothing more comes
		s.sample(now, []*partition{p, q})
	}
	require.Zero(t, s.n.Load())
	s.get(q, "late", 3)
	m, ok = s.gets.Load(groupMeter{2, "late"})
	require.True(t, ok)
	require.EqualValues(t, 3, m.(*meter).Load())
}

func TestReadableFigures(t *testing.T) {
	require.Equal(t, "[ 1 days, 2 hours, 3 minutes, 4 seconds ]", sinceBoot(26*time.Hour+3*time.Minute+4*time.Second+900*time.Millisecond))
	for n, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1024: "1 KiB", 1536: "1.5 KiB", 5 << 30: "5 GiB"} {
		require.Equal(t, want, readable(n))
	}
	for d, want := range map[time.Duration]string{72 * time.Hour: "72", 90 * time.Minute: "2", -1: "-1"} {
		require.Equal(t, want, hoursOf(d))
	}
	require.Equal(t, `a\\b\nc`, escaped("a\\b\nc"))
}
