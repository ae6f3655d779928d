package raftlog

import (
	"fmt"
	"runtime"
	"time"
)

// walRequest is records of one group that become durable together.
type walRequest struct {
	records []byte
	count   int
	publish func(seg uint64, off int) // with where records begin; before done
	done    chan struct{}
	err     error // set before done closes
}

// submit hands over the request and waits until it is durable.
func (w *WAL) submit(r *walRequest) error {
	r.done = make(chan struct{})
	select {
	case <-w.failed:
		return w.failErr
	case <-w.stop:
		return ErrWALClosed
	default:
	}
	select {
	case w.queue <- r:
	case <-w.failed:
		return w.failErr
	case <-w.stop:
		return ErrWALClosed
	}
	select {
	case <-r.done:
		return r.err
	case <-w.failed:
		return w.failErr
	case <-w.stop:
		return ErrWALClosed
	}
}

// commit is the committer: take one request, let others arrive, write and sync all of them as one frame, answer.
func (w *WAL) commit() {
	var batch []*walRequest
	var held *walRequest
	var page walPage
	for {
		first := held
		held = nil
		if first == nil {
			select {
			case first = <-w.queue:
			case <-w.stop:
				return
			case <-w.failed:
				return
			}
		}
		for range w.o.Yield {
			runtime.Gosched()
		}
		batch = append(batch[:0], first)
		size, count := len(first.records), first.count
		limit := int(walShare(w.segment, walMaxBatch))
	gather:
		for size < limit {
			select {
			case r := <-w.queue:
				if size+len(r.records) > limit {
					held = r
					break gather
				}
				batch, size, count = append(batch, r), size+len(r.records), count+r.count
			default:
				break gather
			}
		}
		s, err := w.segmentFor(walFrameSize(size))
		if err != nil {
			w.fail(err)
			return
		}
		total := int(walFrameSize(size))
		b, err := page.frame(s, total)
		if err != nil {
			w.fail(err)
			return
		}
		b = b[:walFrameHeader]
		for _, r := range batch {
			b = append(b, r.records...)
		}
		walSealFrame(b, s.head.salt, s.head.number, w.sequence, b[walFrameHeader:], count)
		took, err := w.write(s, &page)
		if err != nil {
			w.fail(err)
			return
		}
		off := int(s.end) + walFrameHeader
		w.mu.Lock()
		if s.first == 0 {
			s.first = w.sequence
		}
		s.end += int64(total)
		w.sequence++
		w.stats.syncs++
		w.stats.requests += uint64(len(batch))
		w.stats.bytes += uint64(total)
		w.stats.times[walBucket(took)]++
		w.stats.took += took
		w.mu.Unlock()
		for i, r := range batch {
			r.publish(s.head.number, off)
			off += len(r.records)
			close(r.done)
			batch[i] = nil
		}
	}
}

// write makes the frame in p durable at the end of s; one that outlasts the deadline fails the log from the timer.
func (w *WAL) write(s *walSegment, p *walPage) (time.Duration, error) {
	watch := newPatience(w.o.WriteDeadline, func() {
		w.fail(fmt.Errorf("write %s at %d: nothing within %s", s.name, s.end, w.o.WriteDeadline))
	})
	defer watch.stop()
	start := time.Now()
	if err := s.file.WriteThrough(p.blocks()); err != nil {
		return 0, fmt.Errorf("write %s at %d: %w", s.name, s.end, err)
	}
	took := time.Since(start)
	return took, w.Err() // the deadline may have passed
}

// segmentFor gives the active segment, or the next if n bytes do not fit.
func (w *WAL) segmentFor(n int64) (*walSegment, error) {
	var timeout chan struct{}
	for {
		w.mu.Lock()
		s := w.live[w.active]
		if s.end+n <= s.head.size && s.head.number > w.sealed {
			w.mu.Unlock()
			return s, nil
		}
		if w.active+1 < len(w.live) {
			w.active++
			s = w.live[w.active]
			w.mu.Unlock()
			walPoke(w.prep)
			walPoke(w.trim)
			continue
		}
		room := w.room
		w.mu.Unlock()
		walPoke(w.prep)
		walPoke(w.trim)
		if timeout == nil {
			timeout = make(chan struct{})
			p := newPatience(w.o.WriteDeadline, func() { close(timeout) })
			defer p.stop()
		}
		select {
		case <-room:
		case <-timeout:
			return nil, fmt.Errorf("%w: no spare segment within %s", ErrWALFull, w.o.WriteDeadline)
		case <-w.failed:
			return nil, w.failErr
		case <-w.stop:
			return nil, ErrWALClosed
		}
	}
}
