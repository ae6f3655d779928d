package features

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftmq/client"
	"raftmq/internal/mqtest"
	"raftmq/message"
	"raftmq/remoting"
)

var sending = []row{
	{name: "A1", about: "synchronous send", test: synchronousSend},
	{name: "A2", about: "a send's time is bounded", test: sendTimeout},
	{name: "A3", about: "asynchronous send", test: asynchronousSend},
	{name: "A4", about: "one-way send", test: onewaySend},
	{name: "A5", about: "send to a chosen queue", test: sendToQueue},
	{name: "A6", about: "queue selector", test: queueSelector},
	{name: "A7", about: "batch, all or none", test: batch, killed: true},
	{name: "A8", about: "route of a topic that is not there", test: routeLookup},
	{name: "A9", about: "content of a route", test: routeContent},
	{name: "A10", about: "queues for reading and for writing", test: readWriteQueues},
	{name: "A11", about: "the first send creates the topic", test: autoCreate, killed: true},
	{name: "A12", about: "topic created beforehand", test: createdTopic},
	{name: "A13", about: "queues in turn", test: roundRobin},
	{name: "A14", about: "slow brokers are left alone", test: latencyTable},
	{name: "A15", about: "what may be stored is sent again, and stored once", test: sendsAgain, killed: true},
	{name: "A16", about: "which errors are tried again", test: retryByClass},
	{name: "A17", about: "request header fields", test: headerFields},
	{name: "A18", about: "a message's flag", test: messageFlag},
	{name: "A19", about: "compression", test: compression},
	{name: "A20", about: "checks before a send", test: sendChecks},
	{name: "A21", about: "floods of one kind leave others alone", test: flood},
	{name: "A22", about: "the id that a send returns", test: returnedID},
	{name: "A23", about: "tags, keys, properties", test: properties},
	{name: "A24", about: "acknowledged is stored and replicated", test: acknowledged, killed: true},
}

func synchronousSend(w *world) {
	topic := w.topic(client.TopicConfig{Queues: 2})
	n := w.n(120, 1000)
	by, ids := make(map[int][]int64), make(map[string]bool)
	for _, r := range w.send(topic, n) {
		by[r.Queue] = append(by[r.Queue], r.Offset)
		ids[r.ID] = true
	}
	require.Len(w, by, 6)
	for q, offsets := range by {
		slices.Sort(offsets)
		for i, o := range offsets {
			require.EqualValues(w, i, o, "offsets of queue %d are dense", q)
		}
	}
	ds := w.read(topic)
	require.Len(w, ds, n)
	for _, d := range ds {
		require.True(w, ids[d.ID], "%s was told by no send", d.ID)
		delete(ids, d.ID)
	}
}

// stalled is a connection that passes nothing on to the node while it is told so.
type stalled struct {
	net.Conn
	stall *atomic.Bool
}

func (c stalled) Write(b []byte) (int, error) {
	if c.stall.Load() {
		return len(b), nil
	}
	return c.Conn.Write(b)
}

