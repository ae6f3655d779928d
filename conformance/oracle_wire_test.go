package conformance

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"time"
)

// fields are a request's or a reply's, as they are on the wire.
type fields = map[string]string

// frame is a command of the remoting protocol with its header in JSON.
type frame struct {
	Code      int    `json:"code"`
	Flag      int    `json:"flag"`
	Language  string `json:"language"`
	Version   int    `json:"version"`
	Opaque    int32  `json:"opaque"`
	Remark    string `json:"remark,omitempty"`
	ExtFields fields `json:"extFields,omitempty"`
	Serial    string `json:"serializeTypeCurrentRPC,omitempty"`
	Body      []byte `json:"-"`
}

const (
	flagReply  = 1
	flagOneway = 2
)

// What happens instead of a reply.
const (
	codeClosed  = -1 // the server hung up
	codeSilence = -2 // no answer in time
)

// plain is a connection that speaks the protocol without a client's opinions.
type plain struct {
	nc     net.Conn
	in     *bufio.Reader
	opaque int32
	early  map[int32]*frame
	pushed []*frame
	broken error
}

func dialPlain(addr string) (*plain, error) {
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	return &plain{nc: nc, in: bufio.NewReader(nc), early: make(map[int32]*frame)}, nil
}

func (p *plain) write(f *frame) error {
	head, err := json.Marshal(f)
	if err != nil {
		return err
	}
	b := binary.BigEndian.AppendUint32(nil, uint32(4+len(head)+len(f.Body)))
	b = binary.BigEndian.AppendUint32(b, uint32(len(head)))
	b = append(append(b, head...), f.Body...)
	_, err = p.nc.Write(b)
	return err
}

// read takes one frame.
func (p *plain) read(until time.Time) (*frame, error) {
	p.nc.SetReadDeadline(until)
	var sizes [8]byte
	if _, err := io.ReadFull(p.in, sizes[:4]); err != nil {
		return nil, err
	}
	p.nc.SetReadDeadline(time.Now().Add(time.Minute)) // the rest is on its way
	if _, err := io.ReadFull(p.in, sizes[4:]); err != nil {
		return nil, err
	}
	total, head := binary.BigEndian.Uint32(sizes[:]), binary.BigEndian.Uint32(sizes[4:])&0xffffff
	if total < 4+head || total > 32<<20 || sizes[4] != 0 {
		return nil, fmt.Errorf("a frame of %d bytes, header %#x", total, sizes[4:])
	}
	b := make([]byte, total-4)
	if _, err := io.ReadFull(p.in, b); err != nil {
		return nil, err
	}
	var f frame
	if err := json.Unmarshal(b[:head], &f); err != nil {
		return nil, fmt.Errorf("header %q: %w", b[:head], err)
	}
	f.Body = b[head:]
	return &f, nil
}

// send writes a request and returns its number.
func (p *plain) send(code int, ext fields, body []byte) int32 {
	p.opaque++
	if err := p.write(&frame{Code: code, Language: "JAVA", Version: 477, Opaque: p.opaque, ExtFields: ext, Serial: "JSON", Body: body}); err != nil && p.broken == nil {
		p.broken = err
	}
	return p.opaque
}

// reply waits for the answer to a request; one without an answer has a code below 0.
func (p *plain) reply(opaque int32, wait time.Duration) *frame {
	until := time.Now().Add(wait)
	for {
		if f := p.early[opaque]; f != nil {
			delete(p.early, opaque)
			return f
		}
		if err := p.next(until); err != nil {
			code := codeClosed
			if errors.Is(err, os.ErrDeadlineExceeded) {
				code = codeSilence
			}
			return &frame{Code: code, Remark: err.Error()}
		}
	}
}

// next takes one frame and keeps it.
func (p *plain) next(until time.Time) error {
	if p.broken != nil {
		return p.broken
	}
	f, err := p.read(until)
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return err
	case err != nil:
		p.broken = err
		return err
	case f.Flag&flagReply != 0:
		p.early[f.Opaque] = f
	default:
		p.pushed = append(p.pushed, f)
	}
	return nil
}

// push waits for a request of the server's.
func (p *plain) push(code int, wait time.Duration) *frame {
	until := time.Now().Add(wait)
	for {
		for i, f := range p.pushed {
			if f.Code == code {
				p.pushed = append(p.pushed[:i:i], p.pushed[i+1:]...)
				return f
			}
		}
		if err := p.next(until); err != nil {
			return &frame{Code: codeSilence, Remark: err.Error()}
		}
	}
}

// answer answers what the server asked.
func (p *plain) answer(asked *frame, code int, body []byte) error {
	return p.write(&frame{Code: code, Flag: flagReply, Language: "JAVA", Version: 477, Opaque: asked.Opaque, Serial: "JSON", Body: body})
}

// stored is a message as a broker stores it and serves it.
type stored struct {
	fields fields // by name, addresses and times as text
	props  fields
	body   []byte
	bytes  []byte
}

