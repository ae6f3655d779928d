package raftlog

import (
	"context"
	"encoding/binary"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// nudges makes failover quick while heartbeats stay slow. When the link to a
// node is lost, this host tells the others which groups it follows there and how
// far its logs go. A host that has lost the node itself, and with those it has
// heard from makes a majority of a group's voters, knows which replica has the
// best log; if that is its own, it stands at once. If no leader comes, the next
// best stands, one after the other. A false alarm costs a change of leader and
// nothing else.
//
// The message, big-endian: node length uint8, node; then for each group: group
// uint64, last term uint64, last index uint64.
type nudges struct {
	host   *Host
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu       sync.Mutex
	down     map[string]bool            // nodes this host has lost
	words    map[string]map[string]word // lost node -> who says so
	thinking map[string]chan struct{}   // lost nodes being considered; wakes who does
}

// word is another host's of a lost node: how far its logs go in the groups that
// it followed there.
type word struct {
	at   time.Time
	ends map[uint64]logEnd
}

// logEnd is how far a log goes; the greater may lead.
type logEnd struct{ term, index uint64 }

func (a logEnd) less(b logEnd) bool {
	return a.term < b.term || a.term == b.term && a.index < b.index
}

const (
	// nudgeNext is how long the best replica gets to be elected before the next
	// stands.
	nudgeNext = 200 * time.Millisecond
	// nudgeBurst groups stand at once; then a pause of nudgePause, so that a node
	// with a thousand groups does not drown in votes.
	nudgeBurst = 64
	nudgePause = 10 * time.Millisecond
	// nudgeTurns is how many stand, one after the other.
	nudgeTurns = 5
	// wordHolds is how long another host's word counts: an alarm of theirs that was
	// false does not make one of ours true later.
	wordHolds = 2 * time.Second
	// maxSuspectGroups bounds a message that we take.
	maxSuspectGroups = 100_000
)

func (n *nudges) init(h *Host) {
	n.host = h
	n.ctx, n.cancel = context.WithCancel(context.Background())
	n.down = make(map[string]bool)
	n.words = make(map[string]map[string]word)
	n.thinking = make(map[string]chan struct{})
}

func (n *nudges) close() {
	n.mu.Lock()
	n.cancel() // from here nothing is begun
	n.mu.Unlock()
	n.wg.Wait()
}

// beginLocked runs f, unless the host closes.
func (n *nudges) beginLocked(f func()) {
	if n.ctx.Err() == nil {
		n.wg.Go(f)
	}
}

// link is told of each change of a link, in order.
func (n *nudges) link(node string, up bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if up {
		delete(n.down, node)
		delete(n.words, node)
		return
	}
	n.down[node] = true
	n.beginLocked(func() { n.lost(node) })
}

// lost spreads the word and stands where this host is best.
func (n *nudges) lost(node string) {
	followed := n.followed(node)
	if len(followed) == 0 {
		return
	}
	n.host.log.Info("lost the link to a leader", "node", node, "groups", len(followed))
	msg := append([]byte{byte(len(node))}, node...)
	peers := make(map[string]bool)
	for group, r := range followed {
		end := r.end()
		msg = binary.BigEndian.AppendUint64(msg, group)
		msg = binary.BigEndian.AppendUint64(msg, end.term)
		msg = binary.BigEndian.AppendUint64(msg, end.index)
		conf := r.configuration()
		for _, s := range conf.Servers {
			if name, _ := NodeOf(s.Address); s.ID != n.host.id && name != node {
				peers[name] = true
			}
		}
	}
	for p := range peers {
		n.host.transport.Notify(p, kindSuspect, msg)
	}
	n.mu.Lock()
	n.thinkLocked(node)
	n.mu.Unlock()
}

// followed returns the replicas here that vote and whose leader is on node.
func (n *nudges) followed(node string) map[uint64]*Replica {
	m := make(map[uint64]*Replica)
	for _, r := range n.host.all() {
		if leader, _ := r.Leader(); leader == node && r.votes() {
			m[r.cfg.Group] = r
		}
	}
	return m
}

// heard takes another host's word.
func (n *nudges) heard(_ context.Context, from string, msg []byte) ([]byte, error) {
	if len(msg) < 1 || len(msg) < 1+int(msg[0]) || (len(msg)-1-int(msg[0]))%24 != 0 || len(msg) > 256+24*maxSuspectGroups {
		return nil, fmt.Errorf("raftlog: malformed suspicion of %d bytes from %s", len(msg), from)
	}
	node, rest := string(msg[1:1+int(msg[0])]), msg[1+int(msg[0]):]
	ends := make(map[uint64]logEnd, len(rest)/24)
	for ; len(rest) > 0; rest = rest[24:] {
		ends[binary.BigEndian.Uint64(rest)] = logEnd{binary.BigEndian.Uint64(rest[8:]), binary.BigEndian.Uint64(rest[16:])}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.words[node] == nil {
		n.words[node] = make(map[string]word)
	}
	n.words[node][from] = word{time.Now(), ends}
	if n.down[node] {
		n.thinkLocked(node)
	}
	return nil, nil
}

// thinkLocked has the node considered, from the first turn on.
func (n *nudges) thinkLocked(node string) {
	wake := n.thinking[node]
	if wake == nil {
		wake = make(chan struct{}, 1)
		n.thinking[node] = wake
		n.beginLocked(func() { n.consider(node, wake) })
	}
	select {
	case wake <- struct{}{}:
	default:
	}
}

// consider stands for election in the groups of the lost node in which this
// host's turn comes.
func (n *nudges) consider(node string, wake <-chan struct{}) {
	stood := make(map[uint64]time.Time)
	for turn := 0; ; {
		select {
		case <-wake: // somebody else has lost it
			turn = 0
		default:
		}
		n.mu.Lock()
		if !n.down[node] || turn == nudgeTurns || n.ctx.Err() != nil {
			delete(n.thinking, node)
			n.mu.Unlock()
			return
		}
		n.mu.Unlock()
		burst := 0
		for group, r := range n.leaderless(node) {
			if n.turn(node, group, r) != turn || time.Since(stood[group]) < nudgeNext {
				continue
			}
			r.Nudge()
			stood[group] = time.Now()
			if burst++; burst%nudgeBurst == 0 {
				n.pause(nudgePause)
			}
		}
		select {
		case <-time.After(nudgeNext):
			turn++
		case <-wake:
			turn = 0
		case <-n.ctx.Done():
		}
	}
}

func (n *nudges) pause(d time.Duration) {
	select {
	case <-time.After(d):
	case <-n.ctx.Done():
	}
}

// leaderless returns the groups here without a leader, or with the lost one.
func (n *nudges) leaderless(node string) map[uint64]*Replica {
	m := make(map[uint64]*Replica)
	for _, r := range n.host.all() {
		if leader, _ := r.Leader(); (leader == node || leader == "") && r.votes() && !r.SitsOut() && r.raft.State() == raft.Follower {
			m[r.cfg.Group] = r
		}
	}
	return m
}

// turn is this host's place among the voters that have lost the node, best log
// first; -1 while they are no majority.
func (n *nudges) turn(node string, group uint64, r *Replica) int {
	conf := r.configuration()
	mine := r.end()
	n.mu.Lock()
	defer n.mu.Unlock()
	voters, agree, before := 0, 1, 0
	for _, s := range conf.Servers {
		if s.Suffrage != raft.Voter {
			continue
		}
		voters++
		if s.ID == r.self {
			continue
		}
		name, _ := NodeOf(s.Address)
		w := n.words[node][name]
		end, ok := w.ends[group]
		if !ok || time.Since(w.at) > wordHolds {
			continue
		}
		agree++
		if mine.less(end) || mine == end && s.ID < r.self {
			before++
		}
	}
	if agree <= voters/2 {
		return -1
	}
	return before
}

func (r *Replica) votes() bool {
	conf := r.configuration()
	for _, s := range conf.Servers {
		if s.ID == r.self {
			return s.Suffrage == raft.Voter
		}
	}
	return false
}

func (r *Replica) end() logEnd {
	index := r.raft.LastIndex()
	var l raft.Log
	if err := r.cfg.Logs.GetLog(index, &l); err != nil {
		return logEnd{0, index}
	}
	return logEnd{l.Term, index}
}

// Nudge makes this replica stand for election at once, whether or not it has
// heard from a leader. Its vote still depends on its log. One that has no vote does
// not stand: it would depose the leader and not be elected.
func (r *Replica) Nudge() {
	if !r.votes() || r.SitsOut() {
		return
	}
	r.net.Inject(&raft.TimeoutNowRequest{RPCHeader: r.header()})
}
