package broker

import (
	"cmp"
	"slices"

	"raftmq/remoting"
)

// averageStrategy is that of who names none: stock clients do not say how they share queues,
// and do it so unless they are told otherwise.
const averageStrategy = "average"

// joined is since when a client that does not say is a member, as far as nodes have heard.
func (g *registry) joined(id, group string) int64 {
	at := g.b.now().UnixMilli()
	for _, i := range g.membersOf(group) {
		if c := i.Consumer[group]; i.ID == id && c.Joined > 0 {
			at = min(at, c.Joined)
		}
	}
	return at
}

// waitsSince is since when, in Unix ms, a group has had a member that subscribes to a topic; 0: there is none.
func (g *registry) waitsSince(group, topic string) (since int64) {
	g.each(func(i clientInfo) {
		c, ok := i.Consumer[group]
		if ok && (since == 0 || c.Joined < since) && slices.ContainsFunc(c.SubscriptionDataSet, func(s remoting.SubscriptionData) bool { return s.Topic == topic }) {
			since = c.Joined
		}
	})
	return since
}

// checkStrategy refuses a member that shares queues by another strategy than the one that
// has been in the group longest; nil: it may be one. Members that differ
// would leave queues to nobody, and take others twice.
func (g *registry) checkStrategy(r *request, group, id, strategy string, joined int64) *remoting.Command {
	first, theirs, since := "", "", int64(0)
	for _, i := range g.membersOf(group) {
		c := i.Consumer[group]
		if i.ID == id || c.MessageModel == remoting.Broadcasting {
			continue
		}
		if first == "" || cmp.Or(cmp.Compare(c.Joined, since), cmp.Compare(i.ID, first)) < 0 {
			first, theirs, since = i.ID, cmp.Or(c.Strategy, averageStrategy), c.Joined
		}
	}
	strategy = cmp.Or(strategy, averageStrategy)
	if first == "" || theirs == strategy || cmp.Or(cmp.Compare(joined, since), cmp.Compare(id, first)) < 0 {
		return nil
	}
	return r.refuse(remoting.InvalidParameter, "group %s shares its queues by %s, as %s does, and this member by %s: all members of a group must use the same strategy", group, theirs, first, strategy)
}
