package broker

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"

	"raftmq/remoting"
)

// logBuffer is where a node logs to.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// count is how many lines have what.
func (l *logBuffer) count(what string) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range strings.Lines(l.b.String()) {
		if strings.Contains(line, what) {
			n++
		}
	}
	return n
}

// While a node is down each replica's Raft says so about once a second: with hundreds of partitions that filled the log of those that go on.
func TestANodeThatIsDownFillsNoLog(t *testing.T) {
	const topics = 10
	names := []string{"n1", "n2", "n3"}
	var nodes []*Broker
	logs, stop := make([]logBuffer, len(names)), make([]func(), len(names))
	for i, name := range names {
		c := Config{
			Node: name, Data: t.TempDir(), InitialNodes: names, NameServer: -1, Listen: -1, Raft: -1, Gossip: -1, HTTP: -1,
			WALSegmentBytes: 4 << 20, MaxBody: 64 << 10, Heartbeat: 500 * time.Millisecond,
		}
		for _, b := range nodes {
			c.Join = append(c.Join, b.Addresses().Gossip)
		}
		b, err := Open(t.Context(), c, Deps{Logger: hclog.New(&hclog.LoggerOptions{Level: hclog.Info, IndependentLevels: true, Output: &logs[i]})})
		require.NoError(t, err)
		stop[i] = sync.OnceFunc(func() {
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			defer cancel()
			b.Shutdown(ctx)
		})
		t.Cleanup(stop[i])
		nodes = append(nodes, b)
	}
	for _, b := range nodes {
		eventually(t, func() bool { ok, _ := b.Ready(); return ok })
	}
	for i := range topics {
		eventually(t, func() bool {
			return nodes[0].autoCreate(t.Context(), &request{Command: remoting.NewRequest(remoting.SendMessage, nil)}, fmt.Sprintf("t%d", i)) == nil
		})
	}
	led := func() (n int) {
		for _, b := range nodes[:2] {
			for _, p := range b.local() {
				if p.leads() {
					n++
				}
			}
		}
		return n
	}
	stop[2]()
	down := time.Now()
	eventually(t, func() bool { return led() == topics*3 })
	eventually(t, func() bool {
		return logs[0].count("failed to heartbeat to")+logs[1].count("failed to heartbeat to") > 0
	})
	<-time.After(5 * time.Second) // the slower the machine, the less is said
	for i := range nodes[:2] {
		for _, what := range ofPeers {
			most := 2 * int(1+time.Since(down)/seldomEvery) // of the node that is gone, and, in an election, of the other
			require.LessOrEqual(t, logs[i].count(what), most, what)
		}
	}
}
