package broker

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"path/filepath"
	"strings"
	"sync"

	"raftmq/internal/vfs"
)

// peersFile holds the data folders of the other nodes, as they were when this node
// met them first: {"version":1,"folders":{"n2":12345}}.
const (
	peersFile    = "peers.json"
	peersVersion = 1
	maxPeers     = 1024
)

// otherFolder is the reason that a node gets which was met with another folder:
// it has lost what it voted for and stored, and must not act as if it had never
// been here. It travels as text, in a hello's answer.
const otherFolder = "its data folder is not the one that this cluster knows"

// peerFolders is who this node has met. It is durable before a peer is let in, so
// that a peer whose folder was emptied is told from one that starts.
type peerFolders struct {
	disk vfs.FS
	file string

	mu      sync.Mutex
	folders map[string]uint64
	changed chan struct{} // closed at the next meeting
	told    map[string]uint64
}

func openPeerFolders(disk vfs.FS, dir string) (*peerFolders, error) {
	p := &peerFolders{disk: disk, file: filepath.Join(dir, peersFile), folders: make(map[string]uint64), changed: make(chan struct{})}
	b, err := vfs.ReadFile(disk, p.file, 1<<20)
	if errors.Is(err, fs.ErrNotExist) {
		return p, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", p.file, err)
	}
	var doc struct {
		Version int
		Folders map[string]uint64
	}
	if err := json.Unmarshal(b, &doc); err != nil {
		return nil, fmt.Errorf("read %s: %w", p.file, err)
	}
	if doc.Version > peersVersion {
		return nil, fmt.Errorf("%s has version %d, this program knows %d", p.file, doc.Version, peersVersion)
	}
	maps.Copy(p.folders, doc.Folders)
	return p, nil
}

// judge lets a node in that comes with the folder it always had, or for the first
// time.
func (p *peerFolders) judge(node string, folder uint64) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	known, met := p.folders[node]
	switch {
	case folder == 0:
		return fmt.Errorf("node %q does not name its data folder", node)
	case met && known != folder:
		return fmt.Errorf("node %q: %s (%016x, and now %016x)", node, otherFolder, known, folder)
	case met:
		return nil
	case len(p.folders) >= maxPeers:
		return fmt.Errorf("node %q: %d nodes are known already", node, maxPeers)
	}
	next := maps.Clone(p.folders)
	next[node] = folder
	b, err := json.Marshal(map[string]any{"version": peersVersion, "folders": next})
	if err != nil {
		return err
	}
	if err := vfs.WriteFile(p.disk, p.file, append(b, '\n')); err != nil {
		return fmt.Errorf("note node %q: %w", node, err)
	}
	p.folders = next
	close(p.changed)
	p.changed = make(chan struct{})
	return nil
}

// missing are those of the nodes that were never met, and a channel that closes at
// the next meeting.
func (p *peerFolders) missing(nodes []string, self string) ([]string, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var never []string
	for _, n := range nodes {
		if _, met := p.folders[n]; n != self && !met {
			never = append(never, n)
		}
	}
	return never, p.changed
}

// news reports whether the refusal of a node with this folder is the first.
func (p *peerFolders) news(node string, folder uint64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.told[node] == folder || len(p.told) >= maxPeers {
		return false
	}
	if p.told == nil {
		p.told = make(map[string]uint64)
	}
	p.told[node] = folder
	return true
}

// knows judges a node that says hello, or answers one.
func (b *Broker) knows(node string, incarnation, folder uint64) error {
	err := b.peers.judge(node, folder)
	if err != nil && b.peers.news(node, folder) {
		b.log.Error("node refused", "node", node, "incarnation", incarnation, "error", err)
	}
	return err
}

// refused is told why another node does not let this one in.
func (b *Broker) refused(node, reason string) {
	if strings.Contains(reason, otherFolder) && !b.broken.Load() {
		b.fail(fmt.Errorf("%s refuses this node: %s; the folder %s was emptied or exchanged after the node had been a member: restore it", node, reason, b.cfg.Data))
	}
}

// beginWhenMet waits until every initial node has been met. A node whose folder
// was emptied looks like one of a new cluster; two of them would be a majority that
// founds the cluster anew and knows nothing of the old one. But somebody has met
// them before, and refuses them.
func (b *Broker) beginWhenMet(ns net.Listener, slots []net.Listener) {
	defer close(b.starting)
	for {
		never, met := b.peers.missing(b.cfg.InitialNodes, b.id.Node)
		if len(never) == 0 {
			if err := b.begin(ns, slots); err != nil {
				b.fail(err)
			}
			return
		}
		select {
		case <-met:
		case <-b.ctx.Done():
			for _, ln := range append(slots, ns) {
				ln.Close()
			}
			return
		}
	}
}
