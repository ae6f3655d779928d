package main

import (
	"testing"

	"github.com/stretchr/testify/require"

	"raftmq/remoting"
)

// A change of which nobody says whether it is made is unknown.
func TestAnUnconfirmedChangeIsUnknown(t *testing.T) {
	at := answering(t, func(req *remoting.Command) *remoting.Command {
		if req.Code == remoting.DeleteTopicInBroker {
			return req.Reply(remoting.OutcomeUnknown, "decided, and not heard of here")
		}
		if req.Code == remoting.GetTopicConfig {
			return req.ReplyWith(nil, remoting.EncodeBody(remoting.TopicConfig{TopicName: "t", ReadQueueNums: 1, WriteQueueNums: 1, Perm: 6}))
		}
		return nil
	})
	code, _, errs := raftmq(t, "topic", "delete", "t", "--endpoint", at)
	require.Equal(t, exitUnknown, code, errs)
}