func (w *world) through(wrap func(net.Conn) net.Conn) *client.Client {
	return w.dial(client.WithDialer(func(ctx context.Context, network, addr string) (net.Conn, error) {
		nc, err := new(net.Dialer).DialContext(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return wrap(nc), nil
	}))
}

func sendTimeout(w *world) {
	topic := w.topic(client.TopicConfig{})
	var stall atomic.Bool
	cl := w.through(func(nc net.Conn) net.Conn { return stalled{nc, &stall} })
	limit := time.Duration(w.n(300, 3000)) * time.Millisecond
	first, err := cl.NewProducer("p", client.WithSendTimeout(patience), client.WithTopics(topic))
	require.NoError(w, err)
	_, err = first.Send(w.ctx, &client.Message{Topic: topic, Body: []byte("before")})
	require.NoError(w, err)
	p, err := cl.NewProducer("p", client.WithSendTimeout(limit), client.WithTopics(topic))
	require.NoError(w, err)
	stall.Store(true)
	for try := 1; ; try++ {
		begun := time.Now()
		_, err = p.Send(w.ctx, &client.Message{Topic: topic, Body: []byte("meanwhile")})
		require.Error(w, err)
		require.GreaterOrEqual(w, time.Since(begun), limit-limit/10)
		if errors.Is(err, client.ErrUncertain) || try == 5 { // else its time was over before it was sent: this machine is slow
			break
		}
	}
	require.ErrorIs(w, err, client.ErrUncertain, "it may have reached the node")
	stall.Store(false)
	cl = w.dial()
	p, err = cl.NewProducer("p", client.WithSendTimeout(patience))
	require.NoError(w, err)
	_, err = p.Send(w.ctx, &client.Message{Topic: topic, Body: []byte("after")})
	require.NoError(w, err)
}

func asynchronousSend(w *world) {
	topic := w.topic(client.TopicConfig{})
	n := w.n(1000, 10000)
	p := w.producer()
	told := make([]atomic.Int32, n)
	for i := range n {
		require.NoError(w, p.SendAsync(w.ctx, &client.Message{Topic: topic, Body: []byte(strconv.Itoa(i))}, func(_ client.Receipt, err error) {
			if err != nil {
				w.Errorf("message %d: %v", i, err)
			}
			told[i].Add(1)
		}))
	}
	require.NoError(w, p.Flush(w.ctx))
	for i := range told {
		require.EqualValues(w, 1, told[i].Load(), "message %d has one outcome", i)
	}
	require.Len(w, w.bodies(topic), n)

	var down atomic.Bool
	cl := w.dial(client.WithDialer(func(ctx context.Context, network, addr string) (net.Conn, error) {
		if down.Load() {
			return nil, syscall.ECONNREFUSED
		}
		return new(net.Dialer).DialContext(ctx, network, addr)
	}))
	p, err := cl.NewProducer("p", client.WithSendTimeout(200*time.Millisecond))
	require.NoError(w, err)
	down.Store(true)
	// The topic's route is not known yet: nothing can be reached that would tell it.
	outcome := make(chan error, 1)
	if err := p.SendAsync(w.ctx, &client.Message{Topic: "other-" + topic, Body: []byte("x")}, func(_ client.Receipt, err error) { outcome <- err }); err != nil {
		outcome <- err
	}
	require.Error(w, <-outcome)
}

func onewaySend(w *world) {
	topic := w.topic(client.TopicConfig{})
	n := w.n(500, 10000)
	p := w.producer()
	for i := range n {
		require.NoError(w, p.SendOneway(w.ctx, &client.Message{Topic: topic, Body: []byte(strconv.Itoa(i))}))
	}
	w.until("99.9 % arrive", func() bool { return len(w.bodies(topic)) >= n*999/1000 })

	r := w.raw(w.listener(0, 0))
	r.Oneway(remoting.SendMessage, sendOf(topic, 0, ""), []byte("unanswered"))
	opaque := r.Send(remoting.GetRouteByTopic, fields{"topic": topic}, nil)
	first, err := r.Read()
	require.NoError(w, err)
	require.Equal(w, opaque, first.Opaque, "what was sent one-way is not answered")
	w.until("it is stored", func() bool { return w.bodies(topic)["unanswered"] == 1 })
}

func sendToQueue(w *world) {
	topic := w.topic(client.TopicConfig{Partitions: 2, Queues: 2})
	p := w.producer()
	for i := range 100 {
		r, err := p.SendTo(w.ctx, 3, &client.Message{Topic: topic, Body: []byte("x")})
		require.NoError(w, err)
		require.Equal(w, 3, r.Queue)
		require.EqualValues(w, i, r.Offset)
	}
	require.Len(w, w.read(topic, client.Queues(3)), 100)
	_, err := p.SendTo(w.ctx, 4, &client.Message{Topic: topic, Body: []byte("x")})
	require.ErrorIs(w, err, client.ErrInvalid)
}

func queueSelector(w *world) {
	topic := w.topic(client.TopicConfig{Queues: 4})
	by := w.producer(client.WithSelector(func(m *client.Message, queues int) int {
		id, _ := strconv.Atoi(m.OrderKey)
		return id % queues
	}))
	hash := w.producer()
	queues := make(map[string]map[int]bool)
	for i := range 60 {
		key := strconv.Itoa(i % 20)
		r, err := by.Send(w.ctx, &client.Message{Topic: topic, OrderKey: key, Body: []byte("x")})
		require.NoError(w, err)
		require.Equal(w, i%20%12, r.Queue)
		r, err = hash.Send(w.ctx, &client.Message{Topic: topic, OrderKey: key, Body: []byte("x")})
		require.NoError(w, err)
		if queues[key] == nil {
			queues[key] = make(map[int]bool)
		}
		queues[key][r.Queue] = true
	}
	for key, in := range queues {
		require.Len(w, in, 1, "key %s stays in one queue", key)
	}
}

func batch(w *world) {
	topic := w.topic(client.TopicConfig{Queues: 2})
	p := w.producer()
	n := w.n(20, 300)
	for i := range n {
		var ms []*client.Message
		for j := range 3 {
			ms = append(ms, &client.Message{Topic: topic, Body: fmt.Appendf(nil, "%d/%d", i, j)})
		}
		rs, err := p.SendBatch(w.ctx, ms)
		require.NoError(w, err)
		require.Len(w, rs, 3)
		for j, r := range rs {
			require.Equal(w, rs[0].Queue, r.Queue)
			require.Equal(w, rs[0].Offset+int64(j), r.Offset)
		}
	}
	// One that is too large is refused whole.
	half := make([]byte, client.MaxBody/2+1)
	_, err := p.SendBatch(w.ctx, []*client.Message{{Topic: topic, Body: half}, {Topic: topic, Body: half}})
	require.ErrorIs(w, err, client.ErrTooLarge)
	got := w.bodies(topic)
	require.Len(w, got, 3*n)
	for b, times := range got {
		require.Equal(w, 1, times, b)
	}
}

func routeLookup(w *world) {
	r := w.raw(w.endpoints()[0])
	name := w.row + "-new"
	require.Equal(w, remoting.TopicNotExist, r.Led(remoting.GetRouteByTopic, fields{"topic": name}, nil).Code)
	var template remoting.TopicRouteData
	require.NoError(w, remoting.DecodeBody(r.OK(remoting.GetRouteByTopic, fields{"topic": "TBW102"}, nil).Body, &template))
	w.raw(w.listener(0, 0)).OK(remoting.SendMessage, sendOf(name, 0, ""), []byte("x"))
	for _, addr := range w.endpoints() {
		w.until("every node has its route", func() bool {
			return w.raw(addr).Led(remoting.GetRouteByTopic, fields{"topic": name}, nil).Code == remoting.OK
		})
	}
	var route remoting.TopicRouteData
	require.NoError(w, remoting.DecodeBody(r.OK(remoting.GetRouteByTopic, fields{"topic": name}, nil).Body, &route))
	require.Len(w, route.QueueDatas, len(template.QueueDatas))
}

func routeContent(w *world) {
	topic := w.topic(client.TopicConfig{ReadQueues: 3, WriteQueues: 2, Order: true})
	body := w.raw(w.endpoints()[0]).OK(remoting.GetRouteByTopic, fields{"topic": topic}, nil).Body
	for _, member := range []string{`"brokerDatas":[`, `"queueDatas":[`, `"filterServerTable":{`, `"brokerName":"raftmq-0"`, `"readQueueNums":3`, `"writeQueueNums":2`, `"perm":6`} {
		require.Contains(w, string(body), member)
	}
	var route remoting.TopicRouteData
	require.NoError(w, remoting.DecodeBody(body, &route))
	require.Len(w, route.BrokerDatas, 3)
	for slot, b := range route.BrokerDatas {
		require.Contains(w, []string{w.listener(0, slot), w.listener(1, slot), w.listener(2, slot)}, b.BrokerAddrs[0], "id 0 is who takes messages")
	}
}

func readWriteQueues(w *world) {
	topic := w.topic(client.TopicConfig{Partitions: 1, ReadQueues: 8, WriteQueues: 4})
	in := make(map[int]int)
	for _, r := range w.send(topic, 40) {
		in[r.Queue]++
	}
	require.ElementsMatch(w, []int{0, 1, 2, 3}, slices.Collect(maps.Keys(in)))
	got := newSeen()
	s, _ := w.consume(w.row, topic, got.handle)
	w.until("all eight are consumed", func() bool { return s.Stats().Queues >= 8 && got.kinds() == 40 })
}

func autoCreate(w *world) {
	name := w.row + "-auto"
	_, err := w.producer().Send(w.ctx, &client.Message{Topic: name, Body: []byte("first")})
	require.NoError(w, err)
	for _, addr := range w.endpoints() {
		w.until("every node knows it", func() bool {
			nc, err := net.Dial("tcp", addr)
			if err != nil {
				return false // it is being killed
			}
			nc.Close()
			return w.raw(addr).Led(remoting.GetRouteByTopic, fields{"topic": name}, nil).Code == remoting.OK
		})
	}
	require.Equal(w, map[string]int{"first": 1}, w.bodies(name))
}

func createdTopic(w *world) {
	topic := w.topic(client.TopicConfig{Partitions: 3, Queues: 4})
	stats, err := w.cl.Admin().TopicStats(w.ctx, topic)
	require.NoError(w, err)
	require.Len(w, stats, 12)
	require.ErrorIs(w, w.cl.Admin().CreateTopic(w.ctx, client.TopicConfig{Name: topic}), client.ErrExists)
}

func roundRobin(w *world) {
	topic := w.topic(client.TopicConfig{Partitions: 3, Queues: 4})
	n := w.n(120, 12000)
	p := w.producer(client.WithSelector(client.RoundRobin()))
	in := make([]int, 12)
	for range n {
		r, err := p.Send(w.ctx, &client.Message{Topic: topic, Body: []byte("x")})
		require.NoError(w, err)
		in[r.Queue]++
	}
	for q, k := range in {
		require.InDelta(w, n/12, k, 1, "queue %d", q)
	}
}

func latencyTable(w *world) {
	for ms, avoid := range map[int]int{49: 0, 550: 2000, 1799: 2000, 1800: 5000, 3000: 6000, 5000: 10000, 15000: 30000, 99999: 30000} {
		require.Equal(w, time.Duration(avoid)*time.Millisecond, client.RocketMQTable().Avoid(time.Duration(ms)*time.Millisecond), "after %d ms", ms)
	}
	for ms, avoid := range map[int]int{100: 0, 550: 30000, 1000: 60000, 2000: 120000, 3000: 180000, 15000: 600000} {
		require.Equal(w, time.Duration(avoid)*time.Millisecond, client.ClassicTable().Avoid(time.Duration(ms)*time.Millisecond), "after %d ms", ms)
	}
	topic := w.topic(client.TopicConfig{})
	p := w.producer(client.WithLatencyTolerance(client.LatencyTable{{Latency: 0, Avoid: time.Hour}}))
	for range 20 { // all are to be left alone: then any will do
		_, err := p.Send(w.ctx, &client.Message{Topic: topic, Body: []byte("x")})
		require.NoError(w, err)
	}
}

// deaf is a connection that ends instead of giving the first answer to a send.
type deaf struct {
	net.Conn
	sent *atomic.Int32 // bodies seen going out, on any connection
	once *sync.Once
	end  *atomic.Bool
}

func (c deaf) Write(b []byte) (int, error) {
	if bytes.Contains(b, []byte("lost answer")) {
		c.sent.Add(1)
		c.once.Do(func() { c.end.Store(true) })
	}
	return c.Conn.Write(b)
}

func (c deaf) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if c.end.CompareAndSwap(true, false) {
		c.Conn.Close()
		return 0, errors.New("the answer is lost")
	}
	return n, err
}

