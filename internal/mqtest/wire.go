package mqtest

import (
	"bufio"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftmq/message"
	"raftmq/remoting"
)

// fields are a request's or a reply's, as they are on the wire.
type fields = map[string]string

// Wire is a connection that speaks raw remoting: it sends what it is told to and
// shows what comes back.
type Wire struct {
	t      testing.TB
	nc     net.Conn
	in     *bufio.Reader
	serial byte
	opaque int32
	early  map[int32]*remoting.Command // replies that came while another was waited for
	pushed []*remoting.Command         // what the node asked

	// Patience is how long an answer that must come may take. Default: 45 s.
	Patience time.Duration
}

// DialWire connects to a node's listener; headers are written as serial says. The connection
// is closed with the test.
func DialWire(t testing.TB, addr string, serial byte) *Wire {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	t.Cleanup(func() { nc.Close() })
	return &Wire{t: t, nc: nc, in: bufio.NewReader(nc), serial: serial, early: make(map[int32]*remoting.Command), Patience: patience}
}

// Send writes a request and returns its opaque.
func (w *Wire) Send(code remoting.Code, ext fields, body []byte) int32 {
	w.t.Helper()
	w.opaque++
	b, err := remoting.AppendCommand(nil, &remoting.Command{Code: code, Language: remoting.Go, Version: 317, Opaque: w.opaque, Ext: ext, Body: body, Serial: w.serial})
	require.NoError(w.t, err)
	_, err = w.nc.Write(b)
	require.NoError(w.t, err)
	return w.opaque
}

// Oneway writes a request that is not to be answered.
func (w *Wire) Oneway(code remoting.Code, ext fields, body []byte) {
	w.t.Helper()
	w.opaque++
	b, err := remoting.AppendCommand(nil, &remoting.Command{Code: code, Language: remoting.Go, Version: 317, Opaque: w.opaque, Flag: remoting.FlagOneway, Ext: ext, Body: body, Serial: w.serial})
	require.NoError(w.t, err)
	_, err = w.nc.Write(b)
	require.NoError(w.t, err)
}

// Read takes one frame; an error says that the connection ended.
func (w *Wire) Read() (*remoting.Command, error) {
	for end := lively() + w.Patience; ; {
		w.nc.SetReadDeadline(time.Now().Add(time.Second))
		if _, err := w.in.Peek(1); !errors.Is(err, os.ErrDeadlineExceeded) || lively() > end {
			break
		}
	}
	w.nc.SetReadDeadline(time.Now().Add(w.Patience)) // of a frame that has begun
	return remoting.ReadCommand(w.in, 0)
}

// Reply waits for the answer to a request.
func (w *Wire) Reply(opaque int32) *remoting.Command {
	w.t.Helper()
	for {
		if c := w.early[opaque]; c != nil {
			delete(w.early, opaque)
			return c
		}
		w.next()
	}
}

// next takes one frame and keeps it.
func (w *Wire) next() {
	w.t.Helper()
	c, err := w.Read()
	require.NoError(w.t, err)
	if !c.IsReply() {
		w.pushed = append(w.pushed, c)
		return
	}
	require.Equal(w.t, w.serial, c.Serial, "a reply travels as its request")
	require.GreaterOrEqual(w.t, c.Version, int32(232), "older servers are not asked for SQL filters")
	w.early[c.Opaque] = c
}

func (w *Wire) ask(code remoting.Code, ext fields, body []byte) *remoting.Command {
	w.t.Helper()
	return w.Reply(w.Send(code, ext, body))
}

// Led is ask, again while there is no leader, as every client does: on a loaded
// machine one may be lost.
func (w *Wire) Led(code remoting.Code, ext fields, body []byte) *remoting.Command {
	w.t.Helper()
	for until := time.Now().Add(ample); ; {
		r := w.ask(code, ext, body)
		if r.Code != remoting.ServiceNotAvailable || time.Now().After(until) {
			return r
		}
	}
}

