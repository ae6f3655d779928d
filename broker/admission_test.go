package broker

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"raftmq/remoting"
)

func TestAGateLetsSomeThroughSomeWaitAndRefusesTheRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate(2, 3)
		ctx, cancel := context.WithCancel(context.Background())
		require.NoError(t, g.enter(ctx))
		require.NoError(t, g.enter(ctx))
		var wg sync.WaitGroup
		entered := make(chan error, 3)
		for range 3 {
			wg.Go(func() { entered <- g.enter(ctx) })
		}
		synctest.Wait()
		require.Empty(t, entered)
		require.ErrorIs(t, g.enter(ctx), errBusy)
		g.leave()
		require.NoError(t, <-entered)
		synctest.Wait()
		require.Empty(t, entered)
		cancel()
		wg.Wait()
		require.ErrorIs(t, <-entered, errBusy)
		require.ErrorIs(t, <-entered, errBusy)
		require.Zero(t, g.waiting.Load())
		g.leave()
		require.NoError(t, g.enter(context.Background()))
	})
}

// Large and small ones share the room, none is let in beyond it, and none waits for ever.
func TestAByteGateIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		g := newByteGate(10 * placeBytes)
		large, err := g.enter(ctx, 8*placeBytes)
		require.NoError(t, err)
		small, err := g.enter(ctx, 1)
		require.NoError(t, err)
		var wg sync.WaitGroup
		in := make(chan func(), 2)
		for range 2 {
			wg.Go(func() {
				leave, err := g.enter(ctx, 100*placeBytes)
				require.NoError(t, err)
				in <- leave
			})
		}
		synctest.Wait()
		require.Empty(t, in, "all of it is not free")
		small()
		large()
		(<-in)()
		(<-in)()
		wg.Wait()
		require.Empty(t, g.places)
		large, err = g.enter(ctx, 100*placeBytes)
		require.NoError(t, err)
		wg.Go(func() {
			_, err := g.enter(ctx, 1)
			require.ErrorIs(t, err, errBusy)
		})
		synctest.Wait()
		cancel()
		wg.Wait()
		large()
		require.Empty(t, g.places)
		require.Empty(t, g.first)
	})
}

func TestHeldPullsAreBoundedPerConnectionAndNode(t *testing.T) {
	var c Config
	c.fillBounds()
	a := newAdmission(c)
	require.EqualValues(t, 32768, a.maxHeld, "half of what requests may take")
	here, there := &request{conn: new(remoting.ServerConn)}, &request{conn: new(remoting.ServerConn)}
	var releases []func()
	for range heldPerConn {
		f, err := a.hold(here)
		require.NoError(t, err)
		releases = append(releases, f)
	}
	_, err := a.hold(here)
	require.ErrorIs(t, err, errBusy)
	f, err := a.hold(there)
	require.NoError(t, err, "another connection has its own")
	releases = append(releases, f)
	sent := &request{conn: here.conn, forwarded: true}
	for range a.maxHeld - heldPerConn - 1 {
		f, err := a.hold(sent)
		require.NoError(t, err, "what nodes send on counts for the node")
		releases = append(releases, f)
	}
	for _, r := range []*request{sent, there} {
		_, err = a.hold(r)
		require.ErrorIs(t, err, errBusy)
	}
	for _, f := range releases {
		f()
	}
	require.Zero(t, a.held.Load())
	_, err = a.hold(here)
	require.NoError(t, err)
}
