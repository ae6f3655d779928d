package features

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftmq/client"
	"raftmq/internal/mqtest"
	"raftmq/remoting"
)

// patience is how long what must happen may take on a loaded machine whose nodes are
// being killed.
var patience = func() time.Duration {
	if program == "" {
		return 45 * time.Second
	}
	return 2 * time.Minute
}()

// world is what a row has: a cluster, names of its own, and its test.
type world struct {
	*testing.T
	*cluster
	ctx  context.Context
	cl   *client.Client
	row  string
	made int               // topics
	ids  map[string]uint64 // of topics' one partition
}

func newWorld(t *testing.T, c *cluster, row string) *world {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Minute) // an end: else the client sets sooner ones
	t.Cleanup(cancel)
	w := &world{T: t, cluster: c, row: row, ctx: ctx, ids: make(map[string]uint64)}
	w.cl = w.dial()
	return w
}

// full reports whether the row runs at full size: with processes and the defaults' times.
func (w *world) full() bool { return w.there != nil }

// n is how many there are to be.
func (w *world) n(usual, full int) int {
	if w.full() {
		return full
	}
	return usual
}

// dial returns a client that is closed with the test.
func (w *world) dial(opts ...client.Option) *client.Client {
	w.Helper()
	cl, err := client.Dial(w.ctx, append([]client.Option{client.WithEndpoints(w.endpoints()...)}, opts...)...)
	require.NoError(w, err)
	w.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		cl.Close(ctx)
	})
	return cl
}

// topic creates one, and waits until every node knows it.
func (w *world) topic(c client.TopicConfig) string {
	w.Helper()
	w.made++
	c.Name = fmt.Sprintf("%s-%d", w.row, w.made)
	w.until("a topic", func() bool {
		err := w.cl.Admin().CreateTopic(w.ctx, c)
		return err == nil || errors.Is(err, client.ErrExists) // an answer was lost
	})
	return c.Name
}

func (w *world) producer(opts ...client.ProducerOption) *client.Producer {
	w.Helper()
	p, err := w.cl.NewProducer(w.row, append([]client.ProducerOption{client.WithSendTimeout(patience)}, opts...)...)
	require.NoError(w, err)
	return p
}

// send sends messages "0" to n-1 one after the other.
func (w *world) send(topic string, n int) (rs []client.Receipt) {
	w.Helper()
	p := w.producer()
	for i := range n {
		r, err := p.Send(w.ctx, &client.Message{Topic: topic, Body: []byte(strconv.Itoa(i))})
		require.NoError(w, err)
		rs = append(rs, r)
	}
	return rs
}

// read reads a topic to its end; again if it cannot, on a loaded machine.
func (w *world) read(topic string, opts ...client.ReaderOption) (ds []*client.Delivery) {
	w.Helper()
	for end := time.Now().Add(patience); ; {
		ds, err := w.readOnce(topic, opts...)
		if err == nil {
			return ds
		}
		require.False(w, time.Now().After(end), "%v", err)
	}
}

func (w *world) readOnce(topic string, opts ...client.ReaderOption) (ds []*client.Delivery, err error) {
	w.Helper()
	rd, err := w.cl.NewReader(topic, opts...)
	require.NoError(w, err)
	defer rd.Close()
	for d, err := range rd.UntilEnd(w.ctx) {
		if err != nil {
			return nil, err
		}
		ds = append(ds, d)
	}
	return ds, nil
}

// bodies counts what a topic holds.
func (w *world) bodies(topic string) map[string]int {
	w.Helper()
	m := make(map[string]int)
	for _, d := range w.read(topic) {
		m[string(d.Body)]++
	}
	return m
}

// consume runs a consumer until stop is called, which returns when it has ended.
func (w *world) consume(group string, topic string, h client.Handler, opts ...client.ConsumerOption) (s *client.Consumer, stop func()) {
	w.Helper()
	return w.consumeFiltered(group, topic, client.All(), h, opts...)
}

