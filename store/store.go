package store

import (
	"cmp"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"

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
	// are. The text has the file and the place.
	ErrDamaged = errors.New("store: damaged")
	// ErrVersion: a file, or a state, was written by a later version of this
	// program.
	ErrVersion = errors.New("store: unknown format version")
	// ErrClosed: the store was closed. Nothing happened.
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
	SegmentBytes int64  // 0: 256 MiB; at least 64 KiB. Replicas must agree
	Number       uint32 // slot-local partition number, for physical offsets
	Logger       hclog.Logger

	// OnFault is called once, when a write or a sync has failed for good: the owner
	// must stop, since nothing is known of what reached the disk. OnDamage is called
	// once for each file in which damage is found. Both may be nil, are called from
	// any goroutine, and must not wait for the store.
	OnFault  func(error)
	OnDamage func(*Damage)

	queueFile message.Offset // entries of a queue's file; 0: defaultQueueFile
}

// Store is one partition's bytes. One goroutine may Append, Roll, Trim, Reset and
// Checkpoint; any number may read, and one may Sync, meanwhile.
type Store struct {
	dir  string
	o    Options
	disk vfs.FS
	log  hclog.Logger

	files *files
	work  chan struct{} // wakes the background
	stop  chan struct{}
	wg    sync.WaitGroup
	fault atomic.Pointer[error] // final; ErrClosed once closed

	// Locks are taken in the order of round, syncing, flushing, mu; the others are
	// held alone.
	round    sync.Mutex // of the background
	syncing  sync.Mutex // of Sync
	flushing sync.Mutex // of what is written to queues and keys, and of removals

	// Of the appender.
	behind  int // pending after the last Append
	turn    uint64
	encoded []byte
	keyed   []keyPlace
	touched []*queue

	full bool // of the background: the disk had no room in the last round

	spareMu sync.Mutex
	spare   *segment // made ahead

	waiting atomic.Int64 // len(waiters)
	waitMu  sync.Mutex
	waiters map[message.Queue]chan struct{}

	hintMu sync.Mutex
	hint   place // where the entry after the last one read is

	toldMu sync.Mutex
	told   map[string]struct{} // files whose damage the owner knows

	// Guarded by syncing.
	prevSync Mark     // what the last Sync, or Open, went through
	cut      Position // as the trim file says

	mu       sync.RWMutex
	segments []*segment // oldest first; the last is active. Replaced, not changed, but for appending
	trimmed  []*segment // to be synced, since a state may name them, and closed
	queues   map[message.Queue]*queue
	last     Mark
	frame    Position // of the last entry; 0: none in the active segment
	lastMs   int64
	digest   uint64
	names    bool                // the directory is to be synced
	trash    map[string]struct{} // files to remove once no state that may be opened needs them
	pending  int                 // bytes of queue entries, keys and timers that wait in memory
	timers   timers
	closed   bool
}

// Open opens the store as of state, which Checkpoint or Roll gave; nil is an
// empty store, whatever the directory holds: so a damaged one is thrown away. What
// lies above is dropped: it will be appended again, to the same bytes. ErrDamaged if what the state names is not all there, ErrVersion if a
// later version wrote it; the files are then as they were.
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
	o.queueFile = cmp.Or(o.queueFile, defaultQueueFile)
	st, err := decodeState(state)
	if err != nil {
		return nil, fmt.Errorf("open store %s: %w", dir, err)
	}
	if len(state) == 0 { // else it is durable
		if err := vfs.MakeDir(o.FS, dir); err != nil {
			return nil, fmt.Errorf("open store %s: %w", dir, err)
		}
	}
	s := &Store{
		dir: dir, o: o, disk: o.FS, log: o.Logger.Named("store"),
		files:   &files{disk: o.FS, open: make(map[string]*openFile)},
		work:    make(chan struct{}, 1),
		stop:    make(chan struct{}),
		waiters: make(map[message.Queue]chan struct{}),
		queues:  make(map[message.Queue]*queue),
		trash:   make(map[string]struct{}),
		told:    make(map[string]struct{}),
	}
	if err := s.load(st, len(state) == 0); err != nil {
		return nil, errors.Join(fmt.Errorf("open store %s: %w", dir, err), s.closeFiles())
	}
	s.wg.Go(s.background)
	return s, nil
}

// keep says that a file is not to be removed later; false: it was not.
func (s *Store) keep(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, was := s.trash[name]
	delete(s.trash, name)
	return was
}

// createFile makes a file, in place of one that is not in use any more, if there is
// one. Sync makes it durable.
func (s *Store) createFile(name string, b []byte) (*openFile, error) {
	s.keep(name)
	s.files.forget(name)
	if err := s.removeFile(name); err != nil {
		return nil, err
	}
	f, err := s.files.create(name, b)
	if err == nil {
		s.mu.Lock()
		s.names = true
		s.mu.Unlock()
	}
	return f, err
}

// discardLocked removes a file at a later Sync.
func (s *Store) discardLocked(name string) { s.trash[name] = struct{}{} }

// fail keeps the first final error and returns it. It is never vfs.ErrNoSpace,
// which may be tried again, not even of a sync that failed for want of room.
func (s *Store) fail(err error) error {
	if errors.Is(err, vfs.ErrNoSpace) {
		err = fmt.Errorf("store: failed for good: %v", err)
	}
	if s.fault.CompareAndSwap(nil, &err) && s.o.OnFault != nil {
		s.o.OnFault(err)
	}
	return *s.fault.Load()
}

