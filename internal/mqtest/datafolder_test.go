package mqtest

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftmq/broker"
	"raftmq/remoting"
)

// Data folders as released versions wrote them: testdata/datafolder-vN.tar.gz is the
// folder of a cluster of one node that ended as by kill -9, datafolder-vN.json what
// is in it. They are never changed: a version that writes another format adds one.
//
//	go test ./internal/mqtest -run DataFolder -rewrite
//
// writes the one of folderVersion anew.
var rewrite = flag.Bool("rewrite", false, "write testdata/datafolder-v"+folderVersion+" anew")

const folderVersion = "1"

// folderTimes are when the folders were written: a producer is remembered for a day, and
// messages are kept for some.
var folderTimes = map[string]time.Time{"1": time.Date(2026, 11, 28, 22, 54, 0, 0, time.UTC)}

// folderContent is what a data folder must give back.
type folderContent struct {
	Cluster  string          `json:"cluster"`
	Messages []folderMessage `json:"messages"`
	Offsets  []folderOffset  `json:"offsets"`
	Topic    json.RawMessage `json:"topic"` // settings of orders
	Group    json.RawMessage `json:"group"` // settings of billing
	Value    string          `json:"value"` // of n, k
	Producer string          `json:"producer"`
	Last     fields          `json:"last"` // the last send's receipt, of sequence 9
}

type folderMessage struct {
	Slot       int    `json:"slot"`
	Queue      int    `json:"queue"`
	Offset     int64  `json:"offset"`
	Body       string `json:"body"` // without the x at its end
	Pad        int    `json:"pad"`  // how many there are
	Properties string `json:"properties"`
}

type folderOffset struct {
	Slot   int   `json:"slot"`
	Queue  int   `json:"queue"`
	Offset int64 `json:"offset"`
}

// folderNode is the configuration of the folder's node; in, if not nil, is its archive.
func folderNode(t *testing.T, in []byte) func(*broker.Config) {
	return func(cfg *broker.Config) {
		cfg.Cluster, cfg.Slots, cfg.SegmentBytes = "datafolder", 2, 64<<10
		if in != nil {
			unpack(t, in, cfg.Data)
			in = nil
		}
	}
}

// What earlier versions stored is there, whole: messages, receipts, offsets, settings.
func TestDataFoldersOfEarlierVersionsAreRead(t *testing.T) {
	t.Parallel()
	if *rewrite {
		writeFolder(t)
	}
	archives, err := filepath.Glob("testdata/datafolder-v*.tar.gz")
	require.NoError(t, err)
	require.NotEmpty(t, archives)
	for _, name := range archives {
		t.Run(filepath.Base(name), func(t *testing.T) {
			in, err := os.ReadFile(name)
			require.NoError(t, err)
			var want folderContent
			b, err := os.ReadFile(strings.TrimSuffix(name, ".tar.gz") + ".json")
			require.NoError(t, err)
			require.NoError(t, json.Unmarshal(b, &want))
			at := folderTimes[strings.TrimSuffix(strings.TrimPrefix(filepath.Base(name), "datafolder-v"), ".tar.gz")]
			require.False(t, at.IsZero(), "when was it written?")
			c := startThen(t, 1, at, folderNode(t, in))
			readFolder(t, c, want)
			c.Stop(0) // cleanly, with checkpoints by this version
			c.Run(0)
			c.Await(0)
			readFolder(t, c, want)
		})
	}
}

// readFolder compares what c serves with want, and sends something that it takes back.
func readFolder(t *testing.T, c *Cluster, want folderContent) {
	t.Helper()
	var got folderContent
	for slot := range 2 {
		w := DialWire(t, c.listener(0, slot), 0)
		for q := range 2 {
			for _, m := range folderMessages(t, w, "orders", q) {
				m.Slot = slot
				got.Messages = append(got.Messages, m)
			}
			r := w.OK(remoting.QueryConsumerOffset, fields{"consumerGroup": "billing", "topic": "orders", "queueId": strconv.Itoa(q)}, nil)
			got.Offsets = append(got.Offsets, folderOffset{slot, q, num(t, r, "offset")})
		}
	}
	require.Equal(t, want.Messages, got.Messages)
	require.Equal(t, want.Offsets, got.Offsets)
	w := DialWire(t, c.listener(0, 0), 0)
	require.JSONEq(t, string(want.Topic), string(w.OK(remoting.GetTopicConfig, fields{"topic": "orders"}, nil).Body))
	require.JSONEq(t, string(want.Group), string(w.OK(remoting.GetSubscriptionGroup, fields{"group": "billing"}, nil).Body))
	require.Equal(t, want.Value, w.OK(remoting.GetKVConfig, fields{"namespace": "n", "key": "k"}, nil).Ext["value"])
	rs := Records(t, w.OK(remoting.QueryMessage, fields{"topic": "orders", "key": "key-0-0-3", "maxNum": "8", "beginTimestamp": "0", "endTimestamp": "9999999999999"}, nil).Body)
	require.Len(t, rs, 1)
	require.Contains(t, string(rs[0].Body()), "body 3 ")
	// A resend of what was stored then is known by its receipt, and the next is new.
	again := w.OK(remoting.SendMessageV2, folderSend(want.Producer, 9), []byte("idempotent 9"))
	require.Equal(t, "1", again.Ext["dup"])
	for _, k := range []string{"queueOffset", "queueId", "transactionId"} {
		require.Equal(t, want.Last[k], again.Ext[k], k)
	}
	end := num(t, w.OK(remoting.GetMaxOffset, fields{"topic": "probe", "queueId": "0"}, nil), "offset")
	r := w.OK(remoting.SendMessageV2, sendShort("probe", 0), []byte("x"))
	require.Equal(t, end, num(t, r, "queueOffset"))
}

