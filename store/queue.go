package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"path/filepath"

	"raftmq/internal/vfs"
	"raftmq/message"
)

const (
	queueMagic = "rqCQ"
	queueHead  = 64
	queueEntry = 32
	// tailBytes of entries wait in memory before they are written.
	tailBytes = 64 << 10
)

// queue is the list of one queue's records. Its fields are guarded by Store.mu;
// the file is written by flush only.
type queue struct {
	name     message.Queue
	min, max message.Offset
	base     message.Offset // of the file's first entry
	written  message.Offset // entries below are in the file
	tail     []byte         // entries from written on
	file     vfs.File       // nil until the first flush
	dirty    bool           // written but not synced
	wake     chan struct{}  // closed when the queue grows; nil if nobody waits
}

type queuePlace struct {
	pos  Position
	time int64
	size uint32
	tag  int32
	crc  uint32
}

func appendPlace(dst []byte, off message.Offset, p queuePlace) []byte {
	be := binary.BigEndian
	at := len(dst)
	dst = be.AppendUint64(dst, uint64(p.pos))
	dst = be.AppendUint64(dst, uint64(p.time))
	dst = be.AppendUint32(dst, p.size)
	dst = be.AppendUint32(dst, uint32(p.tag))
	dst = be.AppendUint32(dst, p.crc)
	return be.AppendUint32(dst, placeCRC(off, dst[at:at+28]))
}

func placeCRC(off message.Offset, b []byte) uint32 {
	var o [8]byte
	binary.BigEndian.PutUint64(o[:], uint64(off))
	return crc32.Update(crc32.Checksum(o[:], castagnoli), castagnoli, b)
}

func (q *queue) decodePlace(off message.Offset, b []byte) (queuePlace, error) {
	be := binary.BigEndian
	if be.Uint32(b[28:]) != placeCRC(off, b[:28]) {
		return queuePlace{}, fmt.Errorf("%w: queue %s %d: entry %d fails its checksum", ErrDamaged, q.name.Topic, q.name.ID, off)
	}
	return queuePlace{pos: Position(be.Uint64(b)), time: int64(be.Uint64(b[8:])), size: be.Uint32(b[16:]), tag: int32(be.Uint32(b[20:])), crc: be.Uint32(b[24:])}, nil
}

func (q *queue) path(dir string) string {
	return filepath.Join(dir, fmt.Sprintf("%s@%d.q", q.name.Topic, q.name.ID))
}

func (q *queue) at(off message.Offset) int64 { return queueHead + int64(off-q.base)*queueEntry }

func encodeQueueHead(base message.Offset) []byte {
	b := make([]byte, queueHead)
	copy(b, queueMagic)
	binary.BigEndian.PutUint32(b[4:], formatVersion)
	binary.BigEndian.PutUint64(b[8:], uint64(base))
	binary.BigEndian.PutUint32(b[60:], crc32.Checksum(b[:60], castagnoli))
	return b
}

// open finds the queue's file, which holds entries through written.
func (q *queue) open(disk vfs.FS, dir string) error {
	name := q.path(dir)
	f, err := disk.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %s is missing", ErrDamaged, name)
	}
	if err != nil {
		return err
	}
	b := make([]byte, queueHead)
	_, err = f.ReadAt(b, 0)
	be := binary.BigEndian
	switch {
	case err != nil || string(b[:4]) != queueMagic:
		err = fmt.Errorf("%w: %s: not a queue file", ErrDamaged, name)
	case be.Uint32(b[4:]) != formatVersion:
		err = fmt.Errorf("%w: %s has format version %d, this program knows %d", ErrVersion, name, be.Uint32(b[4:]), formatVersion)
	case be.Uint32(b[60:]) != crc32.Checksum(b[:60], castagnoli):
		err = fmt.Errorf("%w: %s: head fails its checksum", ErrDamaged, name)
	}
	if err != nil {
		f.Close()
		return err
	}
	q.base = message.Offset(be.Uint64(b[8:]))
	q.file = f
	size, err := f.Size()
	if err == nil && size < q.at(q.written) {
		err = fmt.Errorf("%w: %s ends at entry %d of %d", ErrDamaged, name, (size-queueHead)/queueEntry, q.written-q.base)
	}
	return err
}

// create makes the queue's file, over whatever an earlier life left there.
func (q *queue) create(disk vfs.FS, dir string) error {
	name := q.path(dir)
	if err := disk.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := disk.Create(name)
	if err != nil {
		return err
	}
	if _, err := f.WriteAt(encodeQueueHead(q.base), 0); err != nil {
		f.Close()
		return err
	}
	q.file = f
	return nil
}
