package raftlog

import (
	"bufio"
	"errors"
	"net"
	"runtime"
	"sync"
	"time"
)

var errOutboxFull = errors.New("raftlog: too much waits to be sent")

// netOutbox is the bounded queue of frames in front of one connection, and its writer. Frames leave in the order in which they
// were put. The writer flushes when the queue is empty, so frames put meanwhile share a write.
type netOutbox struct {
	maxBytes int

	mu      sync.Mutex
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
	o.frames = append(o.frames, f)
	o.bytes += f.size
	o.mu.Unlock()
	select {
	case o.wake <- struct{}{}:
	default:
	}
	return nil
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

// next takes everything queued; nil when closed or, without wait, when there is nothing.
func (o *netOutbox) next(wait bool) []*outFrame {
	for {
		o.mu.Lock()
		if len(o.frames) > 0 || o.err != nil || !wait {
			batch := o.frames
			o.frames = nil
			for _, f := range batch {
				f.taken = true
			}
			o.mu.Unlock()
			return batch
		}
		o.mu.Unlock()
		select {
		case <-o.wake:
		case <-o.gone:
		}
	}
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
	for {
		batch := o.next(true)
		if batch == nil {
			return o.err
		}
		conn.SetWriteDeadline(time.Now().Add(writeTimeout))
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
			if batch = o.next(false); batch == nil {
				runtime.Gosched() // who was woken by the last frames may have more
				batch = o.next(false)
			}
		}
		if err := w.Flush(); err != nil {
			return err
		}
		s.flushes.Add(1)
	}
}
