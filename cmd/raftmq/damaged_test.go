package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftmq/client"
	"raftmq/message"
	"raftmq/remoting"
)

// damageLoad sends to one queue and reads it again, by offset through each node and by
// key, all the time, and compares what it gets with what was sent.
type damageLoad struct {
	t     *testing.T
	nodes []clusterNode
	slot  int
	cl    *client.Client
	wg    sync.WaitGroup

	mu    sync.Mutex
	acked []int64 // offset of message i; -1: unknown
	at    map[int64]int
	wrong []string
	reads int
}

const damageTopic = "damaged"

func damageBody(i int) string { return fmt.Sprint(i, strings.Repeat(string(rune('a'+i%26)), 1000)) }

func (l *damageLoad) send(ctx context.Context) {
	p, err := l.cl.NewProducer("load", client.WithSendTimeout(10*time.Second))
	if err != nil {
		l.t.Error(err)
		return
	}
	for i := 0; ctx.Err() == nil; i++ {
		r, err := p.Send(l.t.Context(), &client.Message{Topic: damageTopic, Body: []byte(damageBody(i)), Keys: []string{fmt.Sprint("k", i)}})
		l.mu.Lock()
		if err == nil {
			l.acked = append(l.acked, r.Offset)
			l.at[r.Offset] = i
		} else {
			l.acked = append(l.acked, -1)
		}
		l.mu.Unlock()
	}
}

// take checks one record, of a message that has an offset.
func (l *damageLoad) take(what string, rec message.Record, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.reads++
	if err == nil {
		i, ok := l.at[int64(rec.QueueOffset())]
		if ok && string(rec.Body()) == damageBody(i) || !ok { // what was not acknowledged is checked by its key
			return
		}
		err = fmt.Errorf("offset %d has %.20q, message %d was stored there", rec.QueueOffset(), rec.Body(), i)
	}
	l.wrong = append(l.wrong, what+": "+err.Error())
}

// read asks one node after the other. Refusals and lost connections are no answers.
func (l *damageLoad) read(ctx context.Context, n clusterNode) {
	for ctx.Err() == nil {
		conn, err := remoting.Dial(ctx, n.Listeners[l.slot], remoting.DialOptions{})
		for err == nil && ctx.Err() == nil {
			err = l.ask(ctx, conn, n.Name)
		}
		if conn != nil {
			conn.Close()
		}
		sleep(ctx, 20*time.Millisecond)
	}
}

