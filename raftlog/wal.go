package raftlog

import (
	"errors"
	"fmt"
	"io"
	"math/bits"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"raftmq/internal/vfs"
)

var (
	// ErrWALFailed says that a write or sync failed or hung. It is final, and whether the change it answers is durable is unknown.
	ErrWALFailed = errors.New("raftlog: write-ahead log failed")

	// ErrWALDamaged says that bytes that were once synced are not as they were; the text names file and position.
	ErrWALDamaged = errors.New("raftlog: write-ahead log damaged")

	// ErrWALVersion says that the log was written by a newer program.
	ErrWALVersion = errors.New("raftlog: write-ahead log of a newer format")

	// ErrWALFull says that no room appeared within the write deadline. Nothing was written, and the log goes on.
	ErrWALFull = errors.New("raftlog: write-ahead log full")

	// ErrWALClosed says that the log was closed. Whether a change under way is durable is unknown.
	ErrWALClosed = errors.New("raftlog: write-ahead log closed")

	// ErrGroupDropped says that the group was dropped. Nothing was written.
	ErrGroupDropped = errors.New("raftlog: group dropped")
)

const (
	walMaxSegment  = 1 << 30
	walMaxFrame    = 8<<20 + 64<<10 // an entry of the commit log's 8 MiB fits
	walMaxBatch    = 4 << 20        // bytes of one frame's records, but for one larger request
	walMaxRequest  = 1 << 20        // a group's share of a frame
	walMaxStable   = 512            // bytes of a group's stable record
	walMaxIndex    = 1 << 62
	walSpares      = 2
	walGroupCache  = 8 << 20
	walNodeCache   = 128 << 20
	walSmallPinned = 64 << 10
	walLastFrame   = time.Second // that Close waits for the last frame
)

// WALOptions may be zero but for FS.
type WALOptions struct {
	FS            vfs.FS
	SegmentBytes  int64         // 64 MiB; at least 64 KiB, at most 1 GiB. Of new files
	Segments      int           // the most files; 8, at least 5
	MaxAppend     int64         // 4 MiB and a little; bytes of entries stored at once. There must be room for two, see need
	MaxEntry      int64         // 0: not checked; bytes of the largest entry that a segment must have room for
	WriteDeadline time.Duration // 5 s; a write or sync that takes longer, while this process runs, has failed
	Yield         int           // 8; times the committer yields before it gathers
	Logger        hclog.Logger  // nil: none
	OnFailure     func(error)   // called once, on its own goroutine
	HealWait      time.Duration // 1 min; how long a damaged segment may take to be emptied

	// Damage in what a running process uses (wal_heal.go). Each may be nil.
	OnDamage func(error)       // ErrWALDamaged, once for a segment. It must not wait
	OnHealed func(file string) // the file is whole again, on a goroutine of its own
	OnLost   func(error)       // ErrWALDamaged: it cannot be, and the process must end; the log goes on. On a goroutine of its own
}

// Check refuses sizes in which Raft could not make progress, as OpenWAL would.
func (o WALOptions) Check() error { return o.fillSizes() }

func (o *WALOptions) fill() error {
	if o.FS == nil {
		return errors.New("raftlog: WALOptions.FS is nil")
	}
	return o.fillSizes()
}

func (o *WALOptions) fillSizes() error {
	if o.SegmentBytes == 0 {
		o.SegmentBytes = 64 << 20
	}
	if o.Segments == 0 {
		o.Segments = 8
	}
	if o.SegmentBytes < 64<<10 || o.SegmentBytes > walMaxSegment || o.Segments < 5 {
		return fmt.Errorf("raftlog: %d segments of %d bytes: out of bounds", o.Segments, o.SegmentBytes)
	}
	if o.MaxAppend == 0 {
		o.MaxAppend = 4<<20 + 64<<10
	}
	if o.WriteDeadline <= 0 {
		o.WriteDeadline = 5 * time.Second
	}
	if o.Yield == 0 {
		o.Yield = 8
	}
	if o.HealWait <= 0 {
		o.HealWait = time.Minute
	}
	if o.Logger == nil {
		o.Logger = hclog.NewNullLogger()
	}
	return o.checkBudget(o.SegmentBytes, o.Segments)
}

