package store

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/hashicorp/go-hclog"

	"raftmq/internal/vfs"
	"raftmq/message"
)

var (
	// ErrNotFound: there is no such entry or record here.
	ErrNotFound = errors.New("store: not found")
	// ErrOffset: the offset is outside the queue.
	ErrOffset = errors.New("store: offset out of range")
	// ErrDamaged: bytes on disk are not what was written. They are left as they
	// are.
	ErrDamaged = errors.New("store: damaged")
	// ErrVersion: a file was written by a later version of this program.
	ErrVersion = errors.New("store: unknown format version")
	// ErrClosed: the store was closed.
	ErrClosed = errors.New("store: closed")
)

// Position is a place in a partition's commit log, counted in bytes.
type Position int64

// Mark names a point of the log: everything through entry Index lies below
// Position.
type Mark struct {
	Index, Term uint64
	Position    Position
}

// Options have a working zero value, but for Number.
type Options struct {
	FS           vfs.FS // nil: the operating system's
	SegmentBytes int64  // 0: 256 MiB; at least 64 KiB
	Number       uint32 // slot-local partition number, for physical offsets
	Logger       hclog.Logger
}

// Entry is one Raft entry, of any type.
type Entry struct {
	Index, Term uint64
	Type        uint8 // raft.LogType
	AppendedAt  int64 // Unix ns
	Data        []byte
}

// Place says where a record lies in an entry's data, and to which queue it goes.
type Place struct {
	Queue       message.Queue
	Start, Size int
	Tag         int32
}

// Store is one partition's bytes. One goroutine may append; any number may read,
// and one may Sync, meanwhile.
type Store struct {
	dir  string
	o    Options
	disk vfs.FS
	log  hclog.Logger

	sync sync.Mutex // one Sync at a time
	work chan struct{}
	stop chan struct{}
	wg   sync.WaitGroup

	scratch []keyPlace // the appender's

	spareMu sync.Mutex
	spare   *segment // made ahead

	mu       sync.RWMutex
	segments []*segment // oldest first; the last is active
	queues   map[message.Queue]*queue
	last     Mark
	lastMs   int64
	digest   uint64
	names    bool // names in dir are not durable yet
	garbage  []string
	closed   bool
	cursor   place // where the next entry in a row would be
}

// Open opens the store as of state, which Checkpoint or Roll gave; nil is an
// empty store. What lies above is dropped: it will be appended again.
// ErrDamaged if what the state names is not all there.
func Open(dir string, o Options, state []byte) (*Store, error) {
	if o.FS == nil {
		o.FS = vfs.OS{}
	}
	if o.SegmentBytes == 0 {
		o.SegmentBytes = defaultSegment
	}
	o.SegmentBytes = max(o.SegmentBytes, minSegment)
	if o.Logger == nil {
		o.Logger = hclog.NewNullLogger()
	}
	s := &Store{dir: dir, o: o, disk: o.FS, log: o.Logger, queues: make(map[message.Queue]*queue), work: make(chan struct{}, 1), stop: make(chan struct{})}
	if err := vfs.MakeDir(s.disk, dir); err != nil {
		return nil, fmt.Errorf("store directory: %w", err)
	}
	st, err := decodeState(state)
	if err != nil {
		return nil, err
	}
	if err := s.load(st); err != nil {
		s.closeFiles()
		return nil, fmt.Errorf("open store %s: %w", dir, err)
	}
	s.wg.Go(s.background)
	return s, nil
}

