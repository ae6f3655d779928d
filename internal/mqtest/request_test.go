package mqtest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftmq/broker"
	"raftmq/client"
	"raftmq/message"
	"raftmq/remoting"
)

// answer consumes requests and replies to each with its body in upper case.
func answer(ctx context.Context, t *testing.T, cl *client.Client, topic, group string) {
	t.Helper()
	cons, err := cl.NewConsumer(group)
	require.NoError(t, err)
	require.NoError(t, cons.Subscribe(topic, client.All()))
	ctx, stop := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		cons.Run(ctx, func(ctx context.Context, d *client.Delivery) error {
			err := cl.Reply(ctx, d, &client.Message{Tag: "answer", Body: []byte(strings.ToUpper(string(d.Body)))})
			if errors.Is(err, client.ErrNoRequester) {
				return nil
			}
			return err
		})
	}()
	t.Cleanup(func() {
		stop()
		<-done
	})
}

// Many requests at once, with each node stopped and started meanwhile: each has its own
// reply, or an error that says what is known; when nodes are back, all have replies.
func TestRequestsHaveTheirRepliesWhicheverNodeStops(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(context.Background(), whole)
	defer cancel()
	c := Start(t, 3, nil)
	asks, replies := c.Client(), c.Client()
	require.NoError(t, asks.Admin().CreateTopic(ctx, client.TopicConfig{Name: "t", Queues: 1}))
	answer(ctx, t, replies, "t", "g")
	p, err := asks.NewProducer("asks", client.WithSendTimeout(ample))
	require.NoError(t, err)
	request := func(body string, within time.Duration) error {
		ctx, cancel := context.WithTimeout(ctx, within)
		defer cancel()
		d, err := p.Request(ctx, &client.Message{Topic: "t", Body: []byte(body)})
		if err != nil {
			return err
		}
		if string(d.Body) != strings.ToUpper(body) || d.Tag != "answer" {
			t.Errorf("the reply to %s is %s", body, d.Body)
		}
		return nil
	}
	require.NoError(t, request("first", patience))
	var wg sync.WaitGroup
	var answered, unanswered atomic.Int64
	stop := make(chan struct{})
	for i := range 8 {
		wg.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				case <-t.Context().Done():
					return
				default:
				}
				switch err := request(fmt.Sprintf("r%d-%d", i, n), 20*time.Second); {
				case err == nil:
					answered.Add(1)
				case errors.Is(err, client.ErrNoReply), errors.Is(err, client.ErrUncertain), errors.Is(err, client.ErrUnavailable):
					unanswered.Add(1)
				default:
					t.Errorf("a request ends with %v", err)
					return
				}
			}
		})
	}
	// The last stays: clients know the others' new ports from it.
	for i := range len(c.Nodes) - 1 {
		before := answered.Load()
		c.Stop(i)
		c.until("requests are answered without a node", func() bool { return answered.Load() > before+20 })
		c.Run(i)
		c.Await(i)
	}
	close(stop)
	wg.Wait()
	require.Positive(t, answered.Load())
	require.LessOrEqual(t, unanswered.Load(), int64(8), "of %d", answered.Load())
	require.NoError(t, request("last", patience))
}

