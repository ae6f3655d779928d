package broker

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftmq/fsm"
	"raftmq/raftlog"
	"raftmq/remoting"
)

// What nobody took when a partition closes is certainly not stored, whether it
// came before or after.
func TestAClosedAppenderAnswersEverybody(t *testing.T) {
	a := newAppender(messages, nil, func([]byte, func(any, error)) error { return raftlog.ErrNotLeader }, time.Now)
	for range entriesFlying {
		a.flying <- struct{}{} // as if entries were on their way
	}
	answers := make(chan error, 3)
	for range 3 {
		go func() {
			_, err := a.append(context.Background(), fsm.Item{})
			answers <- err
		}()
	}
	a.close()
	for range 3 {
		require.ErrorIs(t, <-answers, errNotHere)
	}
	_, err := a.append(context.Background(), fsm.Item{})
	require.ErrorIs(t, err, errNotHere)
}

// What waits for an entry counts until it is in one, also when nobody waits for it any more.
func TestWhatWaitsForAnEntryIsBounded(t *testing.T) {
	room := remoting.NewBudget(10 << 20)
	a := newAppender(messages, room, func([]byte, func(any, error)) error { return raftlog.ErrNotLeader }, time.Now)
	for range entriesFlying {
		a.flying <- struct{}{} // as if entries were on their way
	}
	ctx, gone := context.WithCancel(context.Background())
	gone()
	busy := 0
	for range 100 {
		switch _, err := a.append(ctx, fsm.Item{Records: make([]byte, 1<<20)}); {
		case errors.Is(err, errBusy):
			busy++
		default:
			require.ErrorIs(t, err, raftlog.ErrUnknownOutcome)
		}
	}
	require.GreaterOrEqual(t, busy, 100-10-1, "one is in hand, to be the first of the next entry")
	a.close()
	require.Zero(t, room.Used())
}

// A partition that nobody sends to is cheap, though thousands of requests may wait in one.
func TestAnIdleAppenderIsSmall(t *testing.T) {
	const many = 100
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range many {
		newAppender(messages, nil, func([]byte, func(any, error)) error { return raftlog.ErrNotLeader }, time.Now).close()
	}
	runtime.ReadMemStats(&after)
	require.Less(t, int(after.TotalAlloc-before.TotalAlloc)/many, 16<<10)
}

// As many requests wait as may, in their order; one more is refused, until one is in an entry.
func TestRequestsWaitInOrderAndNotTooMany(t *testing.T) {
	var entries [][]int
	g := gathering[int, int]{
		size: func(*int) int { return gatherBytes / 3 },
		encode: func(_ []byte, _ int64, items []int) []byte {
			entries = append(entries, slices.Clone(items))
			return []byte{1}
		},
		split: func(v any) ([]int, bool) { r, ok := v.([]int); return r, ok },
		limit: 5000,
	}
	a := newAppender(g, nil, func(_ []byte, then func(any, error)) error {
		then(entries[len(entries)-1], nil)
		return nil
	}, time.Now)
	for range entriesFlying {
		a.flying <- struct{}{} // as if entries were on their way
	}
	var waits []*appendItem[int, int]
	for busy := 0; busy < 2; { // one is in hand by the second time, to be the first of the next entry
		it, err := a.put(t.Context(), len(waits))
		if err == nil {
			waits = append(waits, it)
			continue
		}
		require.ErrorIs(t, err, errBusy)
		require.GreaterOrEqual(t, len(waits), g.limit)
		busy++
	}
	require.LessOrEqual(t, len(waits), g.limit+1)
	for range entriesFlying {
		<-a.flying
	}
	for i, it := range waits {
		got, err := a.wait(t.Context(), it)
		require.NoError(t, err)
		require.Equal(t, i, got)
	}
	for i := range 2 * g.limit { // there is room again
		got, err := a.append(t.Context(), i)
		require.NoError(t, err)
		require.Equal(t, i, got)
	}
	a.close()
	next := 0
	for _, e := range entries[:(len(waits)+2)/3] {
		for _, i := range e {
			require.Equal(t, next, i)
			next++
		}
	}
	require.Equal(t, len(waits), next)
}

// BenchmarkAppender is requests on their way into entries that are decided at once, so many at a time.
func BenchmarkAppender(b *testing.B) {
	for _, n := range []int{1, 64, 1024} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			var sizes atomic.Int64
			g := gathering[int, int]{
				size:   func(*int) int { return 256 },
				encode: func(_ []byte, _ int64, items []int) []byte { sizes.Store(int64(len(items))); return nil },
				split:  func(v any) ([]int, bool) { r, ok := v.([]int); return r, ok },
				limit:  waitingItems,
			}
			a := newAppender(g, remoting.NewBudget(1<<30), func(_ []byte, then func(any, error)) error {
				then(make([]int, sizes.Load()), nil)
				return nil
			}, time.Now)
			defer a.close()
			b.ReportAllocs()
			var left atomic.Int64
			left.Store(int64(b.N))
			var wg sync.WaitGroup
			for range n {
				wg.Go(func() {
					for left.Add(-1) >= 0 {
						if _, err := a.append(context.Background(), 0); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
		})
	}
}
