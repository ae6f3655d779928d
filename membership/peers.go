package membership

import (
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"
)

// peersFile keeps the gossip addresses of the other nodes for the next start: a
// line for each, the name and host:port. It is a hint: one that cannot be read
// counts as empty.
const peersFile = "peers"

func (m *Members) readPeers() map[string]string {
	known := make(map[string]string)
	if m.dir == "" {
		return known
	}
	b, err := os.ReadFile(filepath.Join(m.dir, peersFile))
	if err != nil && !os.IsNotExist(err) {
		m.log.Warn("read known peers", "error", err)
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) == 2 && len(known) < maxRecords {
			known[f[0]] = f[1]
		}
	}
	return known
}

// keepPeers writes the file when known has changed.
func (m *Members) keepPeers() {
	for {
		select {
		case <-m.keep:
		case <-m.stop:
			return
		}
		if m.dir == "" {
			continue
		}
		if err := m.writePeers(); err != nil {
			m.log.Warn("keep known peers", "error", err)
		}
	}
}

// writePeers replaces the file: a crash leaves the old one or the new one.
func (m *Members) writePeers() error {
	m.mu.RLock()
	var lines []string
	for name, at := range m.known {
		lines = append(lines, name+" "+at+"\n")
	}
	m.mu.RUnlock()
	sort.Strings(lines)
	if err := os.MkdirAll(m.dir, 0o750); err != nil {
		return err
	}
	name := filepath.Join(m.dir, peersFile)
	f, err := os.OpenFile(name+".tmp", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o640)
	if err != nil {
		return err
	}
	_, err = f.WriteString(strings.Join(lines, ""))
	if err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", f.Name(), err)
	}
	return os.Rename(name+".tmp", name)
}
