package client

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"raftmq/message"
	"raftmq/remoting"
)

// queueKey names a queue on the wire.
type queueKey struct {
	broker string
	id     int32
}

// route is where a topic lives. It is not changed once made.
type route struct {
	topic    string
	template bool       // of TBW102: the topic does not exist yet
	all      []queueKey // a queue's number is its place here
	writable []int      // numbers
	readable []int
	numbers  map[queueKey]int
	rules    *message.Placement // nil: none
	fetched  time.Time
}

func (r *route) key(number int) queueKey { return r.all[number] }

// writes reports whether a queue is one of those that are written.
func (r *route) writes(q queueKey) bool {
	n, ok := r.numbers[q]
	return ok && slices.Contains(r.writable, n)
}

// compareBrokers orders raftmq-2 before raftmq-10.
func compareBrokers(a, b string) int { return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b)) }

func newRoute(topic string, d *remoting.TopicRouteData) *route {
	r := &route{topic: topic, numbers: make(map[queueKey]int), fetched: time.Now()}
	if p, err := message.ParsePlacement(d.Placement); err == nil && p.Rules() > 0 {
		r.rules = p
	}
	write, read := make(map[queueKey]bool), make(map[queueKey]bool)
	for _, q := range d.QueueDatas {
		for i := range max(q.ReadQueueNums, q.WriteQueueNums) {
			k := queueKey{q.BrokerName, i}
			r.all = append(r.all, k)
			write[k] = q.Perm&2 != 0 && i < q.WriteQueueNums
			read[k] = q.Perm&4 != 0 && i < q.ReadQueueNums
		}
	}
	slices.SortFunc(r.all, func(a, b queueKey) int { return cmp.Or(cmp.Compare(a.id, b.id), compareBrokers(a.broker, b.broker)) })
	r.all = slices.Compact(r.all)
	for n, k := range r.all {
		r.numbers[k] = n
		if write[k] {
			r.writable = append(r.writable, n)
		}
		if read[k] {
			r.readable = append(r.readable, n)
		}
	}
	return r
}

// routes caches routes and the addresses of broker names.
type routes struct {
	c       *Client
	mu      sync.Mutex
	topics  map[string]*route
	asking  map[string]*asking
	brokers map[string]*broker
}

type asking struct {
	done  chan struct{}
	route *route
	err   error
}

// broker is a broker name's addresses, the one to try first leading.
type broker struct {
	byID  []string // by id, each once
	first string   // told or found to be better; empty: none
}

const (
	routePoll  = 30 * time.Second
	routeFresh = 100 * time.Millisecond // not asked again sooner
	template   = "TBW102"
)

func (s *routes) init(c *Client) {
	s.c, s.topics, s.asking, s.brokers = c, make(map[string]*route), make(map[string]*asking), make(map[string]*broker)
}

// get returns the cached route, or asks for it.
func (s *routes) get(ctx context.Context, topic string) (*route, error) {
	s.mu.Lock()
	r := s.topics[topic]
	s.mu.Unlock()
	if r != nil && !r.template {
		return r, nil
	}
	return s.refresh(ctx, topic)
}

// refresh asks for a route, once for all who ask meanwhile; one that is
// younger than routeFresh is good enough.
func (s *routes) refresh(ctx context.Context, topic string) (*route, error) {
	a, r, err := s.begin(topic)
	if a == nil {
		return r, err
	}
	select {
	case <-a.done:
		return a.route, a.err
	case <-ctx.Done():
		return nil, fmt.Errorf("route of %s: %w", topic, ctx.Err())
	}
}

// renew asks for a route that may have changed until now: what was asked before counts
// for nothing.
func (s *routes) renew(ctx context.Context, topic string) (*route, error) {
	for {
		s.mu.Lock()
		earlier := s.asking[topic]
		if r := s.topics[topic]; earlier == nil && r != nil {
			old := *r
			old.fetched = time.Time{}
			s.topics[topic] = &old
		}
		s.mu.Unlock()
		if earlier == nil {
			return s.refresh(ctx, topic)
		}
		select {
		case <-earlier.done:
		case <-ctx.Done():
			return nil, fmt.Errorf("route of %s: %w", topic, ctx.Err())
		}
	}
}

// refreshSoon is refresh without waiting.
func (s *routes) refreshSoon(topic string) { s.begin(topic) }

// begin asks for a route unless that is under way or needless.
func (s *routes) begin(topic string) (*asking, *route, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r := s.topics[topic]; r != nil && !r.template && time.Since(r.fetched) < routeFresh {
		return nil, r, nil
	}
	a := s.asking[topic]
	if a == nil {
		a = &asking{done: make(chan struct{})}
		ok := s.c.spawn(func() {
			ctx, cancel := context.WithTimeout(s.c.ctx, askTotal)
			defer cancel()
			a.route, a.err = s.fetch(ctx, topic)
			s.mu.Lock()
			delete(s.asking, topic)
			switch {
			case a.err == nil:
				s.topics[topic] = a.route
			case errors.Is(a.err, ErrTopicNotFound):
				delete(s.topics, topic)
			}
			s.mu.Unlock()
			close(a.done)
		})
		if !ok {
			return nil, nil, ErrClosed
		}
		s.asking[topic] = a
	}
	return a, nil, nil
}

