package broker

import (
	"context"
	"slices"
	"sort"

	"raftmq/remoting"
)

// list answers 38. A node that has just started first hears the others' lists:
// stock clients give up what is assigned to them when they are not in the answer.
func (g *registry) list(ctx context.Context, r *request) *remoting.Command {
	var h remoting.ConsumerListHeader
	if err := h.Decode(r.Ext); err != nil {
		return r.failed(err)
	}
	g.complete(ctx)
	if h.Strategy != "" {
		if refusal := g.checkStrategy(r, h.ConsumerGroup, r.client, h.Strategy, h.Joined); refusal != nil {
			return refusal
		}
	}
	ids := []string{}
	for _, i := range g.membersOf(h.ConsumerGroup) {
		ids = append(ids, i.ID)
	}
	sort.Strings(ids)
	ids = slices.Compact(ids)
	if len(ids) == 0 {
		return r.refuse(remoting.SystemError, "no consumer of group %s is connected", h.ConsumerGroup)
	}
	return r.ReplyWith(nil, remoting.EncodeBody(remoting.ConsumerList{ConsumerIDList: ids}))
}

func (i clientInfo) connection() remoting.Connection {
	return remoting.Connection{ClientAddr: i.Addr, ClientID: i.ID, Language: i.Language, Version: i.Version}
}

// consumers answers 203.
func (g *registry) consumers(ctx context.Context, r *request) *remoting.Command {
	var h remoting.ConsumerGroupHeader
	if err := h.Decode(r.Ext); err != nil {
		return r.failed(err)
	}
	g.complete(ctx)
	var out remoting.ConsumerConnection
	out.SubscriptionTable = make(map[string]remoting.SubscriptionData)
	seen := make(map[string]bool)
	for _, i := range g.membersOf(h.ConsumerGroup) {
		c := i.Consumer[h.ConsumerGroup]
		if !seen[i.ID] {
			seen[i.ID] = true
			out.ConnectionSet = append(out.ConnectionSet, i.connection())
		}
		out.ConsumeFromWhere, out.ConsumeType, out.MessageModel = c.ConsumeFromWhere, c.ConsumeType, c.MessageModel
		for _, s := range c.SubscriptionDataSet {
			out.SubscriptionTable[s.Topic] = s
		}
	}
	if len(out.ConnectionSet) == 0 {
		return r.refuse(remoting.ConsumerNotOnline, "the consumer group %s is not online", h.ConsumerGroup)
	}
	return r.ReplyWith(nil, remoting.EncodeBody(out))
}

// producers answers 204.
func (g *registry) producers(ctx context.Context, r *request) *remoting.Command {
	var h remoting.ProducerGroupHeader
	if err := h.Decode(r.Ext); err != nil {
		return r.failed(err)
	}
	g.complete(ctx)
	var out remoting.ProducerConnection
	for _, i := range g.those(func(i clientInfo) bool { return slices.Contains(i.Producer, h.ProducerGroup) }) {
		out.ConnectionSet = append(out.ConnectionSet, i.connection())
	}
	if len(out.ConnectionSet) == 0 {
		return r.refuse(remoting.SystemError, "the producer group %s is not online", h.ProducerGroup)
	}
	return r.ReplyWith(nil, remoting.EncodeBody(out))
}

// producerTable answers 328: the clients of every producer group.
func (g *registry) producerTable(ctx context.Context, r *request) *remoting.Command {
	g.complete(ctx)
	if err := g.b.admission.read(ctx, g.b.admission.lists); err != nil {
		return r.failed(err)
	}
	defer g.b.admission.lists.leave()
	var out remoting.ProducerTable
	now := g.b.now().UnixMilli() // they are connected: else they are not listed
	type named struct{ group, client string }
	seen := make(map[named]bool)
	for _, i := range g.all() {
		for _, group := range i.Producer {
			if k := (named{group, i.ID}); !seen[k] {
				seen[k] = true
				out.Add(group, remoting.ProducerInfo{ClientID: i.ID, Language: i.Language, LastUpdateTimestamp: now, RemoteIP: i.Addr, Version: i.Version})
			}
		}
	}
	return r.ReplyWith(nil, remoting.EncodeBody(out))
}

// subscriptionOf answers 345: what the members of a group want of a topic.
func (g *registry) subscriptionOf(ctx context.Context, r *request) *remoting.Command {
	var h remoting.TopicOfGroupHeader
	if err := h.Decode(r.Ext); err != nil {
		return r.failed(err)
	}
	g.complete(ctx)
	out := remoting.GroupSubscription{Group: h.Group, Topic: h.Topic}
	if sub, bad := g.subscription(h.Group, h.Topic, 0); bad == 0 {
		out.SubscriptionData = &sub
	}
	return r.ReplyWith(nil, remoting.EncodeBody(out))
}
