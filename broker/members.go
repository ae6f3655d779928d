package broker

import (
	"context"
	"errors"
	"maps"
	"strings"
	"time"

	"raftmq/message"
	"raftmq/remoting"
)

const (
	// memberWait is how long a member may take to answer an operator: his own request waits for
	// 5 s.
	memberWait = 3 * time.Second
	// membersAsked is how many are asked at once: an answer may be as long as a frame.
	membersAsked = 4
)

// askMember answers 307 and 309 with what a member of a group says itself: how it fares, or
// what became of a message that it is to handle now. It is asked where it is connected.
func (b *Broker) askMember(ctx context.Context, r *request) *remoting.Command {
	var h remoting.MemberHeader
	if err := h.Decode(r.Ext); err != nil {
		return r.failed(err)
	}
	if h.ClientID == "" {
		return r.refuse(remoting.InvalidParameter, "field clientId is missing")
	}
	if r.forwarded {
		return b.askMemberHere(ctx, r, &h)
	}
	if r.slot == noSlot {
		r.slot = 0
	}
	if r.Code == remoting.ConsumeMessageDirectly {
		wait, cancel := context.WithTimeout(ctx, memberWait)
		err := b.admission.handed.enter(wait) // before the message is read, which is kept until the member has answered
		cancel()
		if err != nil {
			return r.failed(err)
		}
		defer b.admission.handed.leave()
		if refusal := b.withMessage(ctx, r, &h); refusal != nil {
			return refusal
		}
	}
	reply := b.askMemberHere(ctx, r, &h)
	for _, node := range b.clients.nodesOf(h.ClientID, false) {
		if reply.Ext[extAbsent] != "1" {
			break
		}
		switch there, err := b.forwards.call(ctx, node, r, memberWait); {
		case err == nil:
			reply = there
		case !errors.Is(err, remoting.ErrNotSent): // it may have been asked
			return r.silent(&h)
		}
	}
	if reply.Ext[extAbsent] == "1" {
		return r.refuse(remoting.SystemError, "The Consumer <%s> <%s> not online", h.ConsumerGroup, h.ClientID)
	}
	return r.told(reply)
}

// told is an answer of a member, as the answer to r.
func (r *request) told(answer *remoting.Command) *remoting.Command {
	reply := r.Reply(answer.Code, answer.Remark)
	reply.Body = answer.Body
	return reply
}

// withMessage puts the message that a member is to handle into r.
func (b *Broker) withMessage(ctx context.Context, r *request, h *remoting.MemberHeader) *remoting.Command {
	_, physical, err := message.ParseOffsetID(h.MsgID)
	if err != nil {
		return r.refuse(remoting.InvalidParameter, "message id %q: %v", h.MsgID, err)
	}
	view := *r
	view.Command = remoting.NewRequest(remoting.ViewMessageByID, remoting.ViewMessageHeader{Offset: physical, Topic: h.Topic})
	found := b.viewMessage(ctx, &view)
	if found.Code != remoting.OK {
		return r.refuse(found.Code, "%s", found.Remark)
	}
	r.Body = found.Body
	r.SetExt("brokerName", brokerName(r.slot))
	if t, ok := b.catalogue.Topic(h.Topic); ok {
		r.SetExt("topicSysFlag", itoa(int64(t.SysFlag)))
	}
	r.SetExt("groupSysFlag", "0")
	return nil
}

// askMemberHere asks the member over its connection to this node, if it has one.
func (b *Broker) askMemberHere(ctx context.Context, r *request, h *remoting.MemberHeader) *remoting.Command {
	conn := b.clients.connOf(h.ClientID, h.ConsumerGroup)
	if conn == nil {
		return r.absent()
	}
	ctx, cancel := context.WithTimeout(ctx, memberWait)
	defer cancel()
	if err := b.admission.members.enter(ctx); err != nil {
		return r.failed(err)
	}
	defer b.admission.members.leave()
	ask := remoting.NewRequest(r.Code, nil)
	ask.Body, ask.Ext = r.Body, maps.Clone(r.Ext)
	maps.DeleteFunc(ask.Ext, func(k, _ string) bool { return strings.HasPrefix(k, "_") || k == extOurs }) // between nodes only
	answer, err := conn.Call(ctx, ask)
	switch {
	case errors.Is(err, remoting.ErrNotSent):
		return r.absent()
	case err != nil:
		return r.silent(h)
	case len(answer.Body) > maxPullBytes:
		return r.refuse(remoting.SystemError, "the answer of the consumer <%s> <%s> has %d bytes, at most %d", h.ConsumerGroup, h.ClientID, len(answer.Body), maxPullBytes)
	}
	return r.told(answer)
}

// silent answers for a member of which nobody knows what it did.
func (r *request) silent(h *remoting.MemberHeader) *remoting.Command {
	return r.refuse(remoting.ConsumeMessageTimeout, "The consumer <%s> <%s> does not answer", h.ConsumerGroup, h.ClientID)
}

// connOf is the latest connection here of a member of a group; nil: there is none.
func (g *registry) connOf(id, group string) *remoting.ServerConn {
	conns := g.connsOf(id)
	g.mu.RLock()
	defer g.mu.RUnlock()
	for _, c := range conns {
		if _, ok := g.conns[c].Consumer[group]; ok {
			return c
		}
	}
	return nil
}
