package mqtest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftmq/broker"
	"raftmq/client"
	"raftmq/internal/vfs"
)

// The power of all three nodes is cut at a random moment under load, each disk
// keeps a random part of what was not synced, and nothing acknowledged is lost or
// stored twice. RAFTMQ_CUTS sets how often, RAFTMQ_SEED from which seed.
func TestPowerCutsLoseNothingAcknowledged(t *testing.T) {
	t.Parallel()
	cuts, seed := 2, uint64(time.Now().UnixNano())
	if n, err := strconv.Atoi(os.Getenv("RAFTMQ_CUTS")); err == nil {
		cuts = n
	}
	if n, err := strconv.ParseUint(os.Getenv("RAFTMQ_SEED"), 10, 64); err == nil {
		seed = n
	}
	t.Logf("%d cuts from seed %d", cuts, seed)
	for i := range uint64(cuts) {
		powerCut(t, seed+i)
	}
}

func powerCut(t *testing.T, seed uint64) {
	r := rand.New(rand.NewPCG(seed, 7))
	disks := make([]vfs.FS, 3)
	for i := range disks {
		disks[i] = vfs.NewMem(seed + uint64(i))
	}
	c := StartOn(t, disks, func(cfg *broker.Config) {
		cfg.SegmentBytes = 64 << 10
	})
	ctx, cancel := context.WithTimeout(context.Background(), whole)
	defer cancel()
	const topic = "t"
	cl := c.Client()
	require.NoError(t, cl.Admin().CreateTopic(ctx, client.TopicConfig{Name: topic, Partitions: 1, Queues: 2}))
	p, err := cl.NewProducer("p", client.WithSendTimeout(ample))
	require.NoError(t, err)

	var mu sync.Mutex
	acked := make(map[string]bool)
	load, stop := context.WithCancel(ctx)
	enough := make(chan struct{})
	cutAfter := 50 + r.IntN(1500)
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := 0; load.Err() == nil; i++ {
				id := fmt.Sprintf("%d-%d", w, i)
				if _, err := p.Send(load, &client.Message{Topic: topic, Body: append([]byte(id+" "), make([]byte, 300)...)}); err != nil {
					continue
				}
				mu.Lock()
				acked[id] = true
				if len(acked) == cutAfter {
					close(enough)
				}
				mu.Unlock()
			}
		})
	}
	select {
	case <-enough:
	case <-ctx.Done():
		t.Fatalf("seed %d: %d of %d sends were acknowledged", seed, len(acked), cutAfter)
	}
	mu.Lock() // what is acknowledged from here on may be lost
	want := make(map[string]bool, len(acked))
	for id := range acked {
		want[id] = true
	}
	mu.Unlock()
	for i := range disks {
		c.Disks[i] = disks[i].(*vfs.Mem).CrashClone(seed + uint64(i))
	}
	stop()
	wg.Wait()
	for i := range c.Nodes {
		c.Stop(i) // on the disks that are no more
	}
	for i := range c.Nodes {
		c.Run(i)
	}
	for i := range c.Nodes {
		c.Await(i)
	}
	after := c.Client()
	rd, err := after.NewReader(topic, client.FromPosition(client.Earliest()))
	require.NoError(t, err)
	defer rd.Close()
	seen := make(map[string]int)
	for m, err := range rd.UntilEnd(ctx) {
		require.NoError(t, err, "seed %d", seed)
		var id string
		fmt.Sscan(string(m.Body), &id)
		seen[id]++
		require.Equal(t, 1, seen[id], "seed %d: %s is stored twice", seed, id)
	}
	for id := range want {
		require.Equal(t, 1, seen[id], "seed %d: %s was acknowledged", seed, id)
	}
	for i := range c.Nodes {
		c.Stop(i)
	}
}
