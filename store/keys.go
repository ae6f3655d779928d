package store

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"sort"

	"github.com/cespare/xxhash/v2"

	"raftmq/message"
)

const (
	keyMagic   = "rqKX"
	keyRunHead = 32
	keyEntry   = 16
	// maxKeyRun is how many keys wait in memory before they are written.
	maxKeyRun = 64 << 10
	// keySpan is how much log a checkpoint may leave to be indexed again.
	keySpan = 1 << 20
	// keyBlock is how many entries of a run are read, and checked, at once.
	keyBlock = 1024
)

// keyPlace says that a record with a key of that hash is at pos.
type keyPlace struct {
	hash uint64
	pos  Position
}

// keyRun is a sorted run in a file.
type keyRun struct {
	at      int64 // of its first entry
	count   int
	crc     uint32
	checked bool       // its checksum was compared, and blocks taken
	blocks  []keyFence // of keyBlock entries each
}

// keyFence is what is known of a block from when its run was checked: a lookup reads
// blocks, and what has decayed since is not taken for keys, or for none.
type keyFence struct {
	first uint64 // hash
	crc   uint32
}

// keyIndex finds records of one segment by key. Guarded by Store.mu.
type keyIndex struct {
	name    string
	loaded  bool // runs and mem have all keys
	runs    []keyRun
	size    int64      // of the runs, in the file
	through Position   // keys of records below are in runs
	mem     []keyPlace // the keys of the others
	lost    error      // a record's keys could not be read again: mem stays empty
}

func keyHash(topic, key []byte) uint64 {
	var d xxhash.Digest
	d.Reset()
	d.Write(topic)
	d.Write([]byte{'#'})
	d.Write(key)
	return d.Sum64()
}

// appendKeys appends the keys of r: its unique key and the words of KEYS.
func appendKeys(dst []keyPlace, r message.Record, pos Position) []keyPlace {
	topic, props := r.TopicBytes(), r.PropertyBytes()
	for len(props) > 0 {
		var pair []byte
		pair, props, _ = bytes.Cut(props, []byte{0x02})
		name, value, _ := bytes.Cut(pair, []byte{0x01})
		switch string(name) {
		case message.PropUniqueKey:
			dst = append(dst, keyPlace{keyHash(topic, value), pos})
		case message.PropKeys:
			for len(value) > 0 {
				var word []byte
				word, value, _ = bytes.Cut(value, []byte{' '})
				if len(word) > 0 {
					dst = append(dst, keyPlace{keyHash(topic, word), pos})
				}
			}
		}
	}
	return dst
}

// encodeRun sorts mem into a run.
func encodeRun(mem []keyPlace, through Position) []byte {
	slices.SortFunc(mem, func(a, b keyPlace) int {
		switch {
		case a.hash != b.hash && a.hash < b.hash, a.hash == b.hash && a.pos < b.pos:
			return -1
		case a == b:
			return 0
		}
		return 1
	})
	b := make([]byte, keyRunHead, keyRunHead+len(mem)*keyEntry)
	for _, p := range mem {
		b = be.AppendUint64(b, p.hash)
		b = be.AppendUint64(b, uint64(p.pos))
	}
	copy(b, keyMagic)
	be.PutUint32(b[4:], formatVersion)
	be.PutUint32(b[8:], uint32(len(mem)))
	be.PutUint64(b[16:], uint64(through))
	be.PutUint32(b[24:], crc32.Checksum(b[keyRunHead:], castagnoli))
	be.PutUint32(b[28:], crc32.Checksum(b[:28], castagnoli))
	return b
}

// decodeRun reads a run's head, which lies at off of a file of size bytes.
func decodeRun(name string, b []byte, off, size int64) (run keyRun, through Position, err error) {
	if err := checkFormat(name, b, keyMagic, 28); err != nil {
		var d *Damage
		if errors.As(err, &d) {
			d.Offset = off
		}
		return run, 0, err
	}
	run = keyRun{at: off + keyRunHead, count: int(be.Uint32(b[8:])), crc: be.Uint32(b[24:])}
	if run.at+int64(run.count)*keyEntry > size {
		return run, 0, damaged(name, off, "the file ends within a run of %d keys", run.count)
	}
	return run, Position(be.Uint64(b[16:])), nil
}