func (s *routes) fetch(ctx context.Context, topic string) (*route, error) {
	req := remoting.NewRequest(remoting.GetRouteByTopic, remoting.RouteHeader{Topic: topic, AcceptStandardJSONOnly: true})
	r, addr, err := s.c.askEndpoint(ctx, "route of "+topic, req)
	if err != nil {
		return nil, err
	}
	if r.Code != remoting.OK {
		return nil, refusal("route", topic, "", addr, r)
	}
	var d remoting.TopicRouteData
	if err := remoting.DecodeBody(r.Body, &d); err != nil {
		return nil, fmt.Errorf("route of %s from %s: %w", topic, addr, err)
	}
	for _, b := range d.BrokerDatas {
		s.learn(b.BrokerName, b.BrokerAddrs)
	}
	return newRoute(topic, &d), nil
}

// forSending is get, but a topic that is missing and may be created by its
// first message has the template's queues, for a second; only to send to: whether
// that has made the topic is for the next get to ask.
func (s *routes) forSending(ctx context.Context, topic string) (*route, error) {
	s.mu.Lock()
	r := s.topics[topic]
	s.mu.Unlock()
	if r != nil && r.template && time.Since(r.fetched) < time.Second {
		return r, nil
	}
	r, err := s.get(ctx, topic)
	if !errors.Is(err, ErrTopicNotFound) {
		return r, err
	}
	t, terr := s.get(ctx, template)
	if terr != nil {
		return nil, err
	}
	r = &route{topic: topic, template: true, all: t.all, writable: t.writable, numbers: t.numbers, fetched: time.Now()}
	s.mu.Lock()
	defer s.mu.Unlock()
	if known := s.topics[topic]; known != nil && !known.template {
		return known, nil
	}
	s.topics[topic] = r
	return r, nil
}

// poll refreshes every known route.
func (s *routes) poll() {
	for sleep(s.c.ctx, routePoll) == nil {
		s.mu.Lock()
		topics := slices.Collect(maps.Keys(s.topics))
		s.mu.Unlock()
		for _, t := range topics {
			if _, err := s.refresh(s.c.ctx, t); err != nil {
				s.c.log.Warn("route not refreshed", "topic", t, "error", err)
			}
		}
	}
}

func (s *routes) learn(name string, addrs map[int64]string) {
	var list []string
	for _, id := range slices.Sorted(maps.Keys(addrs)) {
		if !slices.Contains(list, addrs[id]) {
			list = append(list, addrs[id])
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if b := s.brokers[name]; b == nil {
		s.brokers[name] = &broker{byID: list}
	} else if !slices.Equal(b.byID, list) {
		b.byID, b.first = list, ""
	}
}

// prefer makes addr the first that is tried for a broker name.
func (s *routes) prefer(name, addr string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if b := s.brokers[name]; b != nil && b.first != addr {
		b.first = addr
	}
}

// demote undoes prefer when addr failed.
func (s *routes) demote(name, addr string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if b := s.brokers[name]; b != nil && b.first == addr {
		b.first = ""
	}
}

// addresses are those of a broker name, or of all when it is empty.
func (s *routes) addresses(name string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []string
	add := func(b *broker) {
		if b.first != "" {
			out = append(out, b.first)
		}
		for _, a := range b.byID {
			if !slices.Contains(out, a) {
				out = append(out, a)
			}
		}
	}
	if name != "" {
		if b := s.brokers[name]; b != nil {
			add(b)
		}
		return out
	}
	for _, n := range slices.SortedFunc(maps.Keys(s.brokers), compareBrokers) {
		add(s.brokers[n])
	}
	return out
}

// firstAddresses are one address of each broker name, each once.
func (s *routes) firstAddresses() []string {
	s.mu.Lock()
	names := slices.Collect(maps.Keys(s.brokers))
	s.mu.Unlock()
	var out []string
	for _, n := range names {
		if list := s.c.conns.order(s.addresses(n)); len(list) > 0 && !slices.Contains(out, list[0]) {
			out = append(out, list[0])
		}
	}
	return out
}

// names are the broker names known.
func (s *routes) names() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.SortedFunc(maps.Keys(s.brokers), compareBrokers)
}

// forget drops a topic's route.
func (s *routes) forget(topic string) {
	s.mu.Lock()
	delete(s.topics, topic)
	s.mu.Unlock()
}

// brokers are the broker names of the topic.
func (r *route) brokers() (out []string) {
	for _, k := range r.all {
		if !slices.Contains(out, k.broker) {
			out = append(out, k.broker)
		}
	}
	return out
}