// checkBudget refuses a log in which raft could not make progress.
func (o *WALOptions) checkBudget(segmentBytes int64, segments int) error {
	if n := walMaxRecord(segmentBytes) - walEntryHeader; o.MaxEntry > n {
		return fmt.Errorf("raftlog: a write-ahead log segment of %d bytes has room for an entry of %d bytes, %d are needed", segmentBytes, n, o.MaxEntry)
	}
	if n := newWALBudget(segmentBytes, segments).entries; o.need() > n {
		return fmt.Errorf("raftlog: a write-ahead log of %d segments of %d bytes has room for %d bytes of entries, %d are needed", segments, segmentBytes, n, o.need())
	}
	return nil
}

// need is what a group must be able to hold: a follower learns with the next append only that the one before is committed, and may make
// no checkpoint of it until then.
func (o *WALOptions) need() int64 { return 2 * o.MaxAppend }

// WAL is a node's write-ahead log. Safe for concurrent use.
type WAL struct {
	o    WALOptions
	dir  string
	log  hclog.Logger
	lock io.Closer

	failed   chan struct{}
	failOnce sync.Once
	failErr  error // set before failed closes

	queue  chan *walRequest
	stop   chan struct{}
	closed sync.Once
	wg     sync.WaitGroup
	prep   chan struct{}
	trim   chan struct{}

	buffers sync.Pool      // of *[]byte, for a part of a StoreLogs until it is written
	segment int64          // length of the shortest file
	needed  []atomic.Int64 // bytes of records that are needed, by segment number modulo the length, a power of two
	held    atomic.Int64   // of these, of entries and checkpoints
	holes   uint64         // that replay may still leave for entries to come

	// Lock order: GroupLog.write (of several groups only the trimmer), GroupLog.mu, WAL.mu. WAL.mu is a leaf.
	mu       sync.Mutex
	room     chan struct{} // closes when a spare appears
	live     []*walSegment // by number, contiguous, low first; behind active the spares
	active   int           // index in live
	free     []*walSegment // numbers below low
	files    int
	full     bool       // the disk had no room for another file
	stay     bool       // short files are not replaced in this life: the disk had no room
	waiting  []*walNeed // for room, oldest first
	writing  int64      // bytes of frames let in and not yet written
	pending  int64      // bytes of entries, and of checkpoints beyond those before, let in and not yet needed
	sequence uint64     // of the next frame
	sealed   uint64     // no frame is to be written to this segment and those before
	bad      map[uint64]*walBad
	groups   map[uint64]*GroupLog
	cached   int64
	cacheQ   []walCached
	stats    walCounters
}

// OpenWAL opens or makes the log in dir and replays it; on return there are files enough for two of MaxAppend. ErrWALDamaged or ErrWALVersion
// leave every file as it was.
func OpenWAL(dir string, o WALOptions) (*WAL, error) {
	if err := o.fill(); err != nil {
		return nil, err
	}
	if err := vfs.MakeDir(o.FS, dir); err != nil {
		return nil, fmt.Errorf("open write-ahead log: %w", err)
	}
	lock, err := o.FS.Lock(filepath.Join(dir, "lock"))
	if err != nil {
		return nil, fmt.Errorf("open write-ahead log: %w", err)
	}
	w := &WAL{o: o, dir: dir, log: o.Logger.Named("wal"), lock: lock, failed: make(chan struct{}), queue: make(chan *walRequest, 4096),
		stop: make(chan struct{}), prep: make(chan struct{}, 1), trim: make(chan struct{}, 1), room: make(chan struct{}), groups: map[uint64]*GroupLog{}, bad: map[uint64]*walBad{}}
	if err := w.recover(); err != nil {
		return nil, errors.Join(fmt.Errorf("open write-ahead log: %w", err), w.closeFiles())
	}
	w.wg.Go(w.commit)
	w.wg.Go(w.prepare)
	w.wg.Go(w.trimmer)
	walPoke(w.prep)
	walPoke(w.trim)
	return w, nil
}

