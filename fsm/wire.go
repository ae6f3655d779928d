package fsm

import (
	"encoding/binary"
	"errors"
	"fmt"

	"raftmq/message"
)

var (
	// ErrCommand: a command cannot be read. The replica must stop: another may have
	// understood it.
	ErrCommand = errors.New("fsm: malformed command")
	// ErrUnknownCommand: a kind or version of a later program. The replica stops.
	ErrUnknownCommand = errors.New("fsm: unknown command")
	// ErrState: a checkpoint's bytes cannot be read.
	ErrState = errors.New("fsm: malformed state")
)

const commandVersion = 1

type kind byte

const (
	kindAppend kind = iota + 1
	kindCommit
	kindReset
	kindResetTold
	kindLock
	kindUnlock
	kindTrim
	kindDigest
)

func appendCommand(dst []byte, k kind, atMs int64) []byte {
	dst = append(dst, byte(k), commandVersion)
	return binary.BigEndian.AppendUint64(dst, uint64(atMs))
}

func appendText(dst []byte, s string) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(s)))
	return append(dst, s...)
}

func appendQueue(dst []byte, q message.Queue) []byte {
	dst = appendText(dst, q.Topic)
	return binary.BigEndian.AppendUint32(dst, uint32(q.ID))
}

// reader takes fields off b; after the first that does not fit, all are zero and
// err is set.
type reader struct {
	b   []byte
	err error
}

func (r *reader) take(n uint64) []byte {
	if r.err != nil || n > uint64(len(r.b)) {
		if r.err == nil {
			r.err = fmt.Errorf("%w: %d bytes wanted, %d left", ErrCommand, n, len(r.b))
		}
		return nil
	}
	out := r.b[:n]
	r.b = r.b[n:]
	return out
}

func (r *reader) u8() byte {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) u32() uint32 {
	if b := r.take(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (r *reader) u64() uint64 {
	if b := r.take(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

func (r *reader) text() string {
	n, size := binary.Uvarint(r.b)
	if r.err == nil && size <= 0 {
		r.err = fmt.Errorf("%w: length", ErrCommand)
	}
	if r.err != nil {
		return ""
	}
	r.b = r.b[size:]
	return string(r.take(n))
}

func (r *reader) queue() message.Queue {
	return message.Queue{Topic: r.text(), ID: int32(r.u32())}
}

// count reads a number of things of at least min bytes each.
func (r *reader) count(min int) int {
	n := r.u32()
	if r.err == nil && uint64(n)*uint64(min) > uint64(len(r.b)) {
		r.err = fmt.Errorf("%w: %d things in %d bytes", ErrCommand, n, len(r.b))
		return 0
	}
	return int(n)
}

func (r *reader) end() error {
	if r.err == nil && len(r.b) > 0 {
		r.err = fmt.Errorf("%w: %d bytes too many", ErrCommand, len(r.b))
	}
	return r.err
}
