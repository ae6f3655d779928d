package main

import (
	"context"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"raftmq/message"
	"raftmq/remoting"
)

// A cluster of one queue and one group, by what it answers.
func answering(t *testing.T, answer func(req *remoting.Command) *remoting.Command) (endpoint string) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	at := ln.Addr().String()
	s := &remoting.Server{Handler: remoting.HandlerFunc(func(_ context.Context, _ *remoting.ServerConn, req *remoting.Command) *remoting.Command {
		if r := answer(req); r != nil {
			return r
		}
		addrs := map[int64]string{0: at}
		switch req.Code {
		case remoting.GetBrokerClusterInfo:
			return req.ReplyWith(nil, remoting.EncodeBody(remoting.ClusterInfo{BrokerAddrTable: map[string]remoting.BrokerData{"raftmq-0": {BrokerName: "raftmq-0", BrokerAddrs: addrs}}}))
		case remoting.GetRouteByTopic:
			return req.ReplyWith(nil, remoting.EncodeBody(remoting.TopicRouteData{BrokerDatas: []remoting.BrokerData{{BrokerName: "raftmq-0", BrokerAddrs: addrs}},
				QueueDatas: []remoting.QueueData{{BrokerName: "raftmq-0", Perm: 6, ReadQueueNums: 1, WriteQueueNums: 1}}}))
		case remoting.GetAllSubscriptionGroup:
			return req.ReplyWith(nil, remoting.EncodeBody(remoting.SubscriptionGroupTable{SubscriptionGroupTable: map[string]remoting.SubscriptionGroupConfig{"g": {GroupName: "g"}}}))
		case remoting.GetConsumeStats:
			return req.ReplyWith(nil, remoting.EncodeBody(remoting.ConsumeStats{}))
		case remoting.GetMinOffset, remoting.GetMaxOffset:
			return req.ReplyWith(remoting.OffsetReply{Offset: 7}, nil)
		}
		return req.Reply(remoting.OK, "")
	})}
	go s.Serve(ln)
	t.Cleanup(func() { s.Close() })
	return at
}

func TestGroupShowSaysThatMembersAreNotKnown(t *testing.T) {
	at := answering(t, func(req *remoting.Command) *remoting.Command {
		if req.Code == remoting.GetConsumerConnectionList {
			return req.Reply(remoting.SystemError, "not now")
		}
		return nil
	})
	code, _, errs := raftmq(t, "group", "show", "g", "--endpoint", at)
	require.NotZero(t, code)
	require.NotContains(t, errs, "0 members")
}

func TestAMisspeltGroupIsNotMoved(t *testing.T) {
	var moved atomic.Int64
	at := answering(t, func(req *remoting.Command) *remoting.Command {
		if req.Code == remoting.InvokeBrokerToResetOffset {
			moved.Add(1)
		}
		return nil
	})
	reset := func(args ...string) (code int, errs string) {
		code, _, errs = raftmq(t, append([]string{"group", "reset", "--topic", "t", "--to", "latest", "--endpoint", at}, args...)...)
		return code, errs
	}
	code, errs := reset("gg")
	require.Equal(t, exitNotFound, code, errs)
	require.Zero(t, moved.Load())
	code, errs = reset("g")
	require.Zero(t, code, errs)
	code, errs = reset("gg", "--new")
	require.Zero(t, code, errs)
	require.EqualValues(t, 2, moved.Load())
}

// A group that somebody needs is deleted only by force.
func TestAGroupInUseIsNotDeleted(t *testing.T) {
	m := message.Message{Topic: message.DLQTopic("g"), BornHost: netip.MustParseAddrPort("127.0.0.1:1"), StoreHost: netip.MustParseAddrPort("127.0.0.1:2"), Body: []byte("x")}
	rec, err := m.AppendRecord(nil)
	require.NoError(t, err)
	var members, letters atomic.Bool
	var deleted atomic.Int64
	at := answering(t, func(req *remoting.Command) *remoting.Command {
		switch req.Code {
		case remoting.DeleteSubscriptionGroup:
			deleted.Add(1)
		case remoting.GetConsumerConnectionList:
			if !members.Load() {
				return req.Reply(remoting.ConsumerNotOnline, "nobody")
			}
			return req.ReplyWith(nil, remoting.EncodeBody(remoting.ConsumerConnection{ConnectionSet: []remoting.Connection{{ClientID: "one", ClientAddr: "10.0.0.9:4711"}}}))
		case remoting.DeadLetters:
			var l remoting.DeadLetterList
			if letters.Load() {
				l.Letters = append(l.Letters, remoting.DeadLetter{Record: rec})
			}
			return req.ReplyWith(nil, remoting.EncodeBody(l))
		}
		return nil
	})
	for _, x := range []struct {
		members, letters bool
		args             []string
		code             int
		says             string
	}{
		{true, false, nil, exitConflict, "10.0.0.9:4711"},
		{false, true, nil, exitConflict, "dlq list g"},
		{true, true, []string{"--force"}, exitOK, "group g deleted"},
		{false, false, nil, exitOK, "group g deleted"},
	} {
		members.Store(x.members)
		letters.Store(x.letters)
		before := deleted.Load()
		code, _, errs := raftmq(t, append([]string{"group", "delete", "g", "--endpoint", at}, x.args...)...)
		require.Equal(t, x.code, code, errs)
		require.Contains(t, errs, x.says)
		require.Equal(t, x.code == exitOK, deleted.Load() == before+1)
	}
}
