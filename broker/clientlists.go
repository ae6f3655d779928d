package broker

import (
	"context"
	"encoding/json"
	"slices"
	"sort"
	"time"

	"raftmq/membership"
)

// kindClients is the control message that carries a node's list of clients. Every
// node sends its whole list to every other when it changes, and now and then, and
// calls those that it has not heard of in this life; so all nodes come to the same
// lists without asking anybody.
const kindClients = 16

const (
	clientsEvery = 3 * time.Second
	// clientsKeep is how long the clients of a dead node, or of a node's earlier
	// life, stay in the lists: they connect anew meanwhile.
	clientsKeep = 30 * time.Second
	maxClients  = 8 << 20 // bytes of a list
	// listsWait bounds how long a node that lacks another's list waits for it: longer
	// than stock clients, who keep what they have when nobody answers.
	listsWait = 5 * time.Second
	listsPoll = 50 * time.Millisecond // how often it calls
)

// clientList is what a node says of its clients. Since orders the lists of one
// life of a node.
type clientList struct {
	Node    string
	Life    int64
	Since   int64
	Clients []clientInfo
}

// pastList is the last list of a node's earlier life.
type pastList struct {
	clientList
	ended time.Time
}

// run spreads the list of this node's clients.
func (g *registry) run() {
	tick := time.NewTicker(clientsEvery)
	defer tick.Stop()
	poll := time.NewTicker(listsPoll)
	defer poll.Stop()
	for {
		select {
		case <-g.changed:
			g.spread(g.b.members.Nodes())
		case <-tick.C:
			g.expire()
			g.spread(g.b.members.Nodes())
		case <-poll.C:
			if lacking := g.lacking(); len(lacking) > 0 {
				g.fetch(lacking)
			}
		case <-g.b.ctx.Done():
			return
		}
	}
}

// own is this node's list, encoded; nil, and logged, if it is too large.
func (g *registry) own() []byte {
	g.mu.Lock()
	g.since++
	list := clientList{Node: g.b.id.Node, Life: g.began.UnixNano(), Since: g.since}
	for _, info := range g.conns {
		list.Clients = append(list.Clients, info)
	}
	g.mu.Unlock()
	msg, err := json.Marshal(list)
	if err != nil || len(msg) > maxClients {
		g.b.log.Error("list of clients", "clients", len(list.Clients), "bytes", len(msg), "error", err)
		return nil
	}
	return msg
}

func (g *registry) spread(to []membership.Node) {
	msg := g.own()
	if msg == nil {
		return
	}
	for _, n := range to {
		if n.Name != g.b.id.Node {
			g.b.transport.Notify(n.Name, kindClients, msg)
		}
	}
}

// fetch calls nodes for their lists: the answer to ours is theirs.
func (g *registry) fetch(nodes []string) {
	msg := g.own()
	if msg == nil {
		return
	}
	for _, node := range nodes {
		ctx, cancel := context.WithTimeout(g.b.ctx, listsWait)
		if theirs, err := g.b.transport.Call(ctx, node, kindClients, msg); err == nil {
			g.take(node, theirs)
		}
		cancel()
	}
}

// lacking are the live nodes whose list this node has not heard in its life.
func (g *registry) lacking() (nodes []string) {
	g.mu.RLock()
	defer g.mu.RUnlock()
	for _, n := range g.b.members.Nodes() {
		if _, heard := g.lists[n.Name]; !heard && n.Name != g.b.id.Node && g.b.transport.Alive(n.Name) {
			nodes = append(nodes, n.Name)
		}
	}
	return nodes
}

// nodes is how many nodes the cluster has, this one included; 0: not known yet.
func (g *registry) nodes() int {
	if n := len(g.b.catalogue.Nodes()); n > 0 {
		return n
	}
	return len(g.b.cfg.InitialNodes)
}

// complete returns when this node has heard all others' lists, but waits for
// listsWait at most: for a live node's from now on, for one that is not known to
// live only while this node is young.
func (g *registry) complete(ctx context.Context) {
	limit := time.NewTimer(listsWait)
	defer limit.Stop()
	for {
		g.mu.RLock()
		heard, n := g.heard, len(g.lists)
		g.mu.RUnlock()
		nodes := g.nodes()
		young := nodes == 0 || n+1 < nodes && time.Since(g.began) < listsWait
		if len(g.lacking()) == 0 && !young {
			return
		}
		look := time.NewTimer(listsPoll)
		select {
		case <-heard:
		case <-look.C:
		case <-limit.C:
			return
		case <-ctx.Done():
			return
		case <-g.b.ctx.Done():
			return
		}
		look.Stop()
	}
}

// hear takes another node's list, and answers a call with this node's.
func (g *registry) hear(_ context.Context, from string, msg []byte) ([]byte, error) {
	if err := g.take(from, msg); err != nil {
		return nil, err
	}
	return g.own(), nil
}

func (g *registry) take(from string, msg []byte) error {
	var list clientList
	if err := json.Unmarshal(msg, &list); err != nil {
		return err
	}
	g.mu.Lock()
	old, known := g.lists[from]
	switch {
	case known && list.Life != old.Life:
		g.past = append(g.past, pastList{old, time.Now()})
	case known && list.Since <= old.Since:
		g.mu.Unlock()
		return nil
	}
	g.lists[from] = list
	close(g.heard)
	g.heard = make(chan struct{})
	g.mu.Unlock()
	before, after := members(old.Clients), members(list.Clients)
	var changed []string
	for name, ids := range after {
		if !slices.Equal(ids, before[name]) {
			changed = append(changed, name)
		}
		delete(before, name)
	}
	for name := range before {
		changed = append(changed, name)
	}
	g.notify(changed)
	return nil
}

func members(clients []clientInfo) map[string][]string {
	m := make(map[string][]string)
	for _, c := range clients {
		for name := range c.Consumer {
			m[name] = append(m[name], c.ID)
		}
	}
	for _, ids := range m {
		sort.Strings(ids)
	}
	return m
}

// expire drops the lists of nodes and lives that have been dead for a while.
func (g *registry) expire() {
	var changed []string
	drop := func(l clientList) {
		for name := range members(l.Clients) {
			changed = append(changed, name)
		}
	}
	g.mu.Lock()
	for node, list := range g.lists {
		switch {
		case g.b.transport.Alive(node):
			delete(g.gone, node)
		case g.gone[node].IsZero():
			g.gone[node] = time.Now()
		case time.Since(g.gone[node]) > clientsKeep:
			delete(g.lists, node)
			delete(g.gone, node)
			drop(list)
		}
	}
	g.past = slices.DeleteFunc(g.past, func(p pastList) bool {
		old := time.Since(p.ended) > clientsKeep
		if old {
			drop(p.clientList)
		}
		return old
	})
	g.mu.Unlock()
	g.notify(changed)
}
