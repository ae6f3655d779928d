package main

import (
	"encoding/base64"
	"testing"

	"github.com/stretchr/testify/require"

	"raftmq/remoting"
)

// What waits for its time, or is a dead letter, is a message too.
func TestWhatIsNotThereIsNotFound(t *testing.T) {
	at := answering(t, func(req *remoting.Command) *remoting.Command {
		switch req.Code {
		case remoting.RecallMessage:
			return req.Reply(remoting.QueryNotFound, "nothing waits under it")
		case remoting.ListTimers:
			return req.ReplyWith(nil, remoting.EncodeBody(remoting.TimerList{}))
		case remoting.DeadLetters:
			return req.ReplyWith(nil, remoting.EncodeBody(remoting.DeadLetterList{}))
		}
		return nil
	})
	timer := base64.URLEncoding.EncodeToString([]byte("v1 t raftmq-0 1 2"))
	for _, args := range [][]string{{"timer", "show", timer}, {"timer", "cancel", timer}, {"dlq", "show", "g", "0-1-17"}} {
		code, out, errs := raftmq(t, append(args, "--endpoint", at)...)
		require.Equal(t, exitNotFound, code, "%v: %s", args, errs)
		require.Empty(t, out)
	}
	code, _, errs := raftmq(t, "timer", "cancel", "no name", "--endpoint", at)
	require.Equal(t, exitUsage, code, errs)
}
