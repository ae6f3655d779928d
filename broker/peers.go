package broker

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"sync"

	"raftmq/internal/vfs"
	"raftmq/raftlog"
)

// peersFile holds the lives of the other nodes, as they were when this node met
// them first or as the catalogue changed them:
// {"version":3,"nodes":{"n2":{"folder":12345,"incarnation":1}},"crc32c":"..."}.
const (
	peersFile    = "peers.json"
	peersVersion = 3 // 1 held folders only, of first incarnations, 2 had no checksum
	maxPeers     = 1024
)

// Reasons that a node gets which comes with another folder than it had: what it
// voted for and stored is not there, and it must not act as if it had never been
// here. They travel as text, in a hello's answer.
const (
	otherFolder    = "its data folder is not the one that this cluster knows"
	replacedFolder = "its data folder was replaced"
)

// life is a node's folder and the incarnation that lives on it.
type life struct {
	Folder      uint64 `json:"folder"`
	Incarnation uint64 `json:"incarnation"`
}

// peerLives is who this node has met. It is durable before a peer is let in, so
// that a peer whose folder was emptied is told from one that starts.
type peerLives struct {
	disk    vfs.FS
	file    string
	version int // of the file; 0: there is none

	mu       sync.Mutex
	nodes    map[string]life
	accepted map[string]bool // let this node in, since it started
	heard    map[string]bool // let it in, or refused it
	changed  chan struct{}   // closed when one of both grows
	told     map[string]life
}

// openPeerLives reads the file. A member's must be there: without it the node would let in
// whoever comes first, one whose folder was emptied too. Members of earlier versions wrote it
// when they met somebody; a cluster of one node has none to meet. ErrFolderDamaged: nothing
// was changed.
func openPeerLives(disk vfs.FS, dir string, id identity, initial []string) (*peerLives, error) {
	p := &peerLives{
		disk: disk, file: filepath.Join(dir, peersFile), nodes: make(map[string]life),
		accepted: make(map[string]bool), heard: make(map[string]bool), changed: make(chan struct{}), told: make(map[string]life),
	}
	var doc struct {
		Version int
		Nodes   map[string]life
		Folders map[string]uint64 // version 1
	}
	err := readSealed(disk, p.file, 1<<20, peersVersion, &doc)
	if errors.Is(err, fs.ErrNotExist) {
		others := slices.ContainsFunc(initial, func(n string) bool { return n != id.Node })
		if id.Member && (id.Peers || others) {
			return nil, refusedFile(p.file, fmt.Errorf("%w: it is missing, and this node was a member, which knew other nodes by it", ErrFolderDamaged))
		}
		return p, nil
	}
	if err != nil {
		return nil, err
	}
	p.version = doc.Version
	for node, folder := range doc.Folders {
		p.nodes[node] = life{folder, 1}
	}
	maps.Copy(p.nodes, doc.Nodes)
	return p, nil
}

// judge lets a node in that comes as it is known here, or a member that comes for
// the first time, or one that comes as a later incarnation: it has that from who led the
// catalogue when that had decided on it. Whoever has yet to hear of that may have to hear it from
// that very node.
func (p *peerLives) judge(peer raftlog.Peer, member bool) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	known, met := p.nodes[peer.Node]
	switch {
	case peer.Folder == 0:
		return fmt.Errorf("node %q does not name its data folder", peer.Node)
	case met && known == life{peer.Folder, peer.Incarnation}:
		return nil
	case met && peer.Incarnation > known.Incarnation:
		return p.setLocked(peer.Node, life{peer.Folder, peer.Incarnation})
	case met && peer.Incarnation < known.Incarnation:
		return fmt.Errorf("node %q: %s by incarnation %d's (%016x, and this is %016x)", peer.Node, replacedFolder, known.Incarnation, known.Folder, peer.Folder)
	case met:
		return fmt.Errorf("node %q: %s (%016x, and now %016x)", peer.Node, otherFolder, known.Folder, peer.Folder)
	case !member:
		return fmt.Errorf("node %q is no member of this cluster", peer.Node)
	}
	return p.setLocked(peer.Node, life{peer.Folder, peer.Incarnation})
}

// set notes a node's life, unless a later one is known: a catalogue that is read again after a start
// tells what is long over.
func (p *peerLives) set(node string, l life) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.nodes[node] == l || p.nodes[node].Incarnation > l.Incarnation {
		return nil
	}
	return p.setLocked(node, l)
}

func (p *peerLives) setLocked(node string, l life) error {
	if _, met := p.nodes[node]; !met && len(p.nodes) >= maxPeers {
		return fmt.Errorf("node %q: %d nodes are known already", node, maxPeers)
	}
	next := maps.Clone(p.nodes)
	next[node] = l
	return p.saveLocked(next)
}

// replace takes over what another node knows.
func (p *peerLives) replace(nodes map[string]life) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.saveLocked(maps.Clone(nodes))
}

func (p *peerLives) saveLocked(nodes map[string]life) error {
	if err := writeSealed(p.disk, p.file, map[string]any{"version": peersVersion, "nodes": nodes}); err != nil {
		return fmt.Errorf("note who was met: %w", err)
	}
	p.version = peersVersion
	p.nodes = nodes
	return nil
}

// raise writes a file of an earlier version again, as the present one.
func (p *peerLives) raise() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.version == 0 || p.version == peersVersion {
		return nil
	}
	return p.saveLocked(p.nodes)
}

// exist makes the file, if there is none.
func (p *peerLives) exist() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.version != 0 {
		return nil
	}
	return p.saveLocked(p.nodes)
}

// all are the lives that are known.
func (p *peerLives) all() map[string]life {
	p.mu.Lock()
	defer p.mu.Unlock()
	return maps.Clone(p.nodes)
}

// met reports whether a node is known, in whatever life.
func (p *peerLives) met(node string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, ok := p.nodes[node]
	return ok
}

// is reports whether a node is known, and known as this.
func (p *peerLives) is(peer raftlog.Peer) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	known, met := p.nodes[peer.Node]
	return met && known == life{peer.Folder, peer.Incarnation}
}

// acceptedBy notes that a node has let this one in.
func (p *peerLives) acceptedBy(node string) { p.grow(p.accepted, node) }

// heardFrom notes that a node has let this one in, or refused it.
func (p *peerLives) heardFrom(node string) { p.grow(p.heard, node) }

func (p *peerLives) grow(nodes map[string]bool, node string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if nodes[node] || len(nodes) >= maxPeers {
		return
	}
	nodes[node] = true
	close(p.changed)
	p.changed = make(chan struct{})
}

// said is what a node said to this one's hello.
func (p *peerLives) said(node string) (heard, accepted bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.heard[node], p.accepted[node]
}

// missing are those of the nodes that have not let this one in, and a channel that
// closes when one more has.
func (p *peerLives) missing(nodes []string, self string) ([]string, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var never []string
	for _, n := range nodes {
		if n != self && !p.accepted[n] {
			never = append(never, n)
		}
	}
	return never, p.changed
}

// news reports whether this life of a node is refused for the first time.
func (p *peerLives) news(peer raftlog.Peer) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	l := life{peer.Folder, peer.Incarnation}
	if p.told[peer.Node] == l || len(p.told) >= maxPeers {
		return false
	}
	p.told[peer.Node] = l
	return true
}
