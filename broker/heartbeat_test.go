package broker

import (
	"bytes"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftmq/remoting"
)

// A heartbeat that names a group which the catalogue does not know waits for its leader: of what it says is kept meanwhile what
// the list of clients has, and no more.
func TestAHeartbeatThatWaitsForTheCatalogueKeepsLittle(t *testing.T) {
	const beats = 64
	nodes, _ := twoNodes(t)
	b := nodes[0]
	require.NoError(t, nodes[1].catalogue.replica.Close())
	eventually(t, func() bool { return !b.led(catalogueGroup) })
	held := func() int64 {
		runtime.GC()
		runtime.GC() // pools
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	stacks := make([]byte, 8<<20)
	wait := func() bool { // all of them
		return bytes.Count(stacks[:runtime.Stack(stacks, true)], []byte("broker.(*registry).subscribe(")) == beats
	}
	conn, before := &remoting.ServerConn{}, held()
	over := make(chan struct{})
	var wg sync.WaitGroup
	defer wg.Wait()
	end := sync.OnceFunc(func() { close(over) })
	defer end()
	for range beats {
		wg.Go(func() {
			for {
				select {
				case <-over:
					return
				default:
				}
				r := &request{Command: remoting.NewRequest(remoting.Heartbeat, nil), conn: conn}
				r.Body = fmt.Appendf(nil, `{"clientID":"c","consumerDataSet":[{"groupName":"g","messageModel":"BROADCASTING","subscriptionDataSet":[{"topic":"x"}%s]}]}`, strings.Repeat(`,{"topic":"x"}`, 1_000))
				b.clients.heartbeat(t.Context(), r)
			}
		})
	}
	var took int64
	require.Eventually(t, func() bool {
		if !wait() {
			return false
		}
		took = held() - before
		return wait()
	}, time.Minute, 100*time.Millisecond)
	end()
	require.Less(t, took, int64(5<<20), "together they said ten megabytes")
}

// A heartbeat that leaves out what its client consumes has it counted all the same: else the list of clients may come to be too
// long to be sent.
func TestAHeartbeatWithoutSubscriptionsCountsWhatItLeavesOut(t *testing.T) {
	l := newLone(t)
	conn := &remoting.ServerConn{}
	beat := func(body string) {
		r := &request{Command: remoting.NewRequest(remoting.Heartbeat, nil), conn: conn}
		r.Body = []byte(body)
		reply := l.clients.heartbeat(t.Context(), r)
		require.Equal(t, remoting.OK, reply.Code, reply.Remark)
	}
	long := strings.Repeat("x", 200<<10)
	beat(`{"clientID":"c","consumerDataSet":[{"groupName":"g","messageModel":"BROADCASTING","subscriptionDataSet":[{"topic":"t","subString":"` + long + `"}]}]}`)
	beat(`{"clientID":"c","withoutSub":true,"producerDataSet":[{"groupName":"` + long + `"}]}`)
	l.clients.mu.RLock()
	defer l.clients.mu.RUnlock()
	require.GreaterOrEqual(t, l.clients.bytes, listed(l.clients.conns[conn]))
	require.Greater(t, l.clients.bytes, 400<<10)
}
