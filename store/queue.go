package store

import (
	"fmt"
	"hash/crc32"
	"path/filepath"
	"sort"
	"strconv"
	"strings"

	"raftmq/message"
)

const (
	queueMagic = "rqCQ"
	queueHead  = 64
	queueEntry = 32
	// defaultQueueFile is how many entries a queue's file holds; the next has the
	// following. 8 MiB.
	defaultQueueFile message.Offset = 256 << 10
	// tailBytes of a queue's entries wait in memory before they are written.
	tailBytes = 64 << 10
)

// queue is the list of one queue's records.
type queue struct {
	name message.Queue

	// Of the appender: the next offset while entry turn is appended.
	next message.Offset
	turn uint64

	// Guarded by Store.mu.
	min, max message.Offset
	written  message.Offset   // entries below are in files
	tail     []byte           // entries from written on
	bases    []message.Offset // first offsets of the files, in order
}

// queuePlace is an entry of a queue.
type queuePlace struct {
	pos  Position
	time int64 // stored at, Unix ms
	size uint32
	tag  int32
	crc  uint32 // of the record
}

func appendPlace(dst []byte, off message.Offset, p queuePlace) []byte {
	at := len(dst)
	dst = be.AppendUint64(dst, uint64(p.pos))
	dst = be.AppendUint64(dst, uint64(p.time))
	dst = be.AppendUint32(dst, p.size)
	dst = be.AppendUint32(dst, uint32(p.tag))
	dst = be.AppendUint32(dst, p.crc)
	return be.AppendUint32(dst, placeCRC(off, dst[at:at+28]))
}

// placeCRC starts from the offset, so that an entry in a wrong place is found.
func placeCRC(off message.Offset, b []byte) uint32 {
	return crc32.Update(uint32(off)^uint32(off>>32)*0x9E3779B1, castagnoli, b)
}

func decodePlace(off message.Offset, b []byte) (p queuePlace, ok bool) {
	if be.Uint32(b[28:]) != placeCRC(off, b[:28]) {
		return queuePlace{}, false
	}
	return queuePlace{pos: Position(be.Uint64(b)), time: int64(be.Uint64(b[8:])), size: be.Uint32(b[16:]), tag: int32(be.Uint32(b[20:])), crc: be.Uint32(b[24:])}, true
}

func queueName(dir string, q message.Queue, base message.Offset) string {
	return filepath.Join(dir, fmt.Sprintf("%s@%d.%d.q", q.Topic, q.ID, base))
}

// parseQueueName is the inverse of queueName, of a base name.
func parseQueueName(name string) (q message.Queue, base message.Offset, ok bool) {
	name, ok = strings.CutSuffix(name, ".q")
	topic, rest, ok2 := strings.Cut(name, "@")
	id, at, ok3 := strings.Cut(rest, ".")
	n, err1 := strconv.ParseInt(id, 10, 32)
	b, err2 := strconv.ParseInt(at, 10, 64)
	return message.Queue{Topic: topic, ID: int32(n)}, message.Offset(b), ok && ok2 && ok3 && err1 == nil && err2 == nil
}

// A queue's file starts with its head.
func encodeQueueHead(base message.Offset) []byte {
	b := make([]byte, queueHead)
	copy(b, queueMagic)
	be.PutUint32(b[4:], formatVersion)
	be.PutUint64(b[8:], uint64(base))
	be.PutUint32(b[60:], crc32.Checksum(b[:60], castagnoli))
	return b
}

func checkQueueHead(name string, b []byte, base message.Offset) error {
	if err := checkFormat(name, b, queueMagic, 60); err != nil {
		return err
	}
	if got := message.Offset(be.Uint64(b[8:])); got != base {
		return damaged(name, 8, "it says that it starts at offset %d", got)
	}
	return nil
}

// baseOf returns the base of the file that holds off.
func (s *Store) baseOf(bases []message.Offset, off message.Offset) (message.Offset, bool) {
	i := sort.Search(len(bases), func(i int) bool { return bases[i] > off })
	if i == 0 || off-bases[i-1] >= s.o.queueFile {
		return 0, false
	}
	return bases[i-1], true
}

func (s *Store) openQueue(q message.Queue, base message.Offset) (*openFile, error) {
	return s.files.get(queueName(s.dir, q, base), queueHead, func(name string, b []byte) error { return checkQueueHead(name, b, base) })
}

