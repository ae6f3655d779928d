package mqtest

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"raftmq/client"
	"raftmq/message"
	"raftmq/remoting"
)

// A topic's rules choose the queue of what stock clients send through any node and to any
// queue, and of what the bundled client sends, the same for the same key; after a node
// has stopped, and after all have, too.
func TestRulesChooseTheQueue(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(context.Background(), whole)
	defer cancel()
	c := Start(t, 3, nil)
	cl := c.Client()
	a := cl.Admin()
	const rules = "tag=vip : 5; key=order-* : 0-3; property region : all"
	require.NoError(t, a.CreateTopic(ctx, client.TopicConfig{Name: "t", Queues: 2, Attributes: map[string]string{client.AttrPlacement: rules}}))
	p, err := cl.NewProducer("p", client.WithSendTimeout(ample))
	require.NoError(t, err)
	queues := make(map[string]int)
	check := func() {
		t.Helper()
		for i := range 12 {
			key := fmt.Sprintf("order-%d", i)
			want, rule, err := a.TryRules(ctx, &client.Message{Topic: "t", Keys: []string{key}})
			require.NoError(t, err)
			require.Equal(t, 2, rule)
			r, err := p.Send(ctx, &client.Message{Topic: "t", Keys: []string{key}, OrderKey: "other", Body: []byte("ours")})
			require.NoError(t, err)
			require.Equal(t, want, r.Queue, key)
			require.Less(t, want, 4)
			if was, ok := queues[key]; ok {
				require.Equal(t, was, want, "as before")
			}
			queues[key] = want
			for node := range c.Nodes {
				if c.Nodes[node] == nil {
					continue
				}
				w := DialWire(t, c.listener(node, i%3), byte(i%2))
				props := "KEYS\x01" + key + " more\x02"
				long, short := with(sendLong("t", i%2), "properties", props), with(sendShort("t", i%2), "i", props, "n", brokerNameOf(i))
				for code, ext := range map[remoting.Code]fields{remoting.SendMessage: long, remoting.SendMessageV2: short} {
					r := w.OK(code, ext, []byte("stock"))
					require.EqualValues(t, want/3, num(t, r, "queueId"))
					_, physical, err := message.ParseOffsetID(r.Ext["msgId"])
					require.NoError(t, err)
					at := DialWire(t, c.listener(node, want%3), 0).OK(remoting.ViewMessageByID, fields{"offset": strconv.FormatInt(physical, 10)}, nil)
					rec := Records(t, at.Body)[0]
					require.Equal(t, []any{int32(want / 3), num(t, r, "queueOffset")}, []any{rec.QueueID(), int64(rec.QueueOffset())})
				}
			}
		}
		r, err := p.SendTo(ctx, 0, &client.Message{Topic: "t", Tag: "vip", Keys: []string{"order-1"}})
		require.NoError(t, err)
		require.Equal(t, 5, r.Queue, "whatever its sender chose")
	}
	check()
	rs, err := p.SendBatch(ctx, []*client.Message{{Topic: "t", Tag: "vip"}, {Topic: "t", Keys: []string{"order-1"}}, {Topic: "t", Tag: "vip"}})
	require.NoError(t, err)
	require.Equal(t, []int{5, queues["order-1"], 5}, []int{rs[0].Queue, rs[1].Queue, rs[2].Queue})

	w := DialWire(t, c.listener(0, 0), 0)
	batch := func(tags ...string) (b []byte) {
		for _, tag := range tags {
			b = message.AppendBatchMessage(b, message.BatchMessage{Body: []byte("b"), Properties: "TAGS\x01" + tag + "\x02"})
		}
		return b
	}
	r := w.OK(remoting.SendBatchMessage, with(sendShort("t", 0), "m", "true"), batch("vip", "vip"))
	require.EqualValues(t, 1, num(t, r, "queueId"))
	r = w.Led(remoting.SendBatchMessage, with(sendShort("t", 0), "m", "true"), batch("vip", "other"))
	require.Equal(t, remoting.MessageIllegal, r.Code)
	require.Contains(t, r.Remark, "several queues")

	// A stock transaction: its half goes where the message would, and is decided there.
	r = w.OK(remoting.SendMessage, with(sendLong("t", 0), "sysFlag", "4", "properties", "TRAN_MSG\x01true\x02PGROUP\x01shop\x02TAGS\x01vip\x02UNIQ_KEY\x01TX\x02"), []byte("half"))
	_, half, err := message.ParseOffsetID(r.Ext["msgId"])
	require.NoError(t, err)
	w.Oneway(remoting.EndTransaction, fields{"producerGroup": "shop", "tranStateTableOffset": r.Ext["queueOffset"], "commitLogOffset": strconv.FormatInt(half, 10), "commitOrRollback": "8", "fromTransactionCheck": "false", "msgId": "TX"}, nil)
	c.until("the transaction is committed", func() bool {
		life, err := a.Explain(ctx, "t", "TX")
		return err == nil && len(life.Steps) == 2 && life.Steps[1].Broker == "raftmq-2" && life.Steps[1].QueueID == 1
	})

	for bad, want := range map[string]string{"key : all; tag : x": "rule 2, at character 17", "tag=vip : 6": "rule 1 names queue 6", "keys : 1": "rule 1, at character 1"} {
		err = a.UpdateTopic(ctx, client.TopicConfig{Name: "t", Queues: 2, Attributes: map[string]string{client.AttrPlacement: bad}})
		require.ErrorIs(t, err, client.ErrInvalid)
		require.ErrorContains(t, err, want)
	}
	require.ErrorContains(t, a.UpdateTopic(ctx, client.TopicConfig{Name: "t", WriteQueues: 1, ReadQueues: 2}), "rule 1 names queue 5")
	c.Stop(c.leader("t", 0))
	check()

	for i := range c.Nodes {
		c.Stop(i)
	}
	for i := range c.Nodes {
		c.Run(i)
	}
	for i := range c.Nodes {
		c.Await(i)
	}
	cl = c.Client()
	a = cl.Admin()
	p, err = cl.NewProducer("p", client.WithSendTimeout(ample))
	require.NoError(t, err)
	topic, err := a.Topic(ctx, "t")
	require.NoError(t, err)
	require.Equal(t, rules, topic.Attributes[client.AttrPlacement])
	check()
}

