package broker

import (
	"slices"
	"sync"
	"time"

	"raftmq/fsm"
)

const (
	// maxCatalogue is how large the catalogue's state may become by what clients ask for: each node has it in memory, and
	// it is sent, and read at a start, as one piece.
	maxCatalogue = 48 << 20
	// measureAgain is how often it is measured, at most, while it seems to be full; else, if it changes, every measureSeldom.
	measureAgain  = time.Second
	measureSeldom = 10 * time.Second
)

// catalogueRoom is how much the catalogue takes, as the node knows that leads it.
type catalogueRoom struct {
	mu            sync.Mutex
	term, version uint64 // of which it was measured
	at            time.Time
	took          int           // bytes of the state then
	since         int           // about so many were added
	flying        int           // and may be
	measuring     chan struct{} // closed when it has been; nil: nobody measures it
}

// enter lets a change in that adds about so many bytes; leave says that it is decided, and whether it may have added them.
// false: there is no room. One that adds nothing always finds some. One measures at a time, and the others go by what is
// known if they fit, else they wait for it.
func (c *catalogueRoom) enter(term, version uint64, adds int, measure func() int) (leave func(added bool), ok bool) {
	if adds <= 0 {
		return func(bool) {}, true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.staleLocked(term, version, adds) {
		done := c.measuring
		if done == nil {
			c.measureLocked(term, version, measure)
			break
		}
		if c.term == term && c.fitsLocked(adds) {
			break
		}
		c.mu.Unlock()
		<-done
		c.mu.Lock()
	}
	if !c.fitsLocked(adds) {
		return nil, false
	}
	c.flying += adds
	return func(added bool) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.flying -= adds
		if added {
			c.since += adds
		}
	}, true
}

func (c *catalogueRoom) fitsLocked(adds int) bool {
	return c.took+c.since+c.flying+adds <= maxCatalogue
}

// staleLocked reports whether it is to be measured before so many bytes are let in.
func (c *catalogueRoom) staleLocked(term, version uint64, adds int) bool {
	again := measureSeldom
	if !c.fitsLocked(adds) {
		again = measureAgain
	}
	return c.term != term || (c.version != version || c.since > 0) && time.Since(c.at) > again // what was counted may have added nothing
}

// measureLocked measures it, with the lock let go meanwhile: what is added then counts as well, since it may not be in there.
func (c *catalogueRoom) measureLocked(term, version uint64, measure func() int) {
	done, before := make(chan struct{}), c.since
	c.measuring = done
	c.mu.Unlock()
	took := measure()
	c.mu.Lock()
	c.took, c.since, c.term, c.version, c.at = took, c.since-before, term, version, time.Now()
	c.measuring = nil
	close(done)
}

// enterCatalogue is enter of a change by a command.
func (b *Broker) enterCatalogue(c change, cmd []byte) (leave func(added bool), ok bool) {
	if c.adds == nil {
		return func(bool) {}, true
	}
	term, _ := b.catalogue.replica.Leads()
	return b.crowd.enter(term, b.catalogue.Version(), c.adds(cmd), func() int {
		_, state := b.catalogue.State()
		return len(state)
	})
}

// What the catalogue has of a thing beside what made it, in bytes, and more.
const (
	headSize      = 256 // of a topic, group or value
	partitionSize = 160 // and its topic's name
	voterSize     = 64  // and the node's name
	retrySize     = 24  // of a retry queue
)

// topicAdds is about how many bytes a command adds that makes or changes a topic.
func (b *Broker) topicAdds(cmd []byte, name string) int {
	if t, ok := b.catalogue.Topic(name); ok {
		return len(cmd) - len(fsm.EncodeUpdateTopic(nil, settingsOf(t)))
	}
	n := headSize + len(name) + len(cmd)
	for _, s := range b.catalogue.Slots() { // a topic of fewer partitions takes less
		n += partitionSize + len(name)
		for _, node := range s.Replicas {
			n += voterSize + len(node)
		}
	}
	return n
}

// groupAdds is about how many bytes a command adds that makes or changes a group.
func (b *Broker) groupAdds(cmd []byte, name string) int {
	if g, ok := b.catalogue.Group(name); ok {
		return len(cmd) - len(fsm.EncodePutGroup(nil, g.GroupSpec))
	}
	return headSize + len(name) + len(cmd)
}

// subscribeAdds is about how many bytes a group and its topics add.
func (b *Broker) subscribeAdds(name string, topics []string) int {
	g, ok := b.catalogue.Group(name)
	n := 0
	if !ok {
		n = 2 * (headSize + len(name))
	}
	for _, topic := range topics {
		if t, there := b.catalogue.Topic(topic); there && !slices.Contains(g.Topics, topic) {
			n += retrySize*(1+len(t.Partitions)) + len(topic)
		}
	}
	return n
}

// kvAdds is about how many bytes a command adds that keeps a value.
func (b *Broker) kvAdds(cmd []byte, namespace, key string) int {
	if old, ok := b.catalogue.KV(namespace)[key]; ok {
		return len(cmd) - len(fsm.EncodePutKV(nil, namespace, key, old))
	}
	return headSize + len(cmd)
}