// Nobody answers: the error says that the request is stored. A topic that is not there:
// that it is not. A reply that comes too late, or to a client that is gone, is refused.
func TestWhatIsKnownOfRequestsWithoutReply(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(context.Background(), whole)
	defer cancel()
	c := Start(t, 3, func(cfg *broker.Config) { cfg.AutoCreateTopics = false })
	asks, replies := c.Client(), c.Client()
	require.NoError(t, asks.Admin().CreateTopic(ctx, client.TopicConfig{Name: "t", Partitions: 1, Queues: 1}))
	p, err := asks.NewProducer("asks", client.WithSendTimeout(ample))
	require.NoError(t, err)
	for wait := 500 * time.Millisecond; wait < time.Minute; wait *= 2 {
		short, end := context.WithTimeout(ctx, wait)
		_, err = p.Request(short, &client.Message{Topic: "t", Body: []byte("late")})
		end()
		if errors.Is(err, client.ErrNoReply) && !errors.Is(err, client.ErrUncertain) {
			break // else it was not stored in time: this machine is slow
		}
	}
	require.ErrorIs(t, err, client.ErrNoReply)
	require.NotErrorIs(t, err, client.ErrUncertain)
	require.ErrorContains(t, err, "it is stored as")
	_, err = p.Request(ctx, &client.Message{Topic: "none"})
	require.ErrorIs(t, err, client.ErrTopicNotFound)
	require.NotErrorIs(t, err, client.ErrNoReply)

	r, err := replies.NewReader("t", client.FromPosition(client.Earliest()))
	require.NoError(t, err)
	defer r.Close()
	var request *client.Delivery
	for d, err := range r.UntilEnd(ctx) {
		require.NoError(t, err)
		request = d
	}
	require.True(t, request.WantsReply())
	require.Equal(t, c.Name, request.Properties[message.PropCluster])
	err = replies.Reply(ctx, request, &client.Message{Body: []byte("too late")})
	require.ErrorIs(t, err, client.ErrNoRequester)
	require.ErrorContains(t, err, "waits no longer")
	require.NoError(t, asks.Close(ctx))
	err = replies.Reply(ctx, request, &client.Message{Body: []byte("too late")})
	require.ErrorIs(t, err, client.ErrNoRequester)
	require.ErrorContains(t, err, "not connected")
	plain := *request
	plain.Properties = nil
	require.ErrorIs(t, replies.Reply(ctx, &plain, &client.Message{}), client.ErrInvalid)
	require.ErrorIs(t, replies.Reply(ctx, request, &client.Message{Body: make([]byte, client.MaxBody+1)}), client.ErrTooLarge)
	require.ErrorIs(t, replies.Reply(ctx, request, &client.Message{Delay: time.Second}), client.ErrInvalid)
}

