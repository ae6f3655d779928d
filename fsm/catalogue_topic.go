package fsm

import (
	"fmt"
	"maps"
	"slices"

	"raftmq/message"
)

func checkSpec(t TopicSpec) error {
	if err := message.CheckTopic(t.Name); err != nil {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if t.ReadQueues < 0 || t.WriteQueues < 0 || t.ReadQueues > MaxQueues || t.WriteQueues > MaxQueues || t.ReadQueues+t.WriteQueues == 0 {
		return fmt.Errorf("%w: %d read and %d write queues", ErrInvalid, t.ReadQueues, t.WriteQueues)
	}
	return checkAttributes(t.Attributes)
}

func checkAttributes(as map[string]string) error {
	if len(as) > maxAttributes {
		return fmt.Errorf("%w: %d attributes, at most %d", ErrInvalid, len(as), maxAttributes)
	}
	for k, v := range as {
		if len(k)+len(v) > maxAttribute {
			// Which of several it names is not decided: no name is in the refusal.
			return fmt.Errorf("%w: an attribute of more than %d bytes", ErrInvalid, maxAttribute)
		}
	}
	return nil
}

func (c *Catalogue) createTopic(t TopicSpec, out *Topic) (bool, error) {
	if err := checkSpec(t); err != nil {
		return false, err
	}
	ids := slices.Clone(t.Slots)
	if len(ids) == 0 {
		for _, s := range c.s.Slots {
			ids = append(ids, s.ID)
		}
	}
	slices.Sort(ids)
	ids = slices.Compact(ids)
	if old, ok := c.s.Topics[t.Name]; ok {
		*out = old
		if !old.settings().sameSettings(t) || !slices.Equal(old.slots(), ids) {
			return false, ErrExists
		}
		return false, nil
	}
	if len(c.s.Topics) >= MaxTopics {
		return false, fmt.Errorf("%w: %d topics", ErrLimit, MaxTopics)
	}
	if len(ids) == 0 {
		return false, fmt.Errorf("%w: the cluster has not been founded", ErrInvalid)
	}
	for _, id := range ids {
		if id < 0 || id >= len(c.s.Slots) {
			return false, fmt.Errorf("%w: there is no slot %d", ErrInvalid, id)
		}
		if c.s.LastNumber[id] >= maxPartition {
			return false, fmt.Errorf("%w: slot %d has had %d partitions", ErrLimit, id, maxPartition)
		}
	}
	*out = Topic{Name: t.Name, ReadQueues: t.ReadQueues, WriteQueues: t.WriteQueues, Perm: t.Perm, Order: t.Order, SysFlag: t.SysFlag,
		Attributes: t.Attributes, Version: c.next()}
	for _, id := range ids {
		c.s.LastPartition++
		c.s.LastNumber[id]++
		p := Partition{ID: c.s.LastPartition, Topic: t.Name, Slot: id, Number: c.s.LastNumber[id], Voters: c.voters(c.s.Slots[id])}
		out.Partitions = append(out.Partitions, p)
		c.byID[p.ID] = p
	}
	c.s.Topics[t.Name] = *out
	return true, nil
}

// voters are the nodes of a slot's replica set in their present lives.
func (c *Catalogue) voters(s Slot) []Node {
	vs := make([]Node, 0, len(s.Replicas))
	for _, name := range s.Replicas {
		for _, n := range c.s.Nodes {
			if n.Name == name {
				vs = append(vs, n)
			}
		}
	}
	return vs
}

func (c *Catalogue) updateTopic(t TopicSpec, out *Topic) (bool, error) {
	if err := checkSpec(t); err != nil {
		return false, err
	}
	old, ok := c.s.Topics[t.Name]
	if !ok {
		return false, ErrNotFound
	}
	if t.Attributes == nil {
		t.Attributes = old.Attributes
	}
	*out = old
	if old.settings().sameSettings(t) {
		return false, nil
	}
	out.ReadQueues, out.WriteQueues, out.Perm, out.Order, out.SysFlag = t.ReadQueues, t.WriteQueues, t.Perm, t.Order, t.SysFlag
	out.Attributes, out.Version = t.Attributes, c.next()
	c.s.Topics[t.Name] = *out
	return true, nil
}

// deleteTopic leaves holes in the groups' numbering of retry queues: their
// numbers mean nothing else, ever.
func (c *Catalogue) deleteTopic(n named, out *Topic) (bool, error) {
	old, ok := c.s.Topics[n.Name]
	if !ok {
		return false, ErrNotFound
	}
	*out = old
	delete(c.s.Topics, n.Name)
	for _, p := range old.Partitions {
		delete(c.byID, p.ID)
	}
	for name, g := range c.s.Groups { // each by itself, so in any order
		if !slices.Contains(g.Topics, n.Name) {
			continue
		}
		g.Topics = slices.DeleteFunc(slices.Clone(g.Topics), func(t string) bool { return t == n.Name })
		g.Retry = cloneRetry(g.Retry)
		for _, ids := range g.Retry {
			for i, id := range ids {
				if old.has(id) {
					ids[i] = 0
				}
			}
		}
		g.Version = c.next()
		c.s.Groups[name] = g
	}
	return true, nil
}

func cloneRetry(r map[int][]uint64) map[int][]uint64 {
	out := maps.Clone(r)
	for slot, ids := range out {
		out[slot] = slices.Clone(ids)
	}
	return out
}

// deletedGroup is what is kept of a group that had retry queues: a client may hold
// their numbers, so the next group of that name goes on behind them.
type deletedGroup struct {
	Queues  map[int]int // by slot
	Version uint64      // of the catalogue when it was deleted
}

// bury keeps how many retry queues g has had. Of more than MaxGroups the one that
// was deleted first is forgotten.
func (c *Catalogue) bury(g Group) {
	if len(g.Retry) == 0 {
		return
	}
	if len(c.s.Deleted) >= MaxGroups {
		var oldest string
		for name, d := range c.s.Deleted { // versions differ, so in any order
			if oldest == "" || d.Version < c.s.Deleted[oldest].Version {
				oldest = name
			}
		}
		delete(c.s.Deleted, oldest)
	}
	d := deletedGroup{Queues: make(map[int]int), Version: c.next()}
	for slot, ids := range g.Retry {
		d.Queues[slot] = len(ids)
	}
	c.s.Deleted[g.Name] = d
}

// keep stores a group, whose numbers then are in it.
func (c *Catalogue) keep(g Group) {
	delete(c.s.Deleted, g.Name)
	c.s.Groups[g.Name] = g
}

func (c *Catalogue) putGroup(g GroupSpec) (bool, error) {
	old, there, err := c.group(g.Name)
	if err != nil {
		return false, err
	}
	if err := checkAttributes(g.Attributes); err != nil {
		return false, err
	}
	if there && old.GroupSpec.equal(g) {
		return false, nil
	}
	old.GroupSpec, old.Version = g, c.next()
	c.keep(old)
	return true, nil
}

// group is the group by that name, or a new one if one more is possible; that goes
// on behind the retry queues of an earlier one.
func (c *Catalogue) group(name string) (g Group, there bool, err error) {
	if g, there = c.s.Groups[name]; there {
		return g, true, nil
	}
	if err := message.CheckGroup(name); err != nil {
		return g, false, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if len(c.s.Groups) >= MaxGroups {
		return g, false, fmt.Errorf("%w: %d groups", ErrLimit, MaxGroups)
	}
	g = Group{GroupSpec: NewGroup(name)}
	for slot, n := range c.s.Deleted[name].Queues {
		if g.Retry == nil {
			g.Retry = make(map[int][]uint64)
		}
		g.Retry[slot] = make([]uint64, n)
	}
	return g, false, nil
}

func (c *Catalogue) deleteGroup(n named) (bool, error) {
	g, ok := c.s.Groups[n.Name]
	if !ok {
		return false, ErrNotFound
	}
	c.bury(g)
	delete(c.s.Groups, n.Name)
	return true, nil
}

func (c *Catalogue) subscribe(s subscribe) (bool, error) {
	g, there, err := c.group(s.Group)
	if err != nil {
		return false, err
	}
	changed := !there
	topics, retry := slices.Clone(g.Topics), cloneRetry(g.Retry)
	if retry == nil {
		retry = make(map[int][]uint64)
	}
	for _, name := range s.Topics {
		t, ok := c.s.Topics[name]
		at, known := slices.BinarySearch(topics, name)
		if !ok || known {
			continue
		}
		for _, p := range t.Partitions {
			if len(retry[p.Slot]) >= maxRetryQueues {
				return false, fmt.Errorf("%w: group %s has had %d retry queues in slot %d", ErrLimit, s.Group, maxRetryQueues, p.Slot)
			}
			retry[p.Slot] = append(retry[p.Slot], p.ID)
		}
		topics = slices.Insert(topics, at, name)
		changed = true
	}
	if changed {
		g.Topics, g.Retry, g.Version = topics, retry, c.next()
		c.keep(g)
	}
	return changed, nil
}