// readRuns finds the good runs in the file of a segment's keys, in a row up to
// end: the place of each, through which position, and the bytes of all.
// ErrDamaged is what ends them before.
func (s *Store) readRuns(name string, start, end Position) (runs []keyRun, through Position, size int64, err error) {
	through = start
	f, err := s.files.get(name, 0, nil)
	if err != nil {
		return nil, through, 0, err
	}
	defer s.files.put(f)
	fileBytes, err := f.Size()
	if err != nil {
		return nil, through, 0, unread(name, 0, err)
	}
	head := make([]byte, keyRunHead)
	for through < end {
		if _, err := f.ReadAt(head, size); err != nil {
			return runs, through, size, unread(name, size, err)
		}
		run, to, err := decodeRun(name, head, size, fileBytes)
		if err == nil && (to <= through || to > end) {
			err = damaged(name, size, "a run from %d through %d of a segment that ends at %d", through, to, end)
		}
		if err != nil {
			return runs, through, size, err
		}
		runs = append(runs, run)
		size, through = run.at+int64(run.count)*keyEntry, to
	}
	return runs, through, size, nil
}

// loadKeys takes the runs that are in the file of a segment, which ends at end.
// The rest of the file will be overwritten.
func (s *Store) loadKeys(g *segment, end Position) error {
	runs, through, size, err := s.readRuns(g.keys.name, g.start, end)
	if err != nil && !errors.Is(err, ErrDamaged) {
		return err
	}
	s.mu.Lock()
	g.keys.runs, g.keys.size, g.keys.through = runs, size, through
	s.mu.Unlock()
	return nil
}

