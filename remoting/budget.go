package remoting

import (
	"errors"
	"sync/atomic"
)

// Budget bounds bytes over all connections of the servers that are given it. A nil
// Budget bounds nothing.
type Budget struct {
	most    int64
	used    atomic.Int64
	partial atomic.Int64 // of used: frames that have not wholly arrived
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

// take takes n bytes, if they are there.
func (b *Budget) take(n int) bool {
	if b == nil {
		return true
	}
	if b.used.Add(int64(n)) > b.most {
		b.used.Add(int64(-n))
		return false
	}
	return true
}

func (b *Budget) give(n int) {
	if b != nil {
		b.used.Add(int64(-n))
	}
}

// over takes n bytes even if they are not there, and says so.
func (b *Budget) over(n int) bool { return b != nil && b.used.Add(int64(n)) > b.most }

// takePartial is take for the arrived part of a frame: all of them together get
// half, so that peers who stop in the middle leave room for others.
func (b *Budget) takePartial(n int) bool {
	if b == nil {
		return true
	}
	if b.partial.Add(int64(n)) > b.most/2 || !b.take(n) {
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

// errNoBudget: a frame was read over and its body dropped.
var errNoBudget = errors.New("remoting: too many bytes in flight")
