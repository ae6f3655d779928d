package broker

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"raftmq/internal/vfs"
)

// walOwnerFile ties a write-ahead log, which may be on another disk, to its data
// folder: {"version":2,"folder":12345,"crc32c":"..."}. A node whose write-ahead log was emptied
// alone would vote again under the identity in its data folder; one whose data
// folder was emptied alone would find votes and entries of an earlier incarnation.
const (
	walOwnerFile    = "folder.json"
	walOwnerVersion = 2 // 1 had no checksum
)

// ErrHalfEmptied: the data folder or the write-ahead log was emptied or exchanged,
// and the other was not. Nothing was started.
var ErrHalfEmptied = errors.New("broker: the write-ahead log is not the data folder's")

// ownWAL refuses a write-ahead log that is not id's, and marks one that is new,
// durably, before anything is written to it.
func ownWAL(disk vfs.FS, dir string, id identity) error {
	name := filepath.Join(dir, walOwnerFile)
	var doc struct {
		Version int
		Folder  uint64
	}
	err := readSealed(disk, name, 4096, walOwnerVersion, &doc)
	if errors.Is(err, fs.ErrNotExist) {
		return claimWAL(disk, dir, id)
	}
	if err != nil {
		return err
	}
	if doc.Folder != id.Folder {
		return fmt.Errorf("%w: %s belongs to folder %016x and the data folder is %016x: restore the one that was exchanged, or empty both to have the node replaced", ErrHalfEmptied, dir, doc.Folder, id.Folder)
	}
	if doc.Version < walOwnerVersion {
		return markWAL(disk, dir, id)
	}
	return nil
}

// claimWAL marks a write-ahead log that nobody owns: of a new folder, or of one from
// before there were marks.
func claimWAL(disk vfs.FS, dir string, id identity) error {
	if err := vfs.MakeDir(disk, dir); err != nil {
		return fmt.Errorf("write-ahead log: %w", err)
	}
	names, err := disk.List(dir)
	if err != nil {
		return fmt.Errorf("write-ahead log: %w", err)
	}
	used := false
	for _, n := range names {
		used = used || strings.HasSuffix(n, ".wal")
	}
	switch marked := id.Version >= 2; {
	case marked && id.Member:
		return fmt.Errorf("%w: %s is empty, or another's: what this node voted for and stored was there: restore it, or empty the data folder too to have the node replaced", ErrHalfEmptied, dir)
	case marked && used:
		return fmt.Errorf("%w: %s has been used, and the data folder is new: restore that, or empty the write-ahead log too", ErrHalfEmptied, dir)
	}
	return markWAL(disk, dir, id)
}

func markWAL(disk vfs.FS, dir string, id identity) error {
	return writeSealed(disk, filepath.Join(dir, walOwnerFile), map[string]any{"version": walOwnerVersion, "folder": id.Folder})
}
