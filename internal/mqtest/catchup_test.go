package mqtest

import (
	"bufio"
	"context"
	"io/fs"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftmq/broker"
	"raftmq/client"
)

func walBytes(t *testing.T, data string) (n int64) {
	t.Helper()
	require.NoError(t, filepath.WalkDir(filepath.Join(data, "wal"), func(_ string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() && d.Name() != "folder.json" { // whose it is
			if i, e := d.Info(); e == nil {
				n += i.Size()
			}
		}
		return nil // a spare may be renamed meanwhile
	}))
	return n
}

// While one node is down, ten times what the write-ahead log may hold is stored:
// the log stays within its budget, and the node then catches up from the others'
// commit logs, to the same bytes, receiving at most 1.1 times what it lacked.
func TestAFollowerCatchesUpFromFarBehindTheWriteAheadLog(t *testing.T) {
	// Not beside others: it takes the whole machine.
	const segment, segments = 4 << 20, 8 // two AppendEntries of 4 MiB must fit
	c := Start(t, 3, func(cfg *broker.Config) {
		cfg.WALSegmentBytes, cfg.WALSegments, cfg.SegmentBytes = segment, segments, 16<<20
	})
	ctx, cancel := context.WithTimeout(context.Background(), 8*time.Minute)
	defer cancel()
	cl := c.Client()
	require.NoError(t, cl.Admin().CreateTopic(ctx, client.TopicConfig{Name: "t", Partitions: 1, Queues: 1}))
	p, err := cl.NewProducer("p", client.WithSendTimeout(ample))
	require.NoError(t, err)
	c.Stop(2)
	const body = 64 << 10
	const n = 10 * segment * segments / body
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := w; i < n; i += 8 {
				if _, err := p.Send(ctx, &client.Message{Topic: "t", Body: make([]byte, body)}); err != nil {
					t.Errorf("send: %v", err)
					return
				}
			}
		})
	}
	wg.Wait()
	for _, dir := range c.dirs[:2] {
		require.LessOrEqual(t, walBytes(t, dir), int64(segment*segments), dir)
	}
	c.Run(2)
	c.Await(2)
	c.awaitSame(ctx, "t")
	require.LessOrEqual(t, walBytes(t, c.dirs[2]), int64(segment*segments))
	lacked := float64(c.position(0, "t")) // it stopped before the first send
	require.Greater(t, lacked, float64(n*body))
	received := c.metric(2, "raftmq_transport_received_bytes_total")
	t.Logf("received %.0f bytes, lacked %.0f: %.3f times", received, lacked, received/lacked)
	require.LessOrEqual(t, received, 1.1*lacked)
}

// position is the end of the commit logs of the topic's replicas on node i.
func (c *Cluster) position(i int, topic string) (n int64) {
	for _, p := range c.Nodes[i].Partitions() {
		if p.Topic == topic {
			n += p.Position
		}
	}
	return n
}

// metric reads a metric without labels from node i's /metrics.
func (c *Cluster) metric(i int, name string) float64 {
	c.t.Helper()
	resp, err := http.Get("http://" + c.Nodes[i].Addresses().HTTP + "/metrics")
	require.NoError(c.t, err)
	defer resp.Body.Close()
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		if key, value, _ := strings.Cut(lines.Text(), " "); key == name {
			v, err := strconv.ParseFloat(value, 64)
			require.NoError(c.t, err)
			return v
		}
	}
	c.t.Fatalf("no metric %s", name)
	return 0
}

// awaitSame waits until all replicas of the topic hold the same bytes.
func (c *Cluster) awaitSame(ctx context.Context, topic string) {
	c.t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		type at struct {
			index  uint64
			digest string
		}
		seen := make(map[uint64]map[at]int)
		for _, b := range c.Nodes {
			for _, p := range b.Partitions() {
				if p.Topic == topic {
					if seen[p.ID] == nil {
						seen[p.ID] = make(map[at]int)
					}
					seen[p.ID][at{p.Applied, p.Digest}]++
				}
			}
		}
		same := len(seen) > 0
		for _, x := range seen {
			for _, replicas := range x {
				same = same && replicas == len(c.Nodes)
			}
		}
		if same {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			c.t.Fatalf("replicas of %s differ: %v", topic, seen)
		}
	}
}

// All nodes are stopped and started on other ports: what was stored is there, and
// they find each other.
func TestAllNodesRestartElsewhere(t *testing.T) {
	t.Parallel()
	c := Start(t, 3, nil)
	ctx, cancel := context.WithTimeout(context.Background(), whole)
	defer cancel()
	cl := c.Client()
	p, err := cl.NewProducer("p", client.WithSendTimeout(ample))
	require.NoError(t, err)
	_, err = p.Send(ctx, &client.Message{Topic: "auto", Body: []byte("kept")}) // creates the topic
	require.NoError(t, err)
	for i := range c.Nodes {
		c.Stop(i)
	}
	c.joins = nil
	for i := range c.Nodes {
		c.Run(i)
	}
	for i := range c.Nodes {
		c.Await(i)
	}
	rd, err := c.Client().NewReader("auto", client.FromPosition(client.Earliest()))
	require.NoError(t, err)
	defer rd.Close()
	var bodies []string
	for m, err := range rd.UntilEnd(ctx) {
		require.NoError(t, err)
		bodies = append(bodies, string(m.Body))
	}
	require.Equal(t, []string{"kept"}, bodies)
}
