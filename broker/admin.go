package broker

import (
	"context"
	"slices"

	"raftmq/fsm"
	"raftmq/message"
	"raftmq/remoting"
)

// admin answers what concerns topics, groups and the cluster. Lists are those of
// the catalogue's leader, as of the request; without a leader, those that are
// known here.
func (b *Broker) admin(ctx context.Context, r *request) *remoting.Command {
	if ofSeveral(r.Code) && !r.forwarded {
		if err := b.admission.read(ctx, b.admission.wholes); err != nil {
			return r.failed(err)
		}
		defer b.admission.wholes.leave()
	}
	switch r.Code {
	case remoting.UpdateAndCreateTopic, remoting.DeleteTopicInBroker, remoting.DeleteTopicInNS, remoting.UpdateSubscriptionGroup,
		remoting.DeleteSubscriptionGroup, remoting.PutKVConfig, remoting.DeleteKVConfig:
		return b.change(ctx, r)
	case remoting.UpdateAndCreateTopics, remoting.UpdateSubscriptionGroups:
		return b.several(ctx, r)
	case codeSubscribe:
		if r.conn == nil || r.forwarded {
			return b.change(ctx, r)
		}
	case codeDropGroup:
		if r.forwarded {
			return b.dropGroup(ctx, r)
		}
	case codeGroupUse:
		if r.forwarded {
			return b.groupUseIn(ctx, r)
		}
	case remoting.ListTransactions:
		return b.listTransactions(ctx, r)
	case remoting.ListTimers:
		return b.listTimers(ctx, r)
	case remoting.ExplainMessage:
		return b.explainMessage(ctx, r)
	case remoting.DeadLetters:
		return b.deadLetters(ctx, r)
	case remoting.ListQuarantined:
		return b.listQuarantined(ctx, r)
	case remoting.ListLeaders:
		return b.listLeaders(ctx, r)
	case remoting.MoveLeader:
		return b.moveLeader(ctx, r)
	case remoting.SettleDispute:
		return b.settleDispute(ctx, r)
	case remoting.GetBrokerRuntimeInfo:
		return b.figures(ctx, r)
	case remoting.GetBrokerConfig:
		return b.settings(r)
	case remoting.ViewBrokerStats:
		return b.viewStats(ctx, r)
	case remoting.GetBrokerConsumeStats:
		return b.brokerConsumeStats(ctx, r)
	case remoting.QueryConsumeTimeSpan:
		return b.timeSpans(ctx, r)
	case remoting.QueryConsumeQueue:
		return b.consumeQueue(ctx, r)
	case remoting.GetConsumerRunningInfo, remoting.ConsumeMessageDirectly:
		return b.askMember(ctx, r)
	case remoting.GetAllProducerInfo:
		return b.clients.producerTable(ctx, r)
	case remoting.GetKVConfig:
		return b.value(ctx, r)
	case remoting.GetKVListByNamespace:
		return b.values(ctx, r)
	case remoting.GetAllTopicListFromNS, remoting.GetTopicsByCluster:
		return b.list(ctx, r, func() any { return b.topicNames(!r.ours()) })
	case remoting.GetSystemTopicListFromNS, remoting.GetSystemTopicList:
		return r.ReplyWith(nil, remoting.EncodeBody(remoting.TopicList{TopicList: []string{message.DefaultTopic, b.replyTopic()}}))
	case remoting.GetAllTopicConfig:
		return b.list(ctx, r, func() any { return b.topicConfigs(r) })
	case remoting.GetTopicConfig:
		var h remoting.TopicHeader
		if err := h.Decode(r.Ext); err != nil {
			return r.failed(err)
		}
		t, refusal := b.topic(ctx, r, h.Topic)
		if refusal != nil {
			return refusal
		}
		return r.ReplyWith(nil, remoting.EncodeBody(topicConfig(t)))
	case remoting.GetAllSubscriptionGroup:
		return b.list(ctx, r, b.groupConfigs)
	case remoting.GetSubscriptionGroup:
		var h remoting.GroupHeader
		if err := h.Decode(r.Ext); err != nil {
			return r.failed(err)
		}
		g, refusal := b.group(ctx, r, h.Group)
		if refusal != nil {
			return refusal
		}
		return r.ReplyWith(nil, remoting.EncodeBody(groupConfig(g)))
	case remoting.GetTopicStats:
		return b.topicStats(ctx, r)
	case remoting.GetConsumeStats:
		return b.consumeStats(ctx, r)
	case remoting.InvokeBrokerToResetOffset:
		return b.resetOffset(ctx, r)
	case remoting.QueryTopicConsumeByWho:
		var h remoting.TopicHeader
		if err := h.Decode(r.Ext); err != nil {
			return r.failed(err)
		}
		return b.list(ctx, r, func() any { return b.groupsOf(h.Topic) })
	case remoting.QueryTopicsByConsumer:
		var h remoting.GroupHeader
		if err := h.Decode(r.Ext); err != nil {
			return r.failed(err)
		}
		g, refusal := b.group(ctx, r, h.Group)
		if refusal != nil {
			return refusal
		}
		return r.ReplyWith(nil, remoting.EncodeBody(remoting.TopicList{TopicList: g.Topics}))
	case remoting.QuerySubscriptionOfGroup:
		return b.clients.subscriptionOf(ctx, r)
	}
	return r.unsupported()
}

