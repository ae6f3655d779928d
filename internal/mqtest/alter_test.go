package mqtest

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"raftmq/client"
	"raftmq/remoting"
)

// Operators who set different attributes of a topic at once each have theirs set.
func TestAttributesThatAreSetAtOnceAreAllSet(t *testing.T) {
	t.Parallel()
	c := Start(t, 3, nil)
	c.createTopic(t, topicOf("t", 1))
	const n = 32
	want := make(map[string]string)
	var wg sync.WaitGroup
	for i := range n {
		key := fmt.Sprintf("k%d", i)
		want[key] = "v"
		w := DialWire(t, c.listener(i%3, 0), remoting.JSON)
		wg.Go(func() {
			w.sure(remoting.UpdateAndCreateTopic, with(topicOf("t", 1), "attributes", "+"+key+"=v", "rmq", "1"), nil)
		})
	}
	wg.Wait()
	var got remoting.TopicConfig
	r := DialWire(t, c.listener(0, 0), remoting.JSON).OK(remoting.GetTopicConfig, fields{"topic": "t"}, nil)
	require.NoError(t, remoting.DecodeBody(r.Body, &got))
	require.Equal(t, want, map[string]string(got.Attributes))
}

// What a topic is, or that it is there, is not said by a leader of the catalogue that others
// may have replaced: they may have deleted it.
func TestACatalogueLeaderThatIsCutOffDoesNotSayWhatIsThere(t *testing.T) {
	t.Parallel()
	c := Start(t, 3, nil)
	c.createTopic(t, topicOf("t", 1))
	leader := c.ofCatalogue()
	w := DialWire(t, c.listener(leader, 0), remoting.JSON)
	another := with(topicOf("t", 1), "partitions", "2")
	w.OK(remoting.UpdateAndCreateTopic, with(topicOf("t", 1), "_new", "1"), nil)
	require.Equal(t, remoting.TopicExistAlready, w.Led(remoting.UpdateAndCreateTopic, another, nil).Code)
	c.cutOff(leader)
	made, refused := w.Send(remoting.UpdateAndCreateTopic, with(topicOf("t", 1), "_new", "1"), nil), w.Send(remoting.UpdateAndCreateTopic, another, nil)
	for _, asked := range []int32{made, refused} {
		r := w.Reply(asked)
		require.Equal(t, remoting.ServiceNotAvailable, r.Code, r.Remark)
	}
}

// Two operators alter a topic at once: what one has not named is not set back to what it was when he
// looked. Nor are settings that only other clients set.
func TestAnAlterationLeavesWhatItDoesNotName(t *testing.T) {
	t.Parallel()
	c := Start(t, 3, nil)
	w := DialWire(t, c.listener(0, 0), remoting.JSON)
	made := with(topicOf("t", 2), "perm", "4", "order", "true", "topicSysFlag", "2", "rmq", "1")
	w.sure(remoting.UpdateAndCreateTopic, made, nil)
	get := func() (got remoting.TopicConfig) {
		t.Helper()
		require.NoError(t, remoting.DecodeBody(w.OK(remoting.GetTopicConfig, fields{"topic": "t"}, nil).Body, &got))
		return got
	}
	looked := with(topicOf("t", 2), "rmq", "1")
	w.sure(remoting.UpdateAndCreateTopic, with(made, "readQueueNums", "4", "writeQueueNums", "4"), nil)
	w.sure(remoting.UpdateAndCreateTopic, with(looked, "alters", "", "attributes", "+retention=48h"), nil)
	got := get()
	require.Equal(t, "48h", got.Attributes["retention"])
	require.EqualValues(t, []int32{4, 4, 4, 2}, []int32{got.ReadQueueNums, got.WriteQueueNums, got.Perm, got.TopicSysFlag})
	require.True(t, got.Order)

	ctx, cancel := context.WithTimeout(context.Background(), whole)
	defer cancel()
	admin := c.Client().Admin()
	require.NoError(t, admin.AlterTopic(ctx, client.TopicConfig{Name: "t", WriteQueues: 1, Unset: []string{"retention"}}))
	got = get()
	require.Empty(t, got.Attributes["retention"])
	require.EqualValues(t, []int32{4, 1, 4, 2}, []int32{got.ReadQueueNums, got.WriteQueueNums, got.Perm, got.TopicSysFlag})
	require.ErrorIs(t, admin.AlterTopic(ctx, client.TopicConfig{Name: "t", WriteQueues: 3, ReadQueues: 2}), client.ErrInvalid)
	require.NoError(t, admin.AlterTopic(ctx, client.TopicConfig{Name: "t", ReadQueues: 2}))
	got = get()
	require.EqualValues(t, []int32{2, 1}, []int32{got.ReadQueueNums, got.WriteQueueNums})
	require.ErrorIs(t, admin.AlterTopic(ctx, client.TopicConfig{Name: "none", ReadQueues: 2}), client.ErrTopicNotFound)
	w.OK(remoting.DeleteTopicInBroker, fields{"topic": "t"}, nil)
	require.Equal(t, remoting.TopicNotExist, w.Led(remoting.UpdateAndCreateTopic, with(looked, "alters", "", "attributes", "+retention=1h"), nil).Code, "it is not made again")
}
