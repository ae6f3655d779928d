package broker

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"raftmq/membership"
	"raftmq/raftlog"
)

// entrance is how a node on a folder that never voted comes into the cluster. It is
// a founder, which all initial nodes let in; or it is one whose folder was emptied:
// somebody has met it before and says so. Two wiped nodes are a majority of the
// initial nodes, and would found a second cluster that knows nothing of the first:
// hence nobody begins before all have let it in.
//
// A node whose folder was emptied carries no Raft groups and lets nobody in, but
// asks to be replaced until the leader of the catalogue gives it an incarnation of
// its own; see replace.go.
type entrance struct {
	lost   chan struct{} // closed when the cluster knows this node with another folder
	joined chan struct{} // closed when all addresses of join have answered

	mu     sync.Mutex
	closed bool
	reason string // why it has no incarnation yet
	unlike string // what of its settings keeps it from being a founder
}

func newEntrance() *entrance {
	return &entrance{lost: make(chan struct{}), joined: make(chan struct{})}
}

// lose makes the node one that waits to be replaced.
func (e *entrance) lose(reason string) (first bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return false
	}
	e.closed, e.reason = true, reason
	close(e.lost)
	return true
}

// waits says why the node waits to be replaced; "" if it does not.
func (e *entrance) waits() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.reason
}

// say keeps the latest reason, "" when the wait is over, and reports whether it is
// another.
func (e *entrance) say(reason string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	changed := e.reason != reason
	e.reason = reason
	return changed
}

// differs keeps what of the node's settings is not as the others', "" if all is, and reports whether
// it is another.
func (e *entrance) differs(what string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	changed := e.unlike != what
	e.unlike = what
	return changed
}

// unlikeOthers is what differs was told last.
func (e *entrance) unlikeOthers() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.unlike
}

// errWaits refuses whoever calls a node that waits: its own word counts for
// nothing, so it must not make another stop.
var errWaits = errors.New("this node waits to be replaced")

// knows judges a node that says hello, or answers one.
func (b *Broker) knows(peer raftlog.Peer) error {
	if !b.member.Load() && b.entrance.waits() != "" {
		return errWaits
	}
	err := b.peers.judge(peer, b.isMember(peer.Node))
	if inForce := b.FeatureLevel(); err == nil && knownLevel(peer.Level) < inForce {
		err = fmt.Errorf("node %q: %s: it knows feature level %d, and all others have come to %d", peer.Node, tooOldReason, knownLevel(peer.Level), inForce)
	}
	if err != nil && b.peers.news(peer) {
		b.log.Warn("node refused", "node", peer.Node, "incarnation", peer.Incarnation, "error", err)
	}
	return err
}

// isMember reports whether a name is that of a node of the cluster: strangers leave
// no trace.
func (b *Broker) isMember(node string) bool {
	if slices.Contains(b.cfg.InitialNodes, node) || b.peers.met(node) {
		return true
	}
	if !b.begun.Load() {
		return false
	}
	_, ok := b.catalogue.Node(node)
	return ok
}

// answered is told how another node takes this one. The word of a node that this
// one would not let in itself is not believed: it has lost its own folder.
func (b *Broker) answered(p raftlog.Peer, as uint64, reason string) {
	defer b.peers.heardFrom(p.Node) // when it has had its effect
	other, replaced := strings.Contains(reason, otherFolder), strings.Contains(reason, replacedFolder)
	switch {
	case reason == "":
		b.peers.acceptedBy(p.Node)
	case strings.Contains(reason, tooOldReason) && (b.peers.is(p) || !b.member.Load()):
		b.fail(fmt.Errorf("%w: %s refuses this node: %s", ErrTooOld, p.Node, reason))
	case !other && !replaced:
	case !b.member.Load():
		if b.entrance.lose(fmt.Sprintf("%s says of this node: %s", p.Node, reason)) {
			b.log.Warn("the data folder is empty, and the cluster knows another: the node asks to be replaced", "node", p.Node, "reason", reason)
		}
	case as != b.id.Incarnation: // said before it was replaced
	case !b.peers.is(p) || b.broken.Load():
	case replaced:
		b.fail(b.wasReplaced(fmt.Sprintf("%s refuses this node: %s", p.Node, reason)))
	default:
		b.fail(fmt.Errorf("%s refuses this node: %s; the folder %s was exchanged for another one's: restore it, or empty it to have the node replaced", p.Node, reason, b.cfg.Data))
	}
}

