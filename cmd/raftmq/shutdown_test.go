package main

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

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
