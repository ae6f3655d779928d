package broker

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"github.com/stretchr/testify/require"
)

// A byte of an entry's data that decays in the catalogue's log is found when the node
// starts, and when the entry is read.
func TestADamagedEntryOfTheCatalogueIsFound(t *testing.T) {
	name := filepath.Join(t.TempDir(), "raft.db")
	open := func() (summedLogs, func()) {
		b, err := raftboltdb.New(raftboltdb.Options{Path: name, BoltOptions: boltOptions})
		require.NoError(t, err)
		return summedLogs{b}, func() { require.NoError(t, b.Close()) }
	}
	snapshots := raft.NewInmemSnapshotStore()
	logs, end := open()
	for i := range uint64(20) {
		require.NoError(t, logs.StoreLog(&raft.Log{Index: i + 1, Term: 3, Data: fmt.Appendf(nil, "decision number %d", i+1)}))
	}
	var l raft.Log
	require.NoError(t, logs.GetLog(7, &l))
	require.Equal(t, raft.Log{Index: 7, Term: 3, Data: []byte("decision number 7")}, raft.Log{Index: l.Index, Term: l.Term, Data: l.Data, Extensions: l.Extensions})
	require.NoError(t, checkCatalogue(logs, snapshots))
	end()
	raw, err := os.ReadFile(name)
	require.NoError(t, err)
	bad := bytes.ReplaceAll(raw, []byte("decision number 7"), []byte("decision nunber 7"))
	require.NotEqual(t, raw, bad)
	require.NoError(t, os.WriteFile(name, bad, 0o600))
	logs, end = open()
	defer end()
	require.ErrorIs(t, logs.GetLog(7, &l), ErrCatalogueDamaged)
	require.NoError(t, logs.GetLog(8, &l))
	require.ErrorIs(t, checkCatalogue(logs, snapshots), ErrCatalogueDamaged)
}

// Whatever bit decays in the leaves of the catalogue's file or in its heads, a start finds damage
// and says so, or reads entries as they were, and not none: it does not panic. (Bolt's pages have
// no checksums: one that forgets its last entries is not found.)
func TestABitOfTheCatalogueIsNoPanic(t *testing.T) {
	name := filepath.Join(t.TempDir(), "raft.db")
	b, err := openBolt(name)
	require.NoError(t, err)
	for i := range uint64(300) {
		require.NoError(t, summedLogs{b}.StoreLog(&raft.Log{Index: i + 1, Term: 3, Data: fmt.Appendf(nil, "decision number %d", i+1)}))
	}
	require.NoError(t, b.Close())
	raw, err := os.ReadFile(name)
	require.NoError(t, err)
	const leaf, meta = 0x02, 0x04 // flags at 8 of a page
	size := os.Getpagesize()
	var pages []int
	for at := 0; at < len(raw); at += size {
		if f := raw[at+8]; f == leaf || f == meta {
			pages = append(pages, at)
		}
	}
	rng := rand.New(rand.NewPCG(1, 2))
	found := 0
	damaged := filepath.Join(t.TempDir(), "raft.db")
	for range 200 {
		at, bit := pages[rng.IntN(len(pages))]+rng.IntN([]int{16, 64, size}[rng.IntN(3)]), byte(1)<<rng.IntN(8)
		bad := bytes.Clone(raw)
		bad[at] ^= bit
		require.NoError(t, os.WriteFile(damaged, bad, 0o600))
		b, err := openBolt(damaged)
		var last uint64
		if err == nil {
			logs := summedLogs{b}
			if err = checkCatalogue(logs, raft.NewInmemSnapshotStore()); err == nil {
				last, err = logs.LastIndex()
			}
			for i := uint64(1); i <= last && err == nil; i++ {
				var l raft.Log
				if err = logs.GetLog(i, &l); err == nil {
					require.Equal(t, fmt.Sprintf("decision number %d", i), string(l.Data), "bit %#x at %d", bit, at)
				}
			}
			b.Close()
		}
		if err != nil {
			require.ErrorIs(t, err, ErrCatalogueDamaged, "bit %#x at %d", bit, at)
			found++
			continue
		}
		require.Positive(t, last, "bit %#x at %d", bit, at)
	}
	require.Greater(t, found, 20)
}

