package broker

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"runtime/debug"
	"slices"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"raftmq/internal/vfs"
)

// ErrCatalogueDamaged: what the catalogue's log or its snapshots hold is not what was
// written. Nothing was changed: the other nodes have it, and replace this one on an
// empty folder.
var ErrCatalogueDamaged = errors.New("broker: the catalogue's files are damaged")

// summedLogs keeps a checksum with each entry of the catalogue, in its extensions,
// which nothing else uses: "c1", then CRC-32C of index, term (8 bytes each,
// big-endian), type and data. Entries from before there were checksums have none.
type summedLogs struct{ raft.LogStore }

const (
	sumMagic = "c1"
	sumBytes = len(sumMagic) + 4
)

func appendSum(dst []byte, l *raft.Log) []byte {
	var head [17]byte
	binary.BigEndian.PutUint64(head[:], l.Index)
	binary.BigEndian.PutUint64(head[8:], l.Term)
	head[16] = byte(l.Type)
	table := crc32.MakeTable(crc32.Castagnoli)
	sum := crc32.Update(crc32.Checksum(head[:], table), table, l.Data)
	return binary.BigEndian.AppendUint32(append(dst, sumMagic...), sum)
}

func (s summedLogs) StoreLog(l *raft.Log) error { return s.StoreLogs([]*raft.Log{l}) }

func (s summedLogs) StoreLogs(logs []*raft.Log) error {
	summed := make([]*raft.Log, len(logs))
	for i, l := range logs {
		x := *l
		x.Extensions = appendSum(nil, l)
		summed[i] = &x
	}
	return s.LogStore.StoreLogs(summed)
}

// GetLog returns ErrCatalogueDamaged if the entry is not what was stored. What the
// database under it does with damage of its own, panic or error, is damage too.
func (s summedLogs) GetLog(index uint64, out *raft.Log) error {
	if err := guarded(func() error { return s.LogStore.GetLog(index, out) }); err != nil {
		if errors.Is(err, raft.ErrLogNotFound) {
			return err
		}
		return fmt.Errorf("%w: entry %d: %w", ErrCatalogueDamaged, index, err)
	}
	sum := out.Extensions
	out.Extensions = nil
	if len(sum) > 0 && string(sum) != string(appendSum(nil, out)) || out.Index != index {
		return fmt.Errorf("%w: entry %d fails its checksum", ErrCatalogueDamaged, index)
	}
	return nil
}

// openBolt opens the catalogue's log. A file that is no database any more is
// ErrCatalogueDamaged.
func openBolt(name string) (store *raftboltdb.BoltStore, err error) {
	err = guarded(func() (err error) {
		if err := checkBuckets(name); err != nil {
			return err
		}
		store, err = raftboltdb.New(raftboltdb.Options{Path: name, BoltOptions: boltOptions})
		return err
	})
	for _, damage := range []error{bolterrors.ErrInvalid, bolterrors.ErrInvalidMapping, bolterrors.ErrVersionMismatch, bolterrors.ErrChecksum} {
		if errors.Is(err, damage) {
			err = fmt.Errorf("%w: %w", ErrCatalogueDamaged, err)
		}
	}
	return store, err
}

// checkBuckets finds a bucket whose name has decayed: the library would make it anew, empty, and
// the node would vote as one that has nothing. A file without any was being made.
func checkBuckets(name string) error {
	if st, err := os.Stat(name); errors.Is(err, fs.ErrNotExist) || err == nil && st.Size() == 0 {
		return nil
	} else if err != nil {
		return err
	}
	db, err := bolt.Open(name, 0o600, &bolt.Options{Timeout: boltOptions.Timeout, ReadOnly: true})
	if err != nil {
		return err
	}
	defer db.Close()
	return db.View(func(tx *bolt.Tx) error {
		var names []string
		err := tx.ForEach(func(name []byte, _ *bolt.Bucket) error {
			names = append(names, string(name))
			return nil
		})
		if err == nil && len(names) > 0 && !slices.Equal(names, []string{"conf", "logs"}) {
			err = fmt.Errorf("%w: its buckets are %q", ErrCatalogueDamaged, names)
		}
		return err
	})
}

// guarded makes an error of it when the database meets damage of its own by a panic, or by
// looking where its file has nothing.
func guarded(f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %v", ErrCatalogueDamaged, p)
		}
	}()
	return f()
}

// checkCatalogue reads everything once: Raft would panic over an entry that it cannot
// read, and take an older snapshot without asking whether entries follow it.
func checkCatalogue(logs raft.LogStore, snapshots raft.SnapshotStore) error {
	var first, last uint64
	err := guarded(func() (err error) {
		if first, err = logs.FirstIndex(); err == nil {
			last, err = logs.LastIndex()
		}
		return err
	})
	if err != nil {
		return err
	}
	metas, err := snapshots.List()
	if err != nil {
		return err
	}
	start, newest := uint64(0), uint64(0) // of the newest snapshot that is good, and of the newest
	for i, m := range metas {
		if i == 0 {
			newest = m.Index
		}
		_, r, e := snapshots.Open(m.ID) // it compares the checksum
		if e == nil {
			start, err = m.Index, r.Close()
			break
		}
		if vfs.Starved(e) {
			return fmt.Errorf("snapshot %s: %w", m.ID, e)
		}
		err = errors.Join(err, fmt.Errorf("snapshot %s: %w", m.ID, e))
	}
	// A snapshot that a leader sent may lie beyond the entries from before, which stay, and those behind it go on from there.
	if first > start+1 || start < newest && last < newest || start == 0 && len(metas) > 0 {
		return fmt.Errorf("%w: entries from %d follow a snapshot of entry %d: %w", ErrCatalogueDamaged, first, start, errors.Join(errors.New("what lies between is not there"), err))
	}
	for i := max(first, 1); i <= last; i++ {
		if err := logs.GetLog(i, new(raft.Log)); err != nil {
			if errors.Is(err, raft.ErrLogNotFound) {
				if i <= start { // the snapshot has it
					continue
				}
				err = fmt.Errorf("%w: entry %d is not there", ErrCatalogueDamaged, i)
			}
			return err
		}
	}
	return nil
}
