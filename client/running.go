package client

import (
	"strconv"
	"strings"
	"time"

	"raftmq/remoting"
)

// fares answers 307, an operator's question to a consumer: what it has subscribed to, and what it
// holds of which queue.
func (c *Client) fares(req *remoting.Command) *remoting.Command {
	var h remoting.MemberHeader
	if err := h.Decode(req.Ext); err != nil {
		return req.Reply(remoting.InvalidParameter, err.Error())
	}
	for _, s := range c.running(h.ConsumerGroup) {
		return req.ReplyWith(nil, remoting.EncodeBody(s.fares()))
	}
	return req.Reply(remoting.SystemError, "no consumer of group "+h.ConsumerGroup+" runs here")
}

func (s *Consumer) fares() remoting.RunningInfo {
	told := s.describe()
	info := remoting.RunningInfo{
		Properties: map[string]string{
			remoting.PropConsumeType: told.ConsumeType, remoting.PropOrderly: strconv.FormatBool(s.ordered), remoting.PropStarted: strconv.FormatInt(s.joined.Load(), 10),
			remoting.PropVersion: "raftmq", remoting.PropNameServers: strings.Join(s.c.endpoints, ";"), remoting.PropConcurrency: strconv.Itoa(s.concurrency),
			"messageModel": told.MessageModel, "consumeFromWhere": told.ConsumeFromWhere, "consumerGroup": s.group,
		},
		SubscriptionSet: told.SubscriptionDataSet, Queues: make(map[remoting.MessageQueue]remoting.ProcessQueue),
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for k, cl := range s.claims {
		info.Queues[remoting.MessageQueue{BrokerName: k.queue.broker, QueueID: k.queue.id, Topic: k.topic}] = cl.fares()
	}
	return info
}

func (cl *claim) fares() remoting.ProcessQueue {
	cl.mu.Lock()
	defer cl.mu.Unlock()
	q := remoting.ProcessQueue{
		CachedMsgCount: int32(len(cl.held)), CachedMsgSizeInMiB: int32(cl.bytes >> 20), CommitOffset: max(cl.saved, 0), Locked: cl.epoch != 0,
		LastConsumeTimestamp: unixMs(cl.handledAt), LastPullTimestamp: unixMs(cl.pulledAt),
	}
	if n := len(cl.held); n > 0 {
		q.CachedMsgMinOffset, q.CachedMsgMaxOffset = cl.held[0].d.Offset, cl.held[n-1].d.Offset
	}
	return q
}

// unixMs is 0 for what has not been yet.
func unixMs(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}
