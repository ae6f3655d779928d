package broker

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// What waits for its entry beyond its deadline is in none, and its asker hears that it
// is certainly not done.
func TestWhatIsLateIsNotProposed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var proposed []func(any, error)
		var sizes []int
		g := gathering[int, int]{
			size: func(*int) int { return 1 },
			encode: func(_ []byte, _ int64, items []int) []byte {
				sizes = append(sizes, len(items))
				return []byte{1}
			},
			split: func(v any) ([]int, bool) { r, ok := v.([]int); return r, ok },
			limit: 8,
		}
		put := func(a *appender[int, int], ctx context.Context, i int) *appendItem[int, int] {
			it, err := a.put(ctx, i)
			require.NoError(t, err)
			return it
		}
		a := newAppender(g, nil, func(_ []byte, then func(any, error)) error {
			proposed = append(proposed, then)
			return nil
		}, time.Now)
		for i := range entriesFlying { // what follows waits for one of them
			put(a, t.Context(), i)
			synctest.Wait()
		}
		soon := put(a, withBy(t.Context(), time.Now().Add(time.Second)), 8)
		later := put(a, withBy(t.Context(), time.Now().Add(time.Minute)), 9)
		synctest.Wait()
		time.Sleep(2 * time.Second)
		proposed[0]([]int{0}, nil)
		synctest.Wait()
		_, err := a.wait(t.Context(), soon)
		require.ErrorIs(t, err, errNotHere)
		require.ErrorIs(t, err, errLate)
		require.Equal(t, []int{1, 1, 1}, sizes)
		require.Len(t, proposed, 3)
		proposed[2]([]int{9}, nil)
		res, err := a.wait(t.Context(), later)
		require.NoError(t, err)
		require.Equal(t, 9, res)
		last := put(a, withBy(t.Context(), time.Now()), 10) // alone in its entry: there is none
		_, err = a.wait(t.Context(), last)
		require.ErrorIs(t, err, errLate)
		proposed[1]([]int{1}, nil)
		a.close()
		require.Len(t, proposed, 3)
	})
}
