package client

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

// A producer forgets what it keeps of topics that are gone. No sequence of theirs is used
// again, should a topic come back: it could be taken for a message that is stored.
func TestAProducerForgetsTopicsThatAreGone(t *testing.T) {
	c := &Client{}
	c.routes.init(c)
	p := &Producer{c: c, lanes: make(map[laneKey]*lane), joined: make(map[string]*joined)}
	of := func(topic string) *lane {
		l, err := p.lane(&route{topic: topic, all: []queueKey{{"raftmq-0", 0}}}, 0)
		require.NoError(t, err)
		return l
	}
	c.routes.topics["here"] = &route{}
	here, gone := of("here"), of("gone")
	here.epoch, gone.epoch, gone.seq = 9, 7, 100
	for i := range 10 * lanesKept {
		p.join(of(fmt.Sprint("t", i)))
		require.LessOrEqual(t, len(p.lanes), 2*lanesKept)
		require.LessOrEqual(t, len(p.joined), 2*lanesKept)
	}
	require.Same(t, here, of("here"))
	back := of("gone")
	require.NotSame(t, gone, back)
	require.GreaterOrEqual(t, back.epoch, uint32(8))
	p.mu.Lock()
	require.Same(t, back, p.keptLocked(gone), "who had it uses the one that is made since")
	p.mu.Unlock()
}
