package main

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftmq/message"
	"raftmq/remoting"
)

// A list that may be cut says so, and transactions of all topics are listed the oldest first.
func TestListsThatAreCutSaySo(t *testing.T) {
	born := time.Now().UnixMilli()
	m := message.Message{Topic: "a", BornHost: netip.MustParseAddrPort("127.0.0.1:1"), StoreHost: netip.MustParseAddrPort("127.0.0.1:2"), Body: []byte("x")}
	rec, err := m.AppendRecord(nil)
	require.NoError(t, err)
	at := answering(t, func(req *remoting.Command) *remoting.Command {
		switch req.Code {
		case remoting.GetAllTopicListFromNS:
			return req.ReplyWith(nil, remoting.EncodeBody(remoting.TopicList{TopicList: []string{"a", "b"}}))
		case remoting.GetTopicConfig:
			return req.ReplyWith(nil, remoting.EncodeBody(remoting.TopicConfig{}))
		case remoting.ListTransactions:
			x := remoting.Transaction{Topic: req.Ext["topic"], State: "pending", Group: "g", Born: born}
			y := x
			if x.Topic == "b" {
				x.Born, y.Born = born-2, born-1
			}
			return req.ReplyWith(nil, remoting.EncodeBody(remoting.TransactionList{Transactions: []remoting.Transaction{x, y}, Pending: 9}))
		case remoting.QueryMessage:
			return req.ReplyWith(nil, append(append([]byte(nil), rec...), rec...))
		}
		return nil
	})
	code, out, errs := raftmq(t, "tx", "list", "--limit", "2", "-o", "jsonl", "--endpoint", at)
	require.Zero(t, code, errs)
	require.Contains(t, errs, "of a the oldest 2 are listed, and there may be more")
	lines := strings.Split(strings.TrimSpace(out), "\n")
	require.Len(t, lines, 4)
	require.Contains(t, lines[0], `"topic":"b"`)
	require.Contains(t, lines[3], `"topic":"a"`)
	code, _, errs = raftmq(t, "tx", "list", "a", "--endpoint", at)
	require.Zero(t, code, errs)
	require.NotContains(t, errs, "there may be more")

	code, _, errs = raftmq(t, "message", "find", "a", "k", "--limit", "2", "--endpoint", at)
	require.Zero(t, code, errs)
	require.Contains(t, errs, "there may be older ones")
	code, _, errs = raftmq(t, "message", "find", "a", "k", "--endpoint", at)
	require.Zero(t, code, errs)
	require.Empty(t, errs)
	for _, args := range []string{"tx list --limit 0", "tx list --limit 99999", "message find a k --limit 33", "message find a k --limit 0"} {
		code, _, errs := raftmq(t, append(strings.Fields(args), "--endpoint", at)...)
		require.Equal(t, exitUsage, code, "%s: %s", args, errs)
	}
}
