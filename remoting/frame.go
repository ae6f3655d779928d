package remoting

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// MaxFrame is the longest frame stock peers accept: the length field may not
// exceed it.
const MaxFrame = 16 << 20

// MaxHeader is the longest header: RocketMQ's largest is below 200 KiB, properties
// of 32767 bytes all of which JSON escapes.
const MaxHeader = 1 << 20

// Sizes of reading: a longer body is grown by doubling as its bytes arrive,
// so that a length that lies costs no memory. What is made before they do is bounded: when there is too much of it,
// a body begins with a short step. Who asked has chosen whom: there an answer's body may cost
// as much as the largest pull, and is not copied as it grows.
const (
	bodyStep   = 256 << 10
	shortStep  = 16 << 10
	answerStep = 4 << 20
)

// MaxExt bounds the ext fields of a client's header: RocketMQ's have a few dozen at most, and a
// table of many short ones takes ten times their text. Nodes that send a request on add some.
const (
	MaxExt = 256
	maxExt = MaxExt + 64
)

var (
	// ErrFrame is wrapped by every error of a frame that breaks the format;
	// the stream cannot be read on.
	ErrFrame = errors.New("remoting: bad frame")
	// ErrTooLarge: the command does not fit a frame, or a field does not fit
	// its serialisation. Nothing was sent.
	ErrTooLarge = errors.New("remoting: command too large")
)

// ReadCommand reads one frame, at most maxFrame long (0: MaxFrame). io.EOF
// only between frames. The command owns what it holds.
func ReadCommand(r *bufio.Reader, maxFrame int) (*Command, error) {
	p, err := readPrefix(r, maxFrame)
	if err != nil {
		return nil, err
	}
	return p.read(r, nil)
}

type prefix struct {
	serial       byte
	header, body int
}

// requestCost is what a request takes in memory beside its frame, about: its
// goroutine's stack, its command, the fields of its header.
const requestCost = 4 << 10

// size is what the frame counts for while it is in flight.
func (p prefix) size() int { return requestCost + 8 + p.header + p.body }

func readPrefix(r *bufio.Reader, maxFrame int) (prefix, error) {
	if maxFrame <= 0 {
		maxFrame = MaxFrame
	}
	b, err := r.Peek(8)
	if err != nil {
		if len(b) > 0 && err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return prefix{}, err
	}
	total, word := binary.BigEndian.Uint32(b), binary.BigEndian.Uint32(b[4:])
	p := prefix{serial: byte(word >> 24), header: int(word & 0xffffff)}
	switch {
	case int64(total) > int64(maxFrame):
		return p, fmt.Errorf("%w: length %d above %d", ErrFrame, total, maxFrame)
	case int64(total) < 4+int64(p.header):
		return p, fmt.Errorf("%w: header of %d in a frame of %d", ErrFrame, p.header, total)
	case p.header > MaxHeader:
		return p, fmt.Errorf("%w: header of %d above %d", ErrFrame, p.header, MaxHeader)
	case p.serial != JSON && p.serial != Binary:
		return p, fmt.Errorf("%w: serialisation %d", ErrFrame, p.serial)
	}
	p.body = int(total) - 4 - p.header
	r.Discard(8)
	return p, nil
}

// read reads the rest of the frame and takes its size from budget. With errNoBudget
// comes the command without its body, or nil where it had no room for its header; the
// stream can be read on.
func (p prefix) read(r *bufio.Reader, budget *Budget) (*Command, error) {
	in := intake{budget: budget}
	c, err := p.parts(r, &in)
	if err == nil && !in.whole(p.size()) {
		c.Body, err = nil, errNoBudget
	}
	if err != nil {
		in.giveBack()
	}
	if err == nil || errors.Is(err, errNoBudget) {
		return c, err
	}
	return nil, err
}

