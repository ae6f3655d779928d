package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"sort"

	"raftmq/message"
)

// state is what Open needs, big-endian: version uint8; first and last mark (index,
// term, position each uint64); last store time int64; digest uint64; number of
// queues uint32; for each, sorted: topic length uint8, topic, id uint32, min and
// max uint64.
type state struct {
	first, mark Mark
	lastMs      int64
	digest      uint64
	bounds      []bound
}

type bound struct {
	queue    message.Queue
	min, max message.Offset
}

const (
	stateVersion = 1
	stateHead    = 1 + 6*8 + 8 + 8 + 4
)

func (s *state) encode() []byte {
	be := binary.BigEndian
	b := []byte{stateVersion}
	for _, m := range []Mark{s.first, s.mark} {
		b = be.AppendUint64(b, m.Index)
		b = be.AppendUint64(b, m.Term)
		b = be.AppendUint64(b, uint64(m.Position))
	}
	b = be.AppendUint64(b, uint64(s.lastMs))
	b = be.AppendUint64(b, s.digest)
	b = be.AppendUint32(b, uint32(len(s.bounds)))
	for _, q := range s.bounds {
		b = append(b, byte(len(q.queue.Topic)))
		b = append(b, q.queue.Topic...)
		b = be.AppendUint32(b, uint32(q.queue.ID))
		b = be.AppendUint64(b, uint64(q.min))
		b = be.AppendUint64(b, uint64(q.max))
	}
	return b
}

func decodeState(b []byte) (state, error) {
	var s state
	if len(b) == 0 {
		return s, nil
	}
	if b[0] != stateVersion {
		return s, fmt.Errorf("%w: state version %d, this program knows %d", ErrVersion, b[0], stateVersion)
	}
	if len(b) < stateHead {
		return s, fmt.Errorf("%w: state of %d bytes", ErrDamaged, len(b))
	}
	be := binary.BigEndian
	b = b[1:]
	for _, m := range []*Mark{&s.first, &s.mark} {
		m.Index, m.Term, m.Position = be.Uint64(b), be.Uint64(b[8:]), Position(be.Uint64(b[16:]))
		b = b[24:]
	}
	s.lastMs, s.digest = int64(be.Uint64(b)), be.Uint64(b[8:])
	n := be.Uint32(b[16:])
	b = b[20:]
	for range n {
		if len(b) < 1 || len(b) < 1+int(b[0])+20 {
			return s, fmt.Errorf("%w: state ends in a queue", ErrDamaged)
		}
		t := int(b[0])
		s.bounds = append(s.bounds, bound{
			queue: message.Queue{Topic: string(b[1 : 1+t]), ID: int32(be.Uint32(b[1+t:]))},
			min:   message.Offset(be.Uint64(b[5+t:])), max: message.Offset(be.Uint64(b[13+t:])),
		})
		b = b[21+t:]
	}
	if len(b) != 0 || s.mark.Position < s.first.Position || s.mark.Index < s.first.Index {
		return s, fmt.Errorf("%w: state does not add up", ErrDamaged)
	}
	return s, nil
}

// captureAt is the state now; by the appender.
func (s *Store) captureAt() []byte {
	s.mu.RLock()
	defer s.mu.RUnlock()
	st := state{first: s.segments[0].prev, mark: s.last, lastMs: s.lastMs, digest: s.digest}
	for _, q := range s.queues {
		if q.max > 0 { // else somebody waits for its first message
			st.bounds = append(st.bounds, bound{q.name, q.min, q.max})
		}
	}
	sort.Slice(st.bounds, func(i, j int) bool {
		a, b := st.bounds[i].queue, st.bounds[j].queue
		return a.Topic < b.Topic || a.Topic == b.Topic && a.ID < b.ID
	})
	return st.encode()
}

// Checkpoint captures the state at Last, for Open. It costs little and makes
// nothing durable: see Sync. Not to be called beside Append.
func (s *Store) Checkpoint() (state []byte, m Mark) { return s.captureAt(), s.last }

