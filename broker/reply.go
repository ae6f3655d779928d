package broker

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"raftmq/message"
	"raftmq/remoting"
)

// A request is a message like any other, and stored like any. Its reply is not stored:
// it goes to the connection of the client that asked, on whichever node that is.

const (
	// replyWait is how long a requester that is connected nowhere is waited for: it may be
	// on its way from a node that died. Stock clients that reply give up after 3 s.
	replyWait = 2 * time.Second
	// pushWait is how long a requester may take to say that it has the reply.
	pushWait  = time.Second
	replyPoll = 50 * time.Millisecond // how often it is looked for
)

// pushed is what became of a reply.
type pushed int

const (
	notConnected pushed = iota // certainly not delivered: the client has no connection
	delivered
	unwanted // certainly not delivered: the client waits no longer
	unheard  // it may be delivered
)

// unwanted is what became of a reply that was handed over before, with this outcome, when the
// client says that it does not wait for it: it may have it.
func (p pushed) unwanted() pushed {
	if p == unheard {
		return unheard
	}
	return unwanted
}

// replyTopic is what replies to requests of this cluster are addressed to.
func (b *Broker) replyTopic() string { return message.ReplyTopic(b.cfg.Cluster) }

// isReplyTopic reports whether replies to requests of this cluster may be addressed to a topic: stock clients put their
// namespace before it, as before any topic.
func (b *Broker) isReplyTopic(name string) bool {
	return name == b.replyTopic() || strings.HasSuffix(name, "%"+b.replyTopic())
}

// ownTopic reports whether a topic belongs to the broker: users neither create nor
// delete it, nor send to it.
func (b *Broker) ownTopic(name string) bool {
	return message.IsSystemTopic(name) || name == b.replyTopic()
}

// sendReply answers 324 and 325 once the requester has the reply.
func (b *Broker) sendReply(ctx context.Context, r *request) *remoting.Command {
	var h remoting.SendHeader
	if err := h.Decode(r.Ext); err != nil {
		return r.failed(err)
	}
	if !b.isReplyTopic(h.Topic) {
		return r.refuse(remoting.TopicNotExist, "replies of this cluster go to the topic %s, not to %s", b.replyTopic(), h.Topic)
	}
	if len(r.Body) > b.cfg.MaxBody {
		return r.refuse(remoting.MessageIllegal, "reply of %d bytes, at most %d; certainly not delivered", len(r.Body), b.cfg.MaxBody)
	}
	if refusal := r.longProperties(&h); refusal != nil {
		return refusal
	}
	props := message.ParseProperties(h.Properties)
	id := props[message.PropReplyTo]
	if id == "" || props[message.PropCorrelation] == "" {
		return r.refuse(remoting.InvalidParameter, "a reply has the properties %s and %s of its request", message.PropReplyTo, message.PropCorrelation)
	}
	if r.slot == noSlot {
		r.slot = 0
	}
	// The stock Go client says of bodies above 4 KiB that they are compressed, and sends
	// them as they are.
	if h.SysFlag&message.FlagCompressed != 0 && r.Language == remoting.Go && !isZlib(r.Body) {
		h.SysFlag &^= message.FlagCompressed | message.FlagCompressionMask
	}
	wait, cancel := context.WithTimeout(ctx, replyWait)
	defer cancel()
	if r.forwarded {
		return b.replied(r, &h, id, b.pushHere(wait, r, &h, id))
	}
	return b.replied(r, &h, id, b.push(wait, r, &h, id))
}

// isZlib reports whether b begins as RFC 1950 says.
func isZlib(b []byte) bool {
	return len(b) > 2 && b[0]&0x0f == 8 && (int(b[0])<<8+int(b[1]))%31 == 0
}

// replied answers who sent the reply. A stock client knows of no reason but a system
// error.
func (b *Broker) replied(r *request, h *remoting.SendHeader, id string, what pushed) *remoting.Command {
	code := remoting.SystemError
	if r.forwarded || r.ours() {
		code = remoting.ConsumerNotOnline
	}
	switch what {
	case delivered:
		b.replies.Add(1)
		return r.ReplyWith(remoting.SendReply{Trace: true, MsgID: "0", QueueID: h.QueueID}, nil)
	case unwanted:
		return r.refuse(code, "the requester %s waits no longer; certainly not delivered", id)
	case unheard:
		return r.refuse(remoting.OutcomeUnknown, "the requester %s does not say whether it has the reply", id)
	}
	if r.forwarded {
		return r.absent()
	}
	b.unanswered.Add(1)
	return r.refuse(code, "the requester %s is not connected to the cluster; certainly not delivered", id)
}