// parts is read up to the end of the frame, which is not whole for budget yet.
func (p prefix) parts(r *bufio.Reader, in *intake) (*Command, error) {
	var text string
	if b, err := r.Peek(min(p.header, r.Size())); err != nil {
		return nil, unexpected(err)
	} else if len(b) == p.header {
		text = string(b)
		r.Discard(p.header)
	} else if b, err = readBytes(r, p.header, in); errors.Is(err, errNoBudget) || err == nil && p.header > bodyStep && !in.take(p.header-in.part) {
		if _, err := io.CopyN(io.Discard, r, int64(p.body)); err != nil {
			return nil, unexpected(err)
		}
		return nil, errNoBudget
	} else if err != nil {
		return nil, err
	} else {
		text = string(b)
	}
	c := &Command{Serial: p.serial}
	var err error
	if p.serial == JSON {
		err = decodeJSON(c, text)
	} else {
		err = decodeBinary(c, text)
	}
	if err != nil {
		return nil, err
	}
	c.Body, err = readBytes(r, p.body, in)
	return c, err
}

// intake is what a frame has taken from a budget as it arrives.
type intake struct {
	budget *Budget
	part   int
}

// take takes n bytes that have arrived of a frame that has not wholly.
func (i *intake) take(n int) bool {
	if !i.budget.takePartial(n) {
		return false
	}
	i.part += n
	return true
}

// whole takes what the frame, which has arrived, counts for.
func (i *intake) whole(size int) bool {
	if !i.budget.Take(size - i.part) {
		return false
	}
	i.budget.arrived(i.part)
	i.part = 0
	return true
}

func (i *intake) giveBack() {
	i.budget.arrived(i.part)
	i.budget.Give(i.part)
}

// readBytes reads n bytes and takes them as they arrive, but for the last step. On
// errNoBudget it has read over them.
func readBytes(r io.Reader, n int, in *intake) ([]byte, error) {
	if n == 0 {
		return nil, nil
	}
	step, ahead := bodyStep, 0
	if in.budget == nil {
		step = answerStep
	} else if n > shortStep {
		if ahead = min(n, step); !in.budget.takeAhead(ahead) {
			step, ahead = shortStep, 0
		}
	}
	defer func() { in.budget.giveAhead(ahead) }()
	b := make([]byte, min(n, step))
	for taken, have := 0, 0; ; {
		if _, err := io.ReadFull(r, b[have:]); err != nil {
			return nil, unexpected(err)
		}
		have = len(b)
		if have == n {
			return b, nil
		}
		if !in.take(have - taken) {
			b = nil
			in.budget.giveAhead(ahead)
			ahead = 0
			if _, err := io.CopyN(io.Discard, r, int64(n-have)); err != nil {
				return nil, unexpected(err)
			}
			return nil, errNoBudget
		}
		taken = have
		in.budget.giveAhead(ahead)
		ahead = 0
		next := make([]byte, min(n, 2*have))
		copy(next, b)
		b = next
	}
}

func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// AppendCommand appends c's frame to dst. On ErrTooLarge dst comes back as it
// was. Ext fields are written in the order of their keys.
func AppendCommand(dst []byte, c *Command) ([]byte, error) {
	b, err := appendHead(dst, c, c.Opaque, MaxFrame)
	if err != nil {
		return dst, err
	}
	return append(b, c.Body...), nil
}

// appendHead appends all of a frame but the body.
func appendHead(dst []byte, c *Command, opaque int32, maxFrame int) ([]byte, error) {
	at := len(dst)
	b := append(dst, 0, 0, 0, 0, 0, 0, 0, 0)
	if c.Serial == Binary {
		var err error
		if b, err = appendBinary(b, c, opaque); err != nil {
			return dst, err
		}
	} else {
		b = appendJSON(b, c, opaque)
	}
	h := len(b) - at - 8
	total := 4 + h + len(c.Body)
	if h > MaxHeader || total > maxFrame {
		return dst, fmt.Errorf("%w: code %d, header %d, body %d", ErrTooLarge, c.Code, h, len(c.Body))
	}
	serial := JSON
	if c.Serial == Binary {
		serial = Binary
	}
	binary.BigEndian.PutUint32(b[at:], uint32(total))
	binary.BigEndian.PutUint32(b[at+4:], uint32(serial)<<24|uint32(h))
	return b, nil
}
