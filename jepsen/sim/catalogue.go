package sim

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/hashicorp/raft"

	"raftmq/broker"
	"raftmq/internal/vfs"
)

// keepCatalogue stands in for bolt, which cannot use a simulated disk: a file per entry
// and per snapshot, each durable before the next change.
func keepCatalogue(disk vfs.FS, dir string) (broker.CatalogueStore, error) {
	logs, err := openEntries(disk, path.Join(dir, "log"))
	if err != nil {
		return broker.CatalogueStore{}, err
	}
	snapshots := &snapshots{disk: disk, dir: path.Join(dir, "snapshots")}
	return broker.CatalogueStore{Logs: logs, Snapshots: snapshots, Close: func() error { return nil }}, vfs.MakeDir(disk, snapshots.dir)
}

const mostBytes = 64 << 20 // of a file here

// entries is a log of the catalogue's.
type entries struct {
	disk vfs.FS
	dir  string

	mu          sync.Mutex
	first, last uint64
}

func openEntries(disk vfs.FS, dir string) (*entries, error) {
	if err := vfs.MakeDir(disk, dir); err != nil {
		return nil, err
	}
	e := &entries{disk: disk, dir: dir}
	names, err := disk.List(dir)
	for _, name := range names {
		i, err := strconv.ParseUint(name, 10, 64)
		if err != nil {
			continue // not renamed yet
		}
		if e.first == 0 {
			e.first = i
		}
		e.last = i
	}
	return e, err
}

func (e *entries) name(i uint64) string { return path.Join(e.dir, fmt.Sprintf("%020d", i)) }

func (e *entries) FirstIndex() (uint64, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.first, nil
}

func (e *entries) LastIndex() (uint64, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.last, nil
}

func (e *entries) GetLog(i uint64, out *raft.Log) error {
	b, err := vfs.ReadFile(e.disk, e.name(i), mostBytes)
	if errors.Is(err, fs.ErrNotExist) {
		return raft.ErrLogNotFound
	}
	if err != nil {
		return err
	}
	*out = raft.Log{}
	return json.Unmarshal(b, out)
}

func (e *entries) StoreLog(l *raft.Log) error { return e.StoreLogs([]*raft.Log{l}) }

func (e *entries) StoreLogs(logs []*raft.Log) error {
	for _, l := range logs {
		b, err := json.Marshal(l)
		if err == nil {
			err = vfs.WriteFile(e.disk, e.name(l.Index), b)
		}
		if err != nil {
			return err
		}
		e.mu.Lock()
		if e.first == 0 {
			e.first = l.Index
		}
		e.last = l.Index
		e.mu.Unlock()
	}
	return nil
}

// DeleteRange leaves no gap at any time.
func (e *entries) DeleteRange(low, high uint64) error {
	first, _ := e.FirstIndex()
	last, _ := e.LastIndex()
	var all []uint64
	for i := max(low, first); i <= min(high, last); i++ {
		all = append(all, i)
	}
	if low > first {
		slices.Reverse(all)
	}
	for _, i := range all {
		if err := errors.Join(e.disk.Remove(e.name(i)), e.disk.SyncDir(e.dir)); err != nil {
			return err
		}
		e.mu.Lock()
		switch {
		case e.first == e.last:
			e.first, e.last = 0, 0
		case i == e.first:
			e.first++
		default:
			e.last = i - 1
		}
		e.mu.Unlock()
	}
	return nil
}

// snapshots keeps the newest two.
type snapshots struct {
	disk vfs.FS
	dir  string
}

func (s *snapshots) Create(v raft.SnapshotVersion, index, term uint64, c raft.Configuration, ci uint64, _ raft.Transport) (raft.SnapshotSink, error) {
	return &sink{s: s, meta: raft.SnapshotMeta{Version: v, ID: fmt.Sprintf("%020d-%020d", index, term), Index: index, Term: term, Configuration: c, ConfigurationIndex: ci}}, nil
}

func (s *snapshots) List() (out []*raft.SnapshotMeta, err error) {
	names, err := s.disk.List(s.dir)
	slices.Reverse(names)
	for _, name := range names {
		if strings.HasSuffix(name, ".tmp") {
			continue
		}
		m, _, err := s.read(name)
		if err != nil {
			return nil, err
		}
		out = append(out, m)
	}
	return out, err
}

func (s *snapshots) read(id string) (*raft.SnapshotMeta, []byte, error) {
	b, err := vfs.ReadFile(s.disk, path.Join(s.dir, id), mostBytes)
	if err != nil {
		return nil, nil, err
	}
	n := 4 + int(binary.BigEndian.Uint32(b))
	m := &raft.SnapshotMeta{}
	return m, b[n:], json.Unmarshal(b[4:n], m)
}

func (s *snapshots) Open(id string) (*raft.SnapshotMeta, io.ReadCloser, error) {
	m, b, err := s.read(id)
	return m, io.NopCloser(bytes.NewReader(b)), err
}

// sink is a snapshot that is being taken.
type sink struct {
	s    *snapshots
	meta raft.SnapshotMeta
	bytes.Buffer
	cancelled bool
}

func (k *sink) ID() string    { return k.meta.ID }
func (k *sink) Cancel() error { k.cancelled = true; return nil }

func (k *sink) Close() error {
	if k.cancelled {
		return nil
	}
	k.meta.Size = int64(k.Len())
	head, err := json.Marshal(k.meta)
	if err != nil {
		return err
	}
	b := append(binary.BigEndian.AppendUint32(nil, uint32(len(head))), head...)
	if err := vfs.WriteFile(k.s.disk, path.Join(k.s.dir, k.meta.ID), append(b, k.Bytes()...)); err != nil {
		return err
	}
	all, err := k.s.List()
	for _, m := range all[min(2, len(all)):] {
		err = errors.Join(err, k.s.disk.Remove(path.Join(k.s.dir, m.ID)))
	}
	return errors.Join(err, k.s.disk.SyncDir(k.s.dir))
}
