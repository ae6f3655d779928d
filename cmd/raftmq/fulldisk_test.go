//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"raftmq/client"
	"raftmq/remoting"
)

// smallDisk is a file system of its own for a node's data.
type smallDisk struct {
	t   *testing.T
	dir string
}

func mountSmallDisk(t *testing.T, dir string, bytes int) *smallDisk {
	t.Helper()
	require.NoError(t, os.MkdirAll(dir, 0o750))
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d", bytes)); err != nil {
		t.Skipf("no file systems can be mounted here: %v", err)
	}
	t.Cleanup(func() { syscall.Unmount(dir, syscall.MNT_DETACH) })
	return &smallDisk{t, dir}
}

// fill leaves so many bytes free, for anybody's use.
func (d *smallDisk) fill(leave int64) {
	d.t.Helper()
	f, err := os.OpenFile(filepath.Join(d.dir, "filler"), os.O_CREATE|os.O_RDWR, 0o640)
	require.NoError(d.t, err)
	defer f.Close()
	for {
		var st unix.Statfs_t
		require.NoError(d.t, unix.Statfs(d.dir, &st))
		more := int64(st.Bavail)*st.Bsize - leave
		if more <= 0 {
			return
		}
		at, err := f.Seek(0, 2)
		require.NoError(d.t, err)
		if err = unix.Fallocate(int(f.Fd()), 0, at, more); err != nil && !errors.Is(err, unix.ENOSPC) { // somebody else may have taken it
			require.NoError(d.t, err)
		}
	}
}

func (d *smallDisk) empty() { require.NoError(d.t, os.Remove(filepath.Join(d.dir, "filler"))) }

// sendLoad sends messages, slowly, and keeps count of what was answered.
type sendLoad struct {
	topic   string
	mu      sync.Mutex
	acked   []string
	refused []string
	unsure  []string // a leader was lost with them, the process that was asked, or they waited for room in vain
	noes    [6]int   // per sender: sends in a row that were refused
	stop    context.CancelFunc
	wg      sync.WaitGroup
}

func startLoad(t *testing.T, cl *client.Client, topic string) *sendLoad {
	t.Helper()
	p, err := cl.NewProducer("load", client.WithSendTimeout(2*time.Second))
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	l := &sendLoad{topic: topic, stop: cancel}
	for w := range len(l.noes) {
		l.wg.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				id := fmt.Sprintf("%d-%d", w, i)
				_, err := p.Send(t.Context(), &client.Message{Topic: topic, Body: []byte(id + strings.Repeat(".", 1000))})
				l.mu.Lock()
				switch {
				case err == nil:
					l.acked = append(l.acked, id)
					l.noes[w] = 0
				case errors.Is(err, client.ErrUncertain):
					l.unsure = append(l.unsure, id)
					l.noes[w] = 0
				default:
					l.refused = append(l.refused, id)
					l.noes[w]++
				}
				l.mu.Unlock()
				time.Sleep(5 * time.Millisecond)
			}
		})
	}
	t.Cleanup(func() { cancel(); l.wg.Wait() })
	return l
}

func (l *sendLoad) counts() (acked, refused, unsure int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.acked), len(l.refused), len(l.unsure)
}

// check ends the load and reads everything: what was acknowledged is there once, what was
// refused is not, and all replicas hold the same.
func (l *sendLoad) check(ctx context.Context, t *testing.T, cl *client.Client, d *startedDev) {
	t.Helper()
	l.stop()
	l.wg.Wait()
	acked, refused, unsure := l.counts()
	seen := make(map[string]int)
	rd, err := cl.NewReader(l.topic, client.FromPosition(client.Earliest()))
	require.NoError(t, err)
	defer rd.Close()
	for m, err := range rd.UntilEnd(ctx) {
		require.NoError(t, err)
		id, _, _ := strings.Cut(string(m.Body), ".")
		seen[id]++
	}
	for _, id := range l.acked {
		require.Equal(t, 1, seen[id], "%s was acknowledged", id)
	}
	for _, id := range l.refused {
		require.Zero(t, seen[id], "%s was refused", id)
	}
	for _, id := range l.unsure {
		require.LessOrEqual(t, seen[id], 1, "%s is unknown", id)
	}
	var again devCluster
	b, err := os.ReadFile(filepath.Join(d.dir, clusterFile))
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(b, &again))
	same, err := digestsAgree(ctx, &again, l.topic)
	require.NoError(t, err)
	require.True(t, same, "all replicas hold the same")
	t.Logf("%d acknowledged, each there once; %d refused, none there; %d unknown, none there twice", acked, refused, unsure)
}

// allRefused says that each sender was refused twice in a row, so that nothing is under way
// that was sent before messages were refused.
func (l *sendLoad) allRefused() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Min(l.noes[:]) >= 2
}

