package client

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"raftmq/message"
	"raftmq/remoting"
)

// compareQueues is the order in which stock clients deal queues out.
func compareQueues(a, b queueKey) int {
	return cmp.Or(cmp.Compare(a.broker, b.broker), cmp.Compare(a.id, b.id))
}

// errStrategy: the group shares its queues by another strategy.
var errStrategy = errors.New("client: this member does not share queues as its group does")

// rebalance makes the claims what this member should own. When the members
// cannot be told, everything stays. A topic that does not exist has no queues, and is an
// error when the others' have been shared out.
func (s *Consumer) rebalance(pulling, handling context.Context, loops *sync.WaitGroup, jobs *jobs) error {
	s.mu.Lock()
	subs := s.subscriptionsLocked()
	s.mu.Unlock()
	members := []string{s.c.id}
	if !s.broadcast {
		var err error
		if members, err = s.members(pulling); err != nil {
			return err
		}
	}
	route := s.c.routes.get
	if s.told.Swap(false) { // a topic may have other queues
		route = s.c.routes.renew
	}
	want := make(map[laneKey]subscription)
	numbers := make(map[laneKey]int)
	var missing []error
	for t, sub := range subs {
		r, err := route(pulling, t)
		if errors.Is(err, ErrTopicNotFound) {
			if _, retry := message.RetryGroup(t); !retry { // else the group is not known yet
				missing = append(missing, err)
			}
			continue
		}
		if err != nil {
			s.told.Store(true)
			return err
		}
		queues := make([]queueKey, len(r.readable))
		for i, n := range r.readable {
			queues[i] = r.key(n)
		}
		slices.SortFunc(queues, compareQueues)
		for _, q := range s.strategy.of(t, queues, r.numbers, members, s.c.id) {
			want[laneKey{t, q}] = sub
			numbers[laneKey{t, q}] = r.numbers[q]
		}
	}
	var holds map[laneKey]hold
	if s.ordered {
		holds = s.lock(pulling, want)
	}
	var lost []*claim
	s.mu.Lock()
	for k, cl := range s.claims {
		if sub, ok := want[k]; !ok || sub.version != cl.sub.version || numbers[k] != cl.number || s.ordered && holds[k].epoch != cl.epoch {
			cl.cancel()
			lost = append(lost, cl)
			delete(s.claims, k)
		}
	}
	s.mu.Unlock()
	if s.ordered {
		s.giveBack(handling, lost, loops)
	} else {
		s.commit(handling, lost)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for k, sub := range want {
		if s.claims[k] != nil || s.leaving[k] {
			continue
		}
		cl := newClaim(s, k, numbers[k], sub, handling, jobs)
		cl.epoch, cl.until = holds[k].epoch, holds[k].until
		s.claims[k] = cl
		loops.Go(func() { cl.pull(pulling) })
	}
	for _, cl := range s.claims {
		cl.share(s.prefetch/len(s.claims), s.prefetchBytes/int64(len(s.claims)))
	}
	return errors.Join(missing...)
}

// members are the group's client ids, sorted.
func (s *Consumer) members(ctx context.Context) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	op := "members of " + s.group
	r, addr, err := s.c.askBroker(ctx, op, "", remoting.NewRequest(remoting.GetConsumerListByGroup, remoting.ConsumerListHeader{ConsumerGroup: s.group, Strategy: s.strategy.String(), Joined: s.joined.Load()}))
	if err != nil {
		return nil, err
	}
	if r.Code == remoting.InvalidParameter {
		return nil, fmt.Errorf("%w: %w", errStrategy, refusal("members", "", s.group, addr, r))
	}
	if r.Code != remoting.OK {
		s.c.beatSoon()
		return nil, refusal("members", "", s.group, addr, r)
	}
	var list remoting.ConsumerList
	if err := remoting.DecodeBody(r.Body, &list); err != nil {
		return nil, fmt.Errorf("%s from %s: %w", op, addr, err)
	}
	ids := slices.Clone([]string(list.ConsumerIDList))
	slices.Sort(ids)
	ids = slices.Compact(ids)
	if !slices.Contains(ids, s.c.id) {
		s.c.beatSoon()
		return nil, fmt.Errorf("%s: %s does not list this client", op, addr)
	}
	return ids, nil
}

// Commit saves how far this consumer has handled its queues, and returns when that is on a majority's disks, synced. There is no need to: it
// is saved every second, and when a queue or the run ends. A message that a handler is at work on, the one that calls it too, does not count, nor
// does what lies behind it in its queue. ErrNotNow: Run does not run. Another error: of some queue it is not known, or refused, since
// an operator moved the group or the queue is another member's by now. ErrUncertain is among them: it is saved again in a second, or by another Commit.
func (s *Consumer) Commit(ctx context.Context) error {
	s.mu.Lock()
	running := s.running
	s.mu.Unlock()
	if !running {
		return fmt.Errorf("%w: the consumer of group %s does not run", ErrNotNow, s.group)
	}
	return s.commit(ctx, s.owned())
}

// commit saves how far the claims are; one that did not move costs nothing.
func (s *Consumer) commit(ctx context.Context, claims []*claim) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	var wg sync.WaitGroup
	errs := make([]error, len(claims))
	for i, cl := range claims {
		if s.broadcast && s.store == nil {
			continue
		}
		offset, part, version, ok := cl.committing()
		if !ok {
			continue
		}
		wg.Go(func() {
			var err error
			if s.broadcast {
				err = s.store.Store(ctx, cl.key.topic, cl.number, offset)
			} else {
				err = s.c.commitOffset(ctx, s.group, cl.key, offset, part, cl.epoch)
			}
			if err != nil {
				s.c.log.Warn("offset not committed", "group", s.group, "topic", cl.key.topic, "queue", cl.number, "offset", offset, "error", err)
				errs[i] = fmt.Errorf("commit %d in queue %d of %s: %w", offset, cl.number, cl.key.topic, err)
			}
			cl.committed(offset, version, err)
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

func (c *Client) commitOffset(ctx context.Context, group string, k laneKey, offset int64, part uint32, epoch uint64) error {
	r, addr, err := c.askChange(ctx, "commit", k.queue.broker, remoting.NewRequest(remoting.UpdateConsumerOffset,
		remoting.UpdateOffsetHeader{ConsumerGroup: group, Topic: k.topic, QueueID: k.queue.id, CommitOffset: offset, BrokerName: k.queue.broker, Owner: c.id, Epoch: epoch, Part: part}))
	if err == nil && r.Code != remoting.OK {
		err = refusal("commit", k.topic, group, addr, r)
	}
	return err
}