// load brings the directory to the state.
func (s *Store) load(st state) error {
	s.last, s.lastMs, s.digest = st.mark, st.lastMs, st.digest
	names, err := s.disk.List(s.dir)
	if err != nil {
		return err
	}
	var starts []Position
	for _, n := range names {
		base, kind, _ := strings.Cut(n, ".")
		pos, err := strconv.ParseInt(base, 10, 64)
		switch {
		case n == "next.log", err == nil && Position(pos) >= st.mark.Position, err == nil && Position(pos) < st.first.Position:
			if err := s.disk.Remove(filepath.Join(s.dir, n)); err != nil {
				return err
			}
		case err == nil && kind == "log":
			starts = append(starts, Position(pos))
		}
	}
	slices.Sort(starts)
	want := st.first
	for i, start := range starts {
		if start != want.Position {
			return fmt.Errorf("%w: no segment at %d", ErrDamaged, want.Position)
		}
		g, err := s.openSegment(start, st.mark.Position)
		if err != nil {
			return err
		}
		s.segments = append(s.segments, g)
		if i+1 < len(starts) {
			g.end, g.synced = starts[i+1], starts[i+1]
			want.Position = g.end
			continue
		}
		g.end = max(st.mark.Position, start+segmentHead)
		g.synced, s.last.Position = g.end, g.end
		size, err := g.file.Size()
		if err != nil {
			return err
		}
		if size < int64(g.end-g.start) {
			return fmt.Errorf("%w: %s ends at %d, %d were synced", ErrDamaged, g.file.Name(), size, g.end-g.start)
		}
		g.allocated, g.written = size, g.end
		if g.mapped, err = g.file.Map(s.o.SegmentBytes + overSize); err != nil {
			return err
		}
	}
	if len(s.segments) == 0 {
		empty := st.first
		if st.mark.Position != st.first.Position && !(st.first == Mark{} && st.mark == Mark{}) {
			return fmt.Errorf("%w: no segment at %d", ErrDamaged, st.first.Position)
		}
		g, err := s.createSegment(empty)
		if err != nil {
			return err
		}
		s.segments = append(s.segments, g)
		s.last.Position = g.end
		s.names = true
	}
	for _, b := range st.bounds {
		q := &queue{name: b.queue, min: b.min, max: b.max, base: b.max, written: b.max}
		s.queues[b.queue] = q
		if b.max > b.min {
			if err := q.open(s.disk, s.dir); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *Store) openSegment(start, through Position) (*segment, error) {
	name := segmentName(s.dir, start, "log")
	f, err := s.disk.Open(name)
	if err != nil {
		return nil, err
	}
	b := make([]byte, segmentHead)
	if _, err := f.ReadAt(b, 0); err != nil {
		f.Close()
		return nil, fmt.Errorf("%w: read %s: %w", ErrDamaged, name, err)
	}
	prev, err := decodeHead(name, b)
	if err == nil && prev.Position != start {
		err = fmt.Errorf("%w: %s says it starts at %d", ErrDamaged, name, prev.Position)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	g := &segment{start: start, prev: prev, file: f}
	g.keys, err = openKeys(s.disk, segmentName(s.dir, start, "keys"), through)
	if err != nil {
		f.Close()
		return nil, err
	}
	return g, nil
}

// makeFile makes a segment's file without its head.
func (s *Store) makeFile() (*segment, error) {
	name := filepath.Join(s.dir, "next.log")
	if err := s.disk.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	f, err := s.disk.Create(name)
	if err != nil {
		return nil, err
	}
	g := &segment{file: f}
	if err := g.ensure(growFirst); err != nil {
		f.Close()
		return nil, err
	}
	if g.mapped, err = f.Map(s.o.SegmentBytes + overSize); err != nil {
		f.Close()
		return nil, err
	}
	return g, nil
}

// createSegment starts the segment after prev, from the spare if there is one.
func (s *Store) createSegment(prev Mark) (*segment, error) {
	s.spareMu.Lock()
	defer s.spareMu.Unlock()
	g := s.spare
	s.spare = nil
	if g == nil {
		var err error
		if g, err = s.makeFile(); err != nil {
			return nil, err
		}
	}
	name := segmentName(s.dir, prev.Position, "log")
	if err := s.disk.Rename(filepath.Join(s.dir, "next.log"), name); err != nil {
		g.close()
		return nil, err
	}
	keys := segmentName(s.dir, prev.Position, "keys")
	if err := s.disk.Remove(keys); err != nil && !errors.Is(err, fs.ErrNotExist) {
		g.close()
		return nil, err
	}
	g.start, g.prev, g.keys = prev.Position, prev, &keyFile{name: keys}
	err := vfs.Guard(func() error {
		copy(g.mapped.Bytes(), encodeHead(prev))
		return nil
	})
	g.end, g.synced, g.written = prev.Position+segmentHead, prev.Position, prev.Position
	return g, err
}

func (s *Store) active() *segment { return s.segments[len(s.segments)-1] }

// Append stores e as the next frame and gives the records at places the next
// offsets of their queues; the copy in the log is stamped with them, with their
// physical offsets and with storeMs, which never goes back. Readers see it on
// return. It does not sync. first has the offset of each place.
func (s *Store) Append(e Entry, storeMs int64, places []Place) (first []message.Offset, err error) {
	g := s.active()
	if e.Index != s.last.Index+1 {
		panic(fmt.Sprintf("store: entry %d after %d", e.Index, s.last.Index))
	}
	if len(e.Data) > MaxEntry {
		return nil, fmt.Errorf("store: entry of %d bytes, at most %d", len(e.Data), MaxEntry)
	}
	pos := g.end
	at, size := int64(pos-g.start), frameSize(len(e.Data))
	if err := g.ensure(at + size); err != nil {
		return nil, fmt.Errorf("append entry %d: %w", e.Index, err)
	}
	storeMs = max(storeMs, s.lastMs)
	first = make([]message.Offset, len(places))
	found := make([]queuePlace, len(places))
	next := make(map[message.Queue]message.Offset, 1)
	s.mu.RLock() // Appended adds queues
	for _, p := range places {
		if q := s.queues[p.Queue]; q != nil {
			next[p.Queue] = q.max
		}
	}
	s.mu.RUnlock()
	var frameCRC uint32
	keys := keyFile{mem: s.scratch[:0]}
	err = vfs.Guard(func() error {
		b := g.mapped.Bytes()[at : at+size]
		copy(b[frameHead:], e.Data)
		clear(b[frameHead+len(e.Data):])
		for i, p := range places {
			off := next[p.Queue]
			next[p.Queue] = off + 1
			first[i] = off
			where := pos + frameHead + Position(p.Start)
			r := message.Record(b[frameHead+p.Start : frameHead+p.Start+p.Size])
			message.Stamp(r, off, message.PhysicalOffset(s.o.Number, int64(where)), storeMs)
			found[i] = queuePlace{pos: where, time: storeMs, size: uint32(p.Size), tag: p.Tag, crc: crc32.Checksum(r, castagnoli)}
			keys.add(r, where)
		}
		frameCRC = putFrame(b, e)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("append entry %d: %w", e.Index, err)
	}
	s.mu.Lock()
	g.end += Position(size)
	s.last = Mark{e.Index, e.Term, g.end}
	s.lastMs = storeMs
	s.digest = mix(s.digest, uint64(frameCRC)<<32^e.Index)
	if n := len(g.sparse); n == 0 || pos-g.sparse[n-1].pos >= sparseBytes {
		g.sparse = append(g.sparse, place{e.Index, pos})
	}
	g.keys.mem = append(g.keys.mem, keys.mem...)
	s.scratch = keys.mem
	busy := len(g.keys.mem) >= maxKeyRun || at>>20 != (at+size)>>20
	for i, p := range places {
		q := s.queues[p.Queue]
		if q == nil {
			q = &queue{name: p.Queue}
			s.queues[p.Queue] = q
		}
		q.tail = appendPlace(q.tail, q.max, found[i])
		q.max++
		busy = busy || len(q.tail) >= tailBytes
		if q.wake != nil {
			close(q.wake)
			q.wake = nil
		}
	}
	s.mu.Unlock()
	g.mu.Lock()
	low := g.allocated-(at+size) < min(max(growFirst, g.allocated/2), growMax)/2
	g.mu.Unlock()
	if busy || low || at+size > s.o.SegmentBytes*3/4 {
		select {
		case s.work <- struct{}{}:
		default:
		}
	}
	return first, nil
}

// mix chains the digest: FNV's prime over 64 bits, with a fold so that high bits
// reach low ones.
func mix(h, v uint64) uint64 {
	h = (h ^ v) * 0x9E3779B97F4A7C15
	return h ^ h>>29
}

// NeedsRoll reports whether an entry with that much data belongs into the next
// segment. It depends on what was appended only, so that replicas roll alike.
func (s *Store) NeedsRoll(dataBytes int) bool {
	g := s.active()
	used := int64(g.end - g.start)
	return used > segmentHead && used+frameSize(dataBytes) > s.o.SegmentBytes
}

// Roll seals the active segment and starts the next. with returns what is kept
// beside it as its floor, given the store's own state.
func (s *Store) Roll(with func(storeState []byte) []byte) error {
	floor := with(s.captureAt())
	if err := s.writeFloor(s.last.Position, floor); err != nil {
		return err
	}
	g, err := s.createSegment(s.last)
	if err != nil {
		return fmt.Errorf("roll: %w", err)
	}
	s.mu.Lock()
	s.segments = append(s.segments, g)
	s.last.Position = g.end
	s.names = true
	s.mu.Unlock()
	select {
	case s.work <- struct{}{}:
	default:
	}
	return nil
}

// Last is the last entry appended.
func (s *Store) Last() Mark {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.last
}

// First is the mark just before the oldest retained entry.
func (s *Store) First() Mark {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.segments[0].prev
}

// Digest returns the last mark and a digest of all frames up to it: equal on
// replicas that hold the same bytes.
func (s *Store) Digest() (Mark, uint64) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.last, s.digest
}

// background grows the active segment ahead, makes the next one, and writes
// queues and keys.
func (s *Store) background() {
	for {
		select {
		case <-s.work:
		case <-s.stop:
			return
		}
		s.mu.RLock()
		g := s.active()
		used := int64(g.end - g.start)
		sealed := slices.Clone(s.segments[:len(s.segments)-1])
		for _, x := range append(sealed, g) {
			x.upTo = x.end
		}
		s.mu.RUnlock()
		g.ahead(used)
		for _, x := range append(sealed, g) {
			x.writeBack()
		}
		if used > s.o.SegmentBytes*3/4 {
			s.spareMu.Lock()
			if s.spare == nil {
				if next, err := s.makeFile(); err == nil {
					s.spare = next
				}
			}
			s.spareMu.Unlock()
		}
		s.sync.Lock()
		if err := s.flush(); err != nil {
			s.log.Error("write queues and keys", "error", err)
		}
		s.sync.Unlock()
		for _, old := range sealed {
			if err := old.unmap(); err != nil {
				s.log.Error("unmap", "error", err)
			}
		}
	}
}

// Close releases everything. It does not sync.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	s.mu.Unlock()
	close(s.stop)
	s.wg.Wait()
	return s.closeFiles()
}

func (s *Store) closeFiles() error {
	var errs []error
	for _, g := range s.segments {
		errs = append(errs, g.close())
	}
	s.spareMu.Lock()
	defer s.spareMu.Unlock()
	if s.spare != nil {
		errs = append(errs, s.spare.close())
		s.spare = nil
	}
	for _, q := range s.queues {
		if q.file != nil {
			errs = append(errs, q.file.Close())
		}
	}
	return errors.Join(errs...)
}

// DiskBytes is what the segments hold on disk.
func (s *Store) DiskBytes() int64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var n int64
	for _, g := range s.segments {
		n += int64(g.end - g.start)
	}
	return n
}
