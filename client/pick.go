package client

import (
	"context"
	"fmt"
)

// choose is the queue that a message with an order key or a selector has.
func (p *Producer) choose(ctx context.Context, m *Message) (int, error) {
	r, err := p.c.routes.forSending(ctx, m.Topic)
	if err != nil {
		return 0, err
	}
	return p.chooseIn(r, m)
}

func (p *Producer) chooseIn(r *route, m *Message) (int, error) {
	if len(r.writable) == 0 {
		return 0, fmt.Errorf("%w: topic %s has no queue to write to", ErrForbidden, m.Topic)
	}
	s := p.selector
	if s == nil {
		s = ByOrderKey
	}
	n := s(m, len(r.writable))
	if n < 0 || n >= len(r.writable) {
		return 0, fmt.Errorf("%w: selector chose queue %d of %d", ErrInvalid, n, len(r.writable))
	}
	return r.writable[n], nil
}

// pick is the lane for a message; free says that another queue would do as
// well.
func (p *Producer) pick(r *route, m *Message, queue int) (l *lane, free bool, err error) {
	if len(r.writable) == 0 {
		return nil, false, fmt.Errorf("%w: topic %s has no queue to write to", ErrForbidden, r.topic)
	}
	if by := r.placed(m); by >= 0 { // whatever the sender chose
		queue = by
	}
	if queue < 0 && (m.OrderKey != "" || p.selector != nil) {
		if queue, err = p.chooseIn(r, m); err != nil {
			return nil, false, err
		}
	}
	if queue >= 0 {
		if queue >= len(r.all) {
			return nil, false, fmt.Errorf("%w: topic %s has no queue %d", ErrInvalid, r.topic, queue)
		}
		l, err = p.lane(r, queue)
		return l, false, err
	}
	l, _, err = p.next(r, "")
	return l, true, err
}

// next is the queue for which a request is being gathered, else the next in turn;
// one that is well and not of the broker name. well is false if there is none, and
// then it is any.
func (p *Producer) next(r *route, not string) (l *lane, well bool, err error) {
	if l := p.gathering(r); l != nil && l.queue.broker != not {
		return l, true, nil
	}
	at := int(p.turn.Add(1) - 1)
	for slow := range 2 {
		for i := range r.writable {
			number := r.writable[(at+i)%len(r.writable)]
			k := r.key(number)
			if k.broker == not || slow == 0 && !p.tolerance.available(k.broker) {
				continue
			}
			l, err := p.lane(r, number)
			if err != nil {
				return nil, false, err
			}
			if l.well() {
				p.join(l)
				return l, true, nil
			}
		}
	}
	l, err = p.lane(r, r.writable[at%len(r.writable)])
	return l, false, err
}

// joined is where a topic's last message went that was free to choose, and how many
// more may follow it.
type joined struct {
	lane *lane
	left int
}

// gathering is the lane that the topic's last free message went to, if another
// may join it there.
func (p *Producer) gathering(r *route) *lane {
	p.mu.Lock()
	j := p.joined[r.topic]
	var l *lane
	if j != nil && j.left > 0 {
		j.left--
		l = j.lane
	}
	p.mu.Unlock()
	if l == nil || !l.gathers() || !l.well() || !p.tolerance.available(l.queue.broker) || !r.writes(l.queue) {
		return nil
	}
	return l
}

func (p *Producer) join(l *lane) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.joined[l.topic] = &joined{l, stickyTurn - 1}
}

func (p *Producer) lane(r *route, number int) (*lane, error) {
	k := laneKey{r.topic, r.key(number)}
	p.mu.Lock()
	defer p.mu.Unlock()
	l := p.lanes[k]
	if l == nil {
		if len(p.lanes) >= max(p.most, lanesKept) {
			p.dropLanesLocked()
			p.most = 2 * len(p.lanes)
		}
		l = &lane{p: p, topic: r.topic, queue: r.key(number), epoch: p.epoch}
		p.lanes[k] = l
	}
	l.number.Store(int64(number))
	return l, nil
}

// lanesKept is how many lanes a producer has before it looks for those of topics that are
// gone.
const lanesKept = 1024

// dropLanesLocked forgets lanes without messages whose topics have no route any more. One
// that is made for such a queue later begins above the epochs of all that were forgotten,
// so that none of their sequences is used again. p.mu is held.
func (p *Producer) dropLanesLocked() {
	p.c.routes.mu.Lock()
	defer p.c.routes.mu.Unlock()
	for k, l := range p.lanes {
		if p.c.routes.topics[k.topic] != nil {
			continue
		}
		l.mu.Lock()
		if !l.running && !l.placing && len(l.waiting) == 0 {
			p.epoch = max(p.epoch, l.epoch+1)
			delete(p.lanes, k)
			delete(p.joined, k.topic)
		}
		l.mu.Unlock()
	}
}

// orderKey is an order key in its topic.
type orderKey struct{ topic, key string }

// behindLocked is the lane for u, which by put into l: that of the message of its key before
// it, if that is on its way to where a route put it that has changed since, and would be
// overtaken. It is refused there like that one, and comes behind it. p.mu is held.
func (p *Producer) behindLocked(l *lane, u *unit, by *route) *lane {
	if u.key == "" {
		return l
	}
	u.by = by
	if u.tries > 0 { // refused, as those before it were
		return l
	}
	k := orderKey{u.topic, u.key}
	if before := p.keyed[k]; before != nil && !before.by.placesAs(by) {
		l, u.by = before.lane, before.by
	}
	p.keyed[k] = u
	return l
}

// passed is when a unit is on its way no more.
func (p *Producer) passed(u *unit) {
	if u.key == "" {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if k := (orderKey{u.topic, u.key}); p.keyed[k] == u {
		delete(p.keyed, k)
	}
}

// keptLocked is the lane of l's queue: l, which may have been forgotten, unless another was
// made since. p.mu is held.
func (p *Producer) keptLocked(l *lane) *lane {
	k := laneKey{l.topic, l.queue}
	if p.lanes[k] == nil {
		p.lanes[k] = l
	}
	return p.lanes[k]
}
