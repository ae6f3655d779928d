package membership

import (
	"errors"
	"io/fs"
	"path/filepath"
	"sort"
	"strings"
	"unicode"

	"raftmq/internal/vfs"
)

// peersFile keeps the gossip addresses of the other nodes for the next start: a
// line for each, the name and host:port. It is a hint: one that cannot be read
// counts as empty, unless more files or memory are all it takes.
const peersFile = "peers"

const (
	maxPeersBytes = 1 << 20
	maxPeer       = maxPeersBytes / (2 * maxRecords) // a line's: of maxRecords nodes that were read, and as many that were heard of
)

// isPeer reports whether a name and an address make a line that can be read again: strangers
// may say of themselves what they like.
func isPeer(name, at string) bool {
	return len(name)+len(at)+len(" \n") <= maxPeer && name != "" && at != "" && !strings.ContainsFunc(name+at, unicode.IsSpace)
}

// readPeers returns nil if the file cannot be read for want of files or memory: who is in it is to be asked, and kept.
func (m *Members) readPeers() map[string]string {
	known := make(map[string]string)
	if m.dir == "" {
		return known
	}
	b, err := vfs.ReadFile(m.disk, filepath.Join(m.dir, peersFile), maxPeersBytes)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		m.log.Warn("read known peers", "error", err)
	}
	if vfs.Starved(err) {
		return nil
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) == 2 && len(known) < maxRecords {
			known[f[0]] = f[1]
		}
	}
	return known
}

// keepPeers writes the file when known has changed, the last time before Close returns.
func (m *Members) keepPeers() {
	for {
		select {
		case <-m.keep:
			m.writePeers()
		case <-m.stop:
			select {
			case <-m.keep:
				m.writePeers()
			default:
			}
			return
		}
	}
}

func (m *Members) writePeers() {
	if m.dir == "" {
		return
	}
	if err := m.replacePeers(); err != nil {
		m.log.Warn("keep known peers", "error", err)
	}
}

// replacePeers replaces the file: a crash leaves the old one or the new one.
func (m *Members) replacePeers() error {
	m.mu.RLock()
	var lines []string
	for name, at := range m.known {
		lines = append(lines, name+" "+at+"\n")
	}
	m.mu.RUnlock()
	sort.Strings(lines)
	if err := vfs.MakeDir(m.disk, m.dir); err != nil {
		return err
	}
	return vfs.WriteFile(m.disk, filepath.Join(m.dir, peersFile), []byte(strings.Join(lines, "")))
}
