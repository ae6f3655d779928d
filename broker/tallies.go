package broker

import (
	"context"
	"strings"
	"sync"
	"time"

	"raftmq/remoting"
)

// Names that tools ask for.
const (
	topicPuts  = "TOPIC_PUT_NUMS"  // key: a topic
	groupGets  = "GROUP_GET_NUMS"  // key: topic@group; without a topic: all of them
	brokerPuts = "BROKER_PUT_NUMS" // any key
	brokerGets = "BROKER_GET_NUMS"
)

// tallyWait bounds how long other nodes are waited for.
const tallyWait = time.Second

// viewStats answers 315: what was counted in a slot, at all nodes that are alive.
func (b *Broker) viewStats(ctx context.Context, r *request) *remoting.Command {
	var h remoting.StatsHeader
	if err := h.Decode(r.Ext); err != nil {
		return r.failed(err)
	}
	if r.slot == noSlot {
		r.slot = 0
	}
	s, ok := b.tally(ctx, r, h)
	if !ok {
		return r.refuse(remoting.SystemError, "The stats <%s> <%s> not exist", h.Name, h.Key)
	}
	return r.ReplyWith(nil, remoting.EncodeBody(s))
}

// tally adds up what the nodes counted: leaders what was stored, and each what was read
// there. ok: there is such a thing.
func (b *Broker) tally(ctx context.Context, r *request, h remoting.StatsHeader) (sum remoting.BrokerStats, ok bool) {
	sum, ok = b.counted(h, r.slot, b.now())
	if r.forwarded {
		return sum, ok
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	for _, n := range b.members.Nodes() {
		if n.Name == b.id.Node || !b.transport.Alive(n.Name) {
			continue
		}
		sub := *r
		sub.Command = remoting.NewRequest(remoting.ViewBrokerStats, h)
		wg.Go(func() {
			var s remoting.BrokerStats
			reply, err := b.forwards.call(ctx, n.Name, &sub, tallyWait)
			if err != nil || reply.Code != remoting.OK || remoting.DecodeBody(reply.Body, &s) != nil {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			sum, ok = added(sum, s), true
		})
	}
	wg.Wait()
	return sum, ok
}

func added(a, b remoting.BrokerStats) remoting.BrokerStats {
	add := func(a *remoting.BrokerStatsItem, b remoting.BrokerStatsItem) { a.Sum, a.TPS = a.Sum+b.Sum, a.TPS+b.TPS }
	add(&a.Minute, b.Minute)
	add(&a.Hour, b.Hour)
	add(&a.Day, b.Day)
	return a
}

// counted is what this node counted in a slot.
func (b *Broker) counted(h remoting.StatsHeader, slot int, now time.Time) (sum remoting.BrokerStats, ok bool) {
	add := func(m *meter) {
		for w, into := range map[int]*remoting.BrokerStatsItem{perMinute: &sum.Minute, perHour: &sum.Hour, perDay: &sum.Day} {
			c := b.rates.of(m, w, now)
			into.Sum, into.TPS = into.Sum+c.sum, into.TPS+c.tps
		}
		ok = true
	}
	each := func(topic string, f func(p *partition)) {
		for _, p := range b.local() {
			if p.desc.Slot == slot && (topic == "" || p.desc.Topic == topic) {
				f(p)
			}
		}
	}
	s := b.rates.slot(slot)
	switch {
	case h.Name == topicPuts:
		each(h.Key, func(p *partition) { add(&p.in) })
	case h.Name == groupGets:
		topic, group, _ := strings.Cut(h.Key, "@")
		each(topic, func(p *partition) {
			if m, there := b.rates.gets.Load(groupMeter{p.desc.ID, group}); there {
				add(m.(*meter))
			}
		})
	case h.Name == brokerPuts && s != nil:
		add(&s.in)
	case h.Name == brokerGets && s != nil:
		add(&s.out)
	}
	return sum, ok
}
