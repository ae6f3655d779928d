package broker

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"strings"

	"raftmq/fsm"
	"raftmq/message"
	"raftmq/remoting"
)

// route answers 105 from memory. Broker names are slots. Id 0 of a slot is the
// first of its replicas that is alive, the same for all topics, since clients
// keep addresses per name; node i of the cluster also has the stable id i+1. What
// is not known here is asked for once, before it is said that there is no route.
func (b *Broker) route(ctx context.Context, r *request) *remoting.Command {
	var h remoting.RouteHeader
	if err := h.Decode(r.Ext); err != nil {
		return r.failed(err)
	}
	data, ok := b.routeOf(h.Topic)
	if !ok {
		if err := b.catchUp(ctx); err != nil {
			return r.refuse(remoting.ServiceNotAvailable, "topic %s is not known here and the catalogue has no leader", h.Topic)
		}
		data, ok = b.routeOf(h.Topic)
	}
	if !ok && h.Topic == message.TraceTopic && b.cfg.AutoCreateTopics { // stock clients that trace do not ask for it otherwise
		if refusal := b.autoCreate(ctx, r, h.Topic); refusal != nil {
			return refusal
		}
		data, ok = b.routeOf(h.Topic)
	}
	if !ok {
		return r.refuse(remoting.TopicNotExist, "No topic route info in name server for the topic: %s", h.Topic)
	}
	if t, ok := b.catalogue.Topic(h.Topic); ok && r.ours() {
		data.Placement = t.Attributes[attrPlacement]
	}
	return r.ReplyWith(nil, remoting.EncodeBody(data))
}

// routeOf is a topic's route by what this node knows.
func (b *Broker) routeOf(topic string) (data remoting.TopicRouteData, ok bool) {
	add := func(slot int, q remoting.QueueData) {
		q.BrokerName = brokerName(slot)
		data.QueueDatas = append(data.QueueDatas, q) // the numbers of the others' queues depend on it
		if at := b.brokerData(slot); len(at.BrokerAddrs) > 0 {
			data.BrokerDatas = append(data.BrokerDatas, at)
		}
	}
	group, retry := message.RetryGroup(topic)
	if !retry {
		group, retry = message.DLQGroup(topic)
	}
	t, there := b.catalogue.Topic(topic)
	switch {
	case topic == message.DefaultTopic && b.cfg.AutoCreateTopics:
		n := int32(b.cfg.DefaultQueues)
		for _, s := range b.catalogue.Slots() {
			add(s.ID, remoting.QueueData{ReadQueueNums: n, WriteQueueNums: n, Perm: permRead | permWrite | permInherit})
		}
	case b.isReplyTopic(topic) && !there:
		for _, s := range b.catalogue.Slots() {
			add(s.ID, remoting.QueueData{ReadQueueNums: 1, WriteQueueNums: 1, Perm: permRead | permWrite})
		}
	case retry:
		g, _ := b.catalogue.Group(group)
		for _, s := range b.catalogue.Slots() {
			if n := int32(len(g.Retry[s.ID])); n > 0 {
				add(s.ID, remoting.QueueData{ReadQueueNums: n, WriteQueueNums: n, Perm: permRead | permWrite})
			}
		}
	default:
		for _, p := range t.Partitions {
			add(p.Slot, remoting.QueueData{ReadQueueNums: t.ReadQueues, WriteQueueNums: t.WriteQueues, Perm: t.Perm, TopicSysFlag: t.SysFlag})
		}
		data.OrderTopicConf = orderConf(t, b.catalogue.KV(orderNamespace)[topic])
	}
	return data, len(data.QueueDatas) > 0
}

// orderNamespace has what operators said of the queues of ordered topics.
const orderNamespace = "ORDER_TOPIC_CONFIG"

// orderConf lists the queues of an ordered topic: "raftmq-0:2;raftmq-1:2". Those that an operator named count, as
// far as there are such.
func orderConf(t fsm.Topic, said string) string {
	var all, named []string
	for _, p := range t.Partitions {
		name := brokerName(p.Slot)
		all = append(all, name+":"+itoa(int64(t.WriteQueues)))
		for conf := range strings.SplitSeq(said, ";") {
			broker, queues, _ := strings.Cut(conf, ":")
			if n, err := strconv.ParseInt(queues, 10, 32); err == nil && broker == name && n > 0 && t.WriteQueues > 0 {
				named = append(named, name+":"+itoa(min(n, int64(t.WriteQueues))))
			}
		}
	}
	switch {
	case len(named) > 0:
		return strings.Join(named, ";")
	case t.Order:
		return strings.Join(all, ";")
	}
	return ""
}

// brokerData is where a slot is served; by nobody that is there, if it has no address: nodes may
// have been started with fewer slots than the cluster has.
func (b *Broker) brokerData(slot int) remoting.BrokerData {
	addrs := make(map[int64]string)
	var replicas []string
	for _, s := range b.catalogue.Slots() {
		if s.ID == slot {
			replicas = s.Replicas
		}
	}
	for i, x := range b.catalogue.Nodes() {
		n, ok := b.members.Node(x.Name)
		if !ok || slot >= len(n.Listeners) || n.Name != b.id.Node && !b.transport.Alive(n.Name) {
			continue
		}
		addrs[int64(i+1)] = n.Listeners[slot]
	}
	for _, name := range replicas {
		if n, ok := b.members.Node(name); ok && slot < len(n.Listeners) && (name == b.id.Node || b.transport.Alive(name)) {
			addrs[0] = n.Listeners[slot]
			break
		}
	}
	if addrs[0] == "" && len(addrs) > 0 { // any node answers, at that slot's port
		addrs[0] = addrs[slices.Min(slices.Collect(maps.Keys(addrs)))]
	}
	return remoting.BrokerData{BrokerAddrs: addrs, BrokerName: brokerName(slot), Cluster: b.cfg.Cluster}
}

// clusterInfo answers 106.
func (b *Broker) clusterInfo(r *request) *remoting.Command {
	var info remoting.ClusterInfo
	info.BrokerAddrTable = make(map[string]remoting.BrokerData)
	names := []string{}
	for _, s := range b.catalogue.Slots() {
		at := b.brokerData(s.ID)
		if len(at.BrokerAddrs) == 0 {
			continue
		}
		names = append(names, brokerName(s.ID))
		info.BrokerAddrTable[brokerName(s.ID)] = at
	}
	info.ClusterAddrTable = remoting.ClusterNames(b.cfg.Cluster, names)
	return r.ReplyWith(nil, remoting.EncodeBody(info))
}
