package remoting

import (
	"fmt"
	"syscall"
)

// A frame on an idle connection is written by who makes it: to wake the writer takes
// longer than the write. Under load the writer is better, since it takes many
// frames in one write.
const (
	directBytes = 16 << 10
	fewInFlight = 2 // requests on a connection whose replies need not wait for each other
)

// directLocked writes what is queued, if it is one short frame and nobody writes. It
// does not wait: what the socket does not take at once is left to the writer. False:
// nothing was done; else it has let go of mu.
func (l *link) directLocked() bool {
	if l.raw == nil || l.busy || l.rest != nil || len(l.out) != 1 || l.out[0].size() > directBytes {
		return false
	}
	f := l.out[0]
	if f.call != nil {
		f.call.left = true
	}
	l.out[0] = outFrame{}
	l.out = l.out[:0]
	cost := f.cost() // as it was queued: below the head may grow
	l.outSize -= cost
	l.busy, l.idle = true, false
	l.mu.Unlock()

	b := *f.head
	if f.body != nil {
		b = append(b, f.body...)
		*f.head = b
	}
	var wrote int
	var err error
	if cerr := l.raw.Control(func(fd uintptr) {
		for {
			wrote, err = syscall.Write(int(fd), b)
			if err != syscall.EINTR {
				return
			}
		}
	}); cerr != nil {
		wrote, err = 0, cerr
	}
	wrote = max(wrote, 0)
	var rest []byte
	if err == nil || err == syscall.EAGAIN {
		err = nil
		if wrote < len(b) {
			rest = append(rest, b[wrote:]...)
		}
	} else if wrote == 0 {
		l.unwritten([]outFrame{f}, 0)
	}
	l.queued.Give(cost)
	freeHead(f.head)
	l.mu.Lock()
	l.busy, l.rest = false, rest
	idle := l.idleLocked(rest == nil && len(l.out) == 0)
	l.mu.Unlock()
	if err != nil {
		l.fail(fmt.Errorf("write: %w", err))
	} else if !idle {
		signal(l.ready)
	}
	return true
}

// idleLocked notes whether nothing is held to be written, and tells who waits for that.
func (l *link) idleLocked(idle bool) bool {
	if l.idle = idle; idle && l.flushed != nil {
		close(l.flushed)
		l.flushed = nil
	}
	return idle
}
