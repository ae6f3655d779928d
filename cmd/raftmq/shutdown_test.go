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
		begun := time.Now()
		require.ErrorIs(t, shutDown(hang, true), context.DeadlineExceeded)
		require.Equal(t, drain, time.Since(begun))
		time.AfterFunc(time.Minute, func() { close(disk) })
		require.NoError(t, shutDown(hang, false))
		require.Equal(t, drain+time.Minute, time.Since(begun))
		require.NoError(t, shutDown(hang, true))
	})
}
