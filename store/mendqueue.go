package store

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"

	"raftmq/internal/vfs"
	"raftmq/message"
)

// mendFlush is how many bytes of a queue's entries wait in memory.
const mendFlush = 64 << 10

// shelf is a queue's file being written from the log.
type shelf struct {
	base     message.Offset
	from, to message.Offset // of the entries that it is to hold
	next     message.Offset
	buf      []byte // of those before next
	write    func(b []byte, at int64) error
}

// put takes the entry of off, if it is the shelf's next.
func (s *shelf) put(off message.Offset, p queuePlace) error {
	if off != s.next || off >= s.to {
		return nil
	}
	s.buf = appendPlace(s.buf, off, p)
	s.next++
	if len(s.buf) >= mendFlush || s.next == s.to {
		at := placeAt(s.base, s.next-offsets(len(s.buf)))
		if err := s.write(s.buf, at); err != nil {
			return err
		}
		s.buf = s.buf[:0]
	}
	return nil
}

// queue builds the file of q's entries from base on again.
func (m *Mender) queue(ctx context.Context, st state, q message.Queue, base message.Offset) error {
	i := slices.IndexFunc(st.bounds, func(b bound) bool { return b.queue == q })
	if i < 0 {
		return m.remove(queueName("", q, base)) // Open has no use for it
	}
	have, err := m.store().list()
	if err != nil {
		return err
	}
	b, err := m.retained(st, st.bounds[i])
	if err != nil {
		return err
	}
	next := b.max
	if i, there := slices.BinarySearch(have.bases[q], base); there && i+1 < len(have.bases[q]) {
		next = have.bases[q][i+1]
	} else if !there && i < len(have.bases[q]) { // it was named by an entry, and ends where the next file begins, which it fills up to
		next = have.bases[q][i]
		if before := (next - base + m.Options.queueFile - 1) / m.Options.queueFile * m.Options.queueFile; before <= next {
			base = next - before
		}
	}
	x := &shelf{base: base, from: max(base, b.min), to: min(b.max, base+m.Options.queueFile, next)}
	if x.next = x.from; x.from >= x.to {
		return m.remove(queueName("", q, base))
	}
	name := queueName(m.Dir, q, base)
	for tries := 0; ; tries++ {
		x.next, x.buf = x.from, x.buf[:0]
		err := m.replace(name, func(f vfs.File) error {
			if _, err := f.WriteAt(encodeQueueHead(base), 0); err != nil {
				return fmt.Errorf("%w: %w", errMendDisk, err)
			}
			x.write = func(b []byte, at int64) error {
				_, err := f.WriteAt(b, at)
				return err
			}
			return m.eachRecord(ctx, st, func(to message.Queue, off message.Offset, p queuePlace) error {
				if to != q {
					return nil
				}
				return x.put(off, p)
			}, func(before, after map[message.Queue]message.Offset) bool {
				return before[q] < x.to && after[q] > x.from
			})
		}, func(string) error { return x.complete(q) })
		var d *Damage
		if !errors.As(err, &d) || tries == 3 {
			return err
		}
		if err := m.segmentOf(ctx, st, d); err != nil { // what it is built from is damaged too
			return errors.Join(d, err)
		}
	}
}

func (s *shelf) complete(q message.Queue) error {
	if s.next < s.to {
		return fmt.Errorf("%w of queue %s %d: the log has its entries up to %d of %d", ErrNoCopy, q.Topic, q.ID, s.next, s.to)
	}
	return nil
}

// segmentOf mends a segment that damage is in.
func (m *Mender) segmentOf(ctx context.Context, st state, d *Damage) error {
	have, err := m.store().list()
	if err != nil {
		return err
	}
	for _, start := range have.starts {
		if segmentName(m.Dir, start, "log") == d.File {
			return m.segment(ctx, st, start)
		}
	}
	return d
}

// retained is b as Open will have it.
func (m *Mender) retained(st state, b bound) (bound, error) {
	if first := m.first(st); first > st.first.Position {
		starts, err := m.store().starts(first)
		if err != nil {
			return b, err
		}
		b.min = max(b.min, starts[b.queue])
	}
	return b, nil
}