// Sync makes everything through m durable: segments, queues, keys, floors and
// names. It runs beside Append. An error is final for what it names: nothing is
// known of what reached the disk.
func (s *Store) Sync(m Mark) error {
	s.sync.Lock()
	defer s.sync.Unlock()
	if err := s.flush(); err != nil {
		return err
	}
	type unsynced struct {
		g   *segment
		end Position
	}
	s.mu.Lock()
	var segments []unsynced
	for _, g := range s.segments {
		if g.synced < g.end {
			segments = append(segments, unsynced{g, g.end})
		}
	}
	var queues []*queue
	for _, q := range s.queues {
		if q.dirty {
			q.dirty = false
			queues = append(queues, q)
		}
	}
	names, garbage := s.names, s.garbage
	s.names, s.garbage = false, nil
	s.mu.Unlock()
	for _, t := range segments {
		if err := t.g.file.SyncData(); err != nil {
			return fmt.Errorf("sync %s: %w", t.g.file.Name(), err)
		}
		if t.g.keys.file != nil {
			if err := t.g.keys.file.SyncData(); err != nil {
				return fmt.Errorf("sync %s: %w", t.g.keys.name, err)
			}
		}
		s.mu.Lock()
		t.g.synced = t.end
		s.mu.Unlock()
	}
	for _, q := range queues {
		if err := q.file.SyncData(); err != nil {
			return fmt.Errorf("sync %s: %w", q.file.Name(), err)
		}
	}
	if names {
		if err := s.disk.SyncDir(s.dir); err != nil {
			return fmt.Errorf("sync %s: %w", s.dir, err)
		}
	}
	for _, name := range garbage {
		if err := s.disk.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			s.log.Warn("remove", "file", name, "error", err)
		}
	}
	return nil
}

// flush writes queue entries and keys that are in memory only. s.sync is held.
func (s *Store) flush() error {
	type tail struct {
		q    *queue
		b    []byte
		from message.Offset
	}
	type keys struct {
		k       *keyFile
		mem     []keyPlace
		through Position
	}
	s.mu.Lock()
	var tails []tail
	for _, q := range s.queues {
		if len(q.tail) > 0 {
			tails = append(tails, tail{q, q.tail, q.written})
		}
	}
	var all []keys
	for _, g := range s.segments {
		if n := len(g.keys.mem); n > 0 {
			all = append(all, keys{g.keys, append([]keyPlace(nil), g.keys.mem[:n]...), g.end})
		}
	}
	s.mu.Unlock()
	for _, t := range tails {
		q := t.q
		if q.file == nil {
			if err := q.create(s.disk, s.dir); err != nil {
				return fmt.Errorf("create %s: %w", q.path(s.dir), err)
			}
			s.mu.Lock()
			s.names = true
			s.mu.Unlock()
		}
		if _, err := q.file.WriteAt(t.b, q.at(t.from)); err != nil {
			return fmt.Errorf("write %s: %w", q.file.Name(), err)
		}
		s.mu.Lock()
		q.written += message.Offset(len(t.b) / queueEntry)
		q.tail = append([]byte(nil), q.tail[len(t.b):]...)
		q.dirty = true
		s.mu.Unlock()
	}
	for _, k := range all {
		created := k.k.file == nil
		n := len(k.mem)
		if err := k.k.flush(s.disk, k.mem, k.through); err != nil {
			return err
		}
		s.mu.Lock()
		s.names = s.names || created
		at := k.k.size + keyRunHead
		k.k.runs = append(k.k.runs, keyRun{at: at, count: n, through: k.through})
		k.k.size = at + int64(n)*keyEntry
		k.k.mem = append([]keyPlace(nil), k.k.mem[n:]...)
		s.mu.Unlock()
	}
	return nil
}

// A floor's file: magic "rqFL", version uint32, CRC-32C of the rest uint32, the
// bytes that Roll was given.
const floorMagic = "rqFL"

