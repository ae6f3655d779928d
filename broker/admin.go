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

// admin answers what concerns topics, groups and the cluster.
func (b *Broker) admin(ctx context.Context, r *request) *remoting.Command {
	switch r.Code {
	case remoting.UpdateAndCreateTopic, remoting.DeleteTopicInBroker, remoting.DeleteTopicInNS, remoting.UpdateSubscriptionGroup,
		remoting.DeleteSubscriptionGroup, remoting.PutKVConfig, remoting.DeleteKVConfig, codeSubscribe:
		return b.change(ctx, r)
	case remoting.GetKVConfig:
		var h remoting.KVHeader
		if err := h.Decode(r.Ext); err != nil {
			return r.failed(err)
		}
		v, ok := b.catalogue.KV(h.Namespace)[h.Key]
		if !ok {
			return r.refuse(remoting.QueryNotFound, "No config item, Namespace: %s Key: %s", h.Namespace, h.Key)
		}
		return r.ReplyWith(remoting.KVReply{Value: v}, nil)
	case remoting.GetKVListByNamespace:
		return r.ReplyWith(nil, remoting.EncodeBody(remoting.KVTable{Table: b.catalogue.KV(r.Ext["namespace"])}))
	case remoting.GetAllTopicListFromNS, remoting.GetTopicsByCluster:
		b.catchUp(ctx)
		names := []string{}
		for _, t := range b.catalogue.Topics() {
			names = append(names, t.Name)
		}
		if b.cfg.AutoCreateTopics {
			names = append(names, message.DefaultTopic)
		}
		return r.ReplyWith(nil, remoting.EncodeBody(remoting.TopicList{TopicList: names}))
	case remoting.GetSystemTopicListFromNS, remoting.GetSystemTopicList:
		return r.ReplyWith(nil, remoting.EncodeBody(remoting.TopicList{TopicList: []string{message.DefaultTopic}}))
	case remoting.GetAllTopicConfig:
		b.catchUp(ctx)
		var t remoting.TopicConfigTable
		t.TopicConfigTable = make(map[string]remoting.TopicConfig)
		for _, x := range b.catalogue.Topics() {
			t.TopicConfigTable[x.Name] = topicConfig(x)
		}
		t.DataVersion = b.dataVersion()
		return r.ReplyWith(nil, remoting.EncodeBody(t))
	case remoting.GetTopicConfig:
		t, ok := b.topic(ctx, r.Ext["topic"])
		if !ok {
			return r.refuse(remoting.TopicNotExist, "topic %s does not exist", r.Ext["topic"])
		}
		return r.ReplyWith(nil, remoting.EncodeBody(topicConfig(t)))
	case remoting.GetAllSubscriptionGroup:
		b.catchUp(ctx)
		var t remoting.SubscriptionGroupTable
		t.SubscriptionGroupTable = make(map[string]remoting.SubscriptionGroupConfig)
		for _, g := range b.catalogue.Groups() {
			t.SubscriptionGroupTable[g.Name] = groupConfig(g)
		}
		t.DataVersion = b.dataVersion()
		return r.ReplyWith(nil, remoting.EncodeBody(t))
	case remoting.GetSubscriptionGroup:
		g, ok := b.group(ctx, r.Ext["group"])
		if !ok {
			return r.refuse(remoting.SubscriptionGroupNotExist, "group %s does not exist", r.Ext["group"])
		}
		return r.ReplyWith(nil, remoting.EncodeBody(groupConfig(g)))
	case remoting.GetTopicStats:
		return b.topicStats(ctx, r)
	case remoting.GetConsumeStats:
		return b.consumeStats(ctx, r)
	case remoting.InvokeBrokerToResetOffset:
		return b.resetOffset(ctx, r)
	case remoting.QueryTopicConsumeByWho:
		groups := []string{}
		for _, g := range b.catalogue.Groups() {
			if slices.Contains(g.Topics, r.Ext["topic"]) {
				groups = append(groups, g.Name)
			}
		}
		return r.ReplyWith(nil, remoting.EncodeBody(remoting.GroupList{GroupList: groups}))
	}
	return r.refuse(remoting.RequestCodeNotSupported, "request code %d is not supported", r.Code)
}

