package features

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/stretchr/testify/require"

	"raftmq/broker"
	"raftmq/client"
	"raftmq/internal/mqtest"
	"raftmq/internal/vfs"
	"raftmq/remoting"
)

var storage = []row{
	{name: "A51", about: "the commit log is one file after the other", test: commitLogFiles},
	{name: "A52", about: "consume queues", test: rebuilt(".q"), own: true},
	{name: "A53", about: "index files", test: rebuilt(".keys"), own: true},
	{name: "A54", about: "memory-mapped files", test: mappedFiles},
	{name: "A55", about: "synced before it is acknowledged", test: powerCut},
	{name: "A56", about: "asynchronous flush", why: "there is none: what is acknowledged is synced on a majority"},
	{name: "A57", about: "flushDiskType", why: "there is no such setting, and an unknown one is refused (cmd/raftmq: AWrongFileIsRefused)"},
	{name: "A58", about: "the next segment is there before it is needed", test: preparedSegment},
	{name: "A59", about: "what is acknowledged can be consumed", test: indexedAtOnce},
	{name: "A60", about: "queues and index after a crash", test: afterCrashes, own: true},
	{name: "A61", about: "old files are deleted", test: expiry, own: true},
	{name: "A62", about: "a majority has it before it is acknowledged", test: majority, own: true},
	{name: "A63", about: "performance options", why: "docs/configuration.md has them, and is held against the program (cmd/raftmq: TheConfigurationReferenceIsTrue)"},
}

// files are those of a node's replica of a topic's one partition, by suffix.
func (w *world) files(node int, topic, suffix string) (paths []string) {
	w.Helper()
	paths, err := filepath.Glob(filepath.Join(w.folder(node, topic), "*"+suffix))
	require.NoError(w, err)
	return slices.DeleteFunc(paths, func(p string) bool { return filepath.Base(p) == "next.log" })
}

// fill sends MiB's worth of messages with keys, and returns how many.
func (w *world) fill(topic string, kib int) int {
	w.Helper()
	p := w.producer()
	body := bytes.Repeat([]byte("x"), 4<<10)
	for i := range kib / 4 {
		require.NoError(w, p.SendAsync(w.ctx, &client.Message{Topic: topic, Keys: []string{fmt.Sprint("key", i)}, Body: body}, func(_ client.Receipt, err error) {
			if err != nil {
				w.Error(err)
			}
		}))
	}
	require.NoError(w, p.Flush(w.ctx))
	return kib / 4
}

func commitLogFiles(w *world) {
	topic := w.topic(client.TopicConfig{Partitions: 1, Queues: 1})
	w.fill(topic, 3<<10)
	w.until("it has some segments", func() bool { return len(w.files(0, topic, ".log")) >= 3 })
	end := int64(0)
	for i, path := range w.files(0, topic, ".log") {
		start, err := strconv.ParseInt(strings.TrimSuffix(filepath.Base(path), ".log"), 10, 64)
		require.NoError(w, err)
		if i > 0 {
			require.Equal(w, end, start, "a segment is named by the position at which the one before ends")
		}
		info, err := os.Stat(path)
		require.NoError(w, err)
		require.Positive(w, info.Size())
		end = start + info.Size()
		if i+2 == len(w.files(0, topic, ".log")) {
			break // the last is longer than what is in it
		}
	}
}

