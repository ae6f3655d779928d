package conformance

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	rocketmq "github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
	"github.com/stretchr/testify/require"
)

func TestPushConsumerGetsWhatWasSent(t *testing.T) {
	t.Parallel()
	cluster.raftmq(t, "topic", "create", "push")
	p := newProducer(t)
	sent := numbered("m", 100)
	sendAll(t, p, "push", sent)
	var got deliveries
	newMember(t, "push-group", "push", &got, consumer.MessageSelector{})
	got.await(t, "", sent)
	more := numbered("more", 100) // into pulls that are held
	sendAll(t, p, "push", more)
	got.await(t, "", more)
	require.Len(t, got.snapshot(), 200, "nothing twice while nothing fails")
}

func TestTagsAreFiltered(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	cluster.raftmq(t, "topic", "create", "tags")
	p := newProducer(t)
	var want []string
	for i := range 60 {
		tag := []string{"red", "green", "blau-ü"}[i%3]
		body := fmt.Sprintf("%s-%d", tag, i)
		_, err := p.SendSync(ctx, primitive.NewMessage("tags", []byte(body)).WithTag(tag))
		require.NoError(t, err)
		if tag != "green" {
			want = append(want, body)
		}
	}
	var got deliveries
	newMember(t, "tags-group", "tags", &got, consumer.MessageSelector{Type: consumer.TAG, Expression: "red || blau-ü"})
	got.await(t, "", want)
	cluster.committed(t, "tags-group", "tags") // past what was filtered too
	require.Len(t, got.snapshot(), len(want))
}

// share sends rounds of messages until one is consumed as settled says, and
// checks that each message of each round is delivered.
func share(t *testing.T, p rocketmq.Producer, topic string, got *deliveries, settled func(owner map[place]string) bool) {
	t.Helper()
	begun := time.Now()
	for round := 0; ; round++ {
		sent := numbered(fmt.Sprintf("%s-%d", instance(t), round), 24)
		sendAll(t, p, topic, sent)
		got.await(t, "", sent)
		owner := make(map[place]string)
		for _, d := range got.snapshot() {
			if slices.Contains(sent, string(d.msg.Body)) {
				d.offset = 0
				if o, ok := owner[d.place]; ok && o != d.member {
					owner[d.place] = "both"
				} else {
					owner[d.place] = d.member
				}
			}
		}
		if settled(owner) {
			t.Logf("shared after %v, %d rounds", time.Since(begun).Round(time.Millisecond), round+1)
			return
		}
		if time.Since(begun) > 2*time.Minute {
			t.Fatalf("queues are not shared as they should: %v", owner)
		}
		time.Sleep(200 * time.Millisecond)
	}
}

func count(owner map[place]string, member string) (n int) {
	for _, m := range owner {
		if m == member {
			n++
		}
	}
	return n
}

func TestMembersShareTheQueues(t *testing.T) {
	t.Parallel()
	cluster.raftmq(t, "topic", "create", "shared", "--queues", "2")
	p := newProducer(t)
	var got deliveries
	a := newMember(t, "shared-group", "shared", &got, consumer.MessageSelector{})
	share(t, p, "shared", &got, func(o map[place]string) bool { return count(o, a.name) == 6 })
	b := newMember(t, "shared-group", "shared", &got, consumer.MessageSelector{})
	share(t, p, "shared", &got, func(o map[place]string) bool { return count(o, a.name) == 3 && count(o, b.name) == 3 })
	c := newMember(t, "shared-group", "shared", &got, consumer.MessageSelector{})
	share(t, p, "shared", &got, func(o map[place]string) bool {
		return count(o, a.name) == 2 && count(o, b.name) == 2 && count(o, c.name) == 2
	})
	cluster.committed(t, "shared-group", "shared")
	b.stop()
	share(t, p, "shared", &got, func(o map[place]string) bool { return count(o, a.name) == 3 && count(o, c.name) == 3 })
	cluster.committed(t, "shared-group", "shared")
	a.stop()
	share(t, p, "shared", &got, func(o map[place]string) bool { return count(o, c.name) == 6 })
}

