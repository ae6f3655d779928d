package mqtest

import (
	"bytes"
	"encoding/binary"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftmq/broker"
	"raftmq/message"
	"raftmq/remoting"
)

// What breaks the format ends its connection, on the name server's port and a slot's
// of every node; what only asks too much is refused; and a neighbour's connection
// goes on either way.
func TestFramesThatBreakTheFormatEndTheirConnectionOnly(t *testing.T) {
	t.Parallel()
	c := Start(t, 3, func(cfg *broker.Config) { cfg.MaxBody, cfg.WALSegmentBytes, cfg.Heartbeat = 0, 0, 0 }) // 4 MiB, and what goes with it
	c.createTopic(t, topicOf("t", 1))
	word := func(total, serial, header uint32) []byte {
		return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, total), serial<<24|header)
	}
	frame := func(serial uint32, header string) []byte {
		return append(word(uint32(4+len(header)), serial, uint32(len(header))), header...)
	}
	broken := map[string][]byte{
		"above 16 MiB":                       word(16<<20+1, 0, 10),
		"length of all ones":                 word(1<<32-1, 0, 10),
		"length of zero":                     word(0, 0, 0),
		"header longer than the frame":       word(100, 0, 97),
		"header above its limit":             word(8<<20, 0, remoting.MaxHeader+1),
		"header of all ones":                 word(1<<24, 0, 1<<24-1),
		"serialisation 2":                    append(word(100, 2, 10), make([]byte, 96)...),
		"serialisation 255":                  append(word(100, 255, 10), make([]byte, 96)...),
		"header that is no JSON":             frame(0, "oops"),
		"header that is a list":              frame(0, `[1,2]`),
		"JSON nested deeply":                 frame(0, strings.Repeat(`{"a":`, 10000)),
		"no binary header":                   word(4, 1, 0),
		"binary remark longer than all":      frame(1, "\x00\x0a\x00\x01\x37\x00\x00\x00\x01\x00\x00\x00\x00\x7f\xff\xff\xff\x00\x00\x00\x00"),
		"binary fields longer than all":      frame(1, "\x00\x0a\x00\x01\x37\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x7f\xff\xff\xff"),
		"binary fields that lie inside":      frame(1, "\x00\x0a\x00\x01\x37\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x04\x7f\xff\x61\x62"),
		"HTTP":                               []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
		"TLS":                                append([]byte{0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc, 0x03, 0x03}, make([]byte, 512)...),
		"a reply nobody asked for, then bad": append(frame(0, `{"code":0,"flag":1,"opaque":9}`), word(1<<31, 9, 0)...),
	}
	for i, b := range c.Nodes {
		for _, addr := range []string{b.Addresses().NameServer, c.listener(i, 0)} {
			neighbour := DialWire(t, addr, 1)
			alive := func(after string) {
				t.Helper()
				r := neighbour.Led(remoting.GetRouteByTopic, fields{"topic": "t"}, nil)
				require.Equal(t, remoting.OK, r.Code, "%s: after %s: %s", addr, after, r.Remark)
			}
			for name, bytes := range broken {
				nc, err := net.Dial("tcp", addr)
				require.NoError(t, err)
				nc.Write(bytes)
				nc.SetReadDeadline(time.Now().Add(patience))
				n, err := nc.Read(make([]byte, 1))
				require.Zero(t, n, "%s: answered", name)
				ne, _ := err.(net.Error)
				require.False(t, ne != nil && ne.Timeout(), "%s, %s: still open", addr, name)
				nc.Close()
				alive(name)
			}
		}
		// The longest frame that there may be is read, and what is in it refused.
		w := DialWire(t, c.listener(i, 0), 0)
		for _, size := range []int{message.MaxBody + 1, 15 << 20} {
			r := w.Led(remoting.SendMessageV2, sendShort("t", 0), make([]byte, size))
			require.Equal(t, remoting.MessageIllegal, r.Code, r.Remark)
		}
		r := w.Led(remoting.SendMessageV2, with(sendShort("t", 0), "rmq", "1"), bytes.Repeat([]byte("x"), message.MaxBody))
		for try := 0; r.Code == remoting.OutcomeUnknown && try < 5; try++ { // the leader changed meanwhile
			r = w.Led(remoting.SendMessageV2, with(sendShort("t", 0), "rmq", "1"), bytes.Repeat([]byte("x"), message.MaxBody))
		}
		require.Equal(t, remoting.OK, r.Code, "a body at the limit: %s", r.Remark)
	}
}
