package remoting

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

// Budget bounds bytes over all connections of the servers that are given it. A nil
// Budget bounds nothing.
type Budget struct {
	most    int64
	used    atomic.Int64
	partial atomic.Int64 // of used: frames that have not wholly arrived
	ahead   atomic.Int64 // not of used: memory of frames of which nothing may have arrived yet

	mu       sync.Mutex
	links    map[*link]struct{} // that take from it what waits to be written
	squeezed time.Time
}

// NewBudget is a budget of that many bytes.
func NewBudget(bytes int64) *Budget { return &Budget{most: bytes} }

// Used is how many bytes are taken.
func (b *Budget) Used() int64 {
	if b == nil {
		return 0
	}
	return b.used.Load()
}

// Take takes n bytes, if they are there.
func (b *Budget) Take(n int) bool {
	if b == nil {
		return true
	}
	_, ok := addUpTo(&b.used, int64(n), b.most)
	return ok
}

// addUpTo adds n to v if that is most at most then, and returns what it is, or would be. It
// is never more meanwhile: others would be refused for it.
func addUpTo(v *atomic.Int64, n, most int64) (sum int64, ok bool) {
	for {
		was := v.Load()
		if sum = was + n; sum > most {
			return sum, false
		}
		if v.CompareAndSwap(was, sum) {
			return sum, true
		}
	}
}

// Give gives back n bytes that were taken.
func (b *Budget) Give(n int) {
	if b != nil {
		b.used.Add(int64(-n))
	}
}

// queue takes n bytes for a frame that waits behind waiting bytes of its link. Over
// the budget who has little waiting does not suffer from those who have much, up to
// twice the budget; then nobody gets more.
func (b *Budget) queue(n, waiting int) bool {
	if b == nil {
		return true
	}
	most := 2 * b.most
	if waiting > fairQueue {
		most = b.most
	}
	used, ok := addUpTo(&b.used, int64(n), most)
	if used > b.most {
		b.squeeze()
	}
	return ok
}

// Full reports whether all of it is taken; peers that do not read are then looked for.
func (b *Budget) Full() bool {
	if b == nil || b.used.Load() < b.most {
		return false
	}
	b.squeeze()
	return true
}

// When the budget is full a peer may take so long for one write, of writeStep or one
// frame, where else it has writeStall.
const (
	squeezePatience = time.Second
	squeezeEvery    = 100 * time.Millisecond
)

// squeeze ends the links whose peers do not read.
func (b *Budget) squeeze() {
	now := time.Now()
	b.mu.Lock()
	var stuck []*link
	if now.Sub(b.squeezed) >= squeezeEvery {
		b.squeezed = now
		for l := range b.links {
			if since := l.writing.Load(); since != 0 && now.UnixNano()-since > int64(squeezePatience) {
				stuck = append(stuck, l)
			}
		}
	}
	b.mu.Unlock()
	for _, l := range stuck {
		go l.fail(ErrSlowPeer) // the caller may hold another link's lock; ends at once
	}
}

func (b *Budget) join(l *link) {
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.links == nil {
		b.links = make(map[*link]struct{})
	}
	b.links[l] = struct{}{}
}

func (b *Budget) part(l *link) {
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.links, l)
}

// takePartial is take for the arrived part of a frame: all of them together get
// half, so that peers who stop in the middle leave room for others.
func (b *Budget) takePartial(n int) bool {
	if b == nil {
		return true
	}
	if _, ok := addUpTo(&b.partial, int64(n), b.most/2); !ok {
		return false
	}
	if !b.Take(n) {
		b.partial.Add(int64(-n))
		return false
	}
	return true
}

// arrived says that n bytes that were taken in part are a whole frame.
func (b *Budget) arrived(n int) {
	if b != nil {
		b.partial.Add(int64(-n))
	}
}

// AheadPart is which part of a budget there is besides for what is yet to arrive.
const AheadPart = 4

// takeAhead takes n bytes of memory for what is yet to arrive.
func (b *Budget) takeAhead(n int) bool {
	if b == nil {
		return true
	}
	_, ok := addUpTo(&b.ahead, int64(n), b.most/AheadPart)
	return ok
}

func (b *Budget) giveAhead(n int) {
	if b != nil && n > 0 {
		b.ahead.Add(int64(-n))
	}
}

// errNoBudget: a frame was read over and its body dropped.
var errNoBudget = errors.New("remoting: too many bytes in flight")