func sendsAgain(w *world) {
	topic := w.topic(client.TopicConfig{})
	var (
		sent atomic.Int32
		once sync.Once
	)
	// Whether an answer or the connection's other traffic is lost first is all the same:
	// what may be stored is sent again under its identity.
	cl := w.through(func(nc net.Conn) net.Conn { return deaf{nc, &sent, &once, new(atomic.Bool)} })
	p, err := cl.NewProducer("p", client.WithSendTimeout(patience))
	require.NoError(w, err)
	_, err = p.Send(w.ctx, &client.Message{Topic: topic, Body: []byte("lost answer")})
	require.NoError(w, err)
	require.GreaterOrEqual(w, sent.Load(), int32(2))
	require.Equal(w, map[string]int{"lost answer": 1}, w.bodies(topic))
	// Without leave to send it again it is not known.
	once = sync.Once{}
	p, err = cl.NewProducer("p", client.WithSendTimeout(patience), client.WithRetries(client.RetryPolicy{MaxAttempts: 1}))
	require.NoError(w, err)
	_, err = p.Send(w.ctx, &client.Message{Topic: topic, Body: []byte("lost answer 2")})
	if !w.full() { // else its node may be one that is down, and it is not sent at all
		require.ErrorIs(w, err, client.ErrUncertain)
	}
	// Of many, each is there once, whatever was sent again meanwhile.
	topic = w.topic(client.TopicConfig{Queues: 2})
	n := w.n(200, 10_000)
	w.send(topic, n)
	got := w.bodies(topic)
	require.Len(w, got, n)
	for body, times := range got {
		require.Equal(w, 1, times, body)
	}
}

