package client

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"raftmq/remoting"
)

func (l *lane) succeed(batch []*unit, r *remoting.Command) {
	var h remoting.SendReply
	err := h.Decode(r.Ext)
	var halves []halfName
	if err == nil && l.p.transactions != nil {
		halves, err = namesOf(&h, r, len(batch))
	}
	if err != nil {
		// It is stored, but nobody can say where.
		for _, u := range batch {
			u.end(nil, fmt.Errorf("send to %s: %w: %w", l.topic, ErrUncertain, err))
		}
		return
	}
	if batch[0].delayed {
		l.succeedDelayed(batch, r, &h)
		return
	}
	at := h.QueueOffset
	for n, u := range batch {
		rs := u.receipts()
		for i := range u.msgs { // not the bodies, which keep may change meanwhile
			rs[i] = Receipt{ID: u.msgs[i].id, Topic: l.topic, Queue: int(l.number.Load()), Offset: at, Broker: l.queue.broker, QueueID: int(l.queue.id), Duplicate: h.Duplicate}
			at++
		}
		if halves != nil {
			rs[0].half = halves[n]
		}
		u.end(rs, nil)
	}
}

// succeedDelayed is succeed of messages that were to come at their times, each of
// which waits or has come.
func (l *lane) succeedDelayed(batch []*unit, r *remoting.Command, h *remoting.SendReply) {
	offsets, handles := strings.Split(r.Ext["offsets"], ","), strings.Split(strings.Clone(r.Ext["recallHandle"]), ",")
	for i, u := range batch {
		rc := Receipt{ID: u.msgs[0].id, Topic: l.topic, Queue: int(l.number.Load()), Offset: h.QueueOffset + int64(i), Broker: l.queue.broker, QueueID: int(l.queue.id), Duplicate: h.Duplicate}
		if len(offsets) == len(batch) && len(handles) == len(batch) { // else none of them waits
			rc.Recall = handles[i]
			if n, err := strconv.ParseInt(offsets[i], 10, 64); err == nil {
				rc.Offset = n
			}
		}
		rs := u.receipts()
		rs[0] = rc
		u.end(rs, nil)
	}
}

// fail ends units that have no receipts. Those that certainly are not stored, since rules
// put them elsewhere, go there instead.
func (l *lane) fail(batch []*unit, err error) {
	anew := misplaced(err)
	for _, u := range batch {
		if !anew || !u.mayBePlaced() {
			u.end(nil, err)
			continue
		}
		u.tries, u.placed = 1, u.placed+1
		l.mu.Lock()
		l.displaced = append(l.displaced, u)
		if !l.placing {
			l.placing = true
			l.p.wg.Go(l.place) // who is at work holds wg above zero
		}
		l.mu.Unlock()
	}
}

// place sends what is displaced by the topic's present rules, in its order.
func (l *lane) place() {
	for {
		l.mu.Lock()
		if len(l.displaced) == 0 {
			l.placing = false
			l.mu.Unlock()
			return
		}
		pause := time.Duration(l.displaced[0].placed) * placePause
		l.mu.Unlock()
		_ = sleep(l.p.ctx, pause)
		r, err := l.p.c.routes.refresh(l.p.ctx, l.topic)
		l.mu.Lock()
		us := l.displaced
		l.displaced = nil
		l.mu.Unlock()
		for _, u := range us {
			if err != nil {
				u.end(nil, err)
			} else {
				u.again(r)
			}
		}
	}
}

// uncertain ends a batch that may be stored.
func (l *lane) uncertain(batch []*unit, err error) {
	l.renew()
	l.fail(batch, fmt.Errorf("%w: %w", ErrUncertain, err))
}

// renew takes a new identity for what comes.
func (l *lane) renew() { l.epoch, l.seq = l.epoch+1, 0 }
