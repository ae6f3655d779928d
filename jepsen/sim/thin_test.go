package sim

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"
	"net"
	"os"

	"raftmq/broker"
	"raftmq/client"
	"raftmq/internal/vfs"
	"raftmq/jepsen/history"
	"raftmq/jepsen/link"
)

func TestThreeNodesSendAndConsumeInSimulatedTime(t *testing.T) {
	began := time.Now()
	var d time.Duration
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		seed := history.Seed(1)
		n := NewNetwork(link.New([]string{"n1", "n2", "n3", "clients"}, seed.Stream), seed)
		var nodes []*broker.Broker
		for i := range 3 {
			h := n.Host(i)
			disk := vfs.NewMem(uint64(i))
			log := hclog.NewNullLogger()
			if os.Getenv("RAFTMQ_TEST_LOG") != "" {
				log = hclog.New(&hclog.LoggerOptions{Name: fmt.Sprint("n", i+1), Level: hclog.LevelFromString(os.Getenv("RAFTMQ_TEST_LOG")), Output: os.Stderr})
			}
			b, err := broker.Open(t.Context(), broker.Config{
				Cluster: "sim", Node: fmt.Sprintf("n%d", i+1), Data: "/data", InitialNodes: []string{"n1", "n2", "n3"}, Host: address(i),
				Join:       []string{"10.0.0.1:9002", "10.0.0.2:9002", "10.0.0.3:9002"},
				NameServer: 9000, Raft: 9001, Gossip: 9002, HTTP: 9003, Listen: 9020, AutoCreateTopics: true,
				WALSegmentBytes: 4 << 20, MaxBody: 512 << 10, SegmentBytes: 8 << 20, Heartbeat: 500 * time.Millisecond,
				DiskCleanAt: 100, DiskForceAt: 100, DiskRefuseAt: 100, DiskReserve: -1,
			}, broker.Deps{Disk: disk, Net: h, Catalogue: func(dir string) (broker.CatalogueStore, error) { return keepCatalogue(disk, dir) }, Logger: log})
			require.NoError(t, err)
			nodes = append(nodes, b)
		}
		for _, b := range nodes {
			for {
				if ok, _ := b.Ready(); ok {
					break
				}
				time.Sleep(10 * time.Millisecond)
			}
		}
		t.Log("ready after", time.Since(start))
		me := n.Host(3)
		cl, err := client.Dial(t.Context(), client.WithEndpoints("10.0.0.1:9000"), client.WithDialer(func(ctx context.Context, _, addr string) (net.Conn, error) { return me.Dial(ctx, addr) }))
		require.NoError(t, err)
		p, err := cl.NewProducer("p")
		require.NoError(t, err)
		for i := range 100 {
			_, err := p.Send(t.Context(), &client.Message{Topic: "t", Body: []byte(fmt.Sprint(i))})
			require.NoError(t, err)
		}
		rd, err := cl.NewReader("t", client.FromPosition(client.Earliest()))
		require.NoError(t, err)
		count := 0
		for _, err := range rd.UntilEnd(t.Context()) {
			require.NoError(t, err)
			count++
		}
		require.Equal(t, 100, count)
		rd.Close()
		cl.Close(t.Context())
		for _, b := range nodes {
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
			require.NoError(t, b.Shutdown(ctx))
			cancel()
		}
		d = time.Since(start)
	})
	t.Logf("%v in %v", d, time.Since(began))
}
