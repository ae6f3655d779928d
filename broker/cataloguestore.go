package broker

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/hashicorp/raft"
	bolt "go.etcd.io/bbolt"
)

// CatalogueStore keeps the catalogue's entries and snapshots. What it says is stored is
// durable.
type CatalogueStore struct {
	Logs      raft.LogStore
	Snapshots raft.SnapshotStore
	Close     func() error
}

var boltOptions = &bolt.Options{Timeout: 5 * time.Second}

// keepInBolt is the store of a node that is given no other.
func (b *Broker) keepInBolt(dir string) (CatalogueStore, error) {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return CatalogueStore{}, err
	}
	logs, err := openBolt(filepath.Join(dir, "raft.db"))
	if err != nil {
		return CatalogueStore{}, fmt.Errorf("open the catalogue's log: %w", err)
	}
	snapshots, err := raft.NewFileSnapshotStoreWithLogger(dir, 2, b.raftLog)
	if err != nil {
		return CatalogueStore{}, errors.Join(fmt.Errorf("open the catalogue's snapshots: %w", err), logs.Close())
	}
	return CatalogueStore{Logs: logs, Snapshots: snapshots, Close: logs.Close}, nil
}
