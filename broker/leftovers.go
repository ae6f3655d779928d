package broker

import (
	"errors"
	"io/fs"
	"path/filepath"
	"strconv"

	"raftmq/fsm"
)

// leftovers are partitions that this node keeps something of and has not open: of topics
// that were deleted while it was down, or whose files could not be removed. Guarded by
// Broker.reshape.
type leftovers struct {
	known bool // what the node's folder has was looked up
	ids   map[uint64]bool
}

// add notes what is to be removed once it is certain that its topic is gone.
func (l *leftovers) add(id uint64) {
	if l.ids == nil {
		l.ids = make(map[uint64]bool)
	}
	l.ids[id] = true
}

// removeLeftovers removes what is left of partitions that the catalogue made and has no
// more. What it does not know of yet, since it is being caught up with, stays, and so does
// what is about to be opened.
func (b *Broker) removeLeftovers(opened map[uint64]fsm.Partition) {
	if !b.left.known {
		if err := b.findLeftovers(); err != nil {
			b.log.Warn("look for what deleted topics left", "error", err)
			return
		}
		b.left.known = true
	}
	for id := range b.left.ids {
		if _, open := b.partition(id); open {
			delete(b.left.ids, id) // it is dropped if its topic goes
			continue
		}
		if _, opens := opened[id]; opens {
			continue // there may be no room to open it before its topic goes
		}
		if !b.catalogue.Deleted(id) {
			continue
		}
		if err := b.removePartition(id); err != nil {
			b.log.Error("remove partition", "partition", id, "error", err)
			continue
		}
		delete(b.left.ids, id)
		b.log.Info("partition removed", "partition", id)
	}
}

// findLeftovers notes all partitions of which there is a folder, or something in the
// write-ahead log.
func (b *Broker) findLeftovers() error {
	names, err := b.disk.List(filepath.Join(b.cfg.Data, "partitions"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, name := range names {
		if id, err := strconv.ParseUint(name, 10, 64); err == nil && filepath.Base(b.partitionDir(id)) == name {
			b.left.add(id)
		}
	}
	for _, id := range b.wal.Groups() {
		if id != catalogueGroup {
			b.left.add(id)
		}
	}
	return nil
}

// removePartition removes all that this node keeps of a partition, which is closed.
func (b *Broker) removePartition(id uint64) error {
	if err := b.wal.Group(id).Drop(); err != nil {
		return err
	}
	b.sick.noting.Lock()
	defer b.sick.noting.Unlock()
	if err := b.disk.RemoveAll(b.partitionDir(id)); err != nil {
		return err
	}
	b.sick.discharge(id)
	return nil
}
