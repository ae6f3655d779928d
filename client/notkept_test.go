package client_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftmq/client"
	"raftmq/remoting"
)

// A message that was trimmed while it waited for its handler cannot be put back, nor be a dead letter:
// when it has failed as often as it may, what is behind it goes on.
func TestAMessageThatIsNotKeptAnyMoreHoldsNothingUp(t *testing.T) {
	for name, x := range map[string]struct {
		err    error
		want   int
		opts   []client.ConsumerOption
		remark string
	}{
		"tried as often as it may be":  {errors.New("poison"), 3, []client.ConsumerOption{client.WithMaxAttempts(3), client.WithBackoff(time.Millisecond, time.Millisecond)}, "gone"},
		"given up":                     {client.DeadLetter(errors.New("poison")), 1, nil, "gone"},
		"given up, in order":           {client.DeadLetter(errors.New("poison")), 1, []client.ConsumerOption{client.WithOrder()}, "gone"},
		"given up, by an earlier node": {client.DeadLetter(errors.New("poison")), 1, nil, "no message at physical offset 0"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake(t, 1, 1)
			f.topic("t", 1)
			f.answer = func(req *remoting.Command) *remoting.Command {
				if req.Code == remoting.ConsumerSendMessageBack {
					r := req.Reply(remoting.SystemError, x.remark)
					if x.remark == "gone" {
						r.SetExt(remoting.ExtNotKept, "1")
					}
					return r
				}
				return nil
			}
			c := f.dial()
			sendAll(t, producer(t, c), "t", 0, 200)
			var y tally
			r := consume(t, c, "t", func(ctx context.Context, d *client.Delivery) error {
				y.handle(ctx, d)
				if string(d.Body) == "0" {
					return x.err
				}
				return nil
			}, append(x.opts, client.WithPrefetch(32, 1<<20))...)
			eventually(t, func() bool { return f.committed("g", "t") == 200 })
			require.NoError(t, r.stop())
			y.mu.Lock()
			defer y.mu.Unlock()
			require.Equal(t, x.want, y.seen["0"])
		})
	}
}
