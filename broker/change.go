package broker

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"

	"raftmq/fsm"
	"raftmq/message"
	"raftmq/remoting"
)

// codeSubscribe is sent between nodes only: group and topics to the catalogue.
const codeSubscribe remoting.Code = 9001

// change runs a catalogue command at the catalogue's leader, and answers when
// this node has applied it too.
func (b *Broker) change(ctx context.Context, r *request) *remoting.Command {
	if r.slot == noSlot {
		r.slot = 0
	}
	cmds, done, refusal := b.commands(r)
	if refusal != nil {
		return refusal
	}
	reply := b.atLeader(ctx, r, catalogueGroup, forwardWait, true, func(ctx context.Context) (*remoting.Command, error) {
		ctx, cancel := context.WithTimeout(ctx, forwardWait)
		defer cancel()
		for _, cmd := range cmds() {
			v, err := b.decide(ctx, cmd)
			if err != nil {
				return nil, err
			}
			if err := v.(fsm.CatalogueResult).Err; err != nil && !errors.Is(err, fsm.ErrExists) && !errors.Is(err, fsm.ErrNotFound) {
				return r.refuse(remoting.InvalidParameter, "%v", err), nil
			}
		}
		return r.ReplyWith(nil, nil), nil
	})
	if reply.Code == remoting.OK && !r.forwarded && done != nil {
		if err := done(ctx); err != nil {
			return r.failed(err)
		}
	}
	return reply
}

// commands decodes a change. cmds is asked on the leader, by what it knows then;
// done waits until this node has caught up with the change.
func (b *Broker) commands(r *request) (cmds func() [][]byte, done func(context.Context) error, refusal *remoting.Command) {
	one := func(cmd []byte) func() [][]byte { return func() [][]byte { return [][]byte{cmd} } }
	switch r.Code {
	case remoting.UpdateAndCreateTopic:
		var h remoting.CreateTopicHeader
		if err := h.Decode(r.Ext); err != nil {
			return nil, nil, r.failed(err)
		}
		if err := message.CheckTopic(h.Topic); err != nil {
			return nil, nil, r.failed(err)
		}
		if message.IsSystemTopic(h.Topic) {
			return nil, nil, r.refuse(remoting.InvalidParameter, "the topic %s belongs to the broker", h.Topic)
		}
		if slots := len(b.catalogue.Slots()); int(h.Partitions) > slots || h.Partitions < 0 {
			return nil, nil, r.refuse(remoting.InvalidParameter, "%d partitions: the cluster has %d slots", h.Partitions, slots)
		}
		if h.ReadQueueNums > maxQueues || h.WriteQueueNums > maxQueues {
			return nil, nil, r.refuse(remoting.InvalidParameter, "%d queues per partition, at most %d", max(h.ReadQueueNums, h.WriteQueueNums), maxQueues)
		}
		spec := fsm.TopicSpec{Name: h.Topic, ReadQueues: h.ReadQueueNums, WriteQueues: h.WriteQueueNums, Perm: h.Perm, Order: h.Order, SysFlag: h.TopicSysFlag, Attributes: attributes(h.Attributes)}
		return func() [][]byte {
			if _, ok := b.catalogue.Topic(h.Topic); ok {
				return [][]byte{fsm.EncodeUpdateTopic(nil, spec)}
			}
			spec.Slots = b.chooseSlots(int(h.Partitions))
			return [][]byte{fsm.EncodeCreateTopic(nil, spec)}
		}, func(ctx context.Context) error { return b.awaitTopic(ctx, h.Topic) }, nil
	case remoting.DeleteTopicInBroker, remoting.DeleteTopicInNS:
		name := r.Ext["topic"]
		if message.IsSystemTopic(name) {
			return nil, nil, r.refuse(remoting.InvalidParameter, "the topic %s belongs to the broker", name)
		}
		return one(fsm.EncodeDeleteTopic(nil, name)), nil, nil
	case remoting.UpdateSubscriptionGroup:
		var c remoting.SubscriptionGroupConfig
		if err := remoting.DecodeBody(r.Body, &c); err != nil {
			return nil, nil, r.failed(err)
		}
		if err := message.CheckGroup(c.GroupName); err != nil {
			return nil, nil, r.failed(err)
		}
		return one(fsm.EncodePutGroup(nil, fsm.GroupSpec{
			Name: c.GroupName, ConsumeEnable: c.ConsumeEnable, ConsumeFromMinEnable: c.ConsumeFromMinEnable, ConsumeBroadcastEnable: c.ConsumeBroadcastEnable,
			ConsumeMessageOrderly: c.ConsumeMessageOrderly, RetryMaxTimes: c.RetryMaxTimes, ConsumeTimeoutMinute: c.ConsumeTimeoutMinute, Attributes: c.Attributes,
		})), nil, nil
	case remoting.DeleteSubscriptionGroup:
		var h remoting.DeleteGroupHeader
		if err := h.Decode(r.Ext); err != nil {
			return nil, nil, r.failed(err)
		}
		return one(fsm.EncodeDeleteGroup(nil, h.GroupName)), nil, nil
	case remoting.PutKVConfig, remoting.DeleteKVConfig:
		var h remoting.KVHeader
		if err := h.Decode(r.Ext); err != nil {
			return nil, nil, r.failed(err)
		}
		if r.Code == remoting.PutKVConfig {
			return one(fsm.EncodePutKV(nil, h.Namespace, h.Key, h.Value)), nil, nil
		}
		return one(fsm.EncodeDeleteKV(nil, h.Namespace, h.Key)), nil, nil
	case codeSubscribe:
		if err := message.CheckGroup(r.Ext["group"]); err != nil {
			return nil, nil, r.failed(err)
		}
		topics := strings.Split(r.Ext["topics"], ",")
		return one(fsm.EncodeSubscribe(nil, r.Ext["group"], topics)), nil, nil
	}
	return nil, nil, r.refuse(remoting.RequestCodeNotSupported, "request code %d", r.Code)
}

// attributes reads "+k=v,-k".
func attributes(s string) map[string]string {
	if s == "" {
		return nil
	}
	m := make(map[string]string)
	for part := range strings.SplitSeq(s, ",") {
		if kv, ok := strings.CutPrefix(part, "+"); ok {
			k, v, _ := strings.Cut(kv, "=")
			m[k] = v
		}
	}
	return m
}

// chooseSlots takes the n slots with the fewest partitions; 0: all.
func (b *Broker) chooseSlots(n int) []int {
	slots := b.catalogue.Slots()
	if n == 0 {
		n = len(slots)
	}
	load := make(map[int]int)
	for _, p := range b.catalogue.Partitions() {
		load[p.Slot]++
	}
	ids := make([]int, 0, len(slots))
	for _, s := range slots {
		ids = append(ids, s.ID)
	}
	slices.SortStableFunc(ids, func(x, y int) int { return cmp.Compare(load[x], load[y]) })
	return ids[:min(n, len(ids))]
}