// As stock clients do it: replies through any node, in either form, come to the one
// connection that the requester has; and what is no reply is refused.
func TestRepliesGoToTheRequestersConnection(t *testing.T) {
	t.Parallel()
	c := Start(t, 3, nil)
	asks := DialWire(t, c.listener(1, 0), 0)
	asks.OK(remoting.Heartbeat, nil, heartbeatOf("me@1", "g"))
	topic := message.ReplyTopic(c.Name)
	// reply has a reply sent, and the requester answer; again if it took longer to answer than nodes wait.
	reply := func(t *testing.T, w *Wire, code remoting.Code, ext fields, answer remoting.Code) (push, r *remoting.Command) {
		t.Helper()
		for over := time.Now().Add(patience); r == nil; {
			require.True(t, time.Now().Before(over), "it is never known whether the requester has it")
			opaque := w.Send(code, ext, []byte("reply"))
			for end := time.Now().Add(5 * time.Second); r == nil && time.Now().Before(end); r = w.within(20*time.Millisecond, opaque) {
				if p := asks.pushWithin(20*time.Millisecond, remoting.PushReplyMessageToClient); p != nil {
					push = p
					asks.respond(p, answer)
				}
			}
		}
		return push, r
	}
	c.each(t, 2, func(t *testing.T, w *Wire) {
		for _, topic := range []string{topic, "space%" + topic} { // of clients with a namespace
			route := w.OK(remoting.GetRouteByTopic, fields{"topic": topic}, nil)
			require.Contains(t, string(route.Body), `"writeQueueNums":1`)
			for _, form := range []struct {
				code remoting.Code
				ext  fields
			}{
				{remoting.SendReplyMessage, with(sendLong(topic, 0), "properties", "CORRELATION_ID\x01c1\x02REPLY_TO_CLIENT\x01me@1\x02TTL\x013\x02MSG_TYPE\x01reply\x02", "sysFlag", "1")},
				{remoting.SendReplyMessageV2, with(sendShort(topic, 0), "i", "CORRELATION_ID\x01c1\x02REPLY_TO_CLIENT\x01me@1\x02TTL\x013000\x02MSG_TYPE\x01reply")},
			} {
				push, r := reply(t, w, form.code, form.ext, remoting.OK)
				var h remoting.PushReplyHeader
				require.NoError(t, h.Decode(push.Ext))
				require.Equal(t, []any{topic, "reply", int32(0)}, []any{h.Topic, string(push.Body), h.SysFlag}, "no flag that lies of the body")
				props := message.ParseProperties(h.Properties)
				require.Equal(t, []string{"c1", "me@1", "reply"}, []string{props[message.PropCorrelation], props[message.PropReplyTo], props[message.PropType]})
				require.NotEmpty(t, props[message.PropPushTime])
				require.Equal(t, w.nc.LocalAddr().String(), h.BornHost)
				require.Equal(t, remoting.OK, r.Code, r.Remark)
				require.Equal(t, []string{"0", "0", "0"}, []string{r.Ext["msgId"], r.Ext["queueId"], r.Ext["queueOffset"]})

				_, r = reply(t, w, form.code, form.ext, remoting.ConsumerNotOnline)
				require.Equal(t, remoting.SystemError, r.Code, "stock clients know no other")
			}
		}
		bad := with(sendLong(topic, 0), "properties", "CORRELATION_ID\x01c1\x02")
		require.Equal(t, remoting.InvalidParameter, w.Led(remoting.SendReplyMessage, bad, nil).Code)
		require.Equal(t, remoting.TopicNotExist, w.Led(remoting.SendReplyMessage, sendLong("other", 0), nil).Code)
		require.Equal(t, remoting.MessageIllegal, w.Led(remoting.SendReplyMessage, with(sendLong(topic, 0), "properties", "CORRELATION_ID\x01c1\x02REPLY_TO_CLIENT\x01me@1\x02"), make([]byte, 513<<10)).Code)
		require.Equal(t, remoting.NoPermission, w.Led(remoting.SendMessage, sendLong(topic, 0), nil).Code)
		require.Equal(t, remoting.InvalidParameter, w.Led(remoting.UpdateAndCreateTopic, topicOf(topic, 1), nil).Code)
	})
	// A requester that does not answer: clients of ours are told that it is not known,
	// others are not answered.
	w := DialWire(t, c.listener(0, 0), 0)
	ext := with(sendShort(topic, 0), "i", "CORRELATION_ID\x01c1\x02REPLY_TO_CLIENT\x01me@1\x02", "rmq", "1")
	require.Equal(t, remoting.OutcomeUnknown, w.ask(remoting.SendReplyMessageV2, ext, nil).Code)
	asks.waitPush(remoting.PushReplyMessageToClient)
	asks.nc.Close()
	c.until("the requester is gone", func() bool { return w.ask(remoting.SendReplyMessageV2, ext, nil).Code == remoting.ConsumerNotOnline })
}

// A requester is handed a reply over a connection that then fails, and over another one says
// that it does not wait: it may have the reply.
func TestAReplyThatTheRequesterMayHaveIsNotRefused(t *testing.T) {
	t.Parallel()
	c := Start(t, 1, nil)
	other, first := DialWire(t, c.listener(0, 0), 0), DialWire(t, c.listener(0, 0), 0)
	for _, asks := range []*Wire{other, first} { // the latest is asked first
		asks.OK(remoting.Heartbeat, nil, heartbeatOf("me@1", "g"))
	}
	w := DialWire(t, c.listener(0, 0), 0)
	ext := with(sendShort(message.ReplyTopic(c.Name), 0), "i", "CORRELATION_ID\x01c1\x02REPLY_TO_CLIENT\x01me@1\x02", "rmq", "1")
	opaque := w.Send(remoting.SendReplyMessageV2, ext, []byte("reply"))
	first.waitPush(remoting.PushReplyMessageToClient)
	first.nc.Close()
	other.respond(other.waitPush(remoting.PushReplyMessageToClient), remoting.ConsumerNotOnline)
	r := w.Reply(opaque)
	require.Equal(t, remoting.OutcomeUnknown, r.Code, r.Remark)
}