func folderMessages(t *testing.T, w *Wire, topic string, queue int) (all []folderMessage) {
	t.Helper()
	end := num(t, w.OK(remoting.GetMaxOffset, fields{"topic": topic, "queueId": strconv.Itoa(queue)}, nil), "offset")
	for at := int64(0); at < end; {
		for _, rec := range Records(t, w.OK(remoting.PullMessage, pullOf(topic, queue, at), nil).Body) {
			require.EqualValues(t, at, rec.QueueOffset())
			body := strings.TrimRight(string(rec.Body()), "x")
			all = append(all, folderMessage{Queue: queue, Offset: at, Body: body, Pad: len(rec.Body()) - len(body), Properties: string(rec.Properties())})
			at++
		}
	}
	return all
}

func folderSend(producer string, seq int) fields {
	return with(sendShort("orders", 0), "pid", producer, "pep", "0", "seq", strconv.Itoa(seq))
}

// writeFolder makes the folder: half of everything is covered by a checkpoint, half
// is in the write-ahead log only.
func writeFolder(t *testing.T) {
	c := Start(t, 1, folderNode(t, nil))
	content := folderContent{Cluster: "datafolder", Value: "v\n\x01", Producer: strings.Repeat("5a", 16)}
	c.createTopic(t, with(topicOf("orders", 2), "perm", "6"))
	c.createTopic(t, topicOf("probe", 1))
	n := 0
	fill := func(from int) {
		for slot := range 2 {
			w := DialWire(t, c.listener(0, slot), 0)
			for q := range 2 {
				for i := from; i < from+12; i++ {
					props := fmt.Sprintf("KEYS\x01key-%d-%d-%d\x02TAGS\x01tag%d\x02own\x01value\x02UNIQ_KEY\x01U%d%d%d\x02", slot, q, i, i%3, slot, q, i)
					body := fmt.Sprintf("body %d of queue %d in slot %d %s", i, q, slot, strings.Repeat("x", 997*i%4096))
					w.OK(remoting.SendMessageV2, with(sendShort("orders", q), "i", props), []byte(body))
					n++
				}
				w.OK(remoting.UpdateConsumerOffset, fields{"consumerGroup": "billing", "topic": "orders", "queueId": strconv.Itoa(q), "commitOffset": strconv.Itoa(from + 3 + q)}, nil)
			}
		}
		w := DialWire(t, c.listener(0, 0), 0)
		for i := range 5 {
			content.Last = w.OK(remoting.SendMessageV2, folderSend(content.Producer, from/12*5+i), fmt.Appendf(nil, "idempotent %d", from/12*5+i)).Ext
		}
	}
	w := DialWire(t, c.listener(0, 0), 0)
	w.OK(remoting.UpdateSubscriptionGroup, nil, []byte(`{"groupName":"billing","retryMaxTimes":7,"consumeBroadcastEnable":false}`))
	fill(0)
	c.Stop(0)
	c.Run(0)
	c.Await(0)
	w = DialWire(t, c.listener(0, 0), 0)
	w.OK(remoting.PutKVConfig, fields{"namespace": "n", "key": "k", "value": content.Value}, nil)
	fill(12)
	for slot := range 2 {
		w := DialWire(t, c.listener(0, slot), 0)
		for q := range 2 {
			for _, m := range folderMessages(t, w, "orders", q) {
				m.Slot = slot
				content.Messages = append(content.Messages, m)
			}
			content.Offsets = append(content.Offsets, folderOffset{slot, q, int64(12 + 3 + q)})
		}
	}
	require.Len(t, content.Messages, n+10)
	content.Topic = w.OK(remoting.GetTopicConfig, fields{"topic": "orders"}, nil).Body
	content.Group = w.OK(remoting.GetSubscriptionGroup, fields{"group": "billing"}, nil).Body
	at := "testdata/datafolder-v" + folderVersion
	b, err := json.MarshalIndent(content, "", " ") // to be read in reviews
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(at+".json", append(b, '\n'), 0o644))
	packed := pack(t, c.dirs[0]) // nothing is being written
	require.Less(t, len(packed), 300<<10)
	require.NoError(t, os.WriteFile(at+".tar.gz", packed, 0o644))
}

// pack archives the regular files below dir, but locks.
func pack(t *testing.T, dir string) []byte {
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	require.NoError(t, err)
	out := tar.NewWriter(z)
	require.NoError(t, filepath.WalkDir(dir, func(name string, e os.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() || e.Name() == "lock" {
			return err
		}
		content, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, name)
		if err == nil {
			err = out.WriteHeader(&tar.Header{Name: filepath.ToSlash(rel), Mode: 0o640, Size: int64(len(content))})
		}
		if err == nil {
			_, err = out.Write(content)
		}
		return err
	}))
	require.NoError(t, out.Close())
	require.NoError(t, z.Close())
	return b.Bytes()
}

func unpack(t *testing.T, in []byte, dir string) {
	z, err := gzip.NewReader(bytes.NewReader(in))
	require.NoError(t, err)
	r := tar.NewReader(z)
	var names []string
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		require.True(t, filepath.IsLocal(h.Name), h.Name)
		name := filepath.Join(dir, h.Name)
		require.NoError(t, os.MkdirAll(filepath.Dir(name), 0o750))
		b, err := io.ReadAll(r)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(name, b, 0o640))
		names = append(names, h.Name)
	}
	require.True(t, slices.Contains(names, "node.json"))
}