// createQueue makes the file of q's entries from base on.
func (s *Store) createQueue(q message.Queue, base message.Offset) (*openFile, error) {
	return s.createFile(queueName(s.dir, q, base), encodeQueueHead(base))
}

// placeAt is where the entry of off lies in the file that begins with base.
func placeAt(base, off message.Offset) int64 { return queueHead + int64(off-base)*queueEntry }

// places returns up to n entries of q from offset from on, as many as there are.
// errGone if they were trimmed away meanwhile.
func (s *Store) places(q *queue, from message.Offset, n int) ([]queuePlace, error) {
	s.mu.RLock()
	n = int(min(message.Offset(n), q.max-from))
	if from < q.min || n <= 0 {
		s.mu.RUnlock()
		return nil, errGone
	}
	b := make([]byte, n*queueEntry)
	inFile := int(max(0, min(q.written-from, message.Offset(n))))
	if inFile < n {
		copy(b[inFile*queueEntry:], q.tail[max(0, from-q.written)*queueEntry:])
	}
	bases := q.bases
	s.mu.RUnlock()
	for i := 0; i < inFile; {
		off := from + message.Offset(i)
		base, ok := s.baseOf(bases, off)
		if !ok {
			return nil, s.lost(q, off, s.noQueueFile(q.name, off))
		}
		k := min(inFile-i, int(base+s.o.queueFile-off))
		f, err := s.openQueue(q.name, base)
		if err == nil {
			if _, err = f.ReadAt(b[i*queueEntry:(i+k)*queueEntry], placeAt(base, off)); err != nil {
				err = unread(f.Name(), placeAt(base, off), err)
			}
			s.files.put(f)
		}
		if err != nil {
			return nil, s.lost(q, off, err)
		}
		i += k
	}
	ps := make([]queuePlace, n)
	for i := range ps {
		var ok bool
		off := from + message.Offset(i)
		if ps[i], ok = decodePlace(off, b[i*queueEntry:]); !ok {
			base, _ := s.baseOf(bases, off)
			return nil, s.lost(q, off, damaged(queueName(s.dir, q.name, base), placeAt(base, off), "entry %d fails its checksum", off))
		}
	}
	return ps, nil
}

// noQueueFile is damage that has no file: it names the one that would hold off.
func (s *Store) noQueueFile(q message.Queue, off message.Offset) error {
	return damaged(queueName(s.dir, q, off), 0, "no file holds entry %d", off)
}

// lost is err, but errGone if a trim explains it.
func (s *Store) lost(q *queue, off message.Offset, err error) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if off < q.min || s.closed || s.queues[q.name] != q {
		return errGone
	}
	return err
}

func (s *Store) place(q *queue, off message.Offset) (queuePlace, error) {
	ps, err := s.places(q, off, 1)
	if err != nil {
		return queuePlace{}, err
	}
	return ps[0], nil
}

// search returns the first offset of q in [lo, hi) whose entry satisfies ok,
// which is false up to some place and true from there; hi if none does.
func (s *Store) search(q *queue, lo, hi message.Offset, ok func(queuePlace) bool) (message.Offset, error) {
	for lo < hi {
		mid := lo + (hi-lo)/2
		p, err := s.place(q, mid)
		if err != nil {
			return lo, err
		}
		if ok(p) {
			hi = mid
		} else {
			lo = mid + 1
		}
	}
	return lo, nil
}

// writeTail writes entries of q from offset from on to its files.
func (s *Store) writeTail(q *queue, from message.Offset, b []byte) error {
	for len(b) > 0 {
		s.mu.RLock()
		bases := q.bases
		s.mu.RUnlock()
		base, ok := s.baseOf(bases, from)
		var f *openFile
		var err error
		if ok {
			f, err = s.openQueue(q.name, base)
		} else {
			base = from
			f, err = s.createQueue(q.name, base)
		}
		if err != nil {
			return fmt.Errorf("open queue file: %w", err)
		}
		n := min(len(b)/queueEntry, int(base+s.o.queueFile-from))
		_, err = f.WriteAt(b[:n*queueEntry], placeAt(base, from))
		s.files.wrote(f)
		s.files.put(f)
		if err != nil {
			return fmt.Errorf("write %s: %w", f.Name(), err)
		}
		s.mu.Lock()
		if !ok {
			q.bases = append(q.bases[:len(q.bases):len(q.bases)], base)
		}
		s.mu.Unlock()
		from += message.Offset(n)
		b = b[n*queueEntry:]
	}
	return nil
}