func TestEachBroadcastMemberGetsAll(t *testing.T) {
	t.Parallel()
	cluster.raftmq(t, "topic", "create", "broadcast")
	p := newProducer(t)
	sent := numbered("m", 50)
	sendAll(t, p, "broadcast", sent)
	var got deliveries
	a := newMember(t, "broadcast-group", "broadcast", &got, consumer.MessageSelector{}, consumer.WithConsumerModel(consumer.BroadCasting))
	b := newMember(t, "broadcast-group", "broadcast", &got, consumer.MessageSelector{}, consumer.WithConsumerModel(consumer.BroadCasting))
	more := numbered("more", 50)
	sendAll(t, p, "broadcast", more)
	all := append(sent, more...)
	got.await(t, a.name, all)
	got.await(t, b.name, all)
	require.Len(t, got.snapshot(), 2*len(all))

	// A member that leaves takes nothing from the other, and when it comes back it
	// goes on where its file says.
	b.stop()
	away := numbered("away", 50)
	sendAll(t, p, "broadcast", away)
	got.await(t, a.name, away)
	var again deliveries
	newMember(t, "broadcast-group", "broadcast", &again, consumer.MessageSelector{}, consumer.WithConsumerModel(consumer.BroadCasting), consumer.WithInstance(b.name))
	again.await(t, "", away)
	require.Len(t, again.snapshot(), len(away))
}

func TestRestartedConsumerResumes(t *testing.T) {
	t.Parallel()
	cluster.raftmq(t, "topic", "create", "resume")
	p := newProducer(t)
	var first, second deliveries
	m := newMember(t, "resume-group", "resume", &first, consumer.MessageSelector{})
	sent := numbered("before", 100)
	sendAll(t, p, "resume", sent)
	first.await(t, "", sent)
	cluster.committed(t, "resume-group", "resume")
	m.stop()
	sent = numbered("after", 100)
	sendAll(t, p, "resume", sent)
	newMember(t, "resume-group", "resume", &second, consumer.MessageSelector{})
	second.await(t, "", sent)
	require.Len(t, second.snapshot(), 100, "nothing that was committed comes again")
	require.Len(t, first.snapshot(), 100)
}

func TestConsumerBeginsAtTheEnd(t *testing.T) {
	t.Parallel()
	cluster.raftmq(t, "topic", "create", "latest")
	p := newProducer(t)
	sendAll(t, p, "latest", numbered("old", 60))
	var got deliveries
	newMember(t, "latest-group", "latest", &got, consumer.MessageSelector{}, consumer.WithConsumeFromWhere(consumer.ConsumeFromLastOffset))
	cluster.committed(t, "latest-group", "latest") // it commits where it begins
	sent := numbered("new", 60)
	sendAll(t, p, "latest", sent)
	got.await(t, "", sent)
	require.Len(t, got.snapshot(), 60)
}

// Orderly consumers lock their queues: each queue is consumed in its order, also
// while queues move between members.
func TestOrderlyMembersConsumeInOrder(t *testing.T) {
	t.Parallel()
	cluster.raftmq(t, "topic", "create", "orderly", "--queues", "1", "--order")
	p := newProducer(t)
	var got deliveries
	a := newMember(t, "orderly-group", "orderly", &got, consumer.MessageSelector{}, consumer.WithConsumerOrder(true))
	share(t, p, "orderly", &got, func(o map[place]string) bool { return count(o, a.name) == 3 })
	b := newMember(t, "orderly-group", "orderly", &got, consumer.MessageSelector{}, consumer.WithConsumerOrder(true))
	share(t, p, "orderly", &got, func(o map[place]string) bool { return count(o, a.name)+count(o, b.name) == 3 && count(o, b.name) > 0 })
	cluster.committed(t, "orderly-group", "orderly")
	a.stop()
	share(t, p, "orderly", &got, func(o map[place]string) bool { return count(o, b.name) == 3 })
	t.Logf("%d deliveries, queues that went back %d times", got.count(), got.inOrder(t))
}