// push hands a reply to the requester's connection, here or at another node. One that
// is nowhere is waited for.
func (b *Broker) push(ctx context.Context, r *request, h *remoting.SendHeader, id string) pushed {
	best := notConnected
	for all := true; ; all = false {
		switch what := b.pushHere(ctx, r, h, id); what {
		case delivered:
			return delivered
		case unwanted:
			return best.unwanted()
		case unheard:
			best = unheard
		}
		for _, node := range b.clients.nodesOf(id, all) {
			reply, err := b.forwards.call(ctx, node, r, pushWait)
			switch {
			case err == nil && reply.Code == remoting.OK:
				return delivered
			case err == nil && reply.Code == remoting.ConsumerNotOnline:
				return best.unwanted()
			case err == nil && reply.Code == remoting.OutcomeUnknown, err != nil && !errors.Is(err, remoting.ErrNotSent):
				best = unheard
			}
			if ctx.Err() != nil {
				break
			}
		}
		look := time.NewTimer(replyPoll)
		select {
		case <-look.C:
		case <-ctx.Done():
			look.Stop()
			return best
		}
	}
}

// pushHere hands a reply to one of the client's connections here, one after the other.
func (b *Broker) pushHere(ctx context.Context, r *request, h *remoting.SendHeader, id string) pushed {
	best := notConnected
	for _, conn := range b.clients.connsOf(id) {
		push := *h
		push.Properties = string(message.AppendProperty(closed(push.Properties), message.PropPushTime, strconv.FormatInt(b.now().UnixMilli(), 10)))
		cmd := remoting.NewRequest(remoting.PushReplyMessageToClient, remoting.PushReplyHeader{
			SendHeader: push, BornHost: r.from.String(), StoreHost: b.storeHost(r.slot).String(), StoreTimestamp: b.now().UnixMilli(),
		})
		cmd.Body = r.Body
		wait, cancel := context.WithTimeout(ctx, pushWait)
		conn.Room(wait)
		answer, err := conn.Call(wait, cmd)
		cancel()
		switch {
		case err == nil && answer.Code == remoting.OK:
			return delivered
		case err == nil && answer.Code == remoting.ConsumerNotOnline:
			return best.unwanted()
		case err == nil, errors.Is(err, remoting.ErrNotSent): // not taken: another connection may be better
		default:
			best = unheard
		}
		if ctx.Err() != nil {
			break
		}
	}
	return best
}

// closed is a property string that another property can be appended to.
func closed(props string) []byte {
	b := []byte(props)
	if n := len(b); n > 0 && b[n-1] != 0x02 {
		b = append(b, 0x02)
	}
	return b
}

// renameLocked keeps which connections a client has; "" is none.
func (g *registry) renameLocked(c *remoting.ServerConn, from, to string) {
	if from == to {
		return
	}
	if left := slices.DeleteFunc(g.ids[from], func(x *remoting.ServerConn) bool { return x == c }); len(left) > 0 {
		g.ids[from] = left
	} else {
		delete(g.ids, from)
	}
	if to != "" {
		g.ids[to] = append(g.ids[to], c)
	}
}

// connsOf are a client's connections here, the latest first.
func (g *registry) connsOf(id string) []*remoting.ServerConn {
	g.mu.RLock()
	defer g.mu.RUnlock()
	conns := slices.Clone(g.ids[id])
	slices.Reverse(conns)
	return conns
}

// nodesOf are the other live nodes that say that a client is connected to them, and, with
// all, the others behind them: a list may be late.
func (g *registry) nodesOf(id string, all bool) (nodes []string) {
	g.mu.RLock()
	defer g.mu.RUnlock()
	var others []string
	for _, n := range g.b.members.Nodes() {
		if n.Name == g.b.id.Node || !g.b.transport.Alive(n.Name) {
			continue
		}
		if _, there := g.lists[n.Name].ids[id]; there {
			nodes = append(nodes, n.Name)
		} else if all {
			others = append(others, n.Name)
		}
	}
	return append(nodes, others...)
}

// idsOf are the clients that are connected to the node of a list.
func idsOf(clients []clientInfo) map[string]struct{} {
	ids := make(map[string]struct{}, len(clients))
	for _, i := range clients {
		if i.Until == 0 {
			ids[strings.Clone(i.ID)] = struct{}{}
		}
	}
	return ids
}
