package store

import (
	"errors"
	"fmt"
	"hash/crc32"
	"path/filepath"
	"sort"
	"strings"
	"sync"

	"raftmq/internal/vfs"
)

// A run of timers, <number>.timers, is written once, synced, and then named. It is a
// row of blocks of 4096 bytes; the first is its head:
//
//	offset  size  field
//	     0     4  magic "rqTM"
//	     4     4  version 1
//	     8     8  number n of timers
//	    16     8  the last place in the log of one of them
//	    24     4  checksum of the above, then zeros
//
// the others hold 127 timers each, the last one maybe fewer and then zeros, sorted by
// due time, identity and place:
//
//	 0  8  due, Unix ms            24  4  size of the record; 0: taken back
//	 8  8  identity                28  4  checksum of the record
//	16  8  place
//
// and at 4092 the checksum of what is before.
const (
	timerMagic    = "rqTM"
	timerHead     = 28
	timerBlock    = 4096
	timerEntry    = 32
	timersPer     = (timerBlock - 4) / timerEntry
	timerSuffix   = ".timers"
	timerTmp      = "timers.tmp"  // of a flush
	timerMergeTmp = "timers2.tmp" // of a merge
	// timerFan is how many runs of a size become one. A run is of size 0 below 8 times
	// timerFlush, then of one more for each factor of 8.
	timerFan = 8
)

// timerRun is one run. Its file does not change.
type timerRun struct {
	name   string
	number uint64
	count  int
	last   Position

	use  sync.RWMutex // held for reading while it is read
	gone bool
}

func (r *timerRun) size() int64 { return timerRunSize(r.count) }

func timerRunSize(count int) int64 {
	return int64(1+(count+timersPer-1)/timersPer) * timerBlock
}

// tier is the run's size among those that are merged.
func (r *timerRun) tier() (n int) {
	for c := r.count / timerFlush; c >= timerFan; c /= timerFan {
		n++
	}
	return n
}

func appendTimer(b []byte, t Timer) []byte {
	b = be.AppendUint64(b, uint64(t.DueMs))
	b = be.AppendUint64(b, uint64(t.ID))
	b = be.AppendUint64(b, uint64(t.At))
	b = be.AppendUint32(b, t.Size)
	return be.AppendUint32(b, t.CRC)
}

func decodeTimer(b []byte) Timer {
	return Timer{TimerKey{int64(be.Uint64(b)), Position(be.Uint64(b[8:]))}, Position(be.Uint64(b[16:])), be.Uint32(b[24:]), be.Uint32(b[28:])}
}

// block reads block i, of those that hold timers, and returns its timers' bytes.
func (r *timerRun) block(c *files, i int) ([]byte, error) {
	r.use.RLock()
	defer r.use.RUnlock()
	if r.gone {
		return nil, errGone
	}
	f, err := c.get(r.name, 0, nil)
	if err != nil {
		return nil, err
	}
	defer c.put(f)
	b := make([]byte, timerBlock)
	off := int64(1+i) * timerBlock
	if _, err := f.ReadAt(b, off); err != nil {
		return nil, unread(r.name, off, err)
	}
	return r.checkBlock(i, b)
}

func (r *timerRun) checkBlock(i int, b []byte) ([]byte, error) {
	if be.Uint32(b[timerBlock-4:]) != crc32.Checksum(b[:timerBlock-4], castagnoli) {
		return nil, damaged(r.name, int64(1+i)*timerBlock, "timers from %d on fail their checksum", i*timersPer)
	}
	return b[:min(timersPer, r.count-i*timersPer)*timerEntry], nil
}

// seek returns the run's timers behind after.
func (r *timerRun) seek(c *files, after TimerKey) (*timerCursor, error) {
	x := &timerCursor{run: r, files: c}
	var failed error
	blocks := (r.count + timersPer - 1) / timersPer
	n := sort.Search(blocks, func(i int) bool { // the first block that ends behind it
		b, err := r.block(c, i)
		if err != nil {
			failed = err
			return true
		}
		return decodeTimer(b[len(b)-timerEntry:]).Compare(after) > 0
	})
	if failed != nil {
		return nil, failed
	}
	if n == blocks {
		return x, nil
	}
	b, err := r.block(c, n)
	if err != nil {
		return nil, err
	}
	i := sort.Search(len(b)/timerEntry, func(i int) bool { return decodeTimer(b[i*timerEntry:]).Compare(after) > 0 })
	x.next, x.rest = n+1, b[i*timerEntry:]
	return x, nil
}

