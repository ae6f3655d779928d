package client

import (
	"context"
	"fmt"
	"strings"

	"raftmq/filter"
	"raftmq/remoting"
)

// Filter says which messages of a topic a consumer wants. The nodes send no others.
type Filter struct {
	tags  []string
	sql   string
	bySQL bool
}

// All wants every message.
func All() Filter { return Filter{} }

// Tags wants messages with one of these tags; none is All. A tag is not empty, has no ||
// in it and no blanks around it, or it is refused where the filter is used.
func Tags(tags ...string) Filter { return Filter{tags: tags} }

// SQL wants messages for whose properties the condition is true, such as
//
//	amount > 100 AND region IN ('eu', 'us') OR TAGS = 'urgent'
//
// Package filter has the language. One that cannot be read is refused where the filter
// is used, with a *filter.Error that names the place.
func SQL(condition string) Filter { return Filter{sql: condition, bySQL: true} }

// check returns ErrInvalid for what no node would take.
func (f Filter) check() error {
	if f.bySQL {
		if _, err := filter.Compile(f.sql); err != nil {
			return fmt.Errorf("%w: %w", ErrInvalid, err)
		}
		return nil
	}
	for _, t := range f.tags {
		if t == "" || t != strings.TrimSpace(t) || strings.Contains(t, "||") || t == "*" {
			return fmt.Errorf("%w: %q is no tag to ask for", ErrInvalid, t)
		}
	}
	return nil
}

// kind is the type of expression.
func (f Filter) kind() string {
	if f.bySQL {
		return remoting.SQLExpression
	}
	return remoting.TagExpression
}

func (f Filter) expression() string {
	switch {
	case f.bySQL:
		return f.sql
	case len(f.tags) == 0:
		return "*"
	}
	return strings.Join(f.tags, "||")
}

// match compares tags once more. What nodes filter by other properties they have decided.
func (f Filter) match(tag string) bool {
	for _, t := range f.tags {
		if t == tag {
			return true
		}
	}
	return len(f.tags) == 0
}

// checkFilter asks a node whether it serves the filter.
func (c *Client) checkFilter(ctx context.Context, group, topic string, f Filter) error {
	if !f.bySQL {
		return nil
	}
	req := remoting.NewRequest(remoting.CheckClientConfig, nil)
	req.Body = remoting.EncodeBody(remoting.CheckClient{ClientID: c.id, Group: group,
		SubscriptionData: &remoting.SubscriptionData{Topic: topic, SubString: f.sql, ExpressionType: f.kind()}})
	r, addr, err := c.askEndpoint(ctx, "subscribe", req)
	if err != nil {
		return fmt.Errorf("subscribe to %s: %w", topic, err)
	}
	if r.Code != remoting.OK {
		return refusal("subscribe", topic, group, addr, r)
	}
	return nil
}
