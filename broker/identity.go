package broker

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"math/rand/v2"
	"path/filepath"

	"raftmq/internal/vfs"
)

// identity is who this data directory belongs to. A node whose disk was wiped
// comes back as another incarnation, which the catalogue gives it; it never votes
// under the old one.
type identity struct {
	Version     int    `json:"version"`
	Cluster     string `json:"cluster"`
	Node        string `json:"node"`
	Incarnation uint64 `json:"incarnation"`
	Folder      uint64 `json:"folder"` // random, never 0: another one after the directory was emptied
	// Member: the node may have voted from this directory. Before, it speaks under no
	// identity: it may be a founder, or one that has lost its directory.
	Member bool `json:"member"`
	// Peers: the file of the nodes that were met is there, since before Member was written.
	Peers bool `json:"peers,omitempty"`
	// Level is the feature level that the cluster had come to when the node was last told.
	Level uint64 `json:"level,omitempty"`
	// SegmentBytes is how long the segments of commit logs are: replicas that roll elsewhere
	// than the others are not the same.
	SegmentBytes int64 `json:"segmentBytes,omitempty"`
}

const (
	identityFile    = "node.json"
	identityVersion = 3 // 1 did not say who is a member, 2 had no checksum
)

// openIdentity reads the directory's identity, in the version that it has, or makes
// it the given node's. ErrFolderDamaged, ErrConfig: nothing was changed.
func openIdentity(disk vfs.FS, c Config) (identity, error) {
	name := filepath.Join(c.Data, identityFile)
	var id identity
	err := readSealed(disk, name, 4096, identityVersion, &id)
	if errors.Is(err, fs.ErrNotExist) {
		id := identity{Version: identityVersion, Cluster: c.Cluster, Node: c.Node, Incarnation: 1, Folder: 1 + rand.Uint64N(math.MaxUint64-1), SegmentBytes: c.SegmentBytes}
		return id, writeIdentity(disk, c.Data, id)
	}
	if err != nil {
		return identity{}, err
	}
	id.Member = id.Member || id.Version < 2 // it voted as soon as it had met the others
	switch {
	case id.Folder == 0:
		return id, fmt.Errorf("%s names no folder", name)
	case id.Cluster != c.Cluster:
		return id, fmt.Errorf("%w: %s belongs to cluster %q, not %q", ErrConfig, c.Data, id.Cluster, c.Cluster)
	case id.Node != c.Node:
		return id, fmt.Errorf("%w: %s belongs to node %q, not %q", ErrConfig, c.Data, id.Node, c.Node)
	case id.Member && id.SegmentBytes != 0 && id.SegmentBytes != c.SegmentBytes: // else there are no commit logs yet
		return id, fmt.Errorf("%w: %s has commit logs with segment-bytes %d, not %d: the replicas of a partition would differ", ErrConfig, c.Data, id.SegmentBytes, c.SegmentBytes)
	}
	return id, nil
}

// raise writes an identity of an earlier version, or program, again as one of the present.
func (id *identity) raise(disk vfs.FS, c Config) error {
	if id.Version == identityVersion && id.SegmentBytes == c.SegmentBytes {
		return nil
	}
	id.Version, id.SegmentBytes = identityVersion, c.SegmentBytes
	return writeIdentity(disk, c.Data, *id)
}

func writeIdentity(disk vfs.FS, dir string, id identity) error {
	if err := writeSealed(disk, filepath.Join(dir, identityFile), id); err != nil {
		return fmt.Errorf("write the node's identity: %w", err)
	}
	return nil
}