// heard returns when every node has heard of the topic's last change: each asks the
// catalogue's leader before it says how the topic is.
func (c *Cluster) heard(t *testing.T, topic string) {
	t.Helper()
	for i := range c.Nodes {
		DialWire(t, c.listener(i, 0), 0).OK(remoting.GetTopicConfig, fields{"topic": topic}, nil)
	}
}

func brokerNameOf(slot int) string { return fmt.Sprintf("raftmq-%d", slot%3) }

// Rules change while producers send: nothing is refused, nothing is stored twice, and who
// sends afterwards goes by the new ones, also a producer that had the old ones.
func TestRulesChangeWhileProducersSend(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(context.Background(), whole)
	defer cancel()
	c := Start(t, 3, nil)
	cl := c.Client()
	a := cl.Admin()
	put := func(rules string) {
		t.Helper()
		cfg := client.TopicConfig{Name: "t", Queues: 2, Attributes: map[string]string{client.AttrPlacement: rules}}
		if rules == "" {
			cfg.Attributes, cfg.Unset = nil, []string{client.AttrPlacement}
		}
		require.NoError(t, a.UpdateTopic(ctx, cfg))
	}
	require.NoError(t, a.CreateTopic(ctx, client.TopicConfig{Name: "t", Queues: 2}))
	senders := c.Client()
	p, err := senders.NewProducer("p", client.WithSendTimeout(ample))
	require.NoError(t, err)
	var wg sync.WaitGroup
	var sent atomic.Int64
	stop := make(chan struct{})
	for s := range 8 {
		wg.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				case <-ctx.Done():
					return
				default:
				}
				body := fmt.Sprintf("%d-%d", s, i)
				if _, err := p.Send(ctx, &client.Message{Topic: "t", Keys: []string{"k"}, Body: []byte(body)}); err != nil {
					t.Errorf("send %s: %v", body, err)
					return
				}
				sent.Add(1)
			}
		})
	}
	for _, rules := range []string{"key : 0", "key : 4", "", "key : 2", "tag : 1; key : all"} {
		before := sent.Load()
		put(rules)
		c.until("messages are sent", func() bool { return sent.Load() > before+50 || ctx.Err() != nil })
	}
	close(stop)
	wg.Wait()
	put("key : 3")
	c.heard(t, "t")
	r, err := p.Send(ctx, &client.Message{Topic: "t", Keys: []string{"k"}, Body: []byte("last")})
	require.NoError(t, err)
	require.Equal(t, 3, r.Queue)
	got := bodies(ctx, t, cl, "t")
	require.Len(t, got, int(sent.Load())+1)
	for body, n := range got {
		require.Equal(t, 1, n, body)
	}
}

// A topic has fewer queues: what is in those that are gone is consumed, and nothing more
// comes into them; then it has more than ever.
func TestQueuesShrinkAndGrow(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(context.Background(), whole)
	defer cancel()
	c := Start(t, 3, nil)
	cl := c.Client()
	a := cl.Admin()
	require.NoError(t, a.CreateTopic(ctx, client.TopicConfig{Name: "t", Queues: 3}))
	p, err := cl.NewProducer("p", client.WithSendTimeout(ample))
	require.NoError(t, err)
	for q := range 9 {
		_, err := p.SendTo(ctx, q, &client.Message{Topic: "t", Body: []byte(strconv.Itoa(q))})
		require.NoError(t, err)
	}
	require.NoError(t, a.UpdateTopic(ctx, client.TopicConfig{Name: "t", WriteQueues: 1, ReadQueues: 3}))
	c.heard(t, "t")
	w := DialWire(t, c.listener(2, 1), 0)
	for i := range 4 { // a stock client that knows nothing of it yet
		r := w.OK(remoting.SendMessage, sendLong("t", 2-i%2), []byte("late"+strconv.Itoa(i)))
		require.EqualValues(t, 0, num(t, r, "queueId"), "stored in a queue that is still written")
	}
	fresh := c.Client()
	q, err := fresh.NewProducer("p", client.WithSendTimeout(ample))
	require.NoError(t, err)
	for range 10 {
		r, err := q.Send(ctx, &client.Message{Topic: "t", Body: []byte("new")})
		require.NoError(t, err)
		require.Less(t, r.Queue, 3)
	}
	got := bodies(ctx, t, fresh, "t")
	require.Len(t, got, 9+4+1)
	require.NoError(t, a.UpdateTopic(ctx, client.TopicConfig{Name: "t", WriteQueues: 4, ReadQueues: 4}))
	again := c.Client()
	g, err := again.NewProducer("p", client.WithSendTimeout(ample))
	require.NoError(t, err)
	r, err := g.SendTo(ctx, 11, &client.Message{Topic: "t", Body: []byte("eleven")})
	require.NoError(t, err)
	require.Equal(t, 11, r.Queue)
	require.Len(t, bodies(ctx, t, again, "t"), 9+4+2, "the old queues are read where they were")
}
