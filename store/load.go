package store

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"raftmq/message"
)

// nextSegment is the name of a segment made ahead.
const nextSegment = "next.log"

func compareQueues(a, b message.Queue) int {
	return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.ID, b.ID))
}

func (s *Store) removeFile(name string) error {
	if err := s.disk.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// listing is what a store's directory holds.
type listing struct {
	starts []Position // of segments, in order
	bases  map[message.Queue][]message.Offset
	other  map[string]Position // floors and keys
	rest   []string            // what no version of this program needs again
}

func (s *Store) list() (l listing, err error) {
	names, err := s.disk.List(s.dir)
	if err != nil {
		return l, err
	}
	l.bases, l.other = make(map[message.Queue][]message.Offset), make(map[string]Position)
	for _, n := range names {
		if q, base, ok := parseQueueName(n); ok {
			l.bases[q] = append(l.bases[q], base)
			continue
		}
		at, kind, _ := strings.Cut(n, ".")
		pos, err := strconv.ParseInt(at, 10, 64)
		switch {
		case err != nil && (n == nextSegment || strings.HasSuffix(n, ".tmp")):
			l.rest = append(l.rest, n)
		case err != nil:
		case kind == "log":
			l.starts = append(l.starts, Position(pos))
		case kind == "keys" || kind == "floor":
			l.other[n] = Position(pos)
		}
	}
	slices.Sort(l.starts)
	for _, b := range l.bases {
		slices.Sort(b)
	}
	return l, nil
}

// load brings the directory to the state: it checks what the state names, and
// only then removes what it does not.
func (s *Store) load(st state) error {
	have, err := s.list()
	if err != nil {
		return err
	}
	if s.cut, err = s.readCut(); err != nil {
		return err
	}
	first := st.first.Position
	raise := s.cut > first
	if raise {
		if s.cut > st.mark.Position {
			return fmt.Errorf("%w: what the state names, up to %d, was trimmed to %d", ErrDamaged, st.mark.Position, s.cut)
		}
		first = s.cut
	}
	s.last, s.lastMs, s.digest, s.frame, s.prevSync = st.mark, st.lastMs, st.digest, st.frame, st.mark
	var drop []string
	if !st.empty() {
		if err := s.loadSegments(st, first, have.starts); err != nil {
			return err
		}
	}
	for _, start := range have.starts {
		if start < first || st.empty() && start != first || start >= st.mark.Position && start != first {
			drop = append(drop, segmentName(s.dir, start, "log"))
		}
	}
	for n, pos := range have.other {
		if pos < first || pos >= st.mark.Position && pos != first || st.empty() && !strings.HasSuffix(n, ".floor") {
			drop = append(drop, filepath.Join(s.dir, n))
		}
	}
	for _, n := range have.rest {
		drop = append(drop, filepath.Join(s.dir, n))
	}
	for _, b := range st.bounds {
		unused, err := s.loadQueue(b, have.bases[b.queue])
		if err != nil {
			return err
		}
		have.bases[b.queue] = unused
	}
	for q, bases := range have.bases {
		for _, base := range bases {
			drop = append(drop, queueName(s.dir, q, base))
		}
	}
	for _, name := range drop {
		if err := s.removeFile(name); err != nil {
			return err
		}
	}
	if st.empty() {
		g, err := s.createSegment(st.first)
		if err != nil {
			return fmt.Errorf("start a segment at %d: %w", st.first.Position, err)
		}
		s.segments = []*segment{g}
		s.last.Position, s.frame = g.end, 0
		s.names = true
		return nil
	}
	if raise {
		if err := s.raise(first); err != nil {
			return err
		}
	}
	g := s.active()
	if err := s.loadKeys(g, g.end); err != nil {
		return err
	}
	return s.rebuildKeys(g, g.end)
}

// loadSegments opens the segments from first on; the last is cut at the mark.
func (s *Store) loadSegments(st state, first Position, starts []Position) error {
	starts = slices.DeleteFunc(slices.Clone(starts), func(p Position) bool { return p < first || p >= st.mark.Position })
	if len(starts) == 0 || starts[0] != first {
		return fmt.Errorf("%w: no segment at %d", ErrDamaged, first)
	}
	for i, start := range starts {
		end := st.mark.Position
		if i+1 < len(starts) {
			end = starts[i+1]
		}
		g, err := s.openSegment(start, end)
		if err != nil {
			return err
		}
		s.segments = append(s.segments, g)
	}
	for i, g := range s.segments {
		prev := st.first
		if i > 0 || g.start != st.first.Position {
			prev = g.prev // checked by the frames before it, when they are read
		}
		if g.prev != prev {
			return fmt.Errorf("%w: %s starts after entry %d, not %d", ErrDamaged, g.name, g.prev.Index, prev.Index)
		}
	}
	g := s.active()
	if st.frame == 0 {
		if g.prev.Index != st.mark.Index || st.mark.Position != g.start+segmentHead {
			return fmt.Errorf("%w: %s starts after entry %d, the state ends with %d", ErrDamaged, g.name, g.prev.Index, st.mark.Index)
		}
	} else if err := s.checkLast(g, st); err != nil {
		return err
	}
	var err error
	if g.mapped, err = g.file.Map(s.o.SegmentBytes + overSize); err != nil {
		return fmt.Errorf("map %s: %w", g.name, err)
	}
	for _, x := range s.segments[:len(s.segments)-1] {
		if err := x.release(); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) openSegment(start, end Position) (*segment, error) {
	name := segmentName(s.dir, start, "log")
	f, err := s.disk.Open(name)
	if err != nil {
		return nil, err
	}
	g := &segment{name: name, start: start, file: f, end: end, synced: end, written: end, keys: &keyIndex{name: segmentName(s.dir, start, "keys"), through: start}}
	b := make([]byte, segmentHead)
	if _, err = f.ReadAt(b, 0); err != nil {
		err = fmt.Errorf("%w: read %s at 0: %w", ErrDamaged, name, err)
	} else if g.prev, err = decodeHead(name, b); err == nil && g.prev.Position != start {
		err = fmt.Errorf("%w: %s says it starts at %d", ErrDamaged, name, g.prev.Position)
	}
	if err == nil {
		var size int64
		if size, err = f.Size(); err == nil && size < int64(end-start) {
			err = fmt.Errorf("%w: %s has %d bytes, %d were synced", ErrDamaged, name, size, end-start)
		}
		g.allocated.Store(size)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return g, nil
}

// checkLast checks that the state's last entry is where the state says.
func (s *Store) checkLast(g *segment, st state) error {
	size := int64(st.mark.Position - st.frame)
	if st.frame < g.start+segmentHead || size < frameHead || size > frameSize(MaxEntry) {
		return fmt.Errorf("%w: %s cannot end with a frame at %d", ErrDamaged, g.name, st.frame-g.start)
	}
	b := make([]byte, size)
	if _, err := g.file.ReadAt(b, int64(st.frame-g.start)); err != nil {
		return fmt.Errorf("%w: read %s at %d: %w", ErrDamaged, g.name, st.frame-g.start, err)
	}
	f := decodeFrame(b)
	if f.entry.Index != st.mark.Index || f.entry.Term != st.mark.Term || frameSize(f.bytes) != size || !f.check(b[:frameHead+f.bytes]) {
		return fmt.Errorf("%w: %s at %d: no frame of entry %d, which was synced", ErrDamaged, g.name, st.frame-g.start, st.mark.Index)
	}
	return nil
}

// loadQueue makes the queue as of b, given the first offsets of its files, and
// returns those of the files that it does not need.
func (s *Store) loadQueue(b bound, bases []message.Offset) (unused []message.Offset, err error) {
	q := &queue{name: b.queue, min: b.min, max: b.max, written: b.max}
	s.queues[b.queue] = q
	for i, base := range bases {
		over := base >= b.max
		below := base+queueFile <= b.min || i+1 < len(bases) && bases[i+1] <= b.min || b.min == b.max
		if over || below {
			unused = append(unused, base)
		} else {
			q.bases = append(q.bases, base)
		}
	}
	for off := b.min; off < b.max; {
		base, ok := baseOf(q.bases, off)
		if !ok {
			return nil, fmt.Errorf("%w: queue %s %d: no file holds entry %d", ErrDamaged, b.queue.Topic, b.queue.ID, off)
		}
		to := min(b.max, base+queueFile)
		f, _, err := s.openQueue(b.queue, base, false)
		if err != nil {
			return nil, err
		}
		size, err := f.Size()
		if want := queueHead + int64(to-base)*queueEntry; err == nil && size < want {
			err = fmt.Errorf("%w: %s has %d bytes, %d were synced", ErrDamaged, f.Name(), size, want)
		}
		s.files.put(f)
		if err != nil {
			return nil, err
		}
		off = to
	}
	return unused, nil
}

// raise lets the queues start in the segment at first: what lies below was
// trimmed after the state was captured.
func (s *Store) raise(first Position) error {
	for _, q := range s.queues {
		lo, err := s.search(q, q.min, q.max, func(p queuePlace) bool { return p.pos >= first })
		if err != nil {
			return err
		}
		q.min = lo
	}
	return nil
}