// Group gives the log of one Raft group, the same for the same id until it is dropped.
func (w *WAL) Group(id uint64) *GroupLog {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.groupLocked(id)
}

func (w *WAL) groupLocked(id uint64) *GroupLog {
	g := w.groups[id]
	if g == nil {
		g = &GroupLog{w: w, id: id}
		w.groups[id] = g
	}
	return g
}

// all lists the groups by id.
func (w *WAL) all() []*GroupLog {
	w.mu.Lock()
	gs := make([]*GroupLog, 0, len(w.groups))
	for _, g := range w.groups {
		gs = append(gs, g)
	}
	w.mu.Unlock()
	slices.SortFunc(gs, func(a, b *GroupLog) int {
		if a.id < b.id {
			return -1
		}
		return 1
	})
	return gs
}

// Groups gives the ids that have something in the log, sorted.
func (w *WAL) Groups() []uint64 {
	var ids []uint64
	for _, g := range w.all() {
		g.mu.RLock()
		if len(g.slots) > 0 || len(g.stable) > 0 || g.checkpoint.pos.len > 0 {
			ids = append(ids, g.id)
		}
		g.mu.RUnlock()
	}
	return ids
}

// Failed closes when the log has failed; Err says why, nil before.
func (w *WAL) Failed() <-chan struct{} { return w.failed }

func (w *WAL) Err() error {
	select {
	case <-w.failed:
		return w.failErr
	default:
		return nil
	}
}

func (w *WAL) fail(err error) {
	w.failOnce.Do(func() {
		w.failErr = fmt.Errorf("%w: %w", ErrWALFailed, err)
		close(w.failed)
		w.log.Error("write-ahead log failed", "error", err)
		if w.o.OnFailure != nil {
			go w.o.OnFailure(w.failErr)
		}
	})
}

// Close ends the log; what was not answered is unknown. After a hung write the goroutine inside it is left behind. The last frame is one
// of no records, so that damage in the last that matters is not taken for a torn tail.
func (w *WAL) Close() error {
	w.closed.Do(func() {
		last := make(chan struct{})
		go func() { // ends with stop
			defer close(last)
			w.goOn() // what it promises is for damage only
		}()
		select {
		case <-last:
		case <-time.After(walLastFrame):
		}
		close(w.stop)
	})
	done := make(chan struct{})
	go func() { w.wg.Wait(); close(done) }()
	select {
	case <-done:
	case <-w.failed:
		select {
		case <-done:
		case <-time.After(w.o.WriteDeadline):
			return w.Err()
		}
	}
	return w.closeFiles()
}

func (w *WAL) closeFiles() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	var err error
	for _, s := range slices.Concat(w.live, w.free) {
		err = errors.Join(err, s.file.Close())
	}
	w.live, w.free = nil, nil
	if w.lock != nil {
		err = errors.Join(err, w.lock.Close())
		w.lock = nil
	}
	return err
}

// walPos is a record's place: segment number, offset in the file, length.
type walPos struct {
	seg      uint64
	off, len uint32
}

// read returns the record at p, checked. Errors if the segment was reused meanwhile; else damage is noted.
func (w *WAL) read(p walPos, group uint64) (walRecord, error) {
	w.mu.Lock()
	var s *walSegment
	if len(w.live) > 0 && p.seg >= w.live[0].head.number && p.seg-w.live[0].head.number < uint64(len(w.live)) {
		s = w.live[p.seg-w.live[0].head.number]
	}
	w.mu.Unlock()
	if s == nil {
		return walRecord{}, raft.ErrLogNotFound
	}
	b := make([]byte, p.len)
	if n, err := s.file.ReadAt(b, int64(p.off)); n < len(b) {
		if err = walUnread(s.name, int64(p.off), err); errors.Is(err, ErrWALDamaged) {
			w.condemn(p.seg, err)
		}
		return walRecord{}, err
	}
	r, err := walNext(b, 0)
	if err == nil && (r.group != group || r.size != len(b)) {
		err = errWALRecord
	}
	if err != nil {
		err = fmt.Errorf("%w: %s at %d: %w", ErrWALDamaged, s.name, p.off, err)
		w.condemn(p.seg, err)
		return walRecord{}, err
	}
	return r, nil
}