// wasReplaced is why a node ends whose folder belongs to an earlier incarnation.
func (b *Broker) wasReplaced(how string) error {
	return fmt.Errorf("%s; this folder, %s, is of incarnation %d, which has no vote any more: start the node on the folder that replaced it, or on an empty one", how, b.cfg.Data, b.id.Incarnation)
}

// enter waits until it is known who this node is, and begins.
func (b *Broker) enter(ns net.Listener, slots []net.Listener) {
	defer close(b.starting)
	err := b.becomeMember()
	if err == nil {
		err = b.begin(ns, slots)
	} else {
		for _, ln := range append(slots, ns) {
			ln.Close()
		}
	}
	if err != nil && b.ctx.Err() == nil {
		b.fail(err)
	}
}

// tellWait says in the log, once and after a while, why a new node has not begun: /readyz says it all the time.
func (b *Broker) tellWait() {
	select {
	case <-time.After(joinSilent):
	case <-b.starting:
		return
	case <-b.ctx.Done():
		return
	}
	if reason := b.unbegun(); !b.begun.Load() {
		b.log.Warn("the node waits, and serves nobody yet", "reason", reason)
	}
}

// becomeMember waits until all initial nodes have let this one in and its settings are theirs, or
// until it has been replaced. The error is a disk's, or the context's.
func (b *Broker) becomeMember() error {
	joined, seen := b.entrance.joined, make(map[string]bool)
	for {
		never, met := b.peers.missing(b.cfg.InitialNodes, b.id.Node)
		told := b.members.Changed()
		unlike := cmp.Or(b.unlikeOthers(), b.notAlone(seen), b.otherFounders())
		select {
		case <-b.entrance.lost:
			return b.nextLife()
		default:
		}
		if b.entrance.differs(unlike) && unlike != "" {
			b.log.Warn("the node does not begin with these settings", "reason", unlike)
		}
		if len(never) == 0 && len(b.cfg.InitialNodes) > 0 && unlike == "" {
			return b.setMember(b.id.Incarnation)
		}
		select {
		case <-met:
		case <-told:
		case <-joined:
			joined = nil
		case <-b.entrance.lost:
		case <-b.ctx.Done():
			return context.Cause(b.ctx)
		}
	}
}

// foundsAlone reports whether the node has no data and would be a cluster by itself, though its
// settings tell it of other nodes.
func (b *Broker) foundsAlone() bool {
	return !b.member.Load() && len(b.cfg.Join) > 0 && len(b.cfg.InitialNodes) > 0 &&
		!slices.ContainsFunc(b.cfg.InitialNodes, func(n string) bool { return n != b.id.Node })
}

// notAlone says why the node is not to be a cluster by itself: who is at the addresses of join may know it
// by another folder, which was emptied, and has to be asked. "": nobody does. seen are the nodes that were there
// at an earlier call.
func (b *Broker) notAlone(seen map[string]bool) string {
	if !b.foundsAlone() {
		return ""
	}
	for _, n := range b.members.Nodes() {
		seen[n.Name] = n.Name != b.id.Node
	}
	for _, name := range slices.Sorted(maps.Keys(seen)) {
		switch heard, accepted := b.peers.said(name); {
		case !seen[name]:
		case accepted:
			return fmt.Sprintf("initial-nodes names only %s, and %s takes it for a node of its own cluster: it must be the same on all nodes", b.id.Node, name)
		case !heard:
			return fmt.Sprintf("initial-nodes names only %s, and %s has yet to say whether it knows it", b.id.Node, name)
		}
	}
	select {
	case <-b.entrance.joined:
		return ""
	default:
		return fmt.Sprintf("initial-nodes names only %s, and who is at the addresses of join has yet to answer: leave join out if there are no others", b.id.Node)
	}
}

// unlikeOthers says which setting of this node, which has no data yet, is not as the other nodes': its
// replicas would not be as theirs. "": none, as far as they have told.
func (b *Broker) unlikeOthers() string {
	for _, n := range b.members.Nodes() {
		if n.Name == b.id.Node || len(b.cfg.InitialNodes) > 0 && !slices.Contains(b.cfg.InitialNodes, n.Name) {
			continue
		}
		if n.SegmentBytes != 0 && n.SegmentBytes != b.cfg.SegmentBytes {
			return fmt.Sprintf("segment-bytes is %d here and %d on %s: it must be the same on all nodes", b.cfg.SegmentBytes, n.SegmentBytes, n.Name)
		}
	}
	return ""
}