// timerCursor is a place in a run.
type timerCursor struct {
	run   *timerRun
	files *files
	next  int // block
	rest  []byte
}

func (c *timerCursor) peek() (Timer, bool) {
	if len(c.rest) == 0 {
		return Timer{}, false
	}
	return decodeTimer(c.rest), true
}

func (c *timerCursor) advance() (err error) {
	if c.rest = c.rest[timerEntry:]; len(c.rest) == 0 && c.next*timersPer < c.run.count {
		c.rest, err = c.run.block(c.files, c.next)
		c.next++
	}
	return err
}

// timerWriter writes a run.
type timerWriter struct {
	f    vfs.File
	off  int64 // where buf goes
	buf  []byte
	in   int // timers in the last block of buf
	run  timerRun
	disk vfs.FS
}

const timerWrite = 64 * timerBlock

func newTimerWriter(disk vfs.FS, tmp string) (*timerWriter, error) {
	f, err := disk.Create(tmp)
	if err != nil {
		return nil, err
	}
	return &timerWriter{f: f, off: timerBlock, disk: disk}, nil
}

func (w *timerWriter) put(t Timer) error {
	w.buf = appendTimer(w.buf, t)
	w.run.count++
	w.run.last = max(w.run.last, t.At)
	if w.in++; w.in == timersPer {
		w.seal()
	}
	if len(w.buf) < timerWrite {
		return nil
	}
	return w.flush()
}

// seal ends the last block of buf.
func (w *timerWriter) seal() {
	start := len(w.buf) - w.in*timerEntry
	w.buf = append(w.buf, make([]byte, timerBlock-4-w.in*timerEntry)...)
	w.buf = be.AppendUint32(w.buf, crc32.Checksum(w.buf[start:], castagnoli))
	w.in = 0
}

func (w *timerWriter) flush() error {
	_, err := w.f.WriteAt(w.buf, w.off)
	w.off += int64(len(w.buf))
	w.buf = w.buf[:0]
	return err
}

// finish makes the file durable; it does not have its name yet.
func (w *timerWriter) finish() error {
	if w.in > 0 {
		w.seal()
	}
	err := w.flush()
	if err == nil {
		_, err = w.f.WriteAt(w.run.encodeHead(), 0)
	}
	if err == nil {
		err = w.f.Sync()
	}
	return errors.Join(err, w.f.Close())
}

func (r *timerRun) encodeHead() []byte {
	b := append(make([]byte, 0, timerBlock), timerMagic...)
	b = be.AppendUint32(b, formatVersion)
	b = be.AppendUint64(b, uint64(r.count))
	b = be.AppendUint64(b, uint64(r.last))
	return be.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// decodeTimerHead reads a run's head, in a file of size bytes.
func decodeTimerHead(name string, b []byte, size int64) (*timerRun, error) {
	if err := checkFormat(name, b, timerMagic, timerHead-4); err != nil {
		return nil, err
	}
	n := be.Uint64(b[8:])
	if n == 0 || n > 1<<40 || timerRunSize(int(n)) != size {
		return nil, damaged(name, 8, "%d timers in a file of %d bytes", n, size)
	}
	return &timerRun{name: name, count: int(n), last: Position(be.Uint64(b[16:]))}, nil
}

func timerName(dir string, number uint64) string {
	return filepath.Join(dir, fmt.Sprintf("%020d%s", number, timerSuffix))
}

// openTimerRun reads a run's head.
func openTimerRun(disk vfs.FS, dir string, number uint64) (*timerRun, error) {
	name := timerName(dir, number)
	f, err := disk.Open(name)
	if err != nil {
		return nil, unread(name, 0, err)
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return nil, unread(name, 0, err)
	}
	b := make([]byte, timerHead)
	if _, err := f.ReadAt(b, 0); err != nil {
		return nil, unread(name, 0, err)
	}
	r, err := decodeTimerHead(name, b, size)
	if err != nil {
		return nil, err
	}
	r.number = number
	return r, nil
}

// isTimerRun reports whether base is the base name of a run.
func isTimerRun(base string) bool { return strings.HasSuffix(base, timerSuffix) }