// walUnread is what a failed read means: damage if the disk cannot give what was written.
func walUnread(file string, off int64, err error) error {
	for _, bad := range []error{io.EOF, io.ErrUnexpectedEOF, syscall.EIO, syscall.EBADMSG} {
		if errors.Is(err, bad) {
			return fmt.Errorf("%w: %s at %d: read: %w", ErrWALDamaged, file, off, err)
		}
	}
	return fmt.Errorf("read %s at %d: %w", file, off, err)
}

// need says that the record at p is needed, or no longer. A segment without such records can be released.
func (w *WAL) need(p walPos, sign int64) {
	if p.len > 0 {
		w.needed[p.seg&uint64(len(w.needed)-1)].Add(sign * int64(p.len))
	}
}

func (w *WAL) neededIn(seg uint64) int64 { return w.needed[seg&uint64(len(w.needed)-1)].Load() }

// walMaxRecord bounds an entry or a checkpoint: it makes a frame, with the record that removes what it replaces.
func walMaxRecord(segmentBytes int64) int64 {
	return walLargestFrame(segmentBytes) - walFrameHeader - walIndexRecord
}

func (w *WAL) maxRecord() int64 { return walMaxRecord(w.segment) }

// MaxEntry is the most data that an entry may have here: a leader that cannot store one steps down.
func (w *WAL) MaxEntry() int64 { return w.maxRecord() - walEntryHeader }

func (w *WAL) roomLocked() {
	close(w.room)
	w.room = make(chan struct{})
}

func walPoke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// WALStats counts since open.
type WALStats struct {
	Syncs, Requests, Bytes uint64
	Segments, Files        int
	Damaged, Healed        uint64        // segments in which damage was found, and of these that are whole again
	SyncTimes              [64]uint64    // count of syncs by binary logarithm of nanoseconds
	SyncTime               time.Duration // of all of them together
	Way                    vfs.Way       // how the last frame was made durable, and
	WhyWay                 error         // why in no better way; nil: none is known
}

// RequestsPerSync is the mean number of requests that shared a sync.
func (s WALStats) RequestsPerSync() float64 { return float64(s.Requests) / float64(max(1, s.Syncs)) }

// SyncQuantile is an upper bound of the q-quantile of sync times, within a factor of two.
func (s WALStats) SyncQuantile(q float64) time.Duration {
	want, sum := uint64(q*float64(s.Syncs)), uint64(0)
	for i, n := range s.SyncTimes {
		if sum += n; n > 0 && sum >= want {
			return time.Duration(1) << i
		}
	}
	return 0
}

type walCounters struct {
	syncs, requests, bytes uint64
	damaged, healed        uint64
	times                  [64]uint64
	took                   time.Duration // of all syncs
}

// Stats is a snapshot. It may be called after Close.
func (w *WAL) Stats() WALStats {
	w.mu.Lock()
	defer w.mu.Unlock()
	var way vfs.Way
	var why error
	if len(w.live) > 0 {
		way, why = vfs.WayOf(w.live[w.active].file)
	}
	return WALStats{Way: way, WhyWay: why, Syncs: w.stats.syncs, Requests: w.stats.requests, Bytes: w.stats.bytes, Segments: w.active + 1, Files: w.files, Damaged: w.stats.damaged, Healed: w.stats.healed, SyncTimes: w.stats.times, SyncTime: w.stats.took}
}

func walBucket(d time.Duration) int { return min(63, bits.Len64(uint64(max(0, d)))) }

func walBase(i int) string { return fmt.Sprintf("%04d.wal", i) }

func isWALName(s string) bool { return strings.HasSuffix(s, ".wal") }

// isWALTmp reports whether it is a segment that was being made when the program ended.
func isWALTmp(s string) bool { return strings.HasSuffix(s, ".wal.tmp") }
