package mqtest

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftmq/broker"
	"raftmq/client"
)

// Who holds connections to the port of health and metrics, or does not take what it has asked for,
// takes a bounded part of a node, and not for long.
func TestHealthIsToldBesideWhoTakesAllConnections(t *testing.T) {
	t.Parallel()
	c := Start(t, 1, nil)
	at := c.Nodes[0].Addresses().HTTP
	conns := make([]net.Conn, 0, 600)
	for range cap(conns) {
		nc, err := net.DialTimeout("tcp", at, patience)
		require.NoError(t, err)
		defer nc.Close()
		conns = append(conns, nc)
	}
	asks := strings.Repeat("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", 200)
	for i, nc := range conns {
		nc.SetWriteDeadline(time.Now().Add(time.Second))
		switch i % 3 {
		case 0: // nothing is sent
		case 1:
			nc.Write([]byte("GET /readyz HTTP/1.1\r\n")) // no end of it
		default:
			nc.Write([]byte(asks)) // no answer is read
		}
	}
	cl := http.Client{Timeout: ample}
	resp, err := cl.Get("http://" + at + "/readyz")
	require.NoError(t, err)
	body, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	require.NoError(t, err)
	require.Equal(t, "ok\n", string(body))

	req, err := http.NewRequest(http.MethodGet, "http://"+at+"/livez", nil)
	require.NoError(t, err)
	req.Header.Set("X-Long", strings.Repeat("x", 1<<20))
	resp, err = cl.Do(req)
	if err == nil { // else it was cut off while it sent
		resp.Body.Close()
		require.Equal(t, http.StatusRequestHeaderFieldsTooLarge, resp.StatusCode)
	}
}

// Nor does who announces a body that does not come.
func TestHealthIsToldBesideWhoSendsNoBody(t *testing.T) {
	t.Parallel()
	c := Start(t, 1, nil)
	at := c.Nodes[0].Addresses().HTTP
	for i := range 600 {
		nc, err := net.DialTimeout("tcp", at, patience)
		require.NoError(t, err)
		defer nc.Close()
		path := []string{"/readyz", "/debug/partitions", "/nowhere"}[i%3]
		nc.SetWriteDeadline(time.Now().Add(time.Second))
		nc.Write([]byte("POST " + path + " HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n"))
	}
	cl := http.Client{Timeout: ample}
	resp, err := cl.Get("http://" + at + "/readyz")
	require.NoError(t, err)
	body, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	require.NoError(t, err)
	require.Equal(t, "ok\n", string(body))
}

// Who wants to know of one topic's replicas is told of no others.
func TestReplicasAreToldByTopic(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(context.Background(), whole)
	defer cancel()
	c := Start(t, 1, nil)
	for name, partitions := range map[string]int{"a": 1, "b": 2} {
		require.NoError(t, c.Client().Admin().CreateTopic(ctx, client.TopicConfig{Name: name, Partitions: partitions}))
	}
	for query, want := range map[string][]string{"": {"a", "b", "b"}, "?topic=b": {"b", "b"}, "?topic=none": nil} {
		resp, err := http.Get("http://" + c.Nodes[0].Addresses().HTTP + "/debug/partitions" + query)
		require.NoError(t, err)
		var all []broker.PartitionInfo
		err = json.NewDecoder(resp.Body).Decode(&all)
		resp.Body.Close()
		require.NoError(t, err)
		var topics []string
		for _, p := range all {
			topics = append(topics, p.Topic)
		}
		require.ElementsMatch(t, want, topics, query)
	}
}

// How long syncs take now can be told from two looks at a histogram. A quantile of all since the start hardly
// moves in a node that has run for long.
func TestSyncsAreToldAsAHistogram(t *testing.T) {
	t.Parallel()
	c := Start(t, 1, nil)
	n := c.metric(0, "raftmq_wal_sync_seconds_count")
	require.Positive(t, n)
	require.Positive(t, c.metric(0, "raftmq_wal_sync_seconds_sum"))
	require.GreaterOrEqual(t, c.metric(0, `raftmq_wal_sync_seconds_bucket{le="8.589934592"}`), n, "none took longer")
	require.GreaterOrEqual(t, c.metric(0, "raftmq_wal_syncs_total"), n)
}

// What goes through a node is counted.
func TestMessagesAreCounted(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(context.Background(), whole)
	defer cancel()
	c := Start(t, 1, nil)
	cl := c.Client()
	require.NoError(t, cl.Admin().CreateTopic(ctx, client.TopicConfig{Name: "t"}))
	p, err := cl.NewProducer("p", client.WithSendTimeout(ample))
	require.NoError(t, err)
	for range 7 {
		_, err := p.Send(ctx, &client.Message{Topic: "t", Body: []byte("x")})
		require.NoError(t, err)
	}
	require.EqualValues(t, 7, c.metric(0, "raftmq_messages_stored_total"))
	require.Positive(t, c.metric(0, "raftmq_messages_stored_bytes_total"))
	r, err := cl.NewReader("t", client.FromPosition(client.Earliest()))
	require.NoError(t, err)
	defer r.Close()
	for _, err := range r.UntilEnd(ctx) {
		require.NoError(t, err)
	}
	require.GreaterOrEqual(t, c.metric(0, "raftmq_messages_read_total"), 7.0)
}