func retryByClass(w *world) {
	tries := func(topic string, body string) (n int32, err error) {
		var sent atomic.Int32
		cl := w.through(func(nc net.Conn) net.Conn { return counting{nc, &sent, []byte(body)} })
		p, err := cl.NewProducer("p", client.WithSendTimeout(patience))
		require.NoError(w, err)
		_, err = p.Send(w.ctx, &client.Message{Topic: topic, Body: []byte(body)})
		return sent.Load(), err
	}
	// What would be refused again is sent once.
	n, err := tries(w.topic(client.TopicConfig{Perm: client.PermRead}), "to what is only read")
	require.ErrorIs(w, err, client.ErrForbidden)
	require.LessOrEqual(w, n, int32(1))
	// A node that does not listen is passed over.
	topic := w.topic(client.TopicConfig{})
	var refused atomic.Int32
	cl := w.dial(client.WithDialer(func(ctx context.Context, network, addr string) (net.Conn, error) {
		for slot := range 3 {
			if addr == w.listener(0, slot) {
				refused.Add(1)
				return nil, syscall.ECONNREFUSED
			}
		}
		return new(net.Dialer).DialContext(ctx, network, addr)
	}))
	p, err := cl.NewProducer("p", client.WithSendTimeout(patience))
	require.NoError(w, err)
	for q := range 6 {
		_, err := p.SendTo(w.ctx, q, &client.Message{Topic: topic, Body: []byte("x")})
		require.NoError(w, err)
	}
	require.Len(w, w.read(topic), 6)
}