// OK is Led for what must succeed. Without a leader a pull finds nothing, nor does it at a follower
// that is behind.
func (w *Wire) OK(code remoting.Code, ext fields, body []byte) *remoting.Command {
	w.t.Helper()
	for until := time.Now().Add(ample); ; {
		r := w.Led(code, ext, body)
		if r.Code != remoting.PullNotFound || time.Now().After(until) {
			require.Equal(w.t, remoting.OK, r.Code, "code %d: %s", code, r.Remark)
			return r
		}
	}
}

// put stores a message once, whatever is lost meanwhile: it has an identity. ext is of SendMessageV2.
func (w *Wire) put(ext fields, body []byte) *remoting.Command {
	w.t.Helper()
	id := maps.Clone(ext)
	id["pid"], id["pep"], id["seq"] = fmt.Sprintf("%016x%016x", os.Getpid(), puts.Add(1)), "0", "0"
	return w.sure(remoting.SendMessageV2, id, body)
}

var puts atomic.Int64

// inside is Led of a pull from a queue that is not empty, or of a time in which there is a leader that knows
// of its end: without one nothing is known of its bounds.
func (w *Wire) inside(code remoting.Code, ext fields) *remoting.Command {
	w.t.Helper()
	for until := time.Now().Add(ample); ; {
		r := w.Led(code, ext, nil)
		if r.Code != remoting.PullNotFound || r.Ext["maxOffset"] != "0" || time.Now().After(until) {
			return r
		}
	}
}

// within waits for so long for the answer to a request; nil: none came.
func (w *Wire) within(d time.Duration, opaque int32) *remoting.Command {
	w.t.Helper()
	for end := time.Now().Add(d); w.early[opaque] == nil; {
		if !w.more(end) {
			return nil
		}
	}
	return w.Reply(opaque)
}

// pushWithin waits for so long for a request of the node's; nil: none came.
func (w *Wire) pushWithin(d time.Duration, code remoting.Code) *remoting.Command {
	w.t.Helper()
	for end := time.Now().Add(d); ; {
		for _, c := range w.pushed {
			if c.Code == code {
				return w.waitPush(code)
			}
		}
		if !w.more(end) {
			return nil
		}
	}
}

// more takes one frame, if one begins before the end.
func (w *Wire) more(end time.Time) bool {
	w.t.Helper()
	w.nc.SetReadDeadline(end)
	if _, err := w.in.Peek(1); errors.Is(err, os.ErrDeadlineExceeded) {
		return false
	}
	w.next()
	return true
}

// sure is OK of what may be asked again while its outcome is not known: who asks says that it
// knows our codes, since else it gets no answer.
func (w *Wire) sure(code remoting.Code, ext fields, body []byte) *remoting.Command {
	w.t.Helper()
	for until := time.Now().Add(ample); ; {
		r := w.Led(code, ext, body)
		if r.Code != remoting.OutcomeUnknown || time.Now().After(until) {
			require.Equal(w.t, remoting.OK, r.Code, "code %d: %s", code, r.Remark)
			return r
		}
	}
}

// closed waits until the node has closed the connection, without a reply.
func (w *Wire) closed() {
	w.t.Helper()
	for {
		c, err := w.Read()
		if err != nil {
			return
		}
		require.False(w.t, c.IsReply(), "answered %d: %s", c.Code, c.Remark)
	}
}

// waitPush waits for a request of the node's.
func (w *Wire) waitPush(code remoting.Code) *remoting.Command {
	w.t.Helper()
	for {
		for i, c := range w.pushed {
			if c.Code == code {
				w.pushed = append(w.pushed[:i:i], w.pushed[i+1:]...)
				return c
			}
		}
		w.next()
	}
}

// Records splits a body of stored messages.
func Records(t testing.TB, body []byte) []message.Record {
	t.Helper()
	var rs []message.Record
	for len(body) > 0 {
		r, err := message.ParseRecord(body)
		require.NoError(t, err)
		require.NoError(t, r.Verify())
		rs = append(rs, r)
		body = body[len(r):]
	}
	return rs
}