// Entries that do not follow the newest good snapshot are not taken for all there is.
func TestAGapBehindADamagedSnapshotIsFound(t *testing.T) {
	dir := t.TempDir()
	snapshots, err := raft.NewFileSnapshotStore(dir, 2, os.Stderr)
	require.NoError(t, err)
	_, transport := raft.NewInmemTransport("")
	sink, err := snapshots.Create(raft.SnapshotVersionMax, 10, 1, raft.Configuration{}, 1, transport)
	require.NoError(t, err)
	_, err = sink.Write([]byte("the state at entry 10"))
	require.NoError(t, err)
	require.NoError(t, sink.Close())
	logs := summedLogs{raft.NewInmemStore()}
	for i := uint64(5); i < 15; i++ {
		require.NoError(t, logs.StoreLog(&raft.Log{Index: i, Term: 1}))
	}
	require.NoError(t, checkCatalogue(logs, snapshots))
	require.NoError(t, filepath.WalkDir(dir, func(name string, d os.DirEntry, err error) error {
		if err == nil && d.Name() == "state.bin" {
			return os.WriteFile(name, []byte("the state at entry 11"), 0o600)
		}
		return err
	}))
	require.ErrorIs(t, checkCatalogue(logs, snapshots), ErrCatalogueDamaged)
}

// A follower that lacked more than its leader's log keeps was sent a snapshot. What it had before stays in its log, as far as Raft leaves
// it, and what follows the snapshot comes behind: that is no damage, and it starts again. Without the snapshot it is.
func TestACatalogueThatWasSentASnapshotStartsAgain(t *testing.T) {
	dir := t.TempDir()
	snapshots, err := raft.NewFileSnapshotStore(dir, 2, os.Stderr)
	require.NoError(t, err)
	_, transport := raft.NewInmemTransport("")
	keep := func(index uint64) string {
		sink, err := snapshots.Create(raft.SnapshotVersionMax, index, 1, raft.Configuration{}, 1, transport)
		require.NoError(t, err)
		_, err = fmt.Fprintf(sink, "the state at entry %d", index)
		require.NoError(t, err)
		require.NoError(t, sink.Close())
		return sink.ID()
	}
	logs := summedLogs{raft.NewInmemStore()}
	store := func(from, to uint64) {
		for i := from; i <= to; i++ {
			require.NoError(t, logs.StoreLog(&raft.Log{Index: i, Term: 1}))
		}
	}
	keep(10)
	store(5, 14)
	sent := keep(50)
	require.NoError(t, checkCatalogue(logs, snapshots), "nothing has come since")
	damaged := func() {
		t.Helper()
		state := filepath.Join(dir, "snapshots", sent, "state.bin")
		require.NoError(t, os.WriteFile(state, []byte("the state at entry 51"), 0o600))
		require.ErrorIs(t, checkCatalogue(logs, snapshots), ErrCatalogueDamaged)
		require.NoError(t, os.WriteFile(state, []byte("the state at entry 50"), 0o600))
		require.NoError(t, checkCatalogue(logs, snapshots))
	}
	damaged()
	store(51, 55)
	require.NoError(t, checkCatalogue(logs, snapshots), "some has")
	damaged()
	require.NoError(t, logs.DeleteRange(53, 53))
	require.ErrorIs(t, checkCatalogue(logs, snapshots), ErrCatalogueDamaged, "an entry behind it is lost")
	require.NoError(t, logs.DeleteRange(51, 53))
	require.ErrorIs(t, checkCatalogue(logs, snapshots), ErrCatalogueDamaged, "the first ones behind it are")
}
