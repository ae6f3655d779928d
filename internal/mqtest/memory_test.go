package mqtest

import (
	"bytes"
	"net"
	"os"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftmq/broker"
	"raftmq/remoting"
)

// Whatever clients do, side by side, a node keeps no more in memory for them than its
// settings say, and sends of others are answered. RAFTMQ_HOSTILE=30 goes on for so
// many seconds.
func TestHostileClientsCostNoMoreMemoryThanTheSettingsSay(t *testing.T) {
	if raceDetector {
		t.Skip("the race detector keeps memory of its own")
	}
	seconds, _ := strconv.Atoi(os.Getenv("RAFTMQ_HOSTILE"))
	c := Start(t, 1, func(cfg *broker.Config) {
		cfg.MaxConnections, cfg.MaxRequestBytes, cfg.MaxReplyBytes = 70, 16<<20, 16<<20
	})
	settings := broker.Config{MaxConnections: 70, MaxRequestBytes: 16 << 20, MaxReplyBytes: 16 << 20}
	c.createTopic(t, topicOf("t", 1))
	honest := DialWire(t, c.listener(0, 0), 0)
	for range 64 {
		honest.put(sendShort("t", 0), make([]byte, 64<<10))
	}
	held := func() int64 { // what is alive, after a collection
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc + m.StackInuse)
	}
	before := held()
	request := func(code remoting.Code, ext fields, body int) []byte {
		b, err := remoting.AppendCommand(nil, &remoting.Command{Code: code, Ext: ext, Body: make([]byte, body), Serial: remoting.Binary})
		require.NoError(t, err)
		return b
	}
	large := with(pullOf("t", 0, 0), "maxMsgNums", "64", "maxMsgBytes", "4194304")
	attacks := [][]byte{
		bytes.Repeat(request(remoting.PullMessage, large, 0), 50),                                                                       // answers that nobody reads
		bytes.Repeat(request(remoting.PullMessage, with(pullOf("t", 0, 64), "sysFlag", "6", "suspendTimeoutMillis", "30000"), 0), 4000), // held
		request(remoting.SendMessageV2, sendShort("t", 0), 15<<20)[:8<<20],                                                              // stops in the middle
		bytes.Repeat(request(remoting.SendMessageV2, sendShort("none", 0), 400<<10), 20),
		bytes.Repeat(request(remoting.QueryMessage, fields{"topic": "t", "key": "k1", "maxNum": "32", "beginTimestamp": "0", "endTimestamp": "9999999999999"}, 0), 500),
		bytes.Repeat(request(remoting.GetRouteByTopic, fields{"topic": "t"}, 0), 5000),
		bytes.Repeat(request(remoting.GetMaxOffset, fields{"topic": "t", "queueId": "0"}, 0), 5000),
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for i := range 100 { // more than may be connected
		wg.Go(func() {
			b := attacks[i%len(attacks)]
			for {
				select {
				case <-stop:
					return
				default:
				}
				nc, err := net.Dial("tcp", c.listener(0, 0))
				if err != nil {
					t.Error(err)
					return
				}
				nc.(*net.TCPConn).SetReadBuffer(4096)
				nc.SetDeadline(time.Now().Add(2 * time.Second))
				if _, err := nc.Write(b); err == nil { // reads nothing; stays
					select {
					case <-stop:
					case <-time.After(time.Second):
					}
				} else {
					time.Sleep(20 * time.Millisecond)
				}
				nc.Close()
			}
		})
	}
	worst, sent := int64(0), 0
	for begun := time.Now(); sent < 8 || time.Since(begun) < time.Duration(seconds)*time.Second; sent++ {
		id := with(sendShort("t", 0), "pid", "000000000000000000000000000000aa", "pep", "0", "seq", strconv.Itoa(sent))
		for {
			r := honest.ask(remoting.SendMessageV2, id, []byte("x"))
			if r.Code == remoting.OK {
				break
			}
			require.Contains(t, []remoting.Code{remoting.SystemBusy, remoting.ServiceNotAvailable, remoting.OutcomeUnknown}, r.Code, r.Remark)
		}
		worst = max(worst, held()-before)
		time.Sleep(20 * time.Millisecond)
	}
	close(stop)
	wg.Wait()
	t.Logf("%d MiB more than before at worst; the settings say %d MiB", worst>>20, settings.ClientMemory()>>20)
	// Garbage that is made while the collector runs counts as alive: as much again. The
	// attackers' own, in this process, is a stack and little else.
	require.LessOrEqual(t, worst, 2*settings.ClientMemory()+100*connectionOfATest)
	c.until("all is given back", func() bool { return held()-before < 24<<20 })
}

const connectionOfATest = 16 << 10
