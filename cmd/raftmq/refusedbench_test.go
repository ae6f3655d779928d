package main

import (
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"raftmq/remoting"
)

// A bench whose consumer is refused ends, and says so.
func TestABenchWhoseConsumerIsRefusedEnds(t *testing.T) {
	var made atomic.Bool
	at := answering(t, func(req *remoting.Command) *remoting.Command {
		switch req.Code {
		case remoting.GetRouteByTopic:
			if !made.Load() {
				return req.Reply(remoting.TopicNotExist, "no such topic")
			}
		case remoting.UpdateAndCreateTopic:
			made.Store(true)
		case remoting.GetConsumerListByGroup:
			return req.Reply(remoting.InvalidParameter, "the group shares its queues otherwise")
		}
		return nil
	})
	code, _, errs := raftmq(t, "bench", "kinds", "--duration", "10ms", "--endpoint", at)
	require.Equal(t, exitUsage, code, errs)
}