// metricOf reads a metric without labels.
func metricOf(t *testing.T, addr, name string) (v float64) {
	t.Helper()
	resp, err := http.Get("http://" + addr + "/metrics")
	require.NoError(t, err)
	defer resp.Body.Close()
	var b strings.Builder
	_, err = fmt.Fprint(&b, "\n")
	require.NoError(t, err)
	buf := make([]byte, 32<<10)
	for err == nil {
		var n int
		n, err = resp.Body.Read(buf)
		b.Write(buf[:n])
	}
	_, rest, ok := strings.Cut(b.String(), "\n"+name+" ")
	require.True(t, ok, name)
	fmt.Sscan(rest, &v)
	return v
}

// Three processes on three small disks under load. One disk is full to the last byte:
// sends go on. A second one too: sends are refused, all of them certainly not stored,
// and offsets are kept on; a node that is killed then starts on its full disk. There is
// room again: sends go on, nothing that was acknowledged is lost or doubled, nothing
// that was refused is there, and all replicas hold the same.
func TestFullDisks(t *testing.T) {
	if os.Getenv("RAFTMQ_TMPFS") == "" {
		t.Skip("mounts file systems: make rows")
	}
	dir := t.TempDir()
	var disks []*smallDisk
	for i := range 3 {
		disks = append(disks, mountSmallDisk(t, filepath.Join(dir, fmt.Sprintf("n%d", i+1)), 320<<20))
	}
	d := startTestDevIn(t, dir, "--disk-refuse-at", "95", "--disk-reserve", fmt.Sprint(32<<20), "--segment-bytes", fmt.Sprint(4<<20))
	nodes := d.nodes(t)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cl, err := client.Dial(ctx, client.WithEndpoints(nodes[0].Nameserver, nodes[1].Nameserver, nodes[2].Nameserver))
	require.NoError(t, err)
	defer cl.Close(context.Background())
	require.NoError(t, cl.Admin().CreateTopic(ctx, client.TopicConfig{Name: "t", Queues: 1}))
	await := func(what string, ok func() bool) {
		t.Helper()
		for !ok() {
			select {
			case <-time.After(50 * time.Millisecond):
			case <-ctx.Done():
				for _, n := range nodes {
					t.Logf("%s: %s\n%s", n.Name, readyReason(context.Background(), n.HTTP), lastLines(n.Log, 8))
				}
				t.Fatalf("never: %s", what)
			}
		}
	}
	l := startLoad(t, cl, "t")
	more := func(what string) {
		t.Helper()
		defer func() { a, r, u := l.counts(); t.Logf("%s: %d acknowledged, %d refused, %d unknown", what, a, r, u) }()
		before, _, _ := l.counts()
		await(what, func() bool { now, _, _ := l.counts(); return now > before+500 })
	}
	more("sends are acknowledged")

	disks[2].fill(0)
	await("n3 says that it is full", func() bool { return metricOf(t, nodes[2].HTTP, "raftmq_disk_level") == 3 })
	more("sends go on while one disk is full")

	disks[1].fill(0)
	refusing := func() (n float64) {
		for _, x := range nodes {
			n += metricOf(t, x.HTTP, "raftmq_partitions_refusing")
		}
		return n
	}
	await("all partitions refuse messages", func() bool { return refusing() == 3 })
	await("sends are refused, all of them", l.allRefused)
	acked, refused, _ := l.counts()
	disks[1].fill(0) // also what the reserve gave
	disks[2].fill(0)
	log := func(what string) {
		a, r, u := l.counts()
		t.Logf("%s: %d acknowledged, %d refused, %d unknown", what, a, r, u)
	}
	log("two full")
	conn, err := remoting.Dial(ctx, nodes[0].Listeners[0], remoting.DialOptions{})
	require.NoError(t, err)
	defer conn.Close()
	commit := func(off int64) {
		t.Helper()
		reply, err := conn.Call(ctx, remoting.NewRequest(remoting.UpdateConsumerOffset, remoting.UpdateOffsetHeader{ConsumerGroup: "g", Topic: "t", CommitOffset: off}))
		require.NoError(t, err)
		require.Equal(t, remoting.OK, reply.Code, reply.Remark)
	}
	for off := range int64(100) {
		commit(off + 1)
	}
	await("sends go on being refused", func() bool { _, n, _ := l.counts(); return n > refused+6 })
	for _, verb := range []string{"kill", "restart"} {
		code, _, errs := raftmq(t, "dev", verb, "n3", "--data", d.dir)
		require.Equal(t, exitOK, code, errs)
	}
	log("restarted")
	commit(101)
	now, _, _ := l.counts()
	require.Equal(t, acked, now, "nothing is acknowledged meanwhile")

	disks[1].empty()
	more("sends go on when there is room")
	disks[2].empty()
	more("sends go on")
	l.check(ctx, t, cl, d)
}