func (w *world) consumeFiltered(group, topic string, f client.Filter, h client.Handler, opts ...client.ConsumerOption) (s *client.Consumer, stop func()) {
	w.Helper()
	s, err := w.dial().NewConsumer(group, opts...)
	require.NoError(w, err)
	require.NoError(w, s.Subscribe(topic, f))
	ctx, cancel := context.WithCancel(w.ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := s.Run(ctx, h); err != nil && ctx.Err() == nil {
			w.Errorf("consumer: %v", err)
		}
	})
	stop = sync.OnceFunc(func() { cancel(); wg.Wait() })
	w.Cleanup(stop)
	return s, stop
}

// until waits for what must come to be.
func (w *world) until(what string, ok func() bool) {
	w.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(5 * time.Millisecond) { // nothing tells it
		require.False(w, time.Now().After(end), "never: %s", what)
	}
}

// slot is that of a topic's one partition: at its listeners stock clients ask for the topic.
func (w *world) slot(topic string) int {
	w.Helper()
	var route remoting.TopicRouteData
	require.NoError(w, remoting.DecodeBody(w.raw(w.endpoints()[0]).OK(remoting.GetRouteByTopic, fields{"topic": topic}, nil).Body, &route))
	require.Len(w, route.QueueDatas, 1)
	n, err := strconv.Atoi(strings.TrimPrefix(route.QueueDatas[0].BrokerName, "raftmq-"))
	require.NoError(w, err)
	return n
}

// leader waits for the node that leads a topic's one partition.
func (w *world) leader(topic string) (node int) {
	w.Helper()
	w.until("a leader of "+topic, func() bool {
		for node = range w.data {
			if w.leads(w.ctx, node, topic) {
				return true
			}
		}
		return false
	})
	return node
}

// folder is that of a node's replica of a topic's one partition.
func (w *world) folder(node int, topic string) string {
	w.Helper()
	if w.ids[topic] == 0 { // else the node may be stopped
		w.until("a node has the partition", func() bool {
			w.ids[topic] = w.replica(w.ctx, node, topic)
			return w.ids[topic] != 0
		})
	}
	return filepath.Join(w.data[node], "partitions", fmt.Sprintf("%08d", w.ids[topic]))
}

// seen is what handlers have seen, to be used by many at once.
type seen struct {
	mu sync.Mutex
	by map[string]int
	in []string
}

func newSeen() *seen { return &seen{by: make(map[string]int)} }

func (s *seen) note(what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.by[what]++
	s.in = append(s.in, what)
}

// handle is a handler that notes bodies.
func (s *seen) handle(_ context.Context, d *client.Delivery) error {
	s.note(string(d.Body))
	return nil
}

// kinds is how many different ones there are, all how many in all.
func (s *seen) kinds() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.by)
}

func (s *seen) all() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.in...)
}

func (s *seen) times(what string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.by[what]
}

// fields are a request's or a reply's, as they are on the wire.
type fields = map[string]string

// raw is a connection that speaks remoting.
func (w *world) raw(addr string) *mqtest.Wire { return w.rawAs(addr, remoting.JSON) }

// rawAs is raw with headers of that kind.
func (w *world) rawAs(addr string, serial byte) *mqtest.Wire {
	w.Helper()
	c := mqtest.DialWire(w, addr, serial)
	c.Patience = patience
	return c
}

// sendOf is a send as stock clients make it.
func sendOf(topic string, queue int, properties string) fields {
	return fields{"producerGroup": "p", "topic": topic, "defaultTopic": "TBW102", "defaultTopicQueueNums": "4", "queueId": strconv.Itoa(queue), "sysFlag": "0",
		"bornTimestamp": "1700000000000", "flag": "0", "properties": properties, "reconsumeTimes": "0", "unitMode": "false", "batch": "false"}
}

func pullOf(topic string, queue int, offset int64) fields {
	return fields{"consumerGroup": "g", "topic": topic, "queueId": strconv.Itoa(queue), "queueOffset": strconv.FormatInt(offset, 10), "maxMsgNums": "32",
		"sysFlag": "4", "commitOffset": "0", "suspendTimeoutMillis": "0", "subVersion": "0", "subscription": "*", "expressionType": "TAG"}
}