// eachRecord gives the stored records of the log to visit, in order. Segments are
// passed over that within, given where the queues were before and after one, says
// hold none that is wanted; where that is not known they are read.
func (m *Mender) eachRecord(ctx context.Context, st state, visit func(message.Queue, message.Offset, queuePlace) error, within func(before, after map[message.Queue]message.Offset) bool) error {
	s, first := m.store(), m.first(st)
	have, err := s.list()
	if err != nil {
		return err
	}
	starts := slices.DeleteFunc(have.starts, func(p Position) bool { return p < first || p >= st.mark.Position })
	ends := make(map[message.Queue]message.Offset, len(st.bounds))
	for _, b := range st.bounds {
		ends[b.queue] = b.max
	}
	for i, start := range starts {
		end := st.mark.Position
		after := ends
		if i+1 < len(starts) {
			end = starts[i+1]
			if after, err = s.starts(end); err != nil {
				after = nil
			}
		}
		before := map[message.Queue]message.Offset{}
		if start > 0 {
			if before, err = s.starts(start); err != nil {
				before = nil
			}
		}
		if within != nil && before != nil && after != nil && !within(before, after) {
			continue
		}
		if _, err := scan(ctx, m.Options.FS, segmentName(m.Dir, start, "log"), start, end, func(at Position, e Entry) error {
			return m.records(at, e, visit)
		}); err != nil {
			return err
		}
	}
	return nil
}

// records gives the records of one entry that were stored by it: those are stamped
// with the place where they lie.
func (m *Mender) records(at Position, e Entry, visit func(message.Queue, message.Offset, queuePlace) error) error {
	places, err := m.Places(e)
	if err != nil {
		return err
	}
	for _, p := range places {
		r := message.Record(e.Data[p.Start : p.Start+p.Size])
		where := at + frameHead + Position(p.Start)
		if r.PhysicalOffset() != message.PhysicalOffset(m.Options.Number, int64(where)) {
			continue
		}
		if err := visit(p.Queue, r.QueueOffset(), queuePlace{pos: where, time: r.StoreTimestamp(), size: uint32(p.Size), tag: p.Tag, crc: crc32.Checksum(r, castagnoli)}); err != nil {
			return err
		}
	}
	return nil
}

// allQueues writes every queue's files from the log; there are none.
func (m *Mender) allQueues(ctx context.Context, st state) error {
	disk := m.Options.FS
	shelves := make(map[message.Queue]*shelf, len(st.bounds))
	var names []string
	for _, b := range st.bounds {
		b, err := m.retained(st, b)
		if err != nil {
			return err
		}
		x := &shelf{from: b.min, to: b.max, next: b.min}
		x.write = func(entries []byte, _ int64) error {
			for off := x.next - offsets(len(entries)); len(entries) > 0; {
				base := b.min + (off-b.min)/m.Options.queueFile*m.Options.queueFile
				n := min(len(entries)/queueEntry, int(base+m.Options.queueFile-off))
				name := queueName(m.Dir, b.queue, base)
				if off == base {
					names = append(names, name)
				}
				if err := writeInto(disk, name, base, off, entries[:n*queueEntry]); err != nil {
					return err
				}
				off, entries = off+message.Offset(n), entries[n*queueEntry:]
			}
			return nil
		}
		shelves[b.queue] = x
	}
	err := m.eachRecord(ctx, st, func(q message.Queue, off message.Offset, p queuePlace) error {
		if x := shelves[q]; x != nil {
			return x.put(off, p)
		}
		return nil
	}, nil)
	if err != nil {
		return err
	}
	for q, x := range shelves {
		if err := x.complete(q); err != nil {
			return err
		}
	}
	for _, n := range names {
		f, err := disk.Open(n)
		if err != nil {
			return err
		}
		if err := errors.Join(f.Sync(), f.Close()); err != nil {
			return fmt.Errorf("sync %s: %w", n, err)
		}
	}
	return disk.SyncDir(m.Dir)
}

// writeInto writes entries from off on to the file from base on, which it makes if
// they are its first.
func writeInto(disk vfs.FS, name string, base, off message.Offset, entries []byte) error {
	var f vfs.File
	var err error
	if off == base {
		if f, err = disk.Create(name); err == nil {
			_, err = f.WriteAt(encodeQueueHead(base), 0)
		}
	} else {
		f, err = disk.Open(name)
	}
	if err == nil {
		_, err = f.WriteAt(entries, placeAt(base, off))
	}
	if f != nil {
		err = errors.Join(err, f.Close())
	}
	return err
}
