package run

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"raftmq/client"
	"raftmq/jepsen/history"
)

// A wrong "certainly not" makes the log a liar, and a wrong "unknown" hides one.
func TestOutcomesAreWhatTheClientPromises(t *testing.T) {
	for _, x := range []struct {
		err  error
		want history.Type
	}{
		{nil, history.OK},
		{fmt.Errorf("send: %w", client.ErrUncertain), history.Info},
		{errors.Join(context.DeadlineExceeded, client.ErrUncertain), history.Info},
		{client.ErrUnavailable, history.Fail},
		{context.DeadlineExceeded, history.Fail},
		{&client.BatchError{Errs: []error{client.ErrBusy, client.ErrUncertain}}, history.Info},
		{&client.BatchError{Errs: []error{nil, client.ErrBusy}}, history.Info},
		{&client.BatchError{Errs: []error{client.ErrBusy, client.ErrBusy}}, history.Fail},
	} {
		got, _ := outcome(x.err)
		require.Equal(t, x.want, got, "%v", x.err)
	}
}

// All queues take a send in the time that one has, or are named: also if each did in the end.
func TestEachQueueTakesASendInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		after := func(d time.Duration) func(context.Context, int) bool {
			return func(ctx context.Context, _ int) bool { return sleep(ctx, d) }
		}
		require.Equal(t, -1, deaf(t.Context(), 3, after(time.Second)))
		require.Equal(t, 1, deaf(t.Context(), 3, after(6*time.Second)))
		require.Equal(t, 0, deaf(t.Context(), 3, func(ctx context.Context, _ int) bool { sleep(ctx, 8*time.Second); return false }))
		tries := 0
		require.Equal(t, -1, deaf(t.Context(), 1, func(ctx context.Context, _ int) bool { tries++; return sleep(ctx, time.Second) && tries == 3 }))
	})
}

// The time that all nodes have to be ready is that of one, not of one after the other.
func TestAllHaveTheTimeOfOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		wrong := sideBySide([]int{1, 2, 3}, func(i int) error {
			ready := begun.Add(time.Duration(i) * 90 * time.Second)
			if time.Until(ready) > 2*time.Minute {
				sleep(t.Context(), 2*time.Minute)
				return fmt.Errorf("n%d is not ready", i)
			}
			sleep(t.Context(), time.Until(ready))
			return nil
		})
		require.Equal(t, []string{"n2 is not ready", "n3 is not ready"}, wrong)
		require.Equal(t, 2*time.Minute, time.Since(begun))
	})
}

// A node that never hears of a change does not hold the run up for ever.
func TestANodeThatHearsNothingIsNamed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		err := heard(t.Context(), "n2", func(context.Context) (bool, error) { return false, nil })
		require.ErrorContains(t, err, "n2 has not heard")
		asked := 0
		require.NoError(t, heard(t.Context(), "n2", func(context.Context) (bool, error) { asked++; return asked == 3, nil }))
		require.ErrorIs(t, heard(t.Context(), "n2", func(context.Context) (bool, error) { return false, errHandler }), errHandler)
	})
}