func (l *damageLoad) ask(ctx context.Context, conn *remoting.Conn, node string) error {
	l.mu.Lock()
	n := len(l.acked)
	i := rand.IntN(max(1, n))
	if i%2 == 0 {
		i = min(i, rand.IntN(20)) // files decay near their beginning: readers meet it before the scrubber
	}
	off := int64(-1)
	if n > 0 {
		off = l.acked[i]
	}
	l.mu.Unlock()
	if off < 0 {
		return sleep(ctx, 5*time.Millisecond)
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	pull := remoting.PullHeader{ConsumerGroup: "g", Topic: damageTopic, MaxMsgNums: 8, QueueOffset: off, SysFlag: remoting.PullSubscription, Subscription: "*"}
	r, err := conn.Call(ctx, remoting.NewRequest(remoting.PullMessage, pull))
	if err != nil {
		return err
	}
	what := fmt.Sprintf("offset %d of %s", off, node)
	if r.Code == remoting.PullOffsetMoved {
		l.take(what, nil, fmt.Errorf("code %d: nothing was trimmed", r.Code))
	}
	for b := r.Body; r.Code == remoting.OK && len(b) > 0; {
		rec, err := message.ParseRecord(b)
		l.take(what, rec, err)
		if err != nil {
			break
		}
		b = b[len(rec):]
	}
	r, err = conn.Call(ctx, remoting.NewRequest(remoting.QueryMessage, remoting.QueryMessageHeader{Topic: damageTopic, Key: fmt.Sprint("k", i), MaxNum: 4, EndTimestamp: 1 << 60}))
	if err != nil {
		return err
	}
	what = fmt.Sprintf("key k%d of %s", i, node)
	switch r.Code {
	case remoting.QueryNotFound:
		l.take(what, nil, fmt.Errorf("said not to be there"))
	case remoting.OK:
		rec, err := message.ParseRecord(r.Body)
		if err == nil && string(rec.Body()) != damageBody(i) {
			err = fmt.Errorf("%.20q", rec.Body())
		}
		l.take(what, rec, err)
	}
	return sleep(ctx, time.Millisecond)
}

// metricNow reads a metric; -1 if the node does not answer.
func metricNow(addr, name string) (v float64) {
	c := http.Client{Timeout: 2 * time.Second}
	resp, err := c.Get("http://" + addr + "/metrics")
	if err != nil {
		return -1
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	_, rest, ok := strings.Cut(string(b), "\n"+name+" ")
	if err != nil || !ok {
		return -1
	}
	fmt.Sscan(rest, &v)
	return v
}

// flip changes a byte of a file.
func flip(t *testing.T, name string, off int64) {
	t.Helper()
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	require.NoError(t, err)
	defer f.Close()
	var b [1]byte
	_, err = f.ReadAt(b[:], off)
	require.NoError(t, err)
	b[0] ^= 0x20
	_, err = f.WriteAt(b[:], off)
	require.NoError(t, err)
}

// walRecord finds the newest record of a kind of a group, but the log's last frames, by
// the layout in package raftlog.
func walRecord(t *testing.T, data string, group uint64, kind byte) (name string, at int64) {
	t.Helper()
	const firstFrame, frameHead = 8192, 40
	le := binary.LittleEndian
	files, err := filepath.Glob(filepath.Join(data, "wal", "*.wal"))
	require.NoError(t, err)
	latest := uint64(0)
	for _, file := range files {
		b, err := os.ReadFile(file)
		require.NoError(t, err)
		for f := firstFrame; f+frameHead < len(b) && bytes.Equal(b[f:f+4], []byte("rmqF")) && le.Uint64(b[f+8:]) == le.Uint64(b[8:]); {
			length := int(le.Uint32(b[f+24:]))
			if f+frameHead+length > len(b) {
				break
			}
			for r := f + frameHead; r+24 < f+frameHead+length; r += int(max(24, le.Uint32(b[r:]))) {
				if b[r+8] == kind && le.Uint64(b[r+16:]) == group && le.Uint64(b[f+16:]) > latest {
					name, at, latest = file, int64(r), le.Uint64(b[f+16:])
				}
			}
			f += (frameHead + length + 7) &^ 7
		}
	}
	require.NotEmpty(t, name, "no record of kind %d", kind)
	return name, at
}

// Under load a byte decays on a real node's disk, in a file of each kind, while it runs
// and while it is stopped. Nothing wrong is ever served, and no key is said not to be
// there; each is healed, or the node ends with exit code 71 and is replaced. At the end all
// replicas are the same and have what was acknowledged.
func TestDamagedFilesOfRealProcesses(t *testing.T) {
	if os.Getenv("RAFTMQ_DAMAGE") == "" {
		t.Skip("RAFTMQ_DAMAGE is not set: see make rows")
	}
	d := startTestDev(t, "--segment-bytes", "262144", "--scrub-rate", "268435456", "--scrub-every", "1s", "--digest-interval", "2s")
	nodes := d.nodes(t)
	cl, err := client.Dial(t.Context(), client.WithEndpoints(nodes[0].Nameserver, nodes[1].Nameserver, nodes[2].Nameserver))
	require.NoError(t, err)
	defer cl.Close(context.Background())
	require.NoError(t, cl.Admin().CreateTopic(t.Context(), client.TopicConfig{Name: damageTopic, Partitions: 1, Queues: 1}))
	until := func(what string, ok func() bool) {
		t.Helper()
		for deadline := time.Now().Add(patience); !ok(); {
			if time.Now().After(deadline) {
				for _, n := range nodes {
					t.Log(lastLines(n.Log, 8))
				}
				t.Fatalf("never: %s", what)
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
	var group uint64
	info := func(n clusterNode) (digest, state string, applied uint64) {
		infos, _ := partitionsOf(&devNode{HTTP: n.HTTP})
		for _, p := range infos {
			if p.Topic == damageTopic {
				group = p.ID
				return p.Digest, p.State, p.Applied
			}
		}
		return "", "", 0
	}
	l := &damageLoad{t: t, nodes: nodes, cl: cl, at: make(map[int64]int)}
	until("the topic has a leader", func() bool {
		for _, n := range nodes {
			infos, _ := partitionsOf(&devNode{HTTP: n.HTTP})
			for _, p := range infos {
				if p.Topic == damageTopic && p.State == "Leader" {
					l.slot = p.Slot
					return true
				}
			}
		}
		return false
	})
	ctx, stop := context.WithCancel(t.Context())
	defer func() { stop(); l.wg.Wait() }()
	l.wg.Go(func() { l.send(ctx) })
	for _, n := range nodes {
		l.wg.Go(func() { l.read(ctx, n) })
	}
	until("enough is stored", func() bool { l.mu.Lock(); defer l.mu.Unlock(); return len(l.acked) > 1500 })
	do := func(want int, verb, node string) string {
		code, _, errs := raftmq(t, "dev", verb, node, "--data", d.dir)
		require.Equal(t, want, code, "dev %s %s: %s", verb, node, errs)
		return errs
	}
	for _, n := range nodes { // with checkpoints, so that what is stored is scrubbed
		do(exitOK, "stop", n.Name)
		do(exitOK, "restart", n.Name)
	}
	partition := func(n clusterNode, pattern string) string {
		names, err := filepath.Glob(filepath.Join(n.Data, "partitions", fmt.Sprintf("%08d", group), pattern))
		require.NoError(t, err)
		require.NotEmpty(t, names)
		slices.Sort(names)
		return names[0]
	}
	leader := func() int {
		for i, n := range nodes {
			if _, state, _ := info(n); state == "Leader" {
				return i
			}
		}
		return -1
	}
	lost := 0
	for round, kind := range []string{"segment", "queue", "keys", "entry", "checkpoint"} {
		var i int
		until("the topic has a leader", func() bool { i = leader(); return i >= 0 })
		if round%2 == 1 {
			i = (i + 1) % 3
		}
		n := nodes[i]
		do(exitOK, "stop", n.Name)
		do(exitOK, "restart", n.Name)
		found, healed := "raftmq_damage_found_total", "raftmq_repairs_total"
		switch kind {
		case "segment":
			flip(t, partition(n, "*.log"), 9500)
		case "queue":
			flip(t, partition(n, "*.q"), 64+32*5+3)
		case "keys":
			flip(t, partition(n, "*.keys"), 32+16*3+2)
			healed = found
		default:
			found, healed = "raftmq_wal_damage_found_total", "raftmq_wal_healed_total"
			what := map[string]byte{"entry": 1, "checkpoint": 5}[kind]
			name, at := walRecord(t, n.Data, group, what)
			flip(t, name, at+60)
		}
		ended := false
		until(kind+" of "+n.Name+" is found and healed", func() bool {
			p := d.nodes(t)[i].PID
			ended = !running(p)
			return ended || metricNow(n.HTTP, found) >= 1 && metricNow(n.HTTP, healed) >= 1 && metricNow(n.HTTP, "raftmq_partitions_quarantined") == 0
		})
		if ended {
			lost++
			require.Contains(t, lastLines(n.Log, 100), "write-ahead log damaged")
			require.NoError(t, os.RemoveAll(n.Data))
			do(exitOK, "restart", n.Name)
		}
		until(n.Name+" is ready", func() bool { return readyReason(ctx, n.HTTP) == "" })
	}

	// Stopped: it does not start, and is replaced.
	n := nodes[2]
	do(exitOK, "stop", n.Name)
	name, at := walRecord(t, n.Data, group, 5)
	flip(t, name, at+60)
	server := []string{"server", "--node", n.Name, "--data", n.Data, "--initial-nodes", "n1,n2,n3", "--nameserver-port", "-1", "--listen-port", "-1", "--raft-port", "-1",
		"--gossip-port", "-1", "--http-port", "-1", "--segment-bytes", "262144", "--wal-segment-bytes", "16777216", "--wal-segments", "5", "--max-body", "1048576"}
	identity, err := os.ReadFile(filepath.Join(n.Data, "node.json"))
	require.NoError(t, err)
	_, rest, _ := strings.Cut(string(identity), `"cluster":"`)
	cluster, _, _ := strings.Cut(rest, `"`)
	code, _, errs := raftmq(t, append(server, "--cluster", cluster)...)
	require.Equal(t, exitDamaged, code, errs)
	require.Contains(t, errs, name)
	flip(t, filepath.Join(n.Data, "node.json"), 20)
	code, _, errs = raftmq(t, append(server, "--cluster", cluster)...)
	require.Equal(t, exitDamaged, code, errs)
	require.Contains(t, errs, "node.json")
	require.NoError(t, os.RemoveAll(n.Data))
	do(exitOK, "restart", n.Name)

	stop()
	l.wg.Wait()
	until("all replicas are the same", func() bool {
		d0, _, a0 := info(nodes[0])
		d1, _, a1 := info(nodes[1])
		d2, _, a2 := info(nodes[2])
		return d0 != "" && d0 == d1 && d1 == d2 && a0 == a1 && a1 == a2
	})
	require.Empty(t, l.wrong)

	endpoint := []string{"--endpoint", nodes[0].Nameserver}
	code, out, errs := raftmq(t, append(endpoint, "cluster", "repair", fmt.Sprint(group))...)
	require.Equal(t, exitOK, code, errs)
	require.Equal(t, 3, strings.Count(out, "sound"), out)
	code, _, errs = raftmq(t, append(endpoint, "cluster", "repair", fmt.Sprint(group), "--truth", "n1")...)
	require.Equal(t, exitUsage, code)
	require.Contains(t, errs, "add --yes")
	code, _, errs = raftmq(t, append(endpoint, "cluster", "repair", fmt.Sprint(group), "--truth", "n1", "--yes")...)
	require.Equal(t, exitConflict, code)
	require.Contains(t, errs, "is sound, and counts")

	known := 0
	for _, n := range nodes {
		conn, err := remoting.Dial(t.Context(), n.Listeners[l.slot], remoting.DialOptions{})
		require.NoError(t, err)
		defer conn.Close()
		last := slices.Max(l.acked)
		for off := int64(0); off <= last; {
			pull := remoting.PullHeader{ConsumerGroup: "g", Topic: damageTopic, MaxMsgNums: 32, QueueOffset: off, SysFlag: remoting.PullSubscription, Subscription: "*"}
			r, err := conn.Call(t.Context(), remoting.NewRequest(remoting.PullMessage, pull))
			require.NoError(t, err)
			require.Equal(t, remoting.OK, r.Code, "offset %d of %s: %s", off, n.Name, r.Remark)
			for b := r.Body; len(b) > 0; off++ {
				rec, err := message.ParseRecord(b)
				require.NoError(t, err)
				require.EqualValues(t, off, rec.QueueOffset())
				if i, ok := l.at[off]; ok {
					require.Equal(t, damageBody(i), string(rec.Body()))
					known++
				}
				b = b[len(rec):]
			}
		}
	}
	require.GreaterOrEqual(t, known, 3*len(l.at))
	t.Logf("%d messages, %d answers compared, %d nodes replaced because of a running log", len(l.at), l.reads, lost)
}
