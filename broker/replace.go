package broker

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"raftmq/fsm"
	"raftmq/raftlog"
)

// classLife is the class of connections on which a node whose folder was emptied
// asks to be replaced: its hello says all. Whoever listens answers with one JSON
// object and hangs up. The connection carries no votes and no Raft groups, so that
// it is open to a node that is not let in.
const (
	classLife   = "life"
	lifeVersion = 1
	lifeWait    = 5 * time.Second // of an answer, which asks a majority of each partition
	lifeAsks    = 16              // being answered
)

// lifeAnswer is an incarnation and what goes with it, or a reason. Neither: another
// node leads the catalogue, and will answer.
type lifeAnswer struct {
	Version     int
	Reason      string          `json:",omitempty"`
	Incarnation uint64          `json:",omitempty"`
	Peers       map[string]life `json:",omitempty"` // all other nodes, as they are known
}

// askers are the nodes that have asked to be replaced lately.
type askers struct {
	mu   sync.Mutex
	last map[string]time.Time
}

// askerStays is how long a node that has asked counts as one that has lost its
// folder.
const askerStays = 10 * time.Second

// note keeps a member's asking; names of others are not kept.
func (a *askers) note(node string, now time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.last == nil {
		a.last = make(map[string]time.Time)
	}
	a.last[node] = now
}