// otherFounders says which node is to found a cluster of other members than this one is, though one
// of them names the other: their catalogues would begin with different voters. "": none, as far as they
// have told.
func (b *Broker) otherFounders() string {
	if len(b.cfg.InitialNodes) == 0 {
		return ""
	}
	mine := slices.Sorted(slices.Values(b.cfg.InitialNodes))
	for _, n := range b.members.Nodes() {
		if n.Name == b.id.Node || len(n.InitialNodes) == 0 || !slices.Contains(mine, n.Name) && !slices.Contains(n.InitialNodes, b.id.Node) {
			continue
		}
		if theirs := slices.Sorted(slices.Values(n.InitialNodes)); !slices.Equal(mine, theirs) {
			return fmt.Sprintf("initial-nodes is %s here and %s on %s: it must be the same on all nodes", strings.Join(mine, ","), strings.Join(theirs, ","), n.Name)
		}
	}
	return ""
}

// setMember makes durable that the node may vote as this incarnation, and then has
// it speak as that.
func (b *Broker) setMember(incarnation uint64) error {
	if err := b.peers.exist(); err != nil {
		return err
	}
	id := b.id
	id.Incarnation, id.Member, id.Peers = incarnation, true, true
	if err := writeIdentity(b.disk, b.cfg.Data, id); err != nil {
		return err
	}
	if err := b.host.Adopt(incarnation); err != nil {
		return err
	}
	b.id.Incarnation, b.id.Member, b.id.Peers = incarnation, true, true // its other fields are being read
	b.member.Store(true)
	return nil
}

// How long a node waits before it asks again to be replaced: longer and longer while
// the answer stays, since an answer costs a round in each of its partitions.
const (
	askMin = 250 * time.Millisecond
	askMax = 2 * time.Second
)

// nextLife asks until the catalogue has given this node an incarnation, and takes
// it. What it has been given is durable before anything is said under it.
func (b *Broker) nextLife() error {
	for wait := askMin; ; wait = min(2*wait, askMax) {
		a, reason := b.askForLife()
		if a != nil {
			return b.takeLife(*a)
		}
		if b.entrance.say(reason) {
			b.log.Warn("not replaced yet", "reason", reason)
			wait = askMin
		}
		select {
		case <-time.After(wait):
		case <-b.ctx.Done():
			return context.Cause(b.ctx)
		}
	}
}

func (b *Broker) takeLife(a lifeAnswer) error {
	if err := b.peers.replace(a.Peers); err != nil {
		return err
	}
	if err := b.setMember(a.Incarnation); err != nil {
		return err
	}
	b.members.Update(func(n *membership.Node) { n.Incarnation = a.Incarnation })
	b.entrance.say("")
	b.log.Info("replaced: the node catches up as another incarnation", "incarnation", a.Incarnation)
	return nil
}

// askForLife asks all nodes that gossip knows: the answer, or why there is none.
func (b *Broker) askForLife() (*lifeAnswer, string) {
	if unlike := b.unlikeOthers(); unlike != "" {
		return nil, unlike
	}
	var reasons []string
	for _, n := range b.members.Nodes() {
		if n.Name == b.id.Node {
			continue
		}
		a, err := b.askNode(n.Name)
		switch {
		case err == nil && a.Incarnation > 0:
			return &a, ""
		case err != nil:
			reasons = append(reasons, fmt.Sprintf("%s does not answer: %v", n.Name, err))
		case a.Reason != "":
			reasons = append(reasons, fmt.Sprintf("%s: %s", n.Name, a.Reason))
		}
	}
	if len(reasons) == 0 {
		reasons = append(reasons, "no other node can be reached that knows the leader of the catalogue")
	}
	return nil, strings.Join(reasons, "; ")
}

func (b *Broker) askNode(node string) (a lifeAnswer, err error) {
	ctx, cancel := context.WithTimeout(b.ctx, lifeWait+time.Second)
	defer cancel()
	conn, err := b.transport.Dial(ctx, node, classLife)
	if err != nil {
		return a, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	if err := json.NewDecoder(conn).Decode(&a); err != nil {
		return a, err
	}
	if a.Version > lifeVersion {
		return lifeAnswer{}, fmt.Errorf("it answers in version %d, this program knows %d", a.Version, lifeVersion)
	}
	return a, nil
}
