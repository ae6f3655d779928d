package mqtest

import (
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftmq/broker"
	"raftmq/message"
	"raftmq/remoting"
)

// oneNode is a cluster of a node that keeps little for its clients, and how much that is.
func oneNode(t *testing.T) (c *Cluster, w *Wire, most int64) {
	t.Helper()
	if raceDetector {
		t.Skip("the race detector keeps memory of its own")
	}
	settings := broker.Config{MaxConnections: 70, MaxRequestBytes: 20 << 20, MaxReplyBytes: 64 << 20}
	c = Start(t, 1, func(cfg *broker.Config) {
		largest(cfg)
		cfg.MaxConnections, cfg.MaxRequestBytes, cfg.MaxReplyBytes = settings.MaxConnections, settings.MaxRequestBytes, settings.MaxReplyBytes
	})
	c.createTopic(t, topicOf("t", 1))
	return c, DialWire(t, c.listener(0, 0), remoting.Binary), settings.ClientMemory()
}

// flood sends requests at once, and returns how many are answered OK and how much more memory is
// in use meanwhile, at worst.
func (w *Wire) flood(code remoting.Code, body []byte, ext ...fields) (done int, worst int64) {
	w.t.Helper()
	held := func() int64 { // what is alive, after a collection
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	before := held()
	answered := make(chan int)
	go func() {
		done, first := 0, true
		for range ext {
			r, err := w.Read()
			if err != nil {
				w.t.Error(err)
				break
			}
			if r.Code == remoting.OK {
				done++
			} else if first {
				w.t.Logf("%d: %s", r.Code, r.Remark)
				first = false
			}
		}
		answered <- done
	}()
	go func() {
		for i, e := range ext {
			b, err := remoting.AppendCommand(nil, &remoting.Command{Code: code, Opaque: int32(1<<20 + i), Ext: e, Body: body, Serial: remoting.Binary})
			if err == nil {
				_, err = w.nc.Write(b)
			}
			if err != nil {
				w.t.Error(err)
				return
			}
		}
	}()
	for {
		select {
		case done = <-answered:
			w.t.Logf("%d MiB more than before at worst; %d of %d were done", worst>>20, done, len(ext))
			return done, worst
		case <-time.After(time.Millisecond):
			worst = max(worst, held()-before)
		}
	}
}

func times(n int, ext fields) (all []fields) {
	for range n {
		all = append(all, ext)
	}
	return all
}

// A request with opaque numbers that are in use frees nothing that another takes.
func TestAOnewayRequestGivesBackNoOthersBytes(t *testing.T) {
	c, w, _ := oneNode(t)
	const pulls = 100
	held := with(pullOf("t", 0, 0), "sysFlag", "6", "suspendTimeoutMillis", "60000")
	var frames []byte
	for i := range int32(pulls) {
		for _, c := range []*remoting.Command{
			{Code: remoting.PullMessage, Opaque: 1<<20 + i, Ext: held, Body: make([]byte, 300<<10)},
			{Code: remoting.ConsumerSendMessageBack, Opaque: 1<<20 + i, Flag: remoting.FlagOneway},
			{Code: remoting.GetMaxOffset, Opaque: i, Ext: fields{"topic": "t", "queueId": "0"}},
		} {
			b, err := remoting.AppendCommand(nil, c)
			require.NoError(t, err)
			frames = append(frames, b...)
		}
	}
	w.serial = remoting.JSON
	go w.nc.Write(frames)
	for i := range int32(pulls) {
		w.Reply(i) // what came before it is held by now, or refused
	}
	DialWire(t, c.listener(0, 0), remoting.JSON).OK(remoting.SendMessageV2, sendShort("t", 0), []byte("they wake"))
	refused := 0
	for i := range int32(pulls) {
		if r := w.Reply(1<<20 + i); r.Code == remoting.SystemBusy {
			refused++
		}
	}
	require.Greater(t, refused, pulls/4, "20 MiB have room for some sixty")
}

// A node that has no room for a request does not say so where stock clients would take that for another answer: a message
// that is put back, a group's offset, the members of a group. Clients of ours are told.
func TestWhatStockClientsMistakeIsNotSaidByANodeWithoutRoom(t *testing.T) {
	c, w, _ := oneNode(t)
	pad := strings.Repeat("x", 1<<10) // so that none is shorter than the pulls that have the room
	end := fields{"topic": "t", "queueId": "0", "pad": pad}
	var frames []byte
	add := func(opaque int32, code remoting.Code, ext fields, body int) {
		b, err := remoting.AppendCommand(frames, &remoting.Command{Code: code, Opaque: opaque, Ext: ext, Body: make([]byte, body), Serial: remoting.Binary})
		require.NoError(t, err)
		frames = b
	}
	held := with(pullOf("t", 0, 0), "sysFlag", "6", "suspendTimeoutMillis", "60000")
	for i := range int32(100) { // some sixty have room
		add(1<<20+i, remoting.PullMessage, held, 300<<10)
	}
	for i := range int32(200) { // and of these what is left
		add(1<<21+i, remoting.PullMessage, held, 0)
	}
	const last = 1 << 22
	add(last, remoting.GetMaxOffset, end, 0)
	go w.nc.Write(frames)
	require.Equal(t, remoting.SystemBusy, w.Reply(last).Code)

	x := DialWire(t, c.listener(0, 0), remoting.Binary)
	mistaken := map[remoting.Code]fields{
		remoting.ConsumerSendMessageBack: {"group": "g", "offset": "0", "delayLevel": "0", "pad": pad},
		remoting.QueryConsumerOffset:     with(end, "consumerGroup", "g"),
		remoting.GetConsumerListByGroup:  {"consumerGroup": "g", "pad": pad},
	}
	for code, ext := range mistaken {
		x.Send(code, ext, nil)
	}
	opaque := x.Send(remoting.GetMaxOffset, end, nil)
	r, err := x.Read()
	require.NoError(t, err)
	require.Equal(t, []any{opaque, remoting.SystemBusy}, []any{r.Opaque, r.Code}, "the first that is answered")
	for code, ext := range mistaken {
		require.Equal(t, remoting.SystemBusy, x.ask(code, with(ext, "rmq", "1"), nil).Code, "%d", code)
	}
}

// A request to put a message back is short, and the message may be long: many at once do not take
// more memory than the settings say.
func TestLongMessagesThatArePutBackTakeTurns(t *testing.T) {
	_, w, most := oneNode(t)
	r := w.put(sendShort("t", 0), make([]byte, message.MaxBody))
	rec := Records(t, w.OK(remoting.PullMessage, pullOf("t", 0, num(t, r, "queueOffset")), nil).Body)[0]
	back := fields{"group": "g", "offset": strconv.FormatInt(rec.PhysicalOffset(), 10), "delayLevel": "3", "maxReconsumeTimes": "16", "rmq": "1"}
	w.OK(remoting.ConsumerSendMessageBack, back, nil)
	var all []fields
	for i := range 200 {
		all = append(all, with(back, "delivery", strconv.FormatInt(int64(i+1), 16)))
	}
	done, worst := w.flood(remoting.ConsumerSendMessageBack, nil, all...)
	require.Positive(t, done)
	require.LessOrEqual(t, worst, 2*most)
}

// A pull that is held and filters by tags takes no more memory than its text.
func TestPullsThatAreHeldKeepNoFilters(t *testing.T) {
	_, w, most := oneNode(t)
	var tags strings.Builder
	for i := range 30000 {
		tags.WriteString(strconv.FormatInt(int64(i), 36) + "||")
	}
	h := remoting.HeartbeatData{ClientID: "c", ConsumerDataSet: []remoting.ConsumerData{{GroupName: "g", MessageModel: remoting.Clustering,
		SubscriptionDataSet: []remoting.SubscriptionData{{ExpressionType: "TAG", SubString: tags.String(), SubVersion: 1, Topic: "t"}}}}}
	w.OK(remoting.Heartbeat, nil, remoting.EncodeBody(h))
	end := w.OK(remoting.GetMaxOffset, fields{"topic": "t", "queueId": "0"}, nil).Ext["offset"]
	held := with(pullOf("t", 0, 0), "queueOffset", end, "sysFlag", "2", "suspendTimeoutMillis", "3000", "subscription", "")
	_, worst := w.flood(remoting.PullMessage, nil, times(500, held)...)
	require.LessOrEqual(t, worst, 2*most)
}

// A question about a key reads long messages one after the other.
func TestLookupsOfLongMessagesTakeNoMoreThanTheirAnswers(t *testing.T) {
	_, w, most := oneNode(t)
	for range 32 {
		w.put(sendShort("t", 0), make([]byte, message.MaxBody))
	}
	ask := fields{"topic": "t", "key": "k1", "maxNum": "32", "beginTimestamp": "0", "endTimestamp": "9999999999999"}
	done, worst := w.flood(remoting.QueryMessage, nil, times(7, ask)...)
	require.Equal(t, 7, done)
	require.LessOrEqual(t, worst, most)
}

// What a heartbeat says is read by a few at a time: empty objects take fifty times their text.
func TestHeartbeatsOfNothingTakeTurns(t *testing.T) {
	_, w, most := oneNode(t)
	body := []byte(`{"clientID":"c","consumerDataSet":[{}` + strings.Repeat(",{}", 80<<10) + `]}`)
	_, worst := w.flood(remoting.Heartbeat, body, make([]fields, 60)...)
	require.LessOrEqual(t, worst, most)
	body = []byte(`{"consumerGroup":"g","clientId":"c","mqSet":[1` + strings.Repeat(",1", 100<<10) + `]}`)
	_, worst = w.flood(remoting.LockBatchMQ, body, make([]fields, 60)...)
	require.LessOrEqual(t, worst, most)
	w.OK(remoting.Heartbeat, nil, heartbeatOf("c", "g", "t"))
}
