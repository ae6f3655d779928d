package client_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftmq/client"
	"raftmq/remoting"
)

// A topic that is deleted as it is made has no route to be waited for.
func TestACreationWaitsForARouteForSoLong(t *testing.T) {
	f := newFake(t, 1, 1)
	f.answer = func(req *remoting.Command) *remoting.Command {
		if req.Code == remoting.UpdateAndCreateTopic {
			return req.Reply(remoting.OK, "")
		}
		return nil
	}
	c := f.dial()
	ended := make(chan error, 1)
	go func() { ended <- c.Admin().CreateTopic(bg, client.TopicConfig{Name: "t"}) }()
	select {
	case err := <-ended:
		require.ErrorIs(t, err, client.ErrUncertain, "it is made")
	case <-time.After(patience):
		t.Fatal("it waits for ever")
	}
}
