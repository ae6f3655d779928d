package conformance

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/stretchr/testify/require"
)

// Every way of sending, and that all a message carries arrives.
func TestSendsOfEveryKind(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	cluster.raftmq(t, "topic", "create", "kinds")
	p := newProducer(t)
	short := func(body string) string { return body[:min(len(body), 20)] }
	message := func(body, tag string) *primitive.Message {
		m := primitive.NewMessage("kinds", []byte(body)).WithTag(tag).WithKeys([]string{"key-" + short(body), "second-" + short(body)})
		m.WithShardingKey("shard")
		m.WithProperty("colour", "grün\u00a0"+short(body))
		m.Flag = 7
		return m
	}
	want := make(map[string]string) // tag by body
	receipts := make(map[string]*primitive.SendResult)

	for i := range 20 {
		body := fmt.Sprintf("sync-%d", i)
		r, err := p.SendSync(ctx, message(body, "sync"))
		require.NoError(t, err)
		require.Equal(t, primitive.SendOK, r.Status)
		require.Len(t, r.OffsetMsgID, 32)
		require.NotEmpty(t, r.MsgID)
		want[body], receipts[body] = "sync", r
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	for i := range 20 {
		body := fmt.Sprintf("async-%d", i)
		want[body] = "async"
		wg.Add(1)
		require.NoError(t, p.SendAsync(ctx, func(_ context.Context, r *primitive.SendResult, err error) {
			defer wg.Done()
			if err != nil {
				t.Errorf("%s: %v", body, err)
				return
			}
			mu.Lock()
			receipts[body] = r
			mu.Unlock()
		}, message(body, "async")))
	}
	wg.Wait()
	for i := range 20 {
		body := fmt.Sprintf("oneway-%d", i)
		want[body] = "oneway"
		require.NoError(t, p.SendOneWay(ctx, message(body, "oneway")))
	}
	for i := range 5 {
		var batch []*primitive.Message
		for j := range 4 {
			body := fmt.Sprintf("batch-%d-%d", i, j)
			want[body] = "batch"
			batch = append(batch, message(body, "batch"))
		}
		r, err := p.SendSync(ctx, batch...)
		require.NoError(t, err)
		require.Equal(t, primitive.SendOK, r.Status)
		require.Len(t, strings.Split(r.OffsetMsgID, ","), 4)
		receipts[fmt.Sprintf("batch-%d-0", i)] = r
	}
	large := string(bytes.Repeat([]byte("long words, "), 10_000)) // compressed: above 4096 bytes
	want[large] = "large"
	_, err := p.SendSync(ctx, message(large, "large"))
	require.NoError(t, err)
	want[""] = "empty"
	_, err = p.SendSync(ctx, message("", "empty"))
	require.NoError(t, err)

	var got deliveries
	newMember(t, "kinds-group", "kinds", &got, consumer.MessageSelector{})
	var bodies []string
	for b := range want {
		bodies = append(bodies, b)
	}
	got.await(t, "", bodies)
	ids := make(map[string]bool)
	for _, d := range got.snapshot() {
		body := string(d.msg.Body)
		require.Contains(t, want, body)
		require.Equal(t, want[body], d.msg.GetTags())
		require.Equal(t, "key-"+short(body)+" second-"+short(body), d.msg.GetKeys())
		require.Equal(t, "grün\u00a0"+short(body), d.msg.GetProperty("colour"))
		require.Equal(t, "shard", d.msg.GetShardingKey())
		require.EqualValues(t, 7, d.msg.Flag)
		require.Equal(t, "kinds", d.msg.Topic)
		require.NotEmpty(t, d.msg.MsgId)
		require.False(t, ids[d.msg.MsgId], "each message has an id of its own, also inside a batch")
		ids[d.msg.MsgId] = true
		r := receipts[body]
		if r == nil {
			continue
		}
		require.Equal(t, place{r.MessageQueue.BrokerName, r.MessageQueue.QueueId, r.QueueOffset}, d.place, "the receipt says where it is")
		require.Equal(t, strings.Split(r.OffsetMsgID, ",")[0], d.msg.OffsetMsgId)
	}
	require.Len(t, got.snapshot(), len(want), "nothing twice while nothing fails")
	// Within a batch the messages follow each other.
	at := make(map[string]place)
	for _, d := range got.snapshot() {
		at[string(d.msg.Body)] = d.place
	}
	for i := range 5 {
		for j := range 4 {
			first := at[fmt.Sprintf("batch-%d-0", i)]
			first.offset += int64(j)
			require.Equal(t, first, at[fmt.Sprintf("batch-%d-%d", i, j)])
		}
	}
}

func TestWhatCannotBeStoredIsRefused(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	cluster.raftmq(t, "topic", "create", "refused")
	p := newProducer(t)
	late := primitive.NewMessage("refused", []byte("x"))
	late.WithProperty("TIMER_DELAY_MS", "soon")
	_, err := p.SendSync(ctx, late)
	require.ErrorContains(t, err, "CODE: 13")
	big := make([]byte, 5<<20)
	for i := range big {
		big[i] = byte(i * i >> 7) // does not get small by zlib
	}
	m := primitive.NewMessage("refused", big)
	m.Compress, m.CompressedBody = true, big // as it is
	_, err = p.SendSync(ctx, m)
	require.ErrorContains(t, err, "CODE: 13")
	sendAll(t, p, "refused", []string{"after"})
	var got deliveries
	newMember(t, "refused-group", "refused", &got, consumer.MessageSelector{})
	got.await(t, "", []string{"after"})
	require.Len(t, got.snapshot(), 1)
}
