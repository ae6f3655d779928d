package mqtest

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftmq/broker"
	"raftmq/remoting"
)

// More pulls are held than a connection may have requests in flight, at the leader
// and through a follower: sends on the same connections, and through the same
// nodes, are answered, and what is too much is refused so that clients ask again.
func TestHeldPullsDoNotStarveSends(t *testing.T) {
	// Not beside others: it takes the whole machine.
	c := Start(t, 3, func(cfg *broker.Config) { cfg.Heartbeat = 0 }) // as in real clusters: this is much at once
	c.createTopic(t, topicOf("t", 1))
	c.createTopic(t, topicOf("other", 1))
	leader := c.leader("t", 0)
	const pulls = 4500
	held := with(pullOf("t", 0, 0), "sysFlag", "6", "suspendTimeoutMillis", "60000")
	for _, at := range []int{leader, (leader + 1) % 3} {
		var floods []*Wire
		for range 3 { // together more than 4096 within the bound of each
			w := DialWire(t, c.listener(at, 0), remoting.Binary)
			w.opaque = 1 << 20
			floods = append(floods, w)
		}
		done := make(chan int, len(floods)) // refusals
		for i, w := range floods {
			n := pulls
			if i > 0 {
				n = 1500
			}
			var b []byte
			for range n {
				w.opaque++
				b, _ = remoting.AppendCommand(b, &remoting.Command{Code: remoting.PullMessage, Opaque: w.opaque, Ext: held, Serial: remoting.Binary})
			}
			_, err := w.nc.Write(b)
			require.NoError(t, err)
			// As one of ours, which is told when the leader changed meanwhile, and asks again.
			again := func() int32 {
				return w.Send(remoting.SendMessageV2, with(sendShort("other", 0), "rmq", "1"), []byte("x"))
			}
			send := again()
			go func() {
				busy := 0
				defer func() { done <- busy }()
				for {
					r, err := w.Read()
					switch {
					case err != nil:
						t.Error(err)
						return
					case r.Opaque == send && r.Code == remoting.OK:
						return
					case r.Opaque == send && (r.Code == remoting.ServiceNotAvailable || r.Code == remoting.OutcomeUnknown):
						send = again()
						continue
					case r.Code != remoting.SystemBusy || !strings.HasPrefix(r.Remark, "[OVERLOAD]"):
						t.Errorf("opaque %d: %d %s", r.Opaque, r.Code, r.Remark)
						return
					}
					busy++
				}
			}()
		}
		refused := 0
		for range floods {
			refused += <-done
		}
		if !t.Failed() {
			require.Positive(t, refused, "of the first connection's")
			require.LessOrEqual(t, refused, pulls-2048, "only of the first connection's; the others had room")
		}
		// And on a connection of its own, through the node that holds them all.
		own, r := DialWire(t, c.listener(at, 0), 0), (*remoting.Command)(nil)
		for r == nil || r.Code == remoting.ServiceNotAvailable || r.Code == remoting.OutcomeUnknown {
			r = own.ask(remoting.SendMessageV2, with(sendShort("other", 0), "rmq", "1"), []byte("y"))
		}
		require.Equal(t, remoting.OK, r.Code, r.Remark)
		require.NotEmpty(t, r.Ext["msgId"])
		for _, w := range floods {
			w.nc.Close()
		}
	}
}

// Bodies that are too long, frames that lie, floods of queries and peers that stop
// or do not read cost themselves something and nobody else.
func TestHostilePeersCostNobodyElse(t *testing.T) {
	// Not beside others: it takes the whole machine.
	// Two processors do all this: heartbeats as in real clusters.
	c := Start(t, 3, func(cfg *broker.Config) { cfg.Heartbeat = 0 })
	c.createTopic(t, topicOf("t", 1))
	w := DialWire(t, c.listener(0, 0), 0)
	for range 64 {
		w.put(sendShort("t", 0), make([]byte, 16<<10))
	}
	ports := []string{c.Nodes[0].Addresses().NameServer, c.listener(0, 0), c.listener(1, 1), c.listener(2, 0)}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	hostile := func(f func(nc net.Conn) error) {
		for _, addr := range ports {
			wg.Go(func() {
				tick := time.NewTicker(hostileEvery)
				defer tick.Stop()
				for {
					select {
					case <-stop:
						return
					case <-tick.C:
					}
					nc, err := net.Dial("tcp", addr)
					if err != nil {
						t.Error(err)
						return
					}
					nc.SetDeadline(time.Now().Add(time.Second))
					f(nc)
					nc.Close()
				}
			})
		}
	}
	request := func(code remoting.Code, ext fields, body []byte) []byte {
		b, err := remoting.AppendCommand(nil, &remoting.Command{Code: code, Ext: ext, Body: body, Serial: remoting.Binary})
		require.NoError(t, err)
		return b
	}
	wait := func(nc net.Conn) error { _, err := nc.Read(make([]byte, 1)); return err }
	hostile(func(nc net.Conn) error { // above 16 MiB
		nc.Write(binary.BigEndian.AppendUint32(nil, 1<<30))
		nc.Write(make([]byte, 64<<10))
		return wait(nc)
	})
	hostile(func(nc net.Conn) error { // says 12 MiB, sends 1
		nc.Write([]byte{0, 0xc0, 0, 0, 0, 0, 0, 2, '{', '}'})
		_, err := nc.Write(make([]byte, 1<<20))
		return err
	})
	pull := request(remoting.PullMessage, with(pullOf("t", 0, 0), "maxMsgNums", "64"), nil)
	hostile(func(nc net.Conn) error { // asks for more than it reads
		for range 4 {
			nc.Write(pull)
		}
		time.Sleep(10 * time.Millisecond)
		return nil
	})
	query := request(remoting.QueryMessage, fields{"topic": "t", "key": "k1", "maxNum": "32", "beginTimestamp": "0", "endTimestamp": "9999999999999"}, nil)
	hostile(func(nc net.Conn) error { // asks again and again
		in := bufio.NewReader(nc)
		for range 20 {
			nc.Write(query)
		}
		for range 20 {
			if _, err := remoting.ReadCommand(in, 0); err != nil {
				return err
			}
		}
		return nil
	})
	for i := range 20 {
		w := DialWire(t, c.listener(i%3, 0), byte(i%2))
		mine := with(sendShort("t", 0), "pid", fmt.Sprintf("%032x", i), "pep", "0", "seq", "0")
		for w.ask(remoting.SendMessageV2, mine, []byte("x")).Code != remoting.OK { // as clients of ours do
		}
		r := w.ask(remoting.QueryMessage, fields{"topic": "t", "key": "none", "maxNum": "1", "beginTimestamp": "0", "endTimestamp": "1"}, nil)
		require.Contains(t, []remoting.Code{remoting.QueryNotFound, remoting.SystemBusy, remoting.ServiceNotAvailable}, r.Code)
		w.nc.Close()
	}
	close(stop)
	wg.Wait()
	for _, b := range c.Nodes {
		select {
		case err := <-b.Failed():
			t.Fatal(err)
		default:
		}
	}
}
