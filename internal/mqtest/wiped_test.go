package mqtest

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftmq/client"
)

// wipe empties the directory of node i, which is stopped.
func (c *Cluster) wipe(i int) {
	c.t.Helper()
	require.NoError(c.t, os.RemoveAll(c.dirs[i]))
	require.NoError(c.t, os.Mkdir(c.dirs[i], 0o750))
}

// refusedAsWiped waits for node i to end because of its emptied directory.
func (c *Cluster) refusedAsWiped(i int) {
	c.t.Helper()
	select {
	case err := <-c.Nodes[i].Failed():
		require.ErrorContains(c.t, err, "emptied or exchanged")
	case <-time.After(time.Minute):
		_, reason := c.Nodes[i].Ready()
		c.t.Fatalf("%s goes on with an empty directory: %s", c.names[i], reason)
	}
}

// A node that comes back with an empty directory could vote again where it has
// voted already: it is let in by nobody, and ends with the reason. The others go on.
func TestAWipedNodeIsRefused(t *testing.T) {
	c := Start(t, 3, nil)
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	p, err := c.Client().NewProducer("p")
	require.NoError(t, err)
	send := func() {
		t.Helper()
		_, err := p.Send(ctx, &client.Message{Topic: "t", Body: []byte("kept")})
		require.NoError(t, err)
	}
	send()
	c.Stop(2)
	c.wipe(2)
	c.Run(2)
	c.refusedAsWiped(2)
	send()
	c.Stop(2)
	for i := range 2 {
		c.Await(i)
	}
}

// Two nodes of three with empty directories are a majority of the initial nodes.
// They do not found another cluster while the third is away, and end when it is
// back.
func TestTwoWipedNodesFoundNoOtherCluster(t *testing.T) {
	c := Start(t, 3, nil)
	for i := range 3 {
		c.Stop(i)
	}
	c.joins = nil
	for i := 1; i < 3; i++ {
		c.wipe(i)
		c.Run(i)
	}
	require.Eventually(t, func() bool { // they have met each other
		for i := 1; i < 3; i++ {
			if _, reason := c.Nodes[i].Ready(); !strings.Contains(reason, "waiting for n1:") {
				return false
			}
		}
		return true
	}, time.Minute, 10*time.Millisecond)
	c.Run(0)
	for i := 1; i < 3; i++ {
		c.refusedAsWiped(i)
	}
	ok, _ := c.Nodes[0].Ready()
	require.False(t, ok)
}