// counting counts writes that hold a text.
type counting struct {
	net.Conn
	n    *atomic.Int32
	text []byte
}

func (c counting) Write(b []byte) (int, error) {
	if bytes.Contains(b, c.text) {
		c.n.Add(1)
	}
	return c.Conn.Write(b)
}

func headerFields(w *world) {
	topic := w.topic(client.TopicConfig{Partitions: 1, Queues: 1})
	long := sendOf(topic, 0, "KEYS\x01k\x02TAGS\x01t\x02")
	long["flag"] = "9"
	short := fields{"a": "p", "b": topic, "c": "TBW102", "d": "4", "e": "0", "f": "0", "g": "1700000000000", "h": "9", "i": "KEYS\x01k\x02TAGS\x01t\x02", "j": "0", "k": "false", "m": "false"}
	some := maps.Clone(short)
	some["m"] = "true"
	n := int64(0)
	for i, serial := range []byte{remoting.JSON, remoting.Binary} {
		r := w.rawAs(w.listener(i, w.slot(topic)), serial)
		for _, x := range []struct {
			code remoting.Code
			ext  fields
			body []byte
		}{
			{remoting.SendMessage, long, []byte("body")},
			{remoting.SendMessageV2, short, []byte("body")},
			{remoting.SendBatchMessage, some, message.AppendBatchMessage(nil, message.BatchMessage{Flag: 9, Body: []byte("body"), Properties: "KEYS\x01k\x02TAGS\x01t\x02"})},
		} {
			reply := r.OK(x.code, x.ext, x.body)
			require.Equal(w, strconv.FormatInt(n, 10), reply.Ext["queueOffset"])
			rs := mqtest.Records(w, r.OK(remoting.PullMessage, pullOf(topic, 0, n), nil).Body)
			require.Len(w, rs, 1)
			require.EqualValues(w, 9, rs[0].Flag())
			require.EqualValues(w, 1700000000000, rs[0].BornTimestamp())
			require.Equal(w, "body", string(rs[0].Body()))
			for name, want := range map[string]string{"KEYS": "k", "TAGS": "t"} {
				got, _ := rs[0].Property(name)
				require.Equal(w, want, got)
			}
			n++
		}
	}
}

