package fsm

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
)

func (c *Catalogue) bootstrap(b bootstrap) (bool, error) {
	if len(c.s.Slots) > 0 {
		return false, ErrBootstrapped
	}
	if b.Cluster == "" || len(b.Cluster) > maxClusterBytes {
		return false, fmt.Errorf("%w: cluster name of %d bytes", ErrInvalid, len(b.Cluster))
	}
	if len(b.Slots) == 0 || len(b.Slots) > MaxSlots || len(b.Nodes) == 0 || len(b.Nodes) > MaxNodes {
		return false, fmt.Errorf("%w: %d slots, %d nodes", ErrInvalid, len(b.Slots), len(b.Nodes))
	}
	slots, nodes := slices.Clone(b.Slots), slices.Clone(b.Nodes)
	slices.SortFunc(slots, func(a, b Slot) int { return cmp.Compare(a.ID, b.ID) })
	slices.SortFunc(nodes, func(a, b Node) int { return cmp.Compare(a.Name, b.Name) })
	for i, n := range nodes {
		if err := checkNode(n); err != nil {
			return false, err
		}
		if i > 0 && nodes[i-1].Name == n.Name {
			return false, fmt.Errorf("%w: node %q twice", ErrInvalid, n.Name)
		}
	}
	for i := range slots {
		if slots[i].ID != i {
			return false, fmt.Errorf("%w: slot %d where %d is expected", ErrInvalid, slots[i].ID, i)
		}
		if err := checkReplicas(slots[i], nodes); err != nil {
			return false, err
		}
		slots[i].Version = c.next()
	}
	c.s.Cluster, c.s.Slots, c.s.Nodes = b.Cluster, slots, nodes
	return true, nil
}

func checkNode(n Node) error {
	if n.Name == "" || len(n.Name) > maxNode || n.Incarnation == 0 {
		return fmt.Errorf("%w: node %q, incarnation %d", ErrInvalid, n.Name, n.Incarnation)
	}
	return nil
}

// checkReplicas: a replica set is of known nodes, each once.
func checkReplicas(s Slot, nodes []Node) error {
	if len(s.Replicas) == 0 || len(s.Replicas) > maxReplicas {
		return fmt.Errorf("%w: slot %d with %d replicas", ErrInvalid, s.ID, len(s.Replicas))
	}
	for i, name := range s.Replicas {
		if !slices.ContainsFunc(nodes, func(n Node) bool { return n.Name == name }) {
			return fmt.Errorf("%w: slot %d on an unknown node %q", ErrInvalid, s.ID, name)
		}
		if slices.Contains(s.Replicas[:i], name) {
			return fmt.Errorf("%w: slot %d twice on node %q", ErrInvalid, s.ID, name)
		}
	}
	return nil
}

func (c *Catalogue) putNode(n Node) (bool, error) {
	if err := checkNode(n); err != nil {
		return false, err
	}
	nodes := slices.Clone(c.s.Nodes)
	i, there := slices.BinarySearchFunc(nodes, n.Name, func(o Node, name string) int { return cmp.Compare(o.Name, name) })
	switch {
	case there && nodes[i].Incarnation == n.Incarnation:
		return false, nil
	case there && nodes[i].Incarnation > n.Incarnation:
		return false, fmt.Errorf("%w: node %s has had incarnation %d", ErrConflict, n.Name, nodes[i].Incarnation)
	case there:
		nodes[i] = n
	case len(nodes) >= MaxNodes:
		return false, fmt.Errorf("%w: %d nodes", ErrLimit, MaxNodes)
	default:
		nodes = slices.Insert(nodes, i, n)
	}
	c.s.Nodes = nodes
	return true, nil
}

