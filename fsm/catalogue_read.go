package fsm

import (
	"cmp"
	"maps"
	"slices"
)

// Changed returns a channel that closes at the next change. Take it before
// reading.
func (c *Catalogue) Changed() <-chan struct{} {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.changed
}

// Version counts changes.
func (c *Catalogue) Version() uint64 {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.s.Version
}

// ClusterID is the name that the cluster was founded with; "" before.
func (c *Catalogue) ClusterID() string {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.s.Cluster
}

// Slots returns the slots by id; none before the cluster was founded.
func (c *Catalogue) Slots() []Slot {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.s.Slots
}

// Nodes returns the members by name.
func (c *Catalogue) Nodes() []Node {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.s.Nodes
}

// Node returns the present life of a member.
func (c *Catalogue) Node(name string) (Node, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	for _, n := range c.s.Nodes {
		if n.Name == name {
			return n, true
		}
	}
	return Node{}, false
}

// Lives returns the nodes that were ever replaced.
func (c *Catalogue) Lives() map[string]Life {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.s.Lives
}

// Replacing is the node that was replaced and does not vote everywhere yet; "" if
// there is none.
func (c *Catalogue) Replacing() string {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.replacingLocked()
}

func (c *Catalogue) replacingLocked() string {
	for name, l := range c.s.Lives { // one at most, so in any order
		if !l.Settled {
			return name
		}
	}
	return ""
}

// Topic returns a topic by name.
func (c *Catalogue) Topic(name string) (Topic, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	t, ok := c.s.Topics[name]
	return t, ok
}

// Topics returns all topics by name.
func (c *Catalogue) Topics() []Topic {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return slices.SortedFunc(maps.Values(c.s.Topics), func(a, b Topic) int { return cmp.Compare(a.Name, b.Name) })
}

// Partition returns a partition by its Raft group.
func (c *Catalogue) Partition(id uint64) (Partition, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	p, ok := c.byID[id]
	return p, ok
}

// Deleted reports whether there was a partition of that id and is none any more, for
// ever: ids are given once, in their order.
func (c *Catalogue) Deleted(id uint64) bool {
	c.mu.RLock()
	defer c.mu.RUnlock()
	_, there := c.byID[id]
	return !there && id > 0 && id <= c.s.LastPartition
}

// Partitions returns all partitions by id.
func (c *Catalogue) Partitions() []Partition {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return slices.SortedFunc(maps.Values(c.byID), func(a, b Partition) int { return cmp.Compare(a.ID, b.ID) })
}

// Group returns a group by name.
func (c *Catalogue) Group(name string) (Group, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	g, ok := c.s.Groups[name]
	return g, ok
}

// Groups returns all groups by name.
func (c *Catalogue) Groups() []Group {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return slices.SortedFunc(maps.Values(c.s.Groups), func(a, b Group) int { return cmp.Compare(a.Name, b.Name) })
}

// KV returns the values of a namespace.
func (c *Catalogue) KV(namespace string) map[string]string {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.s.KV[namespace]
}

// FeatureLevel is the level that all nodes have reached; see Level.
func (c *Catalogue) FeatureLevel() uint64 {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.s.Feature
}
