package raftlog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"slices"
	"time"

	"github.com/hashicorp/raft"
)

const (
	walFrameMagic   = "rmqF"
	walFrameHeader  = 40
	walRecordHeader = 24
	walEntryHeader  = walRecordHeader + 32
	walIndexRecord  = walRecordHeader + 8 // a truncate or trim record
)

type walType byte

const (
	walEntry walType = 1 + iota
	walTruncate
	walTrim
	walStable
	walCheckpoint
	walReset
	walDrop
)

const walCopied = 1

var (
	walCRC = crc32.MakeTable(crc32.Castagnoli)
	walLE  = binary.LittleEndian

	errWALRecord = errors.New("malformed record")
)

// walRecord is one decoded record header; body aliases the frame.
type walRecord struct {
	kind  walType
	flags byte
	group uint64
	off   int // of the record in the bytes it was decoded from
	size  int
	body  []byte
}

// walBegin appends a record header; walEnd fills in what is known last.
func walBegin(dst []byte, kind walType, flags byte, group uint64) []byte {
	dst = append(dst, make([]byte, 8)...)
	dst = append(dst, byte(kind), flags, 0, 0, 0, 0, 0, 0)
	return walLE.AppendUint64(dst, group)
}

func walEnd(dst []byte, start int) []byte {
	walLE.PutUint32(dst[start:], uint32(len(dst)-start))
	walLE.PutUint32(dst[start+4:], walSum(dst[start+8:]))
	return dst
}

// walNext decodes the record at b[off:] and checks its CRC.
func walNext(b []byte, off int) (walRecord, error) {
	r := b[off:]
	if len(r) < walRecordHeader {
		return walRecord{}, fmt.Errorf("%w: %d bytes left", errWALRecord, len(r))
	}
	n := walLE.Uint32(r)
	if n < walRecordHeader || uint64(n) > uint64(len(r)) {
		return walRecord{}, fmt.Errorf("%w: length %d of %d", errWALRecord, n, len(r))
	}
	r = r[:n]
	if walSum(r[8:]) != walLE.Uint32(r[4:]) {
		return walRecord{}, fmt.Errorf("%w: checksum", errWALRecord)
	}
	return walRecord{kind: walType(r[8]), flags: r[9], group: walLE.Uint64(r[16:]), off: off, size: int(n), body: r[walRecordHeader:]}, nil
}

// walSum is the unsalted checksum.
func walSum(b []byte) uint32 { return crc32.Checksum(b, walCRC) }

func walEntrySize(l *raft.Log) int { return walEntryHeader + len(l.Extensions) + len(l.Data) }

func walAppendEntry(dst []byte, group uint64, l *raft.Log, flags byte) []byte {
	start := len(dst)
	dst = walBegin(dst, walEntry, flags, group)
	dst = walLE.AppendUint64(dst, l.Index)
	dst = walLE.AppendUint64(dst, l.Term)
	at := int64(math.MinInt64)
	if !l.AppendedAt.IsZero() {
		at = l.AppendedAt.UnixNano()
	}
	dst = walLE.AppendUint64(dst, uint64(at))
	dst = append(dst, byte(l.Type), 0, 0, 0)
	dst = walLE.AppendUint32(dst, uint32(len(l.Extensions)))
	dst = append(dst, l.Extensions...)
	dst = append(dst, l.Data...)
	return walEnd(dst, start)
}

// log decodes an entry; its slices alias the record.
func (r walRecord) log(out *raft.Log) error {
	b := r.body
	if r.kind != walEntry || len(b) < 32 || uint64(walLE.Uint32(b[28:])) > uint64(len(b)-32) {
		return fmt.Errorf("%w: entry", errWALRecord)
	}
	*out = raft.Log{Index: walLE.Uint64(b), Term: walLE.Uint64(b[8:]), Type: raft.LogType(b[24])}
	if at := int64(walLE.Uint64(b[16:])); at != math.MinInt64 {
		out.AppendedAt = time.Unix(0, at)
	}
	ext := 32 + int(walLE.Uint32(b[28:]))
	if ext > 32 {
		out.Extensions = b[32:ext:ext]
	}
	out.Data = b[ext:]
	return nil
}

// walAppendIndex appends a truncate or trim record.
func walAppendIndex(dst []byte, kind walType, group, index uint64) []byte {
	start := len(dst)
	return walEnd(walLE.AppendUint64(walBegin(dst, kind, 0, group), index), start)
}

func (r walRecord) index() (uint64, error) {
	if len(r.body) != 8 {
		return 0, fmt.Errorf("%w: index", errWALRecord)
	}
	return walLE.Uint64(r.body), nil
}

func walAppendDrop(dst []byte, group uint64) []byte {
	start := len(dst)
	return walEnd(walBegin(dst, walDrop, 0, group), start)
}

func walStableSize(m map[string][]byte) int {
	n := walRecordHeader + 4
	for k, v := range m {
		n += 6 + len(k) + len(v)
	}
	return n
}

func walAppendStable(dst []byte, group uint64, m map[string][]byte) []byte {
	start := len(dst)
	dst = walBegin(dst, walStable, 0, group)
	dst = walLE.AppendUint32(dst, uint32(len(m)))
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for _, k := range keys {
		dst = append(walLE.AppendUint16(dst, uint16(len(k))), k...)
		dst = append(walLE.AppendUint32(dst, uint32(len(m[k]))), m[k]...)
	}
	return walEnd(dst, start)
}

