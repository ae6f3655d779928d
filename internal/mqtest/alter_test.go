package mqtest

import (
	"fmt"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

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

// Who sets an attribute leaves the queues as they are by then, and makes no topic that another
// deletes.
func TestAnAttributeIsSetBesideOtherSettings(t *testing.T) {
	t.Parallel()
	c := Start(t, 1, nil)
	c.createTopic(t, topicOf("t", 1))
	w := DialWire(t, c.listener(0, 0), remoting.JSON)
	only := with(topicOf("t", 1), "attributes", "+retention=1h", "_attrs", "1")
	w.OK(remoting.UpdateAndCreateTopic, topicOf("t", 3), nil)
	w.OK(remoting.UpdateAndCreateTopic, only, nil)
	var got remoting.TopicConfig
	require.NoError(t, remoting.DecodeBody(w.OK(remoting.GetTopicConfig, fields{"topic": "t"}, nil).Body, &got))
	require.EqualValues(t, 3, got.ReadQueueNums)
	require.EqualValues(t, 3, got.WriteQueueNums)
	require.Equal(t, "1h", got.Attributes["retention"])
	w.OK(remoting.DeleteTopicInBroker, fields{"topic": "t"}, nil)
	require.Equal(t, remoting.TopicNotExist, w.ask(remoting.UpdateAndCreateTopic, only, nil).Code)
}
