package broker

import (
	"context"
	"slices"

	"raftmq/fsm"
	"raftmq/message"
	"raftmq/remoting"
)

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
