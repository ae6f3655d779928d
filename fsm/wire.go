package fsm

import (
	"encoding/binary"
	"errors"
	"fmt"

	"raftmq/message"
)

var (
	// ErrCommand: a command's bytes do not add up. The replica must stop: another
	// may have understood it. No encoder of this package makes such bytes, whatever
	// it is given: what is out of bounds is refused when it is applied.
	ErrCommand = errors.New("fsm: malformed command")
	// ErrUnknownCommand: a kind or version of a later program. The replica stops.
	ErrUnknownCommand = errors.New("fsm: unknown command")
	// ErrOrder: an entry that does not follow the last one applied. The replica
	// stops.
	ErrOrder = errors.New("fsm: entry out of order")
	// ErrState: a checkpoint's bytes cannot be read.
	ErrState = errors.New("fsm: malformed state")
	// ErrStateVersion: a checkpoint was written by a later version of this program.
	ErrStateVersion = errors.New("fsm: unknown state version")
)

// kind is the first byte of a command. The catalogue's begin at 64, so that one
// machine never understands what was meant for the other.
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
	kindDropGroup
	kindDelay
	kindFire
	kindKeep
	kindRecall
	kindHalf
	kindDecide
	kindCheck
	kindCarry
	kindUnearth
	kindPutBack
	kindEnd // of a partition's, as far as they are known
)

const (
	commandVersion = 1
	// commandHead is kind, version and time.
	commandHead = 10
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

func appendQueues(dst []byte, queues []message.Queue) []byte {
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(queues)))
	for _, q := range queues {
		dst = appendQueue(dst, q)
	}
	return dst
}

// textSize and queueSize are what appendText and appendQueue add.
func textSize(s string) int {
	n := 1 + len(s)
	for l := len(s) >> 7; l > 0; l >>= 7 {
		n++
	}
	return n
}

func queueSize(q message.Queue) int { return textSize(q.Topic) + 4 }

// minQueue is the least that appendQueue adds.
const minQueue = 5

// reader takes fields off b; after the first that does not fit, all are zero and
// err is set. It allocates no more than b is long.
type reader struct {
	b   []byte
	err error
}

func (r *reader) fail(format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf("%w: "+format, append([]any{ErrCommand}, args...)...)
	}
}

// take returns the next n bytes; they alias b.
func (r *reader) take(n uint64) []byte {
	if r.err != nil {
		return nil
	}
	if n > uint64(len(r.b)) {
		r.fail("%d bytes wanted, %d left", n, len(r.b))
		return nil
	}
	out := r.b[:n:n]
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
	if r.err != nil {
		return ""
	}
	n, size := binary.Uvarint(r.b)
	if size <= 0 {
		r.fail("length of a text")
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
		r.fail("%d things in %d bytes", n, len(r.b))
		return 0
	}
	return int(n)
}

func (r *reader) end() error {
	if len(r.b) > 0 {
		r.fail("%d bytes too many", len(r.b))
	}
	return r.err
}