// others are those that have asked lately, but for one, sorted.
func (a *askers) others(than string, now time.Time) (names []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for name, at := range a.last {
		if name != than && now.Sub(at) < askerStays {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// answerLives serves the listener of classLife until the transport is closed.
func (b *Broker) answerLives() {
	ln := b.transport.Listener(classLife)
	some := make(chan struct{}, lifeAsks)
	for {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		select {
		case some <- struct{}{}:
		default:
			conn.Close()
			continue
		}
		b.wg.Go(func() {
			defer func() { <-some }()
			defer conn.Close()
			ctx, cancel := context.WithTimeout(b.ctx, lifeWait)
			defer cancel()
			p, _ := raftlog.PeerOf(conn)
			a := b.answerLife(ctx, p)
			a.Version = lifeVersion
			conn.SetWriteDeadline(time.Now().Add(lifeWait))
			if err := json.NewEncoder(conn).Encode(a); err != nil {
				b.log.Debug("answer a node that asks to be replaced", "node", p.Node, "error", err)
			}
		})
	}
}

func no(format string, args ...any) lifeAnswer {
	return lifeAnswer{Reason: fmt.Sprintf(format, args...)}
}

// answerLife gives a node whose folder was emptied its next incarnation, if this
// node leads the catalogue and the cluster can afford it. The same folder is given
// the same one again: an answer may be lost.
func (b *Broker) answerLife(ctx context.Context, p raftlog.Peer) lifeAnswer {
	switch {
	case b.entrance.waits() != "":
		return no("it waits to be replaced itself")
	case !b.begun.Load() && b.member.Load():
		return no("it is starting")
	case !b.begun.Load():
		return no("it has never been in a cluster itself")
	}
	if b.isMember(p.Node) { // by configuration too: without a majority the catalogue may not be there
		b.asked.note(p.Node, time.Now())
	}
	if !b.leadsHere(catalogueGroup) {
		if b.led(catalogueGroup) {
			return lifeAnswer{}
		}
		return no("the catalogue has no leader: %s", b.without(p.Node, b.catalogue.replica))
	}
	if err := b.catalogue.replica.ReadIndex(ctx); err != nil {
		return no("the catalogue has no majority: %s", b.without(p.Node, b.catalogue.replica))
	}
	now, ok := b.catalogue.Node(p.Node)
	if !ok {
		return no("the catalogue knows no node %s", p.Node)
	}
	if inForce := b.FeatureLevel(); knownLevel(p.Level) < inForce {
		return no("%s: it knows feature level %d, and the cluster has come to %d", tooOldReason, knownLevel(p.Level), inForce)
	}
	if b.catalogue.Lives()[p.Node].Folder != p.Folder {
		if reason := b.replace(ctx, &now, p); reason != "" {
			return no("%s", reason)
		}
	}
	peers := b.peers.all()
	peers[b.id.Node] = life{b.id.Folder, b.id.Incarnation}
	delete(peers, p.Node)
	return lifeAnswer{Incarnation: now.Incarnation, Peers: peers}
}

// replace has the catalogue decide on the node's next life, which it leaves in now.
// The reason says why that cannot be; nothing was decided then, or it is not known
// and the node asks again.
func (b *Broker) replace(ctx context.Context, now *fsm.Node, p raftlog.Peer) (reason string) {
	if b.transport.Alive(p.Node) {
		return fmt.Sprintf("node %s is alive on the folder that the cluster knows", p.Node)
	}
	if other := b.catalogue.Replacing(); other != "" && other != p.Node {
		return fmt.Sprintf("node %s is being replaced, and its votes are missing until it has caught up: one after the other", other)
	}
	if reason := b.affords(ctx, p.Node); reason != "" {
		return reason
	}
	next := fsm.Node{Name: p.Node, Incarnation: now.Incarnation + 1}
	v, err := b.decide(ctx, fsm.EncodeReplaceNode(nil, next, p.Folder))
	if err == nil {
		err = v.(fsm.CatalogueResult).Err
	}
	if err == nil {
		err = b.learnLives() // it is let in when it has heard
	}
	if err != nil {
		return fmt.Sprintf("replace node %s: %v", p.Node, err)
	}
	b.log.Info("node replaced", "node", p.Node, "incarnation", next.Incarnation, "folder", fmt.Sprintf("%016x", p.Folder))
	*now = next
	return ""
}

// confirmsAtOnce bounds how many partitions are asked for their majority at a time.
const confirmsAtOnce = 16

// affords asks every partition that a node holds whether it has a majority now: the
// node is not alive, so that is one of the others. Once replaced, the old folder
// cannot come back to help a partition that lacks it.
func (b *Broker) affords(ctx context.Context, node string) (reason string) {
	var wg sync.WaitGroup
	var mu sync.Mutex
	some := make(chan struct{}, confirmsAtOnce)
	for _, part := range b.catalogue.Partitions() {
		if !slices.ContainsFunc(part.Voters, func(n fsm.Node) bool { return n.Name == node }) {
			continue
		}
		some <- struct{}{}
		mu.Lock()
		over := reason != ""
		mu.Unlock()
		if over {
			break
		}
		wg.Go(func() {
			defer func() { <-some }()
			leader := b.leaderOf(part.ID)
			err := errNotHere
			if leader != "" {
				err = b.host.Confirm(ctx, leader, part.ID)
			}
			if err == nil {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			reason = fmt.Sprintf("partition %d of %s has no majority without node %s: %s", part.ID, part.Topic, node, b.absent(node, part.Voters))
		})
	}
	wg.Wait()
	return reason
}

// without says which voters a group lacks beside a node.
func (b *Broker) without(node string, r *raftlog.Replica) string {
	conf, _ := r.Members()
	var voters []fsm.Node
	for _, s := range conf.Servers {
		if name, incarnation := raftlog.NodeOf(s.Address); s.Suffrage == raft.Voter {
			voters = append(voters, fsm.Node{Name: name, Incarnation: incarnation})
		}
	}
	return b.absent(node, voters)
}

// absent says which of a group's other voters are not there, and what to do.
func (b *Broker) absent(node string, voters []fsm.Node) string {
	lost := b.asked.others(node, time.Now())
	var down, wiped []string
	for _, v := range voters {
		switch {
		case v.Name == node || v.Name == b.id.Node || b.transport.Alive(v.Name):
		case slices.Contains(lost, v.Name):
			wiped = append(wiped, v.Name)
		default:
			down = append(down, v.Name)
		}
	}
	switch {
	case len(wiped) > 0:
		return fmt.Sprintf("%s lost the data folder too, which together are a majority: restore the folder of one of them", strings.Join(wiped, ", "))
	case len(voters)-1 <= len(voters)/2:
		return fmt.Sprintf("of %d voters the others are no majority: restore the folder", len(voters))
	case len(down) > 0:
		return fmt.Sprintf("%s must be there, so that the others are a majority: start it", strings.Join(down, ", "))
	}
	return "wait until it has a leader"
}