func (b *Broker) dataVersion() remoting.DataVersion {
	return remoting.DataVersion{Counter: int64(b.catalogue.Version()), Timestamp: b.now().UnixMilli()}
}

func topicConfig(t fsm.Topic) remoting.TopicConfig {
	return remoting.TopicConfig{
		Attributes: t.Attributes, Order: t.Order, Perm: t.Perm, ReadQueueNums: t.ReadQueues, TopicFilterType: "SINGLE_TAG",
		TopicName: t.Name, TopicSysFlag: t.SysFlag, WriteQueueNums: t.WriteQueues,
	}
}

func groupConfig(g fsm.Group) remoting.SubscriptionGroupConfig {
	c := remoting.DefaultGroup(g.Name)
	c.ConsumeEnable, c.ConsumeFromMinEnable, c.ConsumeBroadcastEnable = g.ConsumeEnable, g.ConsumeFromMinEnable, g.ConsumeBroadcastEnable
	c.ConsumeMessageOrderly, c.RetryMaxTimes, c.ConsumeTimeoutMinute = g.ConsumeMessageOrderly, g.RetryMaxTimes, g.ConsumeTimeoutMinute
	c.Attributes = g.Attributes
	return c
}

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

// eachPartition runs read at the leader of each of the topic's partitions and
// hands over the bodies. A request that came in on a slot of ours is answered for
// the whole topic; one that was forwarded for its slot only.
func (b *Broker) eachPartition(ctx context.Context, r *request, topic string, read func(fsm.Topic, *partition) *remoting.Command, take func(body []byte) error) error {
	t, ok := b.topic(ctx, topic)
	if !ok {
		return errReply{r.refuse(remoting.TopicNotExist, "topic %s does not exist", topic)}
	}
	for _, part := range t.Partitions {
		if r.forwarded && part.Slot != r.slot {
			continue
		}
		sub := *r
		sub.slot = part.Slot
		reply := b.atLeader(ctx, &sub, part.ID, forwardWait, true, func(context.Context) (*remoting.Command, error) {
			p, ok := b.partition(part.ID)
			if !ok {
				return nil, errNotHere
			}
			return read(t, p), nil
		})
		if reply.Code != remoting.OK {
			return errReply{reply}
		}
		if err := take(reply.Body); err != nil {
			return err
		}
	}
	return nil
}

func (r *request) orReply(err error, body any) *remoting.Command {
	var e errReply
	if errors.As(err, &e) {
		return e.Command
	}
	if err != nil {
		return r.failed(err)
	}
	return r.ReplyWith(nil, remoting.EncodeBody(body))
}

// topicStats answers 202.
func (b *Broker) topicStats(ctx context.Context, r *request) *remoting.Command {
	out := remoting.TopicStats{OffsetTable: make(map[remoting.MessageQueue]remoting.TopicOffset)}
	err := b.eachPartition(ctx, r, r.Ext["topic"], func(t fsm.Topic, p *partition) *remoting.Command {
		part := remoting.TopicStats{OffsetTable: make(map[remoting.MessageQueue]remoting.TopicOffset)}
		for i := range max(t.ReadQueues, t.WriteQueues) {
			lo, hi := p.store().Bounds(message.Queue{Topic: t.Name, ID: i})
			part.OffsetTable[remoting.MessageQueue{BrokerName: brokerName(p.desc.Slot), QueueID: i, Topic: t.Name}] = remoting.TopicOffset{MinOffset: int64(lo), MaxOffset: int64(hi)}
		}
		return r.ReplyWith(nil, remoting.EncodeBody(part))
	}, func(body []byte) error {
		var part remoting.TopicStats
		if err := remoting.DecodeBody(body, &part); err != nil {
			return err
		}
		for k, v := range part.OffsetTable {
			out.OffsetTable[k] = v
		}
		return nil
	})
	return r.orReply(err, out)
}