// rebuildKeys indexes again what lies in [g.keys.through, end): then all is loaded.
// After a record that cannot be read nobody can say that a key is not there: see
// keyIndex.lost.
func (s *Store) rebuildKeys(g *segment, end Position) error {
	s.mu.RLock()
	from, segments := g.keys.through, s.segments
	queues := make([]*queue, 0, len(s.queues))
	for _, q := range s.queues {
		queues = append(queues, q)
	}
	s.mu.RUnlock()
	var mem []keyPlace
	var lost error
	for _, q := range queues {
		more, bad, err := s.keysOf(q, segments, from, end)
		if err != nil {
			return fmt.Errorf("index %s: %w", g.name, err)
		}
		mem = append(mem, more...)
		if lost == nil {
			lost = bad
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if g.trimmed {
		return nil
	}
	g.keys.loaded = true
	if g.keys.lost = lost; lost != nil {
		s.pending -= len(g.keys.mem) * keyEntry
		g.keys.mem = nil
		return nil
	}
	g.keys.mem = append(mem, g.keys.mem...)
	s.pending += len(mem) * keyEntry
	return nil
}

// keysOf returns the keys of q's records in [from, end); lost is why one of them
// cannot be read.
func (s *Store) keysOf(q *queue, segments []*segment, from, end Position) (mem []keyPlace, lost, err error) {
	for {
		mem, lost = nil, nil
		lo, hi := s.bounds(q)
		off, err := s.search(q, lo, hi, func(p queuePlace) bool { return p.pos >= from })
		for err == nil && off < hi {
			var ps []queuePlace
			if ps, err = s.places(q, off, 256); err != nil {
				break
			}
			for _, p := range ps {
				if p.pos >= end {
					return mem, lost, nil
				}
				off++
				r, _, bad := s.records(segments, nil, []queuePlace{p}, nil)
				switch {
				case bad == nil:
					mem = appendKeys(mem, r, p.pos)
				case errors.Is(bad, ErrDamaged):
					if lost == nil {
						lost = bad
					}
				case !errors.Is(bad, errGone):
					return nil, nil, bad
				}
			}
		}
		if !errors.Is(err, errGone) {
			return mem, lost, err
		}
		if err := s.gone(nil); err != nil {
			return nil, nil, err
		}
		if now, _ := s.bounds(q); now == lo { // not trimmed: Reset took the queue away
			return nil, nil, nil
		}
	}
}

// flushKeys writes the keys below through that are in memory as a run.
func (s *Store) flushKeys(g *segment, mem []keyPlace, through Position) error {
	k := g.keys
	var f *openFile
	var err error
	if k.size == 0 {
		f, err = s.createFile(k.name, nil)
	} else {
		f, err = s.files.get(k.name, 0, nil)
	}
	if err != nil {
		return fmt.Errorf("open keys: %w", err)
	}
	defer s.files.put(f)
	n := len(mem)
	b := encodeRun(slices.Clone(mem), through)
	if size, err := f.Size(); err == nil && size > k.size { // runs that are not good
		if err := f.Truncate(k.size); err != nil {
			return fmt.Errorf("cut %s: %w", k.name, err)
		}
	}
	_, err = f.WriteAt(b, k.size)
	s.files.wrote(f) // not before: a sync would go by
	if err != nil {
		return fmt.Errorf("write %s: %w", k.name, err)
	}
	run := keyRun{at: k.size + keyRunHead, count: n, crc: be.Uint32(b[24:])}
	s.mu.Lock()
	defer s.mu.Unlock()
	if g.trimmed { // with its keys; the file may have been made since
		s.discardLocked(k.name)
		return nil
	}
	k.runs = append(k.runs[:len(k.runs):len(k.runs)], run)
	k.size += int64(len(b))
	k.through = through
	k.mem = append([]keyPlace(nil), k.mem[n:]...)
	s.pending -= n * keyEntry
	return nil
}

// find returns the positions in runs under a hash, in any order, at most max: the last ones.
// ErrDamaged if a run is not what was written.
func (s *Store) find(k *keyIndex, runs []keyRun, hash uint64, max int) ([]Position, error) {
	if len(runs) == 0 {
		return nil, nil
	}
	f, err := s.files.get(k.name, 0, nil)
	if err != nil {
		return nil, err
	}
	defer s.files.put(f)
	var found []Position
	for _, run := range slices.Backward(runs) {
		if !run.checked {
			if err := run.check(f); err != nil {
				return nil, err
			}
			s.mu.Lock()
			for i := range k.runs {
				if k.runs[i].at == run.at && k.runs[i].crc == run.crc {
					k.runs = slices.Clone(k.runs)
					k.runs[i] = run
				}
			}
			s.mu.Unlock()
		}
		more, err := run.find(f, hash, max-len(found))
		if err != nil {
			return nil, err
		}
		found = append(found, more...)
	}
	return found, nil
}

// check compares the run's checksum, and takes its blocks.
func (run *keyRun) check(f *openFile) error {
	all := make([]byte, run.count*keyEntry)
	if _, err := f.ReadAt(all, run.at); err != nil {
		return unread(f.Name(), run.at, err)
	}
	if crc32.Checksum(all, castagnoli) != run.crc {
		return damaged(f.Name(), run.at, "a run of %d keys fails its checksum", run.count)
	}
	run.checked, run.blocks = true, nil
	for block := range slices.Chunk(all, keyBlock*keyEntry) {
		run.blocks = append(run.blocks, keyFence{be.Uint64(block), crc32.Checksum(block, castagnoli)})
	}
	return nil
}

// find returns the positions under a hash, the last max of them. The run was checked.
func (run keyRun) find(f *openFile, hash uint64, max int) (found []Position, err error) {
	i := sort.Search(len(run.blocks), func(i int) bool { return run.blocks[i].first > hash })
	var b []byte
	for begins := false; i > 0 && !begins && len(found) < max; { // from the end
		i--
		n := min(keyBlock, run.count-i*keyBlock)
		off := run.at + int64(i)*keyBlock*keyEntry
		b = slices.Grow(b[:0], n*keyEntry)[:n*keyEntry]
		if _, err := f.ReadAt(b, off); err != nil {
			return nil, unread(f.Name(), off, err)
		}
		if crc32.Checksum(b, castagnoli) != run.blocks[i].crc {
			return nil, damaged(f.Name(), off, "%d keys are not those that were written", n)
		}
		at := func(j int) uint64 { return be.Uint64(b[j*keyEntry:]) }
		j := sort.Search(n, func(j int) bool { return at(j) > hash })
		for ; j > 0 && at(j-1) == hash && len(found) < max; j-- {
			// A record that has a key twice counts once.
			if pos := Position(be.Uint64(b[(j-1)*keyEntry+8:])); len(found) == 0 || found[len(found)-1] != pos {
				found = append(found, pos)
			}
		}
		begins = j > 0
	}
	slices.Reverse(found)
	return found, nil
}
