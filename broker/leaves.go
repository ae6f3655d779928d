package broker

import (
	"maps"
	"time"
)

// A member that leaves its group says so to the nodes that it is connected to. One of them
// may just have died: its list would name the member for a while yet, and queues that nobody
// takes would stay the member's. So a leave counts for what all lists say of the member, as of
// the run that ends, and whoever hears of it tells the others.

const (
	// leavesKept is how long a leave is remembered: lists from before may be on their way.
	leavesKept = clientsKeep
	maxLeaves  = 4096 // further ones count where they were told only
)

// leave is the end of a member's run.
type leave struct {
	ID, Group string
	Joined    int64 // when the run began, Unix ms by the client

	at   time.Time // when it was heard of
	here bool      // by the client itself: the others are told
}

// leaves notes that a member has left a group, and reports whether that changed a list.
func (g *registry) leaves(l leave) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	for i, x := range g.leftGroups {
		if x.ID == l.ID && x.Group == l.Group && x.Joined >= l.Joined {
			g.leftGroups[i].here = x.here || l.here
			return false
		}
	}
	if len(g.leftGroups) < maxLeaves {
		g.leftGroups = append(g.leftGroups, l)
	}
	changed := false
	for node, list := range g.lists {
		if clients, some := without(list.Clients, l); some {
			list.Clients, changed = clients, true
			g.lists[node] = list
		}
	}
	for key, info := range g.away {
		if l.ends(info) {
			delete(g.away, key)
			info = l.leaves(info)
			g.away[info.key()], changed = info, true
		}
	}
	for conn, info := range g.conns {
		if l.ends(info) {
			g.conns[conn], changed = l.leaves(info), true
		}
	}
	return changed
}

// ends reports whether a client is said to be in the group, by what began before the leave.
func (l leave) ends(i clientInfo) bool {
	c, ok := i.Consumer[l.Group]
	return ok && i.ID == l.ID && c.Joined <= l.Joined
}

// leaves is the client without the group.
func (l leave) leaves(i clientInfo) clientInfo {
	i.Consumer = maps.Clone(i.Consumer)
	delete(i.Consumer, l.Group)
	return i
}

// without is a list's clients after a leave, and whether they are others.
func without(clients []clientInfo, l leave) (after []clientInfo, changed bool) {
	for i, info := range clients {
		if !l.ends(info) {
			continue
		}
		if !changed {
			after, changed = append([]clientInfo(nil), clients...), true
		}
		after[i] = l.leaves(info)
	}
	return after, changed
}

// withoutLeftLocked is what another node says of its clients, without the members that have
// left since.
func (g *registry) withoutLeftLocked(clients []clientInfo) []clientInfo {
	for _, l := range g.leftGroups {
		if after, changed := without(clients, l); changed {
			clients = after
		}
	}
	return clients
}

// hasLeftLocked reports whether the run of a member that began then is over.
func (g *registry) hasLeftLocked(id, group string, joined int64) bool {
	for _, l := range g.leftGroups {
		if l.ID == id && l.Group == group && joined <= l.Joined {
			return true
		}
	}
	return false
}

// forgetLeavesLocked drops leaves of a while ago.
func (g *registry) forgetLeavesLocked() {
	kept := g.leftGroups[:0]
	for _, l := range g.leftGroups {
		if time.Since(l.at) <= leavesKept {
			kept = append(kept, l)
		}
	}
	clear(g.leftGroups[len(kept):])
	g.leftGroups = kept
}

// toldLeavesLocked are the leaves that this node was told by clients not long ago.
func (g *registry) toldLeavesLocked() (all []leave) {
	for _, l := range g.leftGroups {
		if l.here && time.Since(l.at) <= leftTold {
			all = append(all, l)
		}
	}
	return all
}