// rebuilt takes a node's files of one kind away while it is stopped, has it lead, and asks
// it for what they tell.
func rebuilt(suffix string) func(*world) {
	return func(w *world) {
		topic := w.topic(client.TopicConfig{Partitions: 1, Queues: 1})
		slot := w.slot(topic)
		n := w.fill(topic, 3<<10)
		node := w.leader(topic)
		w.files(node, topic, suffix) // so that the folder is known while the node is stopped
		w.stop(w, node)
		paths := w.files(node, topic, suffix)
		if !w.full() { // after -9 there may be none yet: then too it is built from the log
			require.NotEmpty(w, paths)
		}
		was := make(map[string][]byte)
		for _, path := range paths {
			b, err := os.ReadFile(path)
			require.NoError(w, err)
			was[path] = b
			require.NoError(w, os.Remove(path))
		}
		w.run(w, node)
		for other := range w.data { // it is to lead
			if other != node && w.leads(w.ctx, other, topic) {
				w.stop(w, other)
				w.run(w, other)
			}
		}
		r := w.raw(w.listener(node, slot))
		for at := 0; at < n; {
			reply := r.OK(remoting.PullMessage, pullOf(topic, 0, int64(at)), nil)
			rs := mqtest.Records(w, reply.Body)
			require.NotEmpty(w, rs)
			for _, rec := range rs {
				require.EqualValues(w, at, rec.QueueOffset())
				at++
			}
		}
		for _, i := range []int{0, n / 2, n - 1} {
			reply := r.OK(remoting.QueryMessage, fields{"topic": topic, "key": fmt.Sprint("key", i), "maxNum": "32", "beginTimestamp": "0", "endTimestamp": "9999999999999"}, nil)
			require.Len(w, mqtest.Records(w, reply.Body), 1)
		}
		w.until("the files are there again", func() bool {
			for path, want := range was {
				b, err := os.ReadFile(path)
				if err != nil || suffix == ".keys" && !bytes.Equal(b, want) {
					return false
				}
			}
			return true
		})
	}
}

func mappedFiles(w *world) {
	if runtime.GOOS != "linux" {
		w.Skip("needs /proc")
	}
	topic := w.topic(client.TopicConfig{Partitions: 1, Queues: 1})
	w.send(topic, 1)
	maps := "/proc/self/maps"
	if w.full() {
		maps = fmt.Sprintf("/proc/%d/maps", w.there.Nodes[0].PID())
	}
	w.until("the commit log is mapped", func() bool {
		b, err := os.ReadFile(maps)
		require.NoError(w, err)
		return bytes.Contains(b, []byte(w.files(0, topic, ".log")[0]))
	})
}

// powerCut is on disks that lose what was not synced, which are in memory.
func powerCut(w *world) {
	var disks []vfs.FS
	for i := range 3 {
		disks = append(disks, vfs.NewMem(uint64(i)))
	}
	c := mqtest.StartOn(w, disks, func(cfg *broker.Config) { cfg.SegmentBytes = 64 << 10 })
	on := newWorld(w.T, &cluster{here: c}, w.row)
	topic := on.topic(client.TopicConfig{Partitions: 1, Queues: 1})
	on.send(topic, 200)
	for i := range disks {
		c.Disks[i] = disks[i].(*vfs.Mem).CrashClone(uint64(i))
	}
	for i := range disks {
		c.Stop(i) // on the disks that are no more
	}
	for i := range disks {
		c.Run(i)
	}
	for i := range disks {
		c.Await(i)
	}
	on = newWorld(w.T, &cluster{here: c}, w.row)
	got := on.bodies(topic)
	require.Len(w, got, 200)
	for body, times := range got {
		require.Equal(w, 1, times, body)
	}
}

func preparedSegment(w *world) {
	topic := w.topic(client.TopicConfig{Partitions: 1, Queues: 1})
	w.until("the next segment is there", func() bool {
		w.fill(topic, 20)
		next, err := filepath.Glob(filepath.Join(w.folder(0, topic), "next.log"))
		return err == nil && len(next) == 1
	})
	was := len(w.files(0, topic, ".log"))
	w.fill(topic, 1200)
	w.until("it is in use", func() bool { return len(w.files(0, topic, ".log")) > was })
}

func indexedAtOnce(w *world) {
	topic := w.topic(client.TopicConfig{Partitions: 1, Queues: 1})
	p := w.producer()
	for i := range 50 {
		_, err := p.Send(w.ctx, &client.Message{Topic: topic, Body: []byte(strconv.Itoa(i))})
		require.NoError(w, err)
		ds := w.read(topic, client.FromPosition(client.AtOffset(int64(i))))
		require.Len(w, ds, 1, "what is acknowledged is read by whoever asks then")
		require.Equal(w, strconv.Itoa(i), string(ds[0].Body))
	}
}

