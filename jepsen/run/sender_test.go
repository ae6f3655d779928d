package run

import (
	"context"
	"errors"
	"fmt"
	"testing"

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