func messageFlag(w *world) {
	topic := w.topic(client.TopicConfig{Partitions: 1, Queues: 1})
	r := w.raw(w.listener(1, w.slot(topic)))
	ext := sendOf(topic, 0, "")
	ext["flag"] = strconv.Itoa(0x55AA)
	r.OK(remoting.SendMessage, ext, []byte("x"))
	rs := mqtest.Records(w, r.OK(remoting.PullMessage, pullOf(topic, 0, 0), nil).Body)
	require.EqualValues(w, 0x55AA, rs[0].Flag())
}

func compression(w *world) {
	topic := w.topic(client.TopicConfig{Partitions: 1, Queues: 1})
	body := bytes.Repeat([]byte("to be made small "), w.n(16<<10, 61<<10))
	for _, codec := range []client.Codec{client.Zlib, client.LZ4, client.Zstd, client.NoCompression} {
		p := w.producer(client.WithCompression(codec, 4096))
		_, err := p.Send(w.ctx, &client.Message{Topic: topic, Body: body})
		require.NoError(w, err)
		_, err = p.Send(w.ctx, &client.Message{Topic: topic, Body: body[:1000]})
		require.NoError(w, err)
	}
	ds := w.read(topic)
	require.Len(w, ds, 8)
	for i, d := range ds {
		require.NoError(w, d.BodyErr)
		require.Equal(w, []int{len(body), 1000}[i%2], len(d.Body))
		require.True(w, bytes.HasPrefix(body, d.Body))
	}
	rs := w.raw(w.listener(0, w.slot(topic)))
	for i := range int64(3) { // as sent: it is not the nodes that pack and unpack
		rec := mqtest.Records(w, rs.OK(remoting.PullMessage, pullOf(topic, 0, 2*i), nil).Body)[0]
		require.EqualValues(w, 1, rec.SysFlag()&1)
		require.Less(w, len(rec.Body()), len(body)/10)
	}
}