func afterCrashes(w *world) {
	topic := w.topic(client.TopicConfig{Queues: 1})
	var (
		acked atomic.Int64
		last  = int64(-1)
	)
	ctx, cancel := context.WithCancel(w.ctx)
	done := make(chan map[string]bool)
	go func() {
		sent := make(map[string]bool)
		p := w.producer()
		for i := 0; ctx.Err() == nil; i++ {
			body := strconv.Itoa(i)
			if _, err := p.Send(w.ctx, &client.Message{Topic: topic, Body: []byte(body)}); err != nil {
				w.Errorf("message %d: %v", i, err)
				break
			}
			sent[body] = true
			acked.Add(1)
		}
		done <- sent
	}()
	for i := range w.n(2, 30) { // nodes of this process come back on other ports: one must stay known
		w.until("the load gets on", func() bool { return acked.Load() > last+20 })
		last = acked.Load()
		w.stop(w, i%3)
		w.run(w, i%3)
	}
	cancel()
	sent := <-done
	w.cl = w.dial() // nodes of this process come back on other ports
	got := newSeen()
	w.consume(w.row, topic, got.handle)
	w.until("all are consumed", func() bool { return got.kinds() == len(sent) })
	stored := w.bodies(topic)
	require.ElementsMatch(w, slices.Collect(maps.Keys(sent)), slices.Collect(maps.Keys(stored)))
	for body, times := range stored {
		require.Equal(w, 1, times, body)
	}
}

func expiry(w *world) {
	const keep = 1200 << 10
	topic := w.topic(client.TopicConfig{Partitions: 1, Queues: 1, Attributes: map[string]string{"retention-bytes": strconv.Itoa(keep)}})
	other := w.topic(client.TopicConfig{Partitions: 1, Queues: 1})
	n := w.fill(topic, 5<<10)
	w.fill(other, 5<<10)
	var low int64
	w.until("the oldest are gone", func() bool {
		stats, err := w.cl.Admin().TopicStats(w.ctx, topic)
		require.NoError(w, err)
		low = stats[0].Min
		return low > 0
	})
	ds := w.read(topic)
	require.GreaterOrEqual(w, len(ds)*4<<10, keep*9/10, "what is within the limit stays")
	require.EqualValues(w, n-1, ds[len(ds)-1].Offset)
	// Who is below is told where it begins.
	reply := w.raw(w.listener(0, w.slot(topic))).Led(remoting.PullMessage, pullOf(topic, 0, 0), nil)
	require.Equal(w, remoting.PullOffsetMoved, reply.Code)
	require.NotEqual(w, "0", reply.Ext["nextBeginOffset"])
	for node := range w.data {
		w.until("every replica deletes", func() bool { return len(w.files(node, topic, ".log")) < len(w.files(node, other, ".log")) })
	}
	stats, err := w.cl.Admin().TopicStats(w.ctx, other)
	require.NoError(w, err)
	require.Zero(w, stats[0].Min)
}

func majority(w *world) {
	topic := w.topic(client.TopicConfig{Partitions: 1, Queues: 1})
	w.send(topic, 5)
	for node := range w.data[:2] {
		w.stop(w, node)
	}
	p, err := w.cl.NewProducer("p", client.WithSendTimeout(time.Duration(w.n(500, 3000))*time.Millisecond))
	require.NoError(w, err)
	_, err = p.Send(w.ctx, &client.Message{Topic: topic, Body: []byte("alone")})
	require.Error(w, err, "one of three acknowledges nothing")
	w.run(w, 0)
	_, err = w.producer().Send(w.ctx, &client.Message{Topic: topic, Body: []byte("two")})
	require.NoError(w, err)
	w.run(w, 1)
	got := w.bodies(topic)
	require.Equal(w, 1, got["two"])
	require.LessOrEqual(w, got["alone"], 1)
}
