package client

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"raftmq/message"
	"raftmq/remoting"
)

// AttrPlacement is the attribute of a topic that holds its placement rules, joined by
// ';'. A rule is MATCH : TARGET; the first that matches a message says to which queue it
// goes, whatever its sender chose, and whichever client that is.
//
// MATCH is key, tag, or property NAME, for messages that have one; with =VALUE, for those
// with that value, with =PREFIX*, for those whose value begins so. TARGET is a queue's
// number, or a range like 0-3, or all: of those one by the hash of the value, so that
// the same key, tag or value has the same queue as long as rules and number of queues
// stay.
const AttrPlacement = "placement"

// TryRules says where a topic's rules would put a message: its queue, and the rule,
// counted from 1, that says so; 0: none does, and the sender chooses.
func (a *Admin) TryRules(ctx context.Context, m *Message) (queue, rule int, err error) {
	r, err := a.c.routes.refresh(ctx, m.Topic)
	if err != nil {
		return 0, 0, err
	}
	if r.rules == nil {
		return -1, 0, nil
	}
	n, rule, ok := r.rules.Choose(m.property, len(r.writable))
	if !ok {
		return -1, 0, nil
	}
	return r.writable[n], rule, nil
}

// placed is the queue that the topic's rules give a message; -1: none.
func (r *route) placed(m *Message) int {
	if r.rules == nil {
		return -1
	}
	n, _, ok := r.rules.Choose(m.property, len(r.writable))
	if !ok {
		return -1
	}
	return r.writable[n]
}

// placesAs reports whether by both routes a message goes to the same queue.
func (r *route) placesAs(o *route) bool {
	if r == o {
		return true
	}
	text := func(p *message.Placement) string {
		if p == nil {
			return ""
		}
		return p.String()
	}
	return text(r.rules) == text(o.rules) && slices.Equal(r.writable, o.writable) && slices.Equal(r.all, o.all)
}

// property is a property as it is sent.
func (m *Message) property(name string) string {
	switch name {
	case message.PropKeys:
		return strings.Join(m.Keys, " ")
	case message.PropTags:
		return m.Tag
	case propOrderKey:
		return m.OrderKey
	}
	return m.Properties[name]
}

// misplaced reports whether a send is certainly not stored, since rules say otherwise, or the
// topic has that queue no more: a try before the one that was told so may have gone by what was so then.
func misplaced(err error) bool {
	e, ok := errors.AsType[*BrokerError](err)
	return ok && (e.Code == int(remoting.WrongQueue) || e.Code == int(remoting.InvalidParameter)) && !errors.Is(err, ErrUncertain)
}

// maxPlaced is how often a message is placed anew, because rules change as it is sent;
// placePause, longer each time, lets nodes hear of them.
const (
	maxPlaced  = 5
	placePause = 50 * time.Millisecond
)
