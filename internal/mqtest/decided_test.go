package mqtest

import (
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"raftmq/remoting"
)

// One creation made at once through all nodes: each is told that it is done, and it
// is done once. Which slots it gets depends on what is there, so that the same
// request may be decided differently the second time.
func TestOfManyCreationsAtOnceEachIsDone(t *testing.T) {
	t.Parallel()
	c := Start(t, 3, nil)
	for _, name := range []string{"a", "b", "c", "d"} {
		var wg sync.WaitGroup
		for i := range 9 {
			w := DialWire(t, c.listener(i%3, i/3), 0)
			wg.Go(func() {
				w.sure(remoting.UpdateAndCreateTopic, with(topicOf(name, 3), "partitions", "2", "rmq", "1"), nil)
			})
		}
		wg.Wait()
		stats := statsOf(t, DialWire(t, c.listener(0, 0), 0), name)
		require.Len(t, stats, 6, "two partitions of three queues")
	}
	parts := make(map[int]int) // by slot
	for _, p := range c.Nodes[0].Partitions() {
		parts[p.Slot]++
	}
	require.Len(t, parts, 3)
	for slot, n := range parts {
		require.LessOrEqual(t, n, 3, "slot %d has more than its share of 8", slot)
	}
}

// A topic is deleted, and made anew, while a node hears nothing. What that node
// says meanwhile is certain, and when it hears again it knows the new one.
func TestANodeThatMissedADeletion(t *testing.T) {
	t.Parallel()
	c := Start(t, 3, nil)
	c.createTopic(t, topicOf("t", 1))
	// Not the catalogue's leader, nor the partition's: it only forwards.
	lost := (c.leader("t", 0) + 1) % 3
	other := (lost + 1) % 3
	w := DialWire(t, c.listener(lost, 0), 0)
	w.put(sendShort("t", 0), []byte("old"))
	c.cutOff(lost)
	// The others elect leaders where it led, if they have to.
	admin := DialWire(t, c.listener(other, 0), 0)
	c.until("deleted", func() bool {
		return admin.ask(remoting.DeleteTopicInBroker, fields{"topic": "t", "rmq": "1"}, nil).Code == remoting.OK
	})
	c.until("made anew", func() bool {
		return admin.ask(remoting.UpdateAndCreateTopic, with(topicOf("t", 1), "rmq", "1"), nil).Code == remoting.OK
	})
	send := w.Send(remoting.SendMessageV2, with(sendShort("t", 0), "rmq", "1"), []byte("nowhere"))
	end := w.Send(remoting.GetMaxOffset, fields{"topic": "t", "queueId": "0"}, nil)
	r := w.Reply(send)
	require.Contains(t, []remoting.Code{remoting.ServiceNotAvailable, remoting.TopicNotExist}, r.Code, "%s: it is certainly not stored", r.Remark)
	r = w.Reply(end)
	require.NotEqual(t, remoting.OK, r.Code, "an offset of a topic that is gone")

	c.Net.HealAll()
	c.Await(lost)
	c.until("the new topic", func() bool {
		r = w.ask(remoting.SendMessageV2, with(sendShort("t", 0), "c", "-", "rmq", "1"), []byte("new"))
		return r.Code == remoting.OK
	})
	require.EqualValues(t, 0, num(t, r, "queueOffset"))
	for i := range c.Nodes {
		c.until("old replicas are gone", func() bool {
			n := 0
			for _, p := range c.Nodes[i].Partitions() {
				if p.Topic == "t" {
					n++
				}
			}
			return n == 3
		})
	}
}
