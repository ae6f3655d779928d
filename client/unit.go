package client

import (
	"bytes"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// outgoing is a message ready for the wire.
type outgoing struct {
	id    string
	body  []byte
	props string
}

// unit is what one call sends: it is stored whole or not at all.
type unit struct {
	p        *Producer
	topic    string
	ms       []*Message // as the caller gave them
	queue    int        // that the caller chose; -1: any
	msgs     []outgoing
	size     int64
	sysFlag  int32
	ordered  bool
	delayed  bool // one message, that is to come at its time
	movable  bool // may go to another queue while it is certainly not stored
	deadline time.Time
	tries    int
	placed   int // how often rules put it elsewhere
	state    atomic.Int32
	given    sync.Mutex // held while what is the caller's is read: bodies, and ms

	// Of one message whose queue its order key chose; p.mu is held.
	key  string // "" of others
	by   *route // that was gone by
	lane *lane  // where it is

	done  func(Receipt, error) // for whom it ends; nil: for who waits for ended
	ended chan struct{}        // room for one
	rs    []Receipt            // with err, the outcome: written before ended or done is told
	err   error

	// Most are of one message.
	oneGiven   [1]*Message
	oneMessage [1]outgoing
	oneReceipt [1]Receipt
}

// States of a unit: it waits in a lane, a lane has taken it, or its caller gave
// it up while it waited.
const (
	unitWaiting int32 = iota
	unitTaken
	unitCancelled
)

// single is a unit of one message.
func single(m *Message, queue int) *unit {
	u := &unit{queue: queue, oneGiven: [1]*Message{m}}
	u.ms = u.oneGiven[:]
	return u
}

// several is a unit of messages of one topic.
func several(ms []*Message, queue int) *unit { return &unit{ms: ms, queue: queue} }

// cancel gives the unit up unless it was taken. Its lane may be busy for long before it looks at
// what waits: the messages are let go of at once, as their room in the buffer is.
func (u *unit) cancel() bool {
	if !u.state.CompareAndSwap(unitWaiting, unitCancelled) {
		return false
	}
	u.given.Lock()
	defer u.given.Unlock()
	clear(u.ms)
	clear(u.msgs)
	return true
}

// keep is for a caller that does not wait for the outcome of a unit that was taken: its
// messages are its own again, so what is still tried has copies.
func (u *unit) keep() {
	u.given.Lock()
	defer u.given.Unlock()
	ms := make([]*Message, len(u.ms))
	for i, m := range u.ms {
		c := *m
		c.Body, c.Keys, c.Properties = nil, slices.Clone(m.Keys), maps.Clone(m.Properties)
		ms[i] = &c
	}
	u.ms = ms
	for i := range u.msgs {
		u.msgs[i].body = bytes.Clone(u.msgs[i].body)
	}
}

// receipts has room for the outcome.
func (u *unit) receipts() []Receipt {
	if len(u.msgs) == 1 {
		return u.oneReceipt[:]
	}
	return make([]Receipt, len(u.msgs))
}

// end is called once by who took the unit, with its outcome, and does not block.
func (u *unit) end(rs []Receipt, err error) {
	u.rs, u.err = rs, err
	p, messages, size := u.p, len(u.msgs), u.size
	p.passed(u)
	if u.done != nil {
		p.callback(u)
	} else {
		u.ended <- struct{}{}
	}
	p.buffer.give(messages, size) // now there may seem to be nothing on its way
}

// mayBePlaced: it is neither too late, nor too often, to send u by other rules.
func (u *unit) mayBePlaced() bool { return u.placed < maxPlaced && time.Now().Before(u.deadline) }

// again sends u by a route's rules.
func (u *unit) again(r *route) {
	u.given.Lock()
	l, free, err := u.p.pick(r, u.ms[0], u.queue)
	u.given.Unlock()
	if err == nil {
		u.movable = free
		u.state.Store(unitWaiting)
		err = l.add(u, r)
	}
	if err != nil {
		u.end(nil, err)
	}
}
