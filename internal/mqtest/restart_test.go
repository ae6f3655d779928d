package mqtest

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"raftmq/broker"
	"raftmq/client"
)

// readyz asks a node over HTTP, as text and as JSON.
func (c *Cluster) readyz(t *testing.T, i int) (status int, text string, r broker.Readiness) {
	t.Helper()
	url := "http://" + c.Nodes[i].Addresses().HTTP + "/readyz"
	get := func(accept string) (int, []byte) {
		req, err := http.NewRequest(http.MethodGet, url, nil)
		require.NoError(t, err)
		req.Header.Set("Accept", accept)
		resp, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		return resp.StatusCode, b
	}
	_, b := get("application/json")
	require.NoError(t, json.Unmarshal(b, &r))
	status, b = get("*/*")
	return status, strings.TrimSpace(string(b)), r
}

// A node that was away is ready when it has what was stored meanwhile, in each
// partition, and not before; until then it says what is missing.
func TestAReadyNodeHasWhatWasCommittedBeforeItStarted(t *testing.T) {
	t.Parallel()
	c := Start(t, 3, nil)
	ctx, cancel := context.WithTimeout(context.Background(), whole)
	defer cancel()
	cl := c.Client()
	require.NoError(t, cl.Admin().CreateTopic(ctx, client.TopicConfig{Name: "t", Queues: 1}))
	p, err := cl.NewProducer("p", client.WithSendTimeout(ample))
	require.NoError(t, err)
	for round := range 3 {
		c.Stop(2)
		for range 300 {
			require.NoError(t, p.SendAsync(ctx, &client.Message{Topic: "t", Body: make([]byte, 16<<10)}, func(_ client.Receipt, err error) {
				if err != nil {
					t.Error(err)
				}
			}))
		}
		require.NoError(t, p.Flush(ctx))
		want := make(map[uint64]int64)
		for i := range 2 {
			for _, p := range c.Nodes[i].Partitions() {
				want[p.ID] = max(want[p.ID], p.Position)
			}
		}
		c.Run(2)
		c.Await(2)
		for _, p := range c.Nodes[2].Partitions() {
			require.GreaterOrEqual(t, p.Position, want[p.ID], "round %d, partition %d", round, p.ID)
		}
		c.until("it says so", func() bool { // unless the others were lost to it meanwhile
			status, text, r := c.readyz(t, 2)
			return status == http.StatusOK && text == "ok" && reflect.DeepEqual(broker.Readiness{Ready: true, Held: 3, Open: 3, CaughtUp: 3}, r)
		})
	}
	// Alone it cannot know what was committed.
	c.Stop(2)
	c.Stop(1)
	c.Stop(0)
	c.Run(2)
	c.until("it says why it is not ready", func() bool {
		status, text, r := c.readyz(t, 2)
		require.Equal(t, http.StatusServiceUnavailable, status)
		require.False(t, r.Ready)
		require.NotEmpty(t, r.Reasons)
		return strings.Contains(text, "catalogue")
	})
}