// parseStored splits a body of stored messages.
func parseStored(b []byte) (all []stored, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("not stored messages: %v", v)
		}
	}()
	for len(b) > 0 {
		size := int(binary.BigEndian.Uint32(b))
		rec, at := b[:size], 0
		u32 := func() uint32 { at += 4; return binary.BigEndian.Uint32(rec[at-4:]) }
		u64 := func() uint64 { at += 8; return binary.BigEndian.Uint64(rec[at-8:]) }
		text := func(n int) string { at += n; return string(rec[at-n : at]) }
		m := stored{fields: make(fields), props: make(fields), bytes: rec}
		num := func(name string, v int64) { m.fields[name] = strconv.FormatInt(v, 10) }
		u32()
		magic := u32()
		m.fields["magic"] = fmt.Sprintf("%#x", magic)
		num("crc", int64(int32(u32())))
		num("queueId", int64(int32(u32())))
		num("flag", int64(int32(u32())))
		num("queueOffset", int64(u64()))
		num("physical", int64(u64()))
		sys := u32()
		m.fields["sysFlag"] = fmt.Sprintf("%#x", sys)
		host := func(bit uint32) string {
			n := 4
			if sys&bit != 0 {
				n = 16
			}
			ip := net.IP(text(n))
			return net.JoinHostPort(ip.String(), fmt.Sprint(u32()))
		}
		num("bornTimestamp", int64(u64()))
		m.fields["bornHost"] = host(1 << 4)
		num("storeTimestamp", int64(u64()))
		m.fields["storeHost"] = host(1 << 5)
		num("reconsumeTimes", int64(int32(u32())))
		num("preparedOffset", int64(u64()))
		m.body = []byte(text(int(u32())))
		n := int(text(1)[0])
		if magic == 0xdaa320ab { // version 2
			n = n<<8 | int(text(1)[0])
		}
		m.fields["topic"] = text(n)
		props := text(int(binary.BigEndian.Uint16([]byte(text(2)))))
		for _, pair := range strings.Split(props, "\x02") {
			if k, v, ok := strings.Cut(pair, "\x01"); ok {
				m.props[k] = v
			}
		}
		m.fields["endsWithSeparator"] = fmt.Sprint(strings.HasSuffix(props, "\x02"))
		if at != size {
			return nil, fmt.Errorf("%d bytes of %d in a message", at, size)
		}
		all, b = append(all, m), b[size:]
	}
	return all, nil
}

// flatten reads JSON as fastjson writes it, whose keys may be numbers and objects, into
// one value per path.
func flatten(s string, rename func(string) string) (facts fields, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("not JSON: %v: %.80q", v, s)
		}
	}()
	facts = make(fields)
	p := &looseJSON{s: s, facts: facts, rename: rename}
	p.value("")
	p.space()
	if p.at != len(s) {
		return nil, fmt.Errorf("not JSON: bytes after the value: %.80q", s[p.at:])
	}
	return facts, nil
}

type looseJSON struct {
	s      string
	at     int
	facts  fields
	rename func(string) string
}

func (p *looseJSON) space() {
	for p.at < len(p.s) && strings.IndexByte(" \t\r\n", p.s[p.at]) >= 0 {
		p.at++
	}
}

// scalar is the next string, number or word, as text.
func (p *looseJSON) scalar() string {
	p.space()
	if p.s[p.at] != '"' {
		from := p.at
		for p.at < len(p.s) && strings.IndexByte(" \t\r\n,:]}", p.s[p.at]) < 0 {
			p.at++
		}
		return p.s[from:p.at]
	}
	from := p.at
	for p.at++; p.s[p.at] != '"'; p.at++ {
		if p.s[p.at] == '\\' {
			p.at++
		}
	}
	p.at++
	var v string
	if err := json.Unmarshal([]byte(p.s[from:p.at]), &v); err != nil {
		panic(err)
	}
	return p.rename(v)
}

func (p *looseJSON) value(path string) {
	p.space()
	switch p.s[p.at] {
	case '{':
		p.at++
		n := 0
		for p.space(); p.s[p.at] != '}'; p.space() {
			if p.s[p.at] == ',' {
				p.at++
				continue
			}
			p.space()
			var key string
			if p.s[p.at] == '{' { // a queue
				inner := &looseJSON{s: p.s, at: p.at, facts: make(fields), rename: p.rename}
				inner.value("")
				p.at = inner.at
				key = fmt.Sprintf("{%s %s %s}", inner.facts[".brokerName"], inner.facts[".topic"], inner.facts[".queueId"])
			} else {
				key = p.scalar()
			}
			p.space()
			if p.s[p.at] != ':' {
				panic("no colon")
			}
			p.at++
			p.value(path + "." + key)
			n++
		}
		p.at++
		if n == 0 {
			p.facts[path] = "{}"
		}
	case '[':
		p.at++
		n := 0
		for p.space(); p.s[p.at] != ']'; p.space() {
			if p.s[p.at] == ',' {
				p.at++
				continue
			}
			p.value(fmt.Sprintf("%s[%d]", path, n))
			n++
		}
		p.at++
		if n == 0 {
			p.facts[path] = "[]"
		}
	default:
		p.facts[path] = p.scalar()
	}
}
