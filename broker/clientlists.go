package broker

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"sort"
	"time"

	"raftmq/membership"
	"raftmq/raftlog"
)

// kindClients is the control message that carries a node's list of clients. Every
// node sends its whole list to every other when it changes, and now and then, and
// calls those that it has not heard of in this life; so all nodes come to the same
// lists without asking anybody.
const kindClients = 16

const (
	clientsEvery = 3 * time.Second
	// clientsKeep is how long the clients of a dead node stay in the lists: they
	// connect anew meanwhile.
	clientsKeep = 30 * time.Second
	// clientsReturn is the same for those of a node's earlier life: stock clients ask
	// for routes every 30 s, and send heartbeats to what those name every 30 s.
	clientsReturn = 70 * time.Second
	leftTold      = 10 * time.Second   // how long lists name a client that left
	maxClients    = 8 << 20            // bytes of a list
	maxOwn        = maxClients / 4 * 3 // of those that are connected, which leaves room for who left
	listHead      = 1 << 10            // what a list has beside its members, and more
	maxClient     = 256 << 10          // of a heartbeat
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
	Clients []clientInfo // connected, and away
	Left    []string     `json:",omitempty"` // closed their last connection here
	Leaves  []leave      `json:",omitempty"` // were told here

	ids map[string]struct{} // of Clients that are connected; not sent
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
			if g.b.ctx.Err() == nil { // else connections are closed by this node, not by clients that leave
				g.spread(g.b.members.Nodes())
			}
		case <-tick.C:
			for _, c := range g.silent(time.Now()) {
				g.b.log.Info("a client sends no heartbeat: its connection is closed", "client", g.clientOf(c), "addr", c.RemoteAddr())
				c.Close()
			}
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

// listed is how many bytes a client, or another member of a list, takes there.
func listed(v any) int {
	b, err := json.Marshal(v)
	if err != nil {
		panic("broker: encode a client: " + err.Error()) // texts and numbers
	}
	return len(b) + 1
}

// own is this node's list, encoded; nil, and logged, if it is too large. Of what is said beside the clients that are
// connected, as much is in it as there is room for: others may know the rest.
func (g *registry) own() []byte {
	g.mu.Lock()
	g.since++
	list := clientList{Node: g.b.id.Node, Life: g.began.UnixNano(), Since: g.since}
	for _, info := range g.conns {
		list.Clients = append(list.Clients, info)
	}
	room := maxClients - listHead - g.bytes
	fits := func(n int) bool {
		if n > room {
			return false
		}
		room -= n
		return true
	}
	for _, l := range g.toldLeavesLocked() {
		if fits(listed(l)) {
			list.Leaves = append(list.Leaves, l)
		}
	}
	for id, at := range g.left {
		if time.Since(at) > leftTold {
			delete(g.left, id)
		} else if fits(listed(id)) {
			list.Left = append(list.Left, id)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(g.away)) { // the same ones each time
		if info := g.away[key]; fits(info.bytes) {
			list.Clients = append(list.Clients, info)
		}
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
func (g *registry) hear(ctx context.Context, from string, msg []byte) ([]byte, error) {
	if err := g.take(from, msg); err != nil || raftlog.IsNotice(ctx) {
		return nil, err
	}
	return g.own(), nil
}

func (g *registry) take(from string, msg []byte) error {
	var list clientList
	if err := json.Unmarshal(msg, &list); err != nil {
		return err
	}
	list.ids = idsOf(list.Clients)
	g.mu.Lock()
	old, known := g.lists[from]
	switch {
	case known && list.Life != old.Life:
		g.keepLocked(old.Clients)
	case known && list.Since <= old.Since:
		g.mu.Unlock()
		return nil
	}
	list.Clients = g.withoutLeftLocked(list.Clients)
	g.lists[from] = list
	close(g.heard)
	g.heard = make(chan struct{})
	var changed []string
	for _, id := range list.Left {
		changed = append(changed, g.forgetLocked(id)...)
	}
	g.mu.Unlock()
	for _, l := range list.Leaves {
		if l.at, l.here = time.Now(), false; g.leaves(l) {
			changed = append(changed, l.Group)
		}
	}
	before, after := members(old.Clients), members(list.Clients)
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

// keepLocked takes the clients of a node's earlier life as away. This node tells
// the others of them: the next that restarts hears of them from here.
func (g *registry) keepLocked(clients []clientInfo) {
	for _, info := range clients {
		if info.Until == 0 {
			info.Until = g.b.time().Add(clientsReturn).UnixMilli()
		}
		if key := info.key(); info.Until > g.away[key].Until {
			info.bytes = listed(info)
			g.away[key] = info
		}
	}
}

// forgetLocked gives up a client that is away, and returns its groups.
func (g *registry) forgetLocked(id string) (groups []string) {
	for key, info := range g.away {
		if info.ID == id {
			delete(g.away, key)
			groups = append(groups, groupsOf(info)...)
		}
	}
	return groups
}

// expire drops the lists of nodes that have been dead for a while, and clients
// that did not come back.
func (g *registry) expire() {
	var changed []string
	drop := func(l clientList) {
		for name := range members(l.Clients) {
			changed = append(changed, name)
		}
	}
	g.mu.Lock()
	g.forgetLeavesLocked()
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
	for key, info := range g.away {
		if g.b.atMs() > info.Until {
			delete(g.away, key)
			changed = append(changed, groupsOf(info)...)
		}
	}
	g.mu.Unlock()
	g.notify(changed)
}
