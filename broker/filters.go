package broker

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"raftmq/filter"
	"raftmq/message"
	"raftmq/remoting"
	"raftmq/store"
)

const (
	// keptFilters are compiled expressions that a node keeps, the last used: a pull
	// names its filter by its text.
	keptFilters = 256
	// filterBytes bounds what they take together.
	filterBytes = 32 << 20
	// maxTags bounds the text of a subscription by tag: what it is read into, for each read, takes many times as much.
	maxTags = 256 << 10
)

var (
	errTags       = fmt.Errorf("broker: the tags of a subscription take at most %d bytes", maxTags)
	errFilterKind = errors.New("broker: subscriptions are of type TAG or SQL92")
	errFilterOff  = errors.New("broker: this node does not filter by SQL92: no-property-filter is set")
)

// filters keeps compiled expressions. The zero filters is ready for use.
type filters struct {
	mu    sync.Mutex
	used  list.List // of *filter.Expression, the last used first
	known map[string]*list.Element
}

// compile is filter.Compile, unless the expression is known.
func (f *filters) compile(text string) (*filter.Expression, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if e, ok := f.known[text]; ok {
		f.used.MoveToFront(e)
		return e.Value.(*filter.Expression), nil
	}
	x, err := filter.Compile(strings.Clone(text)) // not the request's bytes
	if err != nil {
		return nil, err
	}
	if f.known == nil {
		f.known = make(map[string]*list.Element)
	}
	f.known[x.String()] = f.used.PushFront(x)
	if f.used.Len() > keptFilters {
		last := f.used.Back()
		delete(f.known, f.used.Remove(last).(*filter.Expression).String())
	}
	return x, nil
}

// wants makes a filter, for one read: one of many tags takes much more memory than their text,
// which is all that a pull keeps that is held. Nil is all.
type wants func() *store.Filter

// wanted is what a subscription lets through.
func (b *Broker) wanted(kind, text string) (wants, error) {
	switch {
	case remoting.IsTag(kind) && filter.IsAll(text):
		return nil, nil
	case remoting.IsTag(kind) && len(text) > maxTags:
		return nil, errTags
	case remoting.IsTag(kind):
		return func() *store.Filter {
			tags := filter.ParseTags(text)
			return &store.Filter{Tag: tags.MatchHash, Record: func(b []byte) bool {
				r, err := message.ParseRecord(b)
				return err != nil || tags.Match(r.Tag())
			}}
		}, nil
	case kind != remoting.SQLExpression:
		return nil, fmt.Errorf("%w, not %q", errFilterKind, kind)
	case b.cfg.NoPropertyFilter:
		return nil, errFilterOff
	}
	x, err := b.filters.compile(text)
	if err != nil {
		return nil, err
	}
	return func() *store.Filter {
		return &store.Filter{Record: func(b []byte) bool {
			r, err := message.ParseRecord(b)
			return err != nil || x.Match(r.PropertyBytes())
		}}
	}, nil
}

// refuseFilter answers that a subscription is none, why, and where.
func (r *request) refuseFilter(topic string, err error) *remoting.Command {
	code := remoting.SubscriptionParseFailed
	if errors.Is(err, errFilterOff) {
		code = remoting.SystemError
	}
	return r.refuse(code, "subscription to %s: %v", topic, err)
}

// checkClient answers 46: whether a subscription can be served.
func (b *Broker) checkClient(ctx context.Context, r *request) *remoting.Command {
	var h remoting.CheckClient
	leave, err := b.decode(ctx, r, &h)
	if err != nil {
		return r.failed(err)
	}
	defer leave()
	if s := h.SubscriptionData; s != nil {
		if _, err := b.wanted(s.ExpressionType, s.SubString); err != nil {
			return r.refuseFilter(s.Topic, err)
		}
	}
	return r.ReplyWith(nil, nil)
}
