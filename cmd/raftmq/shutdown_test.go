package main

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"raftmq/broker"
	"raftmq/raftlog"
)

// The exit code says what has to be done: for damage another thing than for a failed disk.
func TestWhyANodeEndedIsItsExitCode(t *testing.T) {
	for code, why := range map[int]error{
		exitDisk:    errors.New("write segment 0001.wal: input/output error"),
		exitDamaged: fmt.Errorf("what is damaged is nowhere else: %w", raftlog.ErrWALDamaged),
		exitTooOld:  fmt.Errorf("it knows level 1: %w", broker.ErrTooOld),
	} {
		err := stopped(why)
		require.ErrorIs(t, err, why)
		require.Equal(t, code, exitCode(t.Context(), err), "%v", why)
	}
}

// A node whose disk failed ends within the time of a stop, whatever waits for the disk.
// One that is told to stop waits until all is kept.
func TestAFailedNodeEndsThoughItsDiskHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := make(chan struct{})
		hang := func(context.Context) error { <-disk; return nil }
		begun, broken := time.Now(), errors.New("input/output error")
		why, err := shutDown(hang, nil, broken)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, broken, why)
		require.Equal(t, drain, time.Since(begun))
		time.AfterFunc(time.Minute, func() { close(disk) })
		why, err = shutDown(hang, make(chan error), nil)
		require.NoError(t, err)
		require.NoError(t, why)
		require.Equal(t, drain+time.Minute, time.Since(begun))
		why, err = shutDown(hang, nil, broken)
		require.NoError(t, err)
		require.Equal(t, broken, why)
	})
}

// A disk that fails while the node is told to stop is a failed one: the node says so by its exit
// code, and waits no longer than one that failed before.
func TestADiskThatFailsDuringAStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk, fails, broken := make(chan struct{}), make(chan error, 1), errors.New("input/output error")
		defer close(disk)
		hang := func(context.Context) error { <-disk; return nil }
		for _, after := range []time.Duration{time.Second, drain, drain + time.Minute} {
			begun := time.Now()
			time.AfterFunc(after, func() { fails <- broken })
			why, err := shutDown(hang, fails, nil)
			require.Equal(t, broken, why)
			require.ErrorIs(t, err, context.DeadlineExceeded)
			require.Equal(t, max(after, drain), time.Since(begun))
		}
		why, err := shutDown(func(context.Context) error { fails <- broken; return nil }, fails, nil)
		require.NoError(t, err)
		require.Equal(t, broken, why)
	})
}
