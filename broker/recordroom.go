package broker

import "sync/atomic"

// recordRoom bounds the records that requests are made into: while their handlers run, and while they wait for an entry,
// which they may do when whoever sent them is gone and his request no longer counts. A batch of short messages
// takes many times its frame.
type recordRoom struct {
	most int64
	used atomic.Int64 // bytes
}

// take takes n bytes; false: there are none. A nil room has as many as there are.
func (r *recordRoom) take(n int) bool {
	if r == nil {
		return true
	}
	for {
		was := r.used.Load()
		if was+int64(n) > r.most {
			return false
		}
		if r.used.CompareAndSwap(was, was+int64(n)) {
			return true
		}
	}
}

func (r *recordRoom) give(n int) {
	if r != nil {
		r.used.Add(int64(-n))
	}
}