// stable decodes the keys; values are copies.
func (r walRecord) stable() (map[string][]byte, error) {
	b := walFields{b: r.body}
	n := b.uint32()
	m := map[string][]byte{}
	for range n {
		if b.bad {
			break
		}
		k := string(b.take(int(b.uint16())))
		m[k] = slices.Clone(b.take(int(b.uint32())))
	}
	if b.bad || len(b.b) != 0 || len(m) != int(n) {
		return nil, fmt.Errorf("%w: stable keys", errWALRecord)
	}
	return m, nil
}

func walAppendCheckpoint(dst []byte, kind walType, group uint64, c *Checkpoint) []byte {
	start := len(dst)
	dst = walBegin(dst, kind, 0, group)
	dst = walLE.AppendUint64(dst, c.Index)
	dst = walLE.AppendUint64(dst, c.Term)
	dst = walLE.AppendUint64(dst, c.ConfigurationIndex)
	dst = walLE.AppendUint32(dst, uint32(len(c.Configuration.Servers)))
	for _, s := range c.Configuration.Servers {
		dst = append(dst, byte(s.Suffrage))
		dst = append(walLE.AppendUint16(dst, uint16(len(s.ID))), s.ID...)
		dst = append(walLE.AppendUint16(dst, uint16(len(s.Address))), s.Address...)
	}
	dst = append(dst, c.State...)
	return walEnd(dst, start)
}

// checkpoint decodes a checkpoint; State aliases the record.
func (r walRecord) checkpoint() (c Checkpoint, err error) {
	b := walFields{b: r.body}
	c.Index, c.Term, c.ConfigurationIndex = b.uint64(), b.uint64(), b.uint64()
	for n := b.uint32(); n > 0 && !b.bad; n-- {
		s := raft.Server{Suffrage: raft.ServerSuffrage(b.byte())}
		s.ID = raft.ServerID(b.take(int(b.uint16())))
		s.Address = raft.ServerAddress(b.take(int(b.uint16())))
		c.Configuration.Servers = append(c.Configuration.Servers, s)
	}
	if b.bad {
		return Checkpoint{}, fmt.Errorf("%w: checkpoint", errWALRecord)
	}
	c.State = b.b
	return c, nil
}

// walFields reads fields in order; past the end it gives zeros and is bad.
type walFields struct {
	b   []byte
	bad bool
}

func (f *walFields) take(n int) []byte {
	if f.bad || n < 0 || n > len(f.b) {
		f.bad = true
		return nil
	}
	v := f.b[:n]
	f.b = f.b[n:]
	return v
}

func (f *walFields) byte() byte {
	if v := f.take(1); v != nil {
		return v[0]
	}
	return 0
}

func (f *walFields) uint16() uint16 {
	if v := f.take(2); v != nil {
		return walLE.Uint16(v)
	}
	return 0
}

func (f *walFields) uint32() uint32 {
	if v := f.take(4); v != nil {
		return walLE.Uint32(v)
	}
	return 0
}

func (f *walFields) uint64() uint64 {
	if v := f.take(8); v != nil {
		return walLE.Uint64(v)
	}
	return 0
}

// walFrame is a frame's header.
type walFrame struct {
	segment, sequence uint64
	length, count     uint32
	crc               uint32
}

func walFrameSize(records int) int64 { return int64(walFrameHeader+records+7) &^ 7 }

// walSealFrame fills in the header of buf, which has room for it in front of the records and is padded.
func walSealFrame(buf []byte, salt uint32, segment, sequence uint64, records []byte, count int) {
	copy(buf, walFrameMagic)
	walLE.PutUint64(buf[8:], segment)
	walLE.PutUint64(buf[16:], sequence)
	walLE.PutUint32(buf[24:], uint32(len(records)))
	walLE.PutUint32(buf[28:], crc32.Update(salt, walCRC, records))
	walLE.PutUint32(buf[32:], uint32(count))
	walLE.PutUint32(buf[36:], 0)
	walLE.PutUint32(buf[4:], crc32.Update(salt, walCRC, buf[8:walFrameHeader]))
}

// walParseHeader reads a frame header; false if it is not a valid one of this segment's life.
func walParseHeader(b []byte, salt uint32, segment uint64) (f walFrame, ok bool) {
	if len(b) < walFrameHeader || string(b[:4]) != walFrameMagic || crc32.Update(salt, walCRC, b[8:walFrameHeader]) != walLE.Uint32(b[4:]) {
		return f, false
	}
	f = walFrame{segment: walLE.Uint64(b[8:]), sequence: walLE.Uint64(b[16:]), length: walLE.Uint32(b[24:]), crc: walLE.Uint32(b[28:]), count: walLE.Uint32(b[32:])}
	return f, f.segment == segment
}

// walParseFrame also checks the records and gives them.
func walParseFrame(b []byte, salt uint32, segment uint64) (f walFrame, records []byte, ok bool) {
	f, ok = walParseHeader(b, salt, segment)
	if !ok || uint64(f.length) > uint64(len(b)-walFrameHeader) {
		return f, nil, false
	}
	records = b[walFrameHeader : walFrameHeader+int(f.length)]
	return f, records, crc32.Update(salt, walCRC, records) == f.crc
}