// consumeStats answers 208.
func (b *Broker) consumeStats(ctx context.Context, r *request) *remoting.Command {
	var h remoting.ConsumeStatsHeader
	if err := h.Decode(r.Ext); err != nil {
		return r.failed(err)
	}
	b.catchUp(ctx) // the group may have subscribed just now
	g, ok := b.catalogue.Group(h.ConsumerGroup)
	if !ok {
		return r.refuse(remoting.SubscriptionGroupNotExist, "group %s does not exist", h.ConsumerGroup)
	}
	topics := g.Topics
	if h.Topic != "" {
		topics = []string{h.Topic}
	}
	out := remoting.ConsumeStats{OffsetTable: make(map[remoting.MessageQueue]remoting.OffsetWrapper)}
	for _, topic := range topics {
		sub := *r
		sub.Command = remoting.NewRequest(r.Code, remoting.ConsumeStatsHeader{ConsumerGroup: h.ConsumerGroup, Topic: topic})
		err := b.eachPartition(ctx, &sub, topic, func(t fsm.Topic, p *partition) *remoting.Command {
			part := remoting.ConsumeStats{OffsetTable: make(map[remoting.MessageQueue]remoting.OffsetWrapper)}
			for i := range t.ReadQueues {
				q := message.Queue{Topic: t.Name, ID: i}
				_, hi := p.store().Bounds(q)
				off, ok := p.machine.Committed(h.ConsumerGroup, q)
				if !ok {
					off, _ = p.store().Bounds(q)
				}
				part.OffsetTable[remoting.MessageQueue{BrokerName: brokerName(p.desc.Slot), QueueID: i, Topic: t.Name}] = remoting.OffsetWrapper{BrokerOffset: int64(hi), ConsumerOffset: int64(off), PullOffset: int64(off)}
			}
			return r.ReplyWith(nil, remoting.EncodeBody(part))
		}, func(body []byte) error {
			var part remoting.ConsumeStats
			if err := remoting.DecodeBody(body, &part); err != nil {
				return err
			}
			for k, v := range part.OffsetTable {
				out.OffsetTable[k] = v
			}
			return nil
		})
		if err != nil {
			return r.orReply(err, nil)
		}
	}
	return r.orReply(nil, out)
}

// resetOffset answers 222: an operator moves a group.
func (b *Broker) resetOffset(ctx context.Context, r *request) *remoting.Command {
	var h remoting.ResetOffsetHeader
	if err := h.Decode(r.Ext); err != nil {
		return r.failed(err)
	}
	if err := message.CheckGroup(h.Group); err != nil {
		return r.failed(err)
	}
	out := remoting.ResetOffsetBody{OffsetTable: make(map[remoting.MessageQueue]int64)}
	one := h.QueueID >= 0 && r.slot != noSlot
	err := b.eachPartition(ctx, r, h.Topic, func(t fsm.Topic, p *partition) *remoting.Command {
		part := remoting.ResetOffsetBody{OffsetTable: make(map[remoting.MessageQueue]int64)}
		for i := range t.ReadQueues {
			if one && (i != h.QueueID || p.desc.Slot != r.slot) {
				continue
			}
			q := message.Queue{Topic: t.Name, ID: i}
			off := message.Offset(h.Offset)
			switch _, hi := p.store().Bounds(q); {
			case h.Offset >= 0:
			case h.Timestamp < 0:
				off = hi
			default:
				var err error
				if off, err = p.store().SeekTime(q, h.Timestamp, false); err != nil {
					return r.failed(err)
				}
			}
			v, err := p.propose(ctx, fsm.EncodeReset(nil, b.now().UnixMilli(), h.Group, q, off))
			if err != nil {
				return r.failed(err)
			}
			part.OffsetTable[remoting.MessageQueue{BrokerName: brokerName(p.desc.Slot), QueueID: i, Topic: t.Name}] = int64(v.(message.Offset))
		}
		return r.ReplyWith(nil, remoting.EncodeBody(part))
	}, func(body []byte) error {
		var part remoting.ResetOffsetBody
		if err := remoting.DecodeBody(body, &part); err != nil {
			return err
		}
		for k, v := range part.OffsetTable {
			out.OffsetTable[k] = v
		}
		return nil
	})
	return r.orReply(err, out)
}
