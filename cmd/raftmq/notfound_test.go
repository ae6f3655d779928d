package main

import (
	"encoding/base64"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"raftmq/message"
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

// Who lists fewer dead letters than there are is told so.
func TestMoreDeadLettersThanAreListed(t *testing.T) {
	m := message.Message{Topic: message.DLQTopic("g"), BornHost: netip.MustParseAddrPort("127.0.0.1:1"), StoreHost: netip.MustParseAddrPort("127.0.0.1:2"), Body: []byte("x")}
	rec, err := m.AppendRecord(nil)
	require.NoError(t, err)
	at := answering(t, func(req *remoting.Command) *remoting.Command {
		var h remoting.DeadLettersHeader
		if req.Code != remoting.DeadLetters || h.Decode(req.Ext) != nil {
			return nil
		}
		var l remoting.DeadLetterList // one an answer, of three
		l.Letters = append(l.Letters, remoting.DeadLetter{Offset: h.From.Offset, Record: rec})
		if h.From.Offset < 2 {
			l.Next = &remoting.LetterPlace{Offset: h.From.Offset + 1}
		}
		return req.ReplyWith(nil, remoting.EncodeBody(l))
	})
	for limit, more := range map[string]bool{"2": true, "3": false, "1000": false} {
		code, out, errs := raftmq(t, "dlq", "list", "g", "--limit", limit, "-o", "json", "--endpoint", at)
		require.Zero(t, code, errs)
		require.Equal(t, more, strings.Contains(errs, "there are more"), errs)
		require.Equal(t, !more, strings.Contains(out, "0-0-2"), out)
		require.Contains(t, out, "0-0-1")
	}
	code, out, errs := raftmq(t, "dlq", "show", "g", "0-0-0", "-o", "json", "--endpoint", at)
	require.Zero(t, code, errs)
	require.Contains(t, out, `"body": "x"`, "as message show has it")
	for _, limit := range []string{"0", "-1", "9999999"} {
		code, _, errs := raftmq(t, "dlq", "list", "g", "--limit", limit, "--endpoint", at)
		require.Equal(t, exitUsage, code, errs)
	}
}
