package main

import (
	"context"
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A request that waits for its text ends when it is told to.
func TestARequestThatReadsIsInterrupted(t *testing.T) {
	in, out := io.Pipe() // nothing comes
	defer out.Close()
	ctx, cancel := context.WithCancel(t.Context())
	c := root()
	c.SetArgs([]string{"request", "quotes", "-"})
	c.SetIn(in)
	ended := make(chan error, 1)
	go func() { ended <- run(ctx, c) }()
	_, err := io.WriteString(out, "how ") // it reads
	require.NoError(t, err)
	cancel()
	select {
	case err := <-ended:
		require.Equal(t, exitInterrupted, exitCode(ctx, err), err)
	case <-time.After(patience):
		t.Fatal("it waits for more")
	}
}
