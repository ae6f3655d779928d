package raftlog

import (
	"bufio"
	"errors"
	"net"
	"runtime"
	"sync"
	"syscall"
	"time"
)

var errOutboxFull = errors.New("raftlog: too much waits to be sent")

// directBytes is the longest frame that is written by who puts it.
const directBytes = 16 << 10

// netOutbox is the bounded queue of frames in front of one connection, and its writer. Frames leave in the order in which they
// were put. The writer flushes when the queue is empty, so frames put meanwhile share a write. A short frame for which nothing waits
// is written by who puts it, without waiting: to wake the writer takes longer than the write.
type netOutbox struct {
	maxBytes int

	mu      sync.Mutex
	direct  syscall.RawConn // nil: not a plain socket, or no writer yet
	stats   *transportStats // with direct
	busy    bool            // somebody is writing
	rest    []byte          // of a frame that was begun, before all of frames
	frames  []*outFrame
	bytes   int
	err     error         // set once: nothing more is accepted or begun
	waiters int           // of room
	room    chan struct{} // closed when bytes fall while somebody waits

	wake chan struct{}
	gone chan struct{} // closed with err
}

func newOutbox(maxBytes int) *netOutbox {
	return &netOutbox{maxBytes: maxBytes, wake: make(chan struct{}, 1), gone: make(chan struct{}), room: make(chan struct{})}
}

// put queues f. With a stop channel it waits for room until stop closes; with none it fails with errOutboxFull. A frame larger than
// the bound goes alone. An error means that f will certainly not be sent.
func (o *netOutbox) put(f *outFrame, stop <-chan struct{}) error {
	o.mu.Lock()
	for {
		if o.err != nil {
			defer o.mu.Unlock()
			return o.err
		}
		if o.bytes == 0 || o.bytes+f.size <= o.maxBytes {
			break
		}
		if stop == nil {
			o.mu.Unlock()
			return errOutboxFull
		}
		o.waiters++
		room := o.room
		o.mu.Unlock()
		select {
		case <-room:
		case <-stop:
			o.mu.Lock()
			o.waiters--
			o.mu.Unlock()
			return errOutboxFull
		case <-o.gone:
		}
		o.mu.Lock()
		o.waiters--
	}
	if o.direct != nil && !o.busy && o.rest == nil && len(o.frames) == 0 && f.size <= directBytes {
		f.taken, o.busy = true, true
		o.mu.Unlock()
		o.writeNow(f)
		return nil
	}
	o.frames = append(o.frames, f)
	o.bytes += f.size
	o.mu.Unlock()
	o.poke()
	return nil
}

func (o *netOutbox) poke() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// writeNow writes what the socket takes of f at once, and leaves the rest to the writer. An error is left to it too: it will meet it.
func (o *netOutbox) writeNow(f *outFrame) {
	b := f.head
	if len(f.parts) > 0 {
		b = make([]byte, 0, f.size)
		b = append(b, f.head...)
		for _, p := range f.parts {
			b = append(b, p...)
		}
	}
	wrote := 0
	o.direct.Control(func(fd uintptr) {
		for {
			n, err := syscall.Write(int(fd), b)
			if err == nil {
				wrote = n
			}
			if err != syscall.EINTR {
				return
			}
		}
	})
	o.stats.framesOut.Add(1)
	o.stats.bytesOut.Add(uint64(f.size))
	o.stats.flushes.Add(1)
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.busy = false; wrote < len(b) {
		o.rest = b[wrote:]
	}
	if o.rest != nil || len(o.frames) > 0 {
		o.poke()
	}
}

// close ends the outbox; frames not begun stay unsent. Later calls change nothing.
func (o *netOutbox) close(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err == nil {
		o.err = err
		o.frames = nil
		close(o.gone)
	}
}

// begun says whether any byte of f may have been sent. Final once the outbox is closed.
func (o *netOutbox) begun(f *outFrame) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return f.taken
}

// take waits until there is something to write and nobody writes, and takes it: what is left of a frame that was begun, and the frames
// after it. Until done only the caller writes. Nothing when closed.
func (o *netOutbox) take() (rest []byte, batch []*outFrame) {
	for {
		o.mu.Lock()
		if o.err != nil {
			o.mu.Unlock()
			return nil, nil
		}
		if !o.busy && (len(o.frames) > 0 || o.rest != nil) {
			o.busy = true
			rest, o.rest = o.rest, nil
			batch = o.takeLocked()
			o.mu.Unlock()
			return rest, batch
		}
		o.mu.Unlock()
		select {
		case <-o.wake:
		case <-o.gone:
		}
	}
}

// more takes what was put since.
func (o *netOutbox) more() []*outFrame {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.takeLocked()
}

func (o *netOutbox) takeLocked() []*outFrame {
	batch := o.frames
	o.frames = nil
	for _, f := range batch {
		f.taken = true
	}
	return batch
}

func (o *netOutbox) done() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.busy = false
}

func (o *netOutbox) release(n int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.bytes -= n
	if o.waiters > 0 {
		close(o.room)
		o.room = make(chan struct{})
	}
}

// run writes until the outbox is closed or a write fails.
func (o *netOutbox) run(conn net.Conn, s *transportStats) error {
	w := bufio.NewWriterSize(conn, 64<<10)
	if c, ok := conn.(syscall.Conn); ok {
		if raw, err := c.SyscallConn(); err == nil {
			o.mu.Lock()
			o.direct, o.stats = raw, s
			o.mu.Unlock()
		}
	}
	for {
		rest, batch := o.take()
		if rest == nil && batch == nil {
			return o.err
		}
		conn.SetWriteDeadline(time.Now().Add(writeTimeout))
		if _, err := w.Write(rest); err != nil {
			return err
		}
		for batch != nil {
			for _, f := range batch {
				err := f.writeTo(w)
				o.release(f.size)
				if err != nil {
					return err
				}
				s.framesOut.Add(1)
				s.bytesOut.Add(uint64(f.size))
			}
			if batch = o.more(); batch == nil {
				runtime.Gosched() // who was woken by the last frames may have more
				batch = o.more()
			}
		}
		if err := w.Flush(); err != nil {
			return err
		}
		s.flushes.Add(1)
		o.done()
	}
}