func (s *Store) writeFloor(at Position, b []byte) error {
	name := segmentName(s.dir, at, "floor")
	if err := s.disk.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := s.disk.Create(name)
	if err != nil {
		return err
	}
	out := append(make([]byte, 0, 12+len(b)), floorMagic...)
	out = binary.BigEndian.AppendUint32(out, formatVersion)
	out = binary.BigEndian.AppendUint32(out, crc32.Checksum(b, castagnoli))
	_, err = f.WriteAt(append(out, b...), 0)
	if err = errors.Join(err, f.SyncData(), f.Close()); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

// Floor returns what Roll kept for the oldest retained segment; nothing, and a
// zero mark, while the log goes back to its start.
func (s *Store) Floor() (b []byte, m Mark, err error) {
	m = s.First()
	if m.Index == 0 {
		return nil, Mark{}, nil
	}
	name := segmentName(s.dir, m.Position, "floor")
	f, err := s.disk.Open(name)
	if err != nil {
		return nil, Mark{}, err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return nil, Mark{}, err
	}
	b = make([]byte, size)
	if _, err := f.ReadAt(b, 0); err != nil {
		return nil, Mark{}, fmt.Errorf("%w: read %s: %w", ErrDamaged, name, err)
	}
	be := binary.BigEndian
	if len(b) < 12 || string(b[:4]) != floorMagic || be.Uint32(b[8:]) != crc32.Checksum(b[12:], castagnoli) {
		return nil, Mark{}, fmt.Errorf("%w: %s", ErrDamaged, name)
	}
	if v := be.Uint32(b[4:]); v != formatVersion {
		return nil, Mark{}, fmt.Errorf("%w: %s has format version %d, this program knows %d", ErrVersion, name, v, formatVersion)
	}
	return b[12:], m, nil
}

// Reset empties the store and starts it at a floor's state: nothing before it is
// retained. Neither appends nor reads may run meanwhile.
func (s *Store) Reset(storeState []byte) error {
	st, err := decodeState(storeState)
	if err != nil {
		return err
	}
	s.sync.Lock()
	defer s.sync.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	err = s.closeFiles()
	for _, q := range s.queues {
		if q.wake != nil {
			close(q.wake)
		}
	}
	s.segments, s.queues, s.garbage = nil, make(map[message.Queue]*queue), nil
	names, e := s.disk.List(s.dir)
	err = errors.Join(err, e)
	for _, n := range names {
		err = errors.Join(err, s.disk.Remove(s.dir+"/"+n))
	}
	if err != nil {
		return fmt.Errorf("reset %s: %w", s.dir, err)
	}
	st.first = st.mark
	for i := range st.bounds {
		st.bounds[i].min = st.bounds[i].max
	}
	return s.load(st)
}

// KeepFloor keeps b beside the oldest segment, as Roll does; after Reset.
func (s *Store) KeepFloor(b []byte) error { return s.writeFloor(s.First().Position, b) }

// Trim drops whole segments below before, and raises the queues' minimums to what
// is left. It depends on what was appended only. The files go at the next Sync.
func (s *Store) Trim(before Position) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	keep := 0
	for keep+1 < len(s.segments) && s.segments[keep+1].start <= before {
		keep++
	}
	if keep == 0 {
		return nil
	}
	floor := s.segments[keep].start
	for _, q := range s.queues {
		lo, hi := q.min, q.max
		for lo < hi {
			mid := lo + (hi-lo)/2
			p, err := s.placeLocked(q, mid)
			if err != nil {
				return err
			}
			if p.pos < floor {
				lo = mid + 1
			} else {
				hi = mid
			}
		}
		q.min = lo
	}
	for _, g := range s.segments[:keep] {
		for _, kind := range []string{"log", "keys", "floor"} {
			s.garbage = append(s.garbage, segmentName(s.dir, g.start, kind))
		}
		if err := g.close(); err != nil {
			s.log.Warn("close segment", "error", err)
		}
	}
	s.segments = append([]*segment(nil), s.segments[keep:]...)
	return nil
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