func sendChecks(w *world) {
	r := w.raw(w.listener(0, 0))
	readOnly := w.topic(client.TopicConfig{Perm: client.PermRead})
	require.Equal(w, remoting.NoPermission, r.Led(remoting.SendMessage, sendOf(readOnly, 0, ""), []byte("x")).Code)
	topic := w.topic(client.TopicConfig{Queues: 1})
	reply := r.Led(remoting.SendMessage, sendOf(topic, 999, ""), []byte("x"))
	require.Equal(w, remoting.InvalidParameter, reply.Code)
	require.Contains(w, reply.Remark, "999")
	strange := sendOf(w.row+"-none", 0, "")
	strange["defaultTopic"] = "none"
	require.Equal(w, remoting.TopicNotExist, r.Led(remoting.SendMessage, strange, []byte("x")).Code)
	illegal := r.Led(remoting.SendMessage, sendOf("not/legal", 0, ""), []byte("x"))
	require.NotEqual(w, remoting.OK, illegal.Code)
	require.Empty(w, w.read(topic))
}

func flood(w *world) {
	topic := w.topic(client.TopicConfig{Queues: 1})
	held := pullOf(topic, 0, 0)
	held["sysFlag"], held["suspendTimeoutMillis"] = "6", "60000"
	const each = 100
	connections := 10
	if testing.Short() {
		connections = 2
	}
	for range connections {
		r := w.raw(w.listener(0, 0))
		for range each {
			r.Send(remoting.PullMessage, held, nil)
		}
	}
	w.send(topic, 50)
	require.Len(w, w.bodies(topic), 50)
}

func returnedID(w *world) {
	topic := w.topic(client.TopicConfig{Partitions: 1, Queues: 1})
	ids := make(map[string]string)
	for i, r := range w.send(topic, 20) {
		ids[r.ID] = strconv.Itoa(i)
	}
	require.Len(w, ids, 20)
	r := w.raw(w.listener(2, w.slot(topic)))
	for id, body := range ids {
		var found *remoting.Command
		w.until("it is found by its id", func() bool {
			found = r.Led(remoting.QueryMessage, fields{"topic": topic, "key": id, "maxNum": "32", "beginTimestamp": "0", "endTimestamp": "9999999999999", "_UNIQUE_KEY_QUERY": "true"}, nil)
			return found.Code == remoting.OK
		})
		rs := mqtest.Records(w, found.Body)
		require.Len(w, rs, 1)
		require.Equal(w, body, string(rs[0].Body()))
	}
}

func properties(w *world) {
	topic := w.topic(client.TopicConfig{Partitions: 1, Queues: 1})
	m := &client.Message{Topic: topic, Body: []byte("x"), Tag: "größe", Keys: []string{"訂單-1", "訂單-2"},
		Properties: map[string]string{"ключ": "значение", "long": strings.Repeat("ü", 8<<10), "empty": ""}}
	_, err := w.producer().Send(w.ctx, m)
	require.NoError(w, err)
	d := w.read(topic)[0]
	require.Equal(w, m.Tag, d.Tag)
	require.Equal(w, m.Keys, d.Keys)
	for name, value := range m.Properties {
		require.Equal(w, value, d.Properties[name], name)
	}
	m.Properties["long"] = strings.Repeat("x", client.MaxProperties)
	_, err = w.producer().Send(w.ctx, m)
	require.ErrorIs(w, err, client.ErrTooLarge)
	m.Properties = map[string]string{"a\x01b": "c"}
	_, err = w.producer().Send(w.ctx, m)
	require.ErrorIs(w, err, client.ErrInvalid)
}

func acknowledged(w *world) {
	topic := w.topic(client.TopicConfig{Queues: 2})
	n := w.n(500, 20000)
	p := w.producer()
	for i := range n {
		require.NoError(w, p.SendAsync(w.ctx, &client.Message{Topic: topic, Body: []byte(strconv.Itoa(i))}, func(_ client.Receipt, err error) {
			if err != nil {
				w.Errorf("message %d: %v", i, err)
			}
		}))
	}
	require.NoError(w, p.Flush(w.ctx))
	got := newSeen()
	w.consume(w.row, topic, got.handle)
	w.until("all are consumed", func() bool { return got.kinds() == n })
	for b, times := range w.bodies(topic) {
		require.Equal(w, 1, times, b)
	}
}
