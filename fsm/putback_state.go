package fsm

import (
	"container/list"
	"encoding/binary"

	"raftmq/message"
	"raftmq/store"
)

const (
	// putBackBytes bounds the encoding of what is remembered of put-backs, about 8,000;
	// beyond it the oldest is forgotten. Leaders see to it that it is older than
	// PutBackWindow: see PutBackRoom.
	putBackBytes = 512 << 10
	putBackSize  = 8 + 8 + 8 + 8 + 8 + 4
	// PutBackWindow is for how long nobody may be forgotten who could ask again, in ms of T: a
	// bundled client does for 30 s, and what a node has taken it holds for 2.5 s.
	PutBackWindow = 40 * 1000
	// putBackMs after it a put-back is forgotten: a day of T.
	putBackMs = 24 * 60 * 60 * 1000
	// putBackAtOnce is how many one entry forgets, so that none takes long.
	putBackAtOnce = 1024
)

// notDead is the queue of what lies among no dead letters.
const notDead = -1

// putBackKey is a message that a group was given.
type putBackKey struct {
	group  string
	source store.Position
}

func (k putBackKey) legal() bool {
	return k.group != "" && len(k.group) <= maxName && k.source >= 0 && k.source <= message.MaxPosition
}

// putBackDelivery is a delivery of such a message; 0: it is not said which.
type putBackDelivery struct {
	putBackKey
	delivery uint64
}

// putBack is what became of a delivery that was put back.
type putBack struct {
	key      putBackKey
	delivery uint64
	at       int64  // T, Unix ms
	due      int64  // when it comes; 0: it did not have to wait, or was taken back
	queue    int32  // of its dead letter, or notDead
	place    uint64 // position of what waits, or offset of the dead letter
	young    bool   // counted in putBacks.young
}

func (p *putBack) size() int { return putBackSize + textSize(p.key.group) }

func (p *putBack) of() putBackDelivery { return putBackDelivery{p.key, p.delivery} }

// putBacks are those not long ago, oldest first.
type putBacks struct {
	budget     int
	size       int
	order      *list.List                   // of *putBack
	last       map[putBackKey]*list.Element // of each message
	deliveries map[putBackDelivery]*list.Element
	waiting    map[store.Position]*list.Element // by the position of what waits, or has waited

	// Those of the last PutBackWindow, as of the last put-back; not in the state, nor does
	// any decision of the machine depend on it.
	young int           // their bytes
	edge  *list.Element // the oldest of them; nil: none
}

func newPutBacks() putBacks {
	return putBacks{budget: putBackBytes, order: list.New(), last: make(map[putBackKey]*list.Element), deliveries: make(map[putBackDelivery]*list.Element), waiting: make(map[store.Position]*list.Element)}
}

func (s *putBacks) empty() bool { return s.order.Len() == 0 }

// get is the last of a message.
func (s *putBacks) get(k putBackKey) (p putBack, ok bool) {
	e, ok := s.last[k]
	if ok {
		p = *e.Value.(*putBack)
	}
	return p, ok
}

// grow counts those as old that are by now.
func (s *putBacks) grow(now int64) {
	for ; s.edge != nil && s.edge.Value.(*putBack).at+PutBackWindow <= now; s.edge = s.edge.Next() {
		p := s.edge.Value.(*putBack)
		p.young = false
		s.young -= p.size()
	}
}

// youngBy is what young is when grow has been asked of now.
func (s *putBacks) youngBy(now int64) int {
	young := s.young
	for e := s.edge; e != nil && e.Value.(*putBack).at+PutBackWindow <= now; e = e.Next() {
		young -= e.Value.(*putBack).size()
	}
	return young
}

// has reports whether a delivery was put back, whatever was since.
func (s *putBacks) has(d putBackDelivery) bool { return d.delivery != 0 && s.deliveries[d] != nil }

// set remembers p, in place of what there was of its delivery.
func (s *putBacks) set(p putBack) {
	if e := s.deliveries[p.of()]; e != nil {
		s.remove(e)
	}
	s.link(p)
	for s.size > s.budget && s.order.Len() > 1 {
		s.remove(s.order.Front())
	}
}

func (s *putBacks) link(p putBack) {
	p.young = true
	e := s.order.PushBack(&p)
	if s.edge == nil {
		s.edge = e
	}
	s.young += p.size()
	s.last[p.key], s.deliveries[p.of()] = e, e
	if p.due > 0 {
		s.waiting[store.Position(p.place)] = e
	}
	s.size += p.size()
}

func (s *putBacks) remove(e *list.Element) {
	if e == s.edge {
		s.edge = e.Next()
	}
	p := s.order.Remove(e).(*putBack)
	if p.young {
		s.young -= p.size()
	}
	delete(s.deliveries, p.of())
	if s.last[p.key] == e { // else it is older than that
		delete(s.last, p.key)
	}
	if p.due > 0 {
		delete(s.waiting, store.Position(p.place))
	}
	s.size -= p.size()
}

// takenBack says that what waits under a position does not come.
func (s *putBacks) takenBack(at store.Position) {
	if e := s.waiting[at]; e != nil {
		e.Value.(*putBack).due = 0
		delete(s.waiting, at)
	}
}

func (s *putBacks) knows(group string) bool {
	for e := s.order.Front(); e != nil; e = e.Next() {
		if e.Value.(*putBack).key.group == group {
			return true
		}
	}
	return false
}

func (s *putBacks) dropGroup(group string) {
	for e := s.order.Front(); e != nil; {
		next := e.Next()
		if e.Value.(*putBack).key.group == group {
			s.remove(e)
		}
		e = next
	}
}

// expire forgets those of a day ago.
func (s *putBacks) expire(now int64) {
	for n := 0; n < putBackAtOnce && s.order.Len() > 0 && s.order.Front().Value.(*putBack).at+putBackMs < now; n++ {
		s.remove(s.order.Front())
	}
}

// encode appends: put-backs uint32; each, oldest first: group, position of the source,
// delivery, T, due, place uint64, queue uint32.
func (s *putBacks) encode(b []byte) []byte {
	be := binary.BigEndian
	b = be.AppendUint32(b, uint32(s.order.Len()))
	for e := s.order.Front(); e != nil; e = e.Next() {
		p := e.Value.(*putBack)
		b = appendText(b, p.key.group)
		b = be.AppendUint64(be.AppendUint64(b, uint64(p.key.source)), p.delivery)
		b = be.AppendUint64(be.AppendUint64(b, uint64(p.at)), uint64(p.due))
		b = be.AppendUint32(be.AppendUint64(b, p.place), uint32(p.queue))
	}
	return b
}

func (s *putBacks) decode(r *reader) {
	for range r.count(putBackSize + 1) {
		p := putBack{key: putBackKey{r.text(), store.Position(r.u64())}, delivery: r.u64(), at: int64(r.u64()), due: int64(r.u64()), place: r.u64(), queue: int32(r.u32())}
		last := s.order.Back()
		if r.err == nil && (!p.key.legal() || s.deliveries[p.of()] != nil || p.due < 0 || p.queue < notDead || p.due > 0 && (p.queue != notDead || s.waiting[store.Position(p.place)] != nil) ||
			last != nil && last.Value.(*putBack).at > p.at) {
			r.fail("put-backs")
		}
		if r.err != nil {
			return
		}
		s.link(p)
	}
	if s.empty() {
		r.fail("no put-backs")
	}
}
