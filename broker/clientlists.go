package broker

import (
	"context"
	"encoding/json"
	"slices"
	"sort"
	"time"
)

// kindClients is the control message that carries a node's list of clients. Every
// node sends its whole list to every other when it changes, and now and then; so
// all nodes come to the same lists without asking anybody.
const kindClients = 16

const (
	clientsEvery = 3 * time.Second
	// clientsKeep is how long a dead node's clients stay in the lists: they connect
	// to another node meanwhile.
	clientsKeep = 30 * time.Second
	maxClients  = 8 << 20 // bytes of a list
)

// clientList is what a node says of its clients. Since orders the lists of one
// node.
type clientList struct {
	Node    string
	Since   int64
	Clients []clientInfo
}

// run spreads the list of this node's clients.
func (g *registry) run() {
	tick := time.NewTicker(clientsEvery)
	defer tick.Stop()
	for {
		select {
		case <-g.changed:
		case <-tick.C:
			g.expire()
		case <-g.b.ctx.Done():
			return
		}
		g.mu.Lock()
		g.since = max(g.since+1, g.b.now().UnixNano())
		list := clientList{Node: g.b.id.Node, Since: g.since}
		for _, info := range g.conns {
			list.Clients = append(list.Clients, info)
		}
		g.mu.Unlock()
		msg, err := json.Marshal(list)
		if err != nil || len(msg) > maxClients {
			g.b.log.Error("list of clients", "clients", len(list.Clients), "bytes", len(msg), "error", err)
			continue
		}
		for _, n := range g.b.members.Nodes() {
			if n.Name != g.b.id.Node {
				g.b.transport.Notify(n.Name, kindClients, msg)
			}
		}
	}
}

// hear takes another node's list.
func (g *registry) hear(_ context.Context, from string, msg []byte) ([]byte, error) {
	var list clientList
	if err := json.Unmarshal(msg, &list); err != nil {
		return nil, err
	}
	g.mu.Lock()
	old := g.lists[from]
	if list.Since <= old.Since {
		g.mu.Unlock()
		return nil, nil
	}
	g.lists[from] = list
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
	return nil, nil
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

// expire drops the lists of nodes that have been dead for a while.
func (g *registry) expire() {
	var changed []string
	g.mu.Lock()
	for node, list := range g.lists {
		if g.b.transport.Alive(node) {
			delete(g.gone, node)
			continue
		}
		if g.gone[node].IsZero() {
			g.gone[node] = time.Now()
		} else if time.Since(g.gone[node]) > clientsKeep {
			delete(g.lists, node)
			delete(g.gone, node)
			for name := range members(list.Clients) {
				changed = append(changed, name)
			}
		}
	}
	g.mu.Unlock()
	g.notify(changed)
}