// PullConsumer.Poll and ACK, the half of the pull consumer that keeps offsets.
func TestPullConsumerPolls(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	cluster.raftmq(t, "topic", "create", "polled")
	p := newProducer(t)
	sent := numbered("m", 100)
	sendAll(t, p, "polled", sent)
	poll := func(c rocketmq.PullConsumer, want int) map[string]int {
		got := make(map[string]int)
		until(t, 2*time.Minute, func() bool {
			r, err := c.Poll(ctx, 5*time.Second)
			if err != nil {
				require.True(t, consumer.IsNoNewMsgError(err), "%v", err)
				return false
			}
			for _, m := range r.GetMsgList() {
				got[string(m.Body)]++
			}
			c.ACK(ctx, r, consumer.ConsumeSuccess)
			return len(got) == want
		}, func() string { return fmt.Sprintf("%d of %d messages", len(got), want) })
		return got
	}
	c := newPuller(t, "polled-group", "polled")
	got := poll(c, len(sent))
	for _, b := range sent {
		require.Equal(t, 1, got[b])
	}
	cluster.committed(t, "polled-group", "polled")
	require.NoError(t, c.Shutdown())
	more := numbered("more", 50)
	sendAll(t, p, "polled", more)
	c = newPuller(t, "polled-group", "polled")
	got = poll(c, len(more))
	for _, b := range more {
		require.Equal(t, 1, got[b])
	}
}

// PullFrom reads any place of a queue without a group's offsets.
func TestPullConsumerReadsAtAnOffset(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	cluster.raftmq(t, "topic", "create", "random-access", "--partitions", "1", "--queues", "1")
	p := newProducer(t)
	r, err := p.SendSync(ctx, primitive.NewMessage("random-access", []byte("m-0")))
	require.NoError(t, err)
	sendAll(t, p, "random-access", numbered("m", 100)[1:])
	c := newPuller(t, "random-access-group", "random-access")
	q := *r.MessageQueue
	res, err := c.PullFrom(ctx, &q, 40, 10)
	require.NoError(t, err)
	require.Equal(t, primitive.PullFound, res.Status)
	require.EqualValues(t, 50, res.NextBeginOffset)
	require.EqualValues(t, 100, res.MaxOffset)
	require.Len(t, res.GetMessageExts(), 10)
	require.Equal(t, "m-40", string(res.GetMessageExts()[0].Body))
	res, err = c.PullFrom(ctx, &q, 500, 10)
	require.NoError(t, err)
	require.Equal(t, primitive.PullOffsetIllegal, res.Status)
	require.EqualValues(t, 100, res.NextBeginOffset)
}

// What a listener refuses is delivered again until it is taken, and nothing else
// is lost meanwhile.
func TestRefusedMessageComesAgain(t *testing.T) {
	t.Parallel()
	cluster.raftmq(t, "topic", "create", "again")
	p := newProducer(t)
	var got deliveries
	name := instance(t)
	c, err := rocketmq.NewPushConsumer(consumer.WithNameServer(cluster.endpoints()), consumer.WithInstance(name), consumer.WithGroupName("again-group"),
		consumer.WithConsumeFromWhere(consumer.ConsumeFromFirstOffset))
	require.NoError(t, err)
	take := got.take(name)
	require.NoError(t, c.Subscribe("again", consumer.MessageSelector{}, func(ctx context.Context, msgs ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
		first := got.bodies("")[string(msgs[0].Body)] == 0
		take(ctx, msgs...)
		if first && string(msgs[0].Body) == "m-7" {
			return consumer.ConsumeRetryLater, nil
		}
		return consumer.ConsumeSuccess, nil
	}))
	require.NoError(t, c.Start())
	defer c.Shutdown()
	sent := numbered("m", 30)
	sendAll(t, p, "again", sent)
	got.await(t, "", sent)
	until(t, 2*time.Minute, func() bool { return got.bodies("")["m-7"] >= 2 }, func() string { return "m-7 does not come again" })
	cluster.committed(t, "again-group", "again")
}

func TestNamespace(t *testing.T) {
	t.Parallel()
	cluster.raftmq(t, "topic", "create", "space%inside")
	p := newProducer(t, producer.WithNamespace("space"))
	sent := numbered("m", 20)
	sendAll(t, p, "inside", sent)
	var got deliveries
	newMember(t, "namespace-group", "inside", &got, consumer.MessageSelector{}, consumer.WithNamespace("space"))
	got.await(t, "", sent)
}
