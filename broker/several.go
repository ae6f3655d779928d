package broker

import (
	"context"
	"maps"
	"slices"
	"strings"

	"raftmq/remoting"
)

// several answers 18 and 225: topics or groups are made or changed one after the other. The first that
// fails ends it, and the answer says how many were done: the same request again does nothing to those.
func (b *Broker) several(ctx context.Context, r *request) *remoting.Command {
	var each []*remoting.Command
	switch r.Code {
	case remoting.UpdateAndCreateTopics:
		var l remoting.TopicConfigs
		leave, err := b.decode(ctx, r, &l)
		if err != nil {
			return r.failed(err)
		}
		for _, t := range l.TopicConfigList {
			each = append(each, remoting.NewRequest(remoting.UpdateAndCreateTopic, remoting.CreateTopicHeader{
				Topic: strings.Clone(t.TopicName), ReadQueueNums: t.ReadQueueNums, WriteQueueNums: t.WriteQueueNums, Perm: t.Perm, TopicFilterType: t.TopicFilterType,
				TopicSysFlag: t.TopicSysFlag, Order: t.Order, Attributes: joined(t.Attributes),
			}))
		}
		leave()
	case remoting.UpdateSubscriptionGroups:
		var l remoting.GroupConfigs
		leave, err := b.decode(ctx, r, &l)
		if err != nil {
			return r.failed(err)
		}
		for _, g := range l.GroupConfigList {
			one := remoting.NewRequest(remoting.UpdateSubscriptionGroup, nil)
			one.Body = slices.Clone(g)
			each = append(each, one)
		}
		leave()
	}
	for i, one := range each {
		sub := *r
		sub.Command = one
		if reply := b.change(ctx, &sub); reply.Code != remoting.OK {
			return r.refuse(reply.Code, "after %d of %d: %s", i, len(each), reply.Remark)
		}
	}
	return r.ReplyWith(nil, nil)
}

// joined is attributes as a header has them: "+k=v,-k". In a list they may have their signs already.
func joined(attributes map[string]string) string {
	var all []string
	for _, k := range slices.Sorted(maps.Keys(attributes)) {
		switch {
		case strings.HasPrefix(k, "-"):
			all = append(all, k)
		default:
			all = append(all, "+"+strings.TrimPrefix(k, "+")+"="+attributes[k])
		}
	}
	return strings.Join(all, ",")
}
