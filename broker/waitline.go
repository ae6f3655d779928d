package broker

import (
	"sync"
	"sync/atomic"
)

// waitLine is the items that wait for an entry, in their order. It grows with them: a channel has room for as many as may wait
// from the start, which in a thousand partitions is hundreds of MB.
type waitLine[I, R any] struct {
	limit int
	came  chan struct{} // capacity 1: something waits that was not there when take last looked
	n     atomic.Int32  // that wait

	mu     sync.Mutex
	closed bool
	last   []*appendItem[I, R] // that came since take last looked

	// Of who takes: one at a time.
	first []*appendItem[I, R] // before last
	taken int                 // of first
}

// keepWaiting is for how many items room is kept when none waits.
const keepWaiting = 1 << 10

// put adds an item. errNotHere: closed; errBusy: as many wait as may.
func (w *waitLine[I, R]) put(it *appendItem[I, R]) error {
	w.mu.Lock()
	if w.closed {
		w.mu.Unlock()
		return errNotHere
	}
	if int(w.n.Load()) >= w.limit {
		w.mu.Unlock()
		return errBusy
	}
	w.n.Add(1)
	w.last = append(w.last, it)
	only := len(w.last) == 1
	w.mu.Unlock()
	if only { // else it was told of those before
		select {
		case w.came <- struct{}{}:
		default:
		}
	}
	return nil
}

// take removes the first item; nil: there is none.
func (w *waitLine[I, R]) take() *appendItem[I, R] {
	if w.taken == len(w.first) {
		free := w.first[:0]
		if cap(free) > keepWaiting {
			free = nil
		}
		w.mu.Lock()
		w.first, w.taken, w.last = w.last, 0, free
		w.mu.Unlock()
		if len(w.first) == 0 {
			return nil
		}
	}
	it := w.first[w.taken]
	w.first[w.taken] = nil
	w.taken++
	w.n.Add(-1)
	return it
}

// over reports whether it lets no more in.
func (w *waitLine[I, R]) over() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.closed
}

// close lets no more in.
func (w *waitLine[I, R]) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
}
