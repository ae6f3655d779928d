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

// isTmp reports whether a file of that base name was being made here. The owner has files
// of its own in the folder, which it may write beside Open.
func isTmp(base string) bool {
	switch base {
	case timerTmp, timerMergeTmp, mendName, cutName + ".tmp":
		return true
	}
	return strings.HasSuffix(base, ".floor.tmp") || strings.HasPrefix(base, "mend-") && strings.HasSuffix(base, ".tmp")
}

// listing is what a store's directory holds.
type listing struct {
	starts []Position // of segments, in order
	bases  map[message.Queue][]message.Offset
	other  map[string]Position // floors and keys
	timers []uint64            // numbers of runs
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
		case n == nextSegment || isTmp(n):
			l.rest = append(l.rest, n)
		case err != nil:
		case kind == "log":
			l.starts = append(l.starts, Position(pos))
		case "."+kind == timerSuffix:
			l.timers = append(l.timers, uint64(pos))
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
// only then removes what it does not. A fresh store takes nothing of what is there.
func (s *Store) load(st state, fresh bool) error {
	have, err := s.list()
	if err != nil {
		return err
	}
	if fresh {
		if err := s.removeFile(filepath.Join(s.dir, cutName)); err != nil {
			return err
		}
	}
	if s.cut, err = s.readCut(); err != nil {
		return err
	}
	first := st.first.Position
	if s.cut > first { // trimmed after the state was captured
		if s.cut >= st.mark.Position {
			return damaged(filepath.Join(s.dir, cutName), 8, "the log, up to %d, is trimmed to %d", st.mark.Position, s.cut)
		}
		first = s.cut
		starts, err := s.starts(first)
		if err != nil {
			return err
		}
		for i := range st.bounds {
			b := &st.bounds[i]
			b.min = max(b.min, starts[b.queue])
		}
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
	if err := s.loadTimers(have.timers, first, fresh); err != nil {
		return err
	}
	for _, name := range drop {
		if err := s.removeFile(name); err != nil {
			return err
		}
	}
	if st.empty() {
		g, err := s.createSegment(origin{prev: st.first, lastMs: st.lastMs})
		if err != nil {
			return fmt.Errorf("start a segment at %d: %w", st.first.Position, err)
		}
		s.segments = []*segment{g}
		s.last.Position, s.frame = g.end, 0
		s.names = true
		return nil
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
		return damaged(segmentName(s.dir, first, "log"), 0, "the first segment is not there")
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
	if g := s.segments[0]; g.start == st.first.Position && g.prev != st.first {
		return damaged(g.name, 0, "it starts after entry %d, not %d", g.prev.Index, st.first.Index)
	}
	for i, g := range s.segments[1:] {
		if err := s.segments[i].endsBefore(g.origin); err != nil {
			return err
		}
	}
	g := s.active()
	if st.frame == 0 {
		if g.prev.Index != st.mark.Index || st.mark.Position != g.start+segmentHead {
			return damaged(g.name, 0, "it starts after entry %d, the state ends with %d", g.prev.Index, st.mark.Index)
		}
	} else if err := s.checkLast(g, st); err != nil {
		return err
	}
	var err error
	if n := g.allocated.Load(); n > 0 { // a copy of the folder may have holes, which an append could find no room for
		if err = g.file.Allocate(0, n); err != nil {
			return fmt.Errorf("reserve room in %s: %w", g.name, err)
		}
	}
	size := max(s.o.SegmentBytes+overSize, int64(g.end-g.start)) // SegmentBytes may have been larger
	if g.mapped, err = g.file.Map(size); err != nil {
		return fmt.Errorf("map %s: %w", g.name, err)
	}
	for _, x := range s.segments[:len(s.segments)-1] {
		if err := errors.Join(x.giveBack(x.end), x.release()); err != nil {
			return fmt.Errorf("seal %s: %w", x.name, err)
		}
	}
	return nil
}

// endsBefore checks that g's last entry, by its frame's head, is the one that the
// next segment says it comes after.
func (g *segment) endsBefore(next origin) error {
	if next.frame == 0 {
		if next.prev.Index != g.prev.Index || next.prev.Position != g.start+segmentHead {
			return damaged(g.name, segmentHead, "the next segment says that it has no entry")
		}
		return nil
	}
	off := int64(next.frame - g.start)
	if off < segmentHead {
		return damaged(g.name, segmentHead, "the next segment says that it ends with a frame at %d", next.frame)
	}
	b := make([]byte, frameHead)
	if _, err := g.file.ReadAt(b, off); err != nil {
		return unread(g.name, off, err)
	}
	f := decodeFrame(b)
	if !f.fits(place{next.prev.Index, next.frame}, g.end) || next.frame+f.size() != g.end || f.entry.Term != next.prev.Term {
		return damaged(g.name, off, "no frame of entry %d, which the next segment comes after", next.prev.Index)
	}
	return nil
}

func (s *Store) openSegment(start, end Position) (*segment, error) {
	name := segmentName(s.dir, start, "log")
	f, err := s.disk.Open(name)
	if err != nil {
		return nil, unread(name, 0, err)
	}
	g := &segment{name: name, start: start, file: f, end: end, synced: end, written: end, keys: &keyIndex{name: segmentName(s.dir, start, "keys"), through: start}}
	b := make([]byte, segmentHead)
	if _, err = f.ReadAt(b, 0); err != nil {
		err = unread(name, 0, err)
	} else if g.origin, err = decodeHead(name, b); err == nil && g.prev.Position != start {
		err = damaged(name, 8, "it says that it starts at %d", g.prev.Position)
	}
	if err == nil {
		var size int64
		if size, err = f.Size(); err == nil && size < int64(end-start) {
			err = damaged(name, size, "the file ends here, %d bytes were synced", end-start)
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
		return damaged(g.name, int64(st.frame-g.start), "no frame of entry %d can be here", st.mark.Index)
	}
	b := make([]byte, size)
	if _, err := g.file.ReadAt(b, int64(st.frame-g.start)); err != nil {
		return unread(g.name, int64(st.frame-g.start), err)
	}
	f := decodeFrame(b)
	if f.entry.Index != st.mark.Index || f.entry.Term != st.mark.Term || frameSize(f.bytes) != size || !f.check(b[:frameHead+f.bytes]) {
		return damaged(g.name, int64(st.frame-g.start), "no frame of entry %d, which was synced", st.mark.Index)
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
		below := base+s.o.queueFile <= b.min || i+1 < len(bases) && bases[i+1] <= b.min || b.min == b.max
		if over || below {
			unused = append(unused, base)
		} else {
			q.bases = append(q.bases, base)
		}
	}
	for off := q.min; off < q.max; {
		base, ok := s.baseOf(q.bases, off)
		if !ok {
			return nil, s.noQueueFile(b.queue, off)
		}
		to := min(b.max, base+s.o.queueFile)
		f, err := s.openQueue(b.queue, base)
		if err != nil {
			return nil, err
		}
		size, err := f.Size()
		if want := placeAt(base, to); err == nil && size < want {
			err = damaged(f.Name(), size, "the file ends here, %d bytes were synced", want)
		}
		s.files.put(f)
		if err != nil {
			return nil, err
		}
		off = to
	}
	return unused, nil
}