// replaceNode: one node at a time, since each is missing in the majorities of its
// groups until it has settled. The same node may be lost again before it has.
func (c *Catalogue) replaceNode(r replacement) (bool, error) {
	if err := checkNode(r.Node); err != nil {
		return false, err
	}
	i := slices.IndexFunc(c.s.Nodes, func(n Node) bool { return n.Name == r.Node.Name })
	if i < 0 {
		return false, ErrNotFound
	}
	if r.Folder == 0 {
		return false, fmt.Errorf("%w: node %s on folder 0", ErrInvalid, r.Node.Name)
	}
	old, life := c.s.Nodes[i], c.s.Lives[r.Node.Name]
	if old == r.Node && life.Folder == r.Folder {
		return false, nil
	}
	if r.Node.Incarnation != old.Incarnation+1 {
		return false, fmt.Errorf("%w: node %s has incarnation %d, so %d cannot follow", ErrConflict, old.Name, old.Incarnation, r.Node.Incarnation)
	}
	if other := c.replacingLocked(); other != "" && other != r.Node.Name {
		return false, fmt.Errorf("%w: node %s is being replaced", ErrConflict, other)
	}
	c.s.Nodes = slices.Clone(c.s.Nodes)
	c.s.Nodes[i] = r.Node
	c.setLife(r.Node.Name, Life{Incarnation: r.Node.Incarnation, Folder: r.Folder})
	return true, nil
}

func (c *Catalogue) settleNode(n Node) (bool, error) {
	life, ok := c.s.Lives[n.Name]
	switch {
	case !ok || !slices.Contains(c.s.Nodes, n):
		return false, fmt.Errorf("%w: node %s has no incarnation %d to settle", ErrConflict, n.Name, n.Incarnation)
	case life.Settled:
		return false, nil
	}
	life.Settled = true
	c.setLife(n.Name, life)
	return true, nil
}

func (c *Catalogue) setLife(node string, l Life) {
	lives := maps.Clone(c.s.Lives)
	if lives == nil {
		lives = make(map[string]Life)
	}
	lives[node] = l
	c.s.Lives = lives
}

func (c *Catalogue) putSlot(s Slot) (bool, error) {
	if s.ID < 0 || s.ID > len(c.s.Slots) || len(c.s.Slots) == 0 {
		return false, fmt.Errorf("%w: slot %d: there are %d", ErrInvalid, s.ID, len(c.s.Slots))
	}
	if s.ID >= MaxSlots {
		return false, fmt.Errorf("%w: %d slots", ErrLimit, MaxSlots)
	}
	if err := checkReplicas(s, c.s.Nodes); err != nil {
		return false, err
	}
	slots := slices.Clone(c.s.Slots)
	if s.ID == len(slots) {
		slots = append(slots, Slot{})
	}
	old := slots[s.ID]
	if s.Version != old.Version {
		return false, fmt.Errorf("%w: slot %d has version %d, not %d", ErrConflict, s.ID, old.Version, s.Version)
	}
	if slices.Equal(s.Replicas, old.Replicas) {
		return false, nil
	}
	s.Version = c.next()
	slots[s.ID] = s
	c.s.Slots = slots
	return true, nil
}

func (c *Catalogue) raiseLevel(l level) (bool, error) {
	if l.Level <= c.s.Feature {
		return false, nil
	}
	c.s.Feature = l.Level
	return true, nil
}

func (c *Catalogue) putKV(v kv) (bool, error) {
	if n := len(v.Namespace) + len(v.Key) + len(v.Value); n > maxKVBytes || v.Namespace == "" || v.Key == "" {
		return false, fmt.Errorf("%w: namespace, key and value of %d bytes, at most %d", ErrInvalid, n, maxKVBytes)
	}
	old, there := c.s.KV[v.Namespace][v.Key]
	if there && old == v.Value {
		return false, nil
	}
	if !there {
		if c.kvs >= maxKVs {
			return false, fmt.Errorf("%w: %d values", ErrLimit, maxKVs)
		}
		c.kvs++
	}
	ns := maps.Clone(c.s.KV[v.Namespace])
	if ns == nil {
		ns = make(map[string]string)
	}
	ns[v.Key] = v.Value
	c.s.KV[v.Namespace] = ns
	return true, nil
}

func (c *Catalogue) deleteKV(v kv) (bool, error) {
	ns := maps.Clone(c.s.KV[v.Namespace])
	if _, ok := ns[v.Key]; !ok {
		return false, ErrNotFound
	}
	delete(ns, v.Key)
	c.kvs--
	if c.s.KV[v.Namespace] = ns; len(ns) == 0 {
		delete(c.s.KV, v.Namespace)
	}
	return true, nil
}
