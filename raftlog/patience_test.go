package raftlog

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestPatienceEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var over atomic.Bool
		began := time.Now()
		ended := make(chan time.Duration, 1)
		newPatience(5*time.Second, func() { over.Store(true); ended <- time.Since(began) })
		require.Equal(t, 5*time.Second, <-ended)

		over.Store(false)
		p := newPatience(5*time.Second, func() { over.Store(true) })
		time.Sleep(4 * time.Second)
		p.stop()
		time.Sleep(time.Minute)
		require.False(t, over.Load())
	})
}