func (s *Store) failed() error {
	if p := s.fault.Load(); p != nil {
		return *p
	}
	return nil
}

func (s *Store) active() *segment { return s.segments[len(s.segments)-1] }

// makeFile makes a segment's file without its head.
func (s *Store) makeFile() (*segment, error) {
	name := filepath.Join(s.dir, nextSegment)
	if err := s.removeFile(name); err != nil {
		return nil, err
	}
	f, err := s.disk.Create(name)
	if err != nil {
		return nil, err
	}
	g := &segment{name: name, file: f}
	if err = g.ensure(growFirst); err == nil {
		g.mapped, err = f.Map(s.o.SegmentBytes + overSize)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close(), s.removeFile(name))
	}
	return g, nil
}

// createSegment starts the segment after o, from the spare if there is one.
func (s *Store) createSegment(o origin) (*segment, error) {
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
	start := o.prev.Position
	name, keys := segmentName(s.dir, start, "log"), segmentName(s.dir, start, "keys")
	s.files.forget(name)
	s.keep(name)
	s.keep(keys)
	err := errors.Join(s.disk.Rename(g.name, name), s.removeFile(keys))
	if err == nil {
		_, err = g.file.WriteAt(o.encode(), 0)
	}
	if err != nil {
		return nil, errors.Join(err, g.close())
	}
	g.name, g.start, g.origin = name, start, o
	g.end, g.synced, g.written = start+segmentHead, start, start
	g.keys = &keyIndex{name: keys, loaded: true, through: start}
	return g, nil
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

// Digest returns the last mark and a digest of all frames ever appended: equal on
// replicas that hold the same bytes.
func (s *Store) Digest() (Mark, uint64) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.last, s.digest
}

// Segments returns where the retained segments start, oldest first: the places to
// which Trim can go.
func (s *Store) Segments() []Mark {
	s.mu.RLock()
	defer s.mu.RUnlock()
	ms := make([]Mark, len(s.segments))
	for i, g := range s.segments {
		ms[i] = g.prev
	}
	return ms
}

// DiskBytes is what log, queues, keys and timers hold on disk, without what is reserved.
func (s *Store) DiskBytes() int64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var n int64
	for _, g := range s.segments {
		n += int64(g.end-g.start) + g.keys.size
	}
	for _, q := range s.queues {
		if len(q.bases) > 0 {
			n += int64(q.max-q.bases[0]) * queueEntry
		}
	}
	for _, r := range s.timers.runs {
		n += r.size()
	}
	return n
}

// Close releases everything; whoever calls from then on gets ErrClosed. It does not
// sync.
func (s *Store) Close() error {
	closed := ErrClosed
	s.fault.CompareAndSwap(nil, &closed)
	s.mu.Lock()
	again := s.closed
	s.closed = true
	s.mu.Unlock()
	if again {
		return nil
	}
	close(s.stop)
	s.wg.Wait()
	s.syncing.Lock()
	defer s.syncing.Unlock()
	s.flushing.Lock()
	defer s.flushing.Unlock()
	return s.closeFiles()
}

// gone is why a reader found its segment or its entries gone: ErrClosed, or else
// outside.
func (s *Store) gone(outside error) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return ErrClosed
	}
	return outside
}

func (s *Store) closeFiles() error {
	var errs []error
	for _, g := range slices.Concat(s.trimmed, s.segments) {
		errs = append(errs, g.close())
	}
	s.spareMu.Lock()
	defer s.spareMu.Unlock()
	if s.spare != nil {
		errs = append(errs, s.spare.close())
		s.spare = nil
	}
	s.files.close()
	return errors.Join(errs...)
}

// closeSegments ends the use of what is no longer of the log.
func (s *Store) closeSegments(segments []*segment) {
	for _, g := range segments {
		s.files.forget(g.name)
		if err := g.close(); err != nil {
			s.log.Warn("close segment", "file", g.name, "error", err)
		}
	}
}

// Queues returns every queue that was ever written, sorted.
func (s *Store) Queues() []message.Queue {
	s.mu.RLock()
	qs := make([]message.Queue, 0, len(s.queues))
	for name, q := range s.queues {
		if q.max > 0 {
			qs = append(qs, name)
		}
	}
	s.mu.RUnlock()
	slices.SortFunc(qs, compareQueues)
	return qs
}

// Bounds returns the first retained offset of q and the next to be written.
func (s *Store) Bounds(q message.Queue) (min, max message.Offset) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if x := s.queues[q]; x != nil {
		return x.min, x.max
	}
	return 0, 0
}

func (s *Store) bounds(q *queue) (min, max message.Offset) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return q.min, q.max
}

// Appended returns a channel that closes when q next grows. Take it before Read:
// an append between the two then closes it, so that no wake-up is lost.
func (s *Store) Appended(q message.Queue) <-chan struct{} {
	s.waitMu.Lock()
	defer s.waitMu.Unlock()
	c := s.waiters[q]
	if c == nil {
		c = make(chan struct{})
		s.waiters[q] = c
		s.waiting.Add(1)
	}
	return c
}

// wake tells those who wait for a queue that it has grown.
func (s *Store) wake(queues []*queue) {
	if s.waiting.Load() == 0 {
		return
	}
	s.waitMu.Lock()
	defer s.waitMu.Unlock()
	for _, q := range queues {
		if c := s.waiters[q.name]; c != nil {
			close(c)
			delete(s.waiters, q.name)
			s.waiting.Add(-1)
		}
	}
}