// ofSeveral reports whether an answer is put together of what several partitions say.
func ofSeveral(code remoting.Code) bool {
	switch code {
	case remoting.ListTransactions, remoting.ListTimers, remoting.ExplainMessage, remoting.DeadLetters, remoting.GetBrokerConsumeStats, remoting.GetTopicStats,
		remoting.GetConsumeStats, remoting.InvokeBrokerToResetOffset:
		return true
	}
	return false
}

// topic looks a topic up, as the catalogue's leader knows it.
func (b *Broker) topic(ctx context.Context, r *request, name string) (fsm.Topic, *remoting.Command) {
	err := b.catchUp(ctx)
	t, ok := b.catalogue.Topic(name)
	switch {
	case ok:
		return t, nil
	case err != nil:
		return t, r.refuse(remoting.ServiceNotAvailable, "topic %s is not known here and the catalogue has no leader", name)
	}
	return t, r.refuse(remoting.TopicNotExist, "topic %s does not exist", name)
}

// group is topic for a consumer group.
func (b *Broker) group(ctx context.Context, r *request, name string) (fsm.Group, *remoting.Command) {
	err := b.catchUp(ctx)
	g, ok := b.catalogue.Group(name)
	switch {
	case ok:
		return g, nil
	case err != nil:
		return g, r.refuse(remoting.ServiceNotAvailable, "group %s is not known here and the catalogue has no leader", name)
	}
	return g, r.refuse(remoting.SubscriptionGroupNotExist, "group %s does not exist", name)
}

// list answers with a list of the catalogue.
func (b *Broker) list(ctx context.Context, r *request, body func() any) *remoting.Command {
	b.catchUp(ctx)
	if err := b.admission.read(ctx, b.admission.lists); err != nil {
		return r.failed(err)
	}
	defer b.admission.lists.leave()
	return r.ReplyWith(nil, remoting.EncodeBody(body()))
}

// value answers 101.
func (b *Broker) value(ctx context.Context, r *request) *remoting.Command {
	var h remoting.KVHeader
	if err := h.Decode(r.Ext); err != nil {
		return r.failed(err)
	}
	err := b.catchUp(ctx)
	v, ok := b.catalogue.KV(h.Namespace)[h.Key]
	if !ok && err != nil {
		return r.refuse(remoting.ServiceNotAvailable, "namespace %s, key %s is not known here and the catalogue has no leader", h.Namespace, h.Key)
	}
	if !ok {
		return r.refuse(remoting.QueryNotFound, "No config item, Namespace: %s Key: %s", h.Namespace, h.Key)
	}
	return r.ReplyWith(remoting.KVReply{Value: v}, nil)
}

// values answers 219.
func (b *Broker) values(ctx context.Context, r *request) *remoting.Command {
	var h remoting.NamespaceHeader
	if err := h.Decode(r.Ext); err != nil {
		return r.failed(err)
	}
	err := b.catchUp(ctx)
	all := b.catalogue.KV(h.Namespace)
	if len(all) == 0 && err != nil {
		return r.refuse(remoting.ServiceNotAvailable, "namespace %s is not known here and the catalogue has no leader", h.Namespace)
	}
	if len(all) == 0 {
		return r.refuse(remoting.QueryNotFound, "No config item, Namespace: %s", h.Namespace)
	}
	size := 0
	for k, v := range all {
		size += len(k) + len(v)
	}
	if size > maxPullBytes {
		return r.refuse(remoting.SystemError, "the values of namespace %s take %d bytes, at most %d: ask for one after the other", h.Namespace, size, maxPullBytes)
	}
	return r.ReplyWith(nil, remoting.EncodeBody(remoting.KVTable{Table: all}))
}

// topicNames are the body of 206 and 224. With groups it has their retry topics and dead letters
// too, which is where stock tools find groups.
func (b *Broker) topicNames(groups bool) any {
	names := []string{}
	for _, t := range b.catalogue.Topics() {
		names = append(names, t.Name)
	}
	if groups {
		for _, g := range b.catalogue.Groups() {
			if len(g.Retry) > 0 {
				names = append(names, message.RetryTopic(g.Name), message.DLQTopic(g.Name))
			}
		}
	}
	if b.cfg.AutoCreateTopics {
		names = append(names, message.DefaultTopic)
	}
	return remoting.TopicList{TopicList: names}
}

// topicConfigs are the body of 21. A broker name has the topics that have a partition there: stock tools
// add up the queues of all.
func (b *Broker) topicConfigs(r *request) any {
	table := make(map[string]remoting.TopicConfig)
	for _, t := range b.catalogue.Topics() {
		if r.slot == noSlot || slices.ContainsFunc(t.Partitions, func(p fsm.Partition) bool { return p.Slot == r.slot }) {
			table[t.Name] = topicConfig(t)
		}
	}
	return remoting.TopicConfigTable{TopicConfigTable: table, DataVersion: b.dataVersion()}
}

// groupConfigs are the body of 201.
func (b *Broker) groupConfigs() any {
	table := make(map[string]remoting.SubscriptionGroupConfig)
	for _, g := range b.catalogue.Groups() {
		table[g.Name] = groupConfig(g)
	}
	return remoting.SubscriptionGroupTable{SubscriptionGroupTable: table, DataVersion: b.dataVersion()}
}

// groupsOf are the body of 300.
func (b *Broker) groupsOf(topic string) any {
	names := []string{}
	for _, g := range b.catalogue.Groups() {
		if slices.Contains(g.Topics, topic) {
			names = append(names, g.Name)
		}
	}
	return remoting.GroupList{GroupList: names}
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
