package client

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
)

// A large batch that waits for room has it before what is small and came later, however much
// of that there is; when it is given up, that goes on at once.
func TestWhatIsSmallKeepsNothingLargeWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := budget{maxMessages: 10, maxBytes: 100}
		var order []string
		take := func(ctx context.Context, name string, messages int) <-chan error {
			done := make(chan error, 1)
			go func() {
				err := b.take(ctx, messages, 1)
				if err == nil {
					order = append(order, name)
				}
				done <- err
			}()
			synctest.Wait()
			return done
		}
		ctx := t.Context()
		take(ctx, "first", 1)
		given, giveUp := context.WithCancel(ctx)
		large := take(given, "large", 10)
		take(ctx, "small", 1)
		require.Equal(t, []string{"first"}, order)
		giveUp()
		require.ErrorIs(t, <-large, ErrBufferFull)
		synctest.Wait()
		require.Equal(t, []string{"first", "small"}, order)
		take(ctx, "large", 10)
		later := take(ctx, "later", 1)
		b.give(1, 1)
		synctest.Wait()
		require.Equal(t, []string{"first", "small"}, order)
		b.give(1, 1)
		synctest.Wait()
		require.Equal(t, []string{"first", "small", "large"}, order)
		b.give(10, 1)
		require.NoError(t, <-later)
		idle := make(chan error, 1)
		go func() { idle <- b.idle(ctx) }()
		synctest.Wait()
		b.give(1, 1)
		require.NoError(t, <-idle)
		require.Zero(t, b.bytes)
	})
}
