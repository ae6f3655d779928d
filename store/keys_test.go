package store

import (
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"raftmq/internal/vfs"
	"raftmq/message"
)

// requireKeys checks that every key of fill's entries 1 to last is found.
func requireKeys(t *testing.T, s *Store, last int) {
	t.Helper()
	for i := 1; i <= last; i++ {
		for j := range i % 4 {
			r, err := s.Lookup("t", fmt.Sprintf("k%d-%d", i, j), 10, 0, 0)
			require.NoError(t, err)
			require.Len(t, r, 1, "entry %d, record %d", i, j)
		}
	}
}

// Entries appended between Checkpoint and Sync bring their keys into a run that
// reaches above the checkpoint. After a restart the run is not used; the keys
// below the checkpoint are found all the same.
func TestKeysBelowACheckpointSurviveAppendsBesideIt(t *testing.T) {
	for _, o := range []Options{{}, {SegmentBytes: minSegment}} {
		disk := vfs.NewMem(1)
		o.FS = disk
		s, err := Open("p", o, nil)
		require.NoError(t, err)
		fill(t, s, 1, 103, same)
		state, m := s.Checkpoint()
		fill(t, s, 104, 110, same)
		require.NoError(t, s.flushKeys(s.active(), s.active().keys.mem, s.active().end))
		require.NoError(t, s.Sync(m))
		require.NoError(t, s.Close())
		for _, keep := range []float64{0, 0.5, 1} {
			o.FS = disk.CrashKeeping(1, keep)
			s, err = Open("p", o, state)
			require.NoError(t, err)
			requireKeys(t, s, 103)
			fill(t, s, 104, 110, same)
			requireKeys(t, s, 110)
			require.NoError(t, s.Close())
		}
	}
}

// A run that is written after its segment was synced is synced by the next Sync.
func TestKeysOfASyncedSegmentAreSynced(t *testing.T) {
	disk := vfs.NewMem(1)
	s, err := Open("p", small(disk), nil)
	require.NoError(t, err)
	defer s.Close()
	fill(t, s, 1, 100, same)
	require.NoError(t, s.Sync(s.Last())) // leaves the active segment's keys in memory
	g := s.active()
	require.NotEmpty(t, g.keys.mem)
	require.NoError(t, s.flushKeys(g, g.keys.mem, g.end))
	state, m := s.Checkpoint()
	require.NoError(t, s.Sync(m))
	s2, err := Open("p", small(disk.CrashKeeping(1, 0)), state)
	require.NoError(t, err)
	defer s2.Close()
	require.Empty(t, s2.active().keys.mem, "nothing is to be indexed again")
	requireKeys(t, s2, 100)
}

// A run that is written while files are being synced is synced by this Sync or by the next.
func TestKeysThatAreWrittenBesideASyncAreSynced(t *testing.T) {
	disk := vfs.NewMem(1)
	o := small(disk)
	s, err := Open("p", o, nil)
	require.NoError(t, err)
	defer s.Close()
	var once sync.Once
	disk.SetHook(func(op vfs.Op) error { // a sync that has come to the files just before the run is written
		if op.Kind == vfs.OpWrite && op.Len > 0 && strings.HasSuffix(op.Name, ".keys") {
			once.Do(func() { assert.NoError(t, s.files.syncDirty()) })
		}
		return nil
	})
	fill(t, s, 1, 150, same)
	state, m := s.Checkpoint()
	require.NoError(t, s.Sync(m))
	require.Greater(t, len(s.Segments()), 2)
	o.FS = disk.CrashKeeping(1, 0)
	after, err := Open("p", o, state)
	require.NoError(t, err)
	defer after.Close()
	found, _ := verify(t, after, 0)
	require.Empty(t, found)
}

// Whatever byte of a run is not what was written, no key is lost: the index is
// built again from the log.
func TestDamagedKeysAreBuiltAgain(t *testing.T) {
	disk, h, k := settled(t, 300)
	name := segmentName("p", 0, "keys")
	f, err := disk.Open(name)
	require.NoError(t, err)
	size, err := f.Size()
	require.NoError(t, err)
	for at := int64(0); at < size; at += 13 {
		left := disk.CrashKeeping(0, 1)
		require.NoError(t, left.Damage(name, at, 1, flip))
		s := openMem(t, left, k.state)
		for i := range 30 {
			for _, key := range h[i].keys {
				rs, err := s.Lookup("t", key, 10, 0, 0)
				require.NoError(t, err)
				require.Len(t, rs, 1, "byte %d, key %s", at, key)
			}
		}
		require.NoError(t, s.Close())
	}
}

// A lookup beside another one that builds the index waits for it.
func TestLookupWaitsForTheIndex(t *testing.T) {
	disk, h, k := settled(t, 300)
	require.NoError(t, disk.Damage(segmentName("p", 0, "keys"), 60, 1, flip))
	s := openMem(t, disk, k.state)
	var key string
	for i := range h {
		if len(h[i].keys) > 0 {
			key = h[i].keys[0]
			break
		}
	}
	in := disk.Inject(vfs.Fault{Ops: []vfs.OpKind{vfs.OpRead}, Name: fmt.Sprintf("%020d.log", 0), Hang: true})
	counts := make(chan int)
	lookup := func() {
		rs, _ := s.Lookup("t", key, 10, 0, 0)
		counts <- len(rs)
	}
	go lookup()
	<-in.Struck()
	go lookup()
	for range 100 {
		runtime.Gosched()
	}
	in.Release()
	require.Equal(t, 1, <-counts)
	require.Equal(t, 1, <-counts)
}

// Where a record that is damaged may have the key, a lookup does not say that
// there is none: neither when the index has it nor when the index is built again.
func TestLookupDoesNotMissADamagedRecord(t *testing.T) {
	disk, _, k := settled(t, 300)
	log, keys := segmentName("p", 0, "log"), segmentName("p", 0, "keys")
	s := openMem(t, disk, k.state)
	rs, err := s.Lookup("t", "common", 1000, 0, 0)
	require.NoError(t, err)
	_, pos := message.SplitPhysicalOffset(rs[len(rs)-1].PhysicalOffset())
	require.NoError(t, s.Close())
	require.NoError(t, disk.Damage(log, pos+100, 1, flip))
	s = openMem(t, disk, k.state)
	_, err = s.Lookup("t", "common", 1000, 0, 0)
	require.ErrorIs(t, err, ErrDamaged)
	require.ErrorContains(t, err, log)
	require.NoError(t, s.Close())
	require.NoError(t, disk.Damage(keys, 40, 1, flip))
	s = openMem(t, disk, k.state)
	for range 2 {
		_, err = s.Lookup("t", "nobody's", 10, 0, 0)
		require.ErrorIs(t, err, ErrDamaged)
		require.ErrorContains(t, err, log)
	}
}

// A byte of a file of keys decays after the file was read and found good: nobody is
// told that a key is not there. The index is built again.
func TestKeysThatDecayAfterTheyWereCheckedAreBuiltAgain(t *testing.T) {
	disk := vfs.NewMem(1)
	o := small(disk)
	var found []*Damage
	o.OnDamage = func(d *Damage) { found = append(found, d) }
	s, err := Open("p", o, nil)
	require.NoError(t, err)
	defer s.Close()
	fill(t, s, 1, 300, same)
	require.NoError(t, s.Sync(s.Last()))
	require.NoError(t, s.flushNow())
	requireKeys(t, s, 300)
	g := s.segments[0]
	require.NotEmpty(t, g.keys.runs)
	run := g.keys.runs[0]
	for i := range run.count {
		require.NoError(t, disk.Damage(g.keys.name, run.at+int64(i)*keyEntry, 1, func(b []byte) { b[0] ^= 0x80 }))
	}
	requireKeys(t, s, 300)
	require.Len(t, found, 1)
	require.Equal(t, g.keys.name, found[0].File)
	require.NoError(t, s.flushNow())
	require.NoError(t, s.checkKeys(g, func(int) error { return nil }))
	requireKeys(t, s, 300)
}

// A run of many blocks gives every key, also one whose entries lie in more than one.
func TestKeysAcrossBlocks(t *testing.T) {
	disk := vfs.NewMem(1)
	s, err := Open("p", small(disk), nil)
	require.NoError(t, err)
	defer s.Close()
	var mem []keyPlace
	for i := range Position(5 * keyBlock) {
		h := uint64(i) << 40
		if i >= 500 && i < 500+2*keyBlock {
			h = 500 << 40
		}
		mem = append(mem, keyPlace{h, i})
	}
	g := s.active()
	g.keys.mem, s.pending = mem, len(mem)*keyEntry
	require.NoError(t, s.flushKeys(g, mem, 1<<20))
	at := func(h uint64, max int) []Position {
		ps, err := s.find(g.keys, g.keys.runs, h, max)
		require.NoError(t, err)
		return ps
	}
	for i := range Position(5 * keyBlock) {
		if i < 500 || i >= 500+2*keyBlock {
			require.Equal(t, []Position{i}, at(uint64(i)<<40, 10))
		}
		require.Empty(t, at(uint64(i)<<40+1, 10))
	}
	all := at(500<<40, maxLooked)
	require.Len(t, all, 2*keyBlock)
	require.Equal(t, Position(500), all[0])
	some := at(500<<40, keyBlock+7)
	require.Len(t, some, keyBlock+7)
	require.Equal(t, all[keyBlock-7:], some, "the last")
}

// Of the records of a key that very many have the newest are found.
func TestTheNewestOfAKeyAreFound(t *testing.T) {
	s, err := Open("p", Options{FS: vfs.NewMem(1), SegmentBytes: 8 << 20}, nil)
	require.NoError(t, err)
	defer s.Close()
	q := message.Queue{Topic: "t"}
	const records = maxLooked + 100
	for i := range records {
		e, places := hot(t, s.Last().Index+1, q)
		_, err := s.Append(e, int64(i), places)
		require.NoError(t, err)
	}
	g := s.active()
	require.NoError(t, s.flushKeys(g, g.keys.mem, g.end)) // none is in memory only
	found, err := s.Lookup("t", "hot", 10, 0, 0)
	require.NoError(t, err)
	require.Len(t, found, 10)
	for i, r := range found {
		require.EqualValues(t, records-1-i, r.QueueOffset())
	}
	looked := 0
	err = s.Find("t", "hot", 0, 0, func(message.Record) bool { looked++; return true })
	require.ErrorIs(t, err, ErrMany, "there are a hundred more in the run")
	require.Equal(t, maxLooked, looked)
}

// A record that has a key more than once counts once among those that are looked at.
func TestARecordThatHasAKeyTwiceIsLookedAtOnce(t *testing.T) {
	s, err := Open("p", Options{FS: vfs.NewMem(1), SegmentBytes: 8 << 20}, nil)
	require.NoError(t, err)
	defer s.Close()
	q := message.Queue{Topic: "t"}
	const records = maxLooked - 100
	for i := range records {
		m := message.Message{Topic: q.Topic, QueueID: q.ID, Body: []byte("x"), Properties: "KEYS\x01hot hot\x02UNIQ_KEY\x01hot\x02"}
		data, err := m.AppendRecord(nil)
		require.NoError(t, err)
		_, err = s.Append(Entry{Index: s.Last().Index + 1, Term: 1, Data: data}, int64(i), []Place{{Queue: q, Size: len(data)}})
		require.NoError(t, err)
	}
	g := s.active()
	require.NoError(t, s.flushKeys(g, g.keys.mem, g.end))
	looked := 0
	require.NoError(t, s.Find("t", "hot", 0, 0, func(message.Record) bool { looked++; return true }))
	require.Equal(t, records, looked)
}

// Records of a time are found though very many newer ones have the key; where not all are looked at that is said.
func TestRecordsOfATimeAreFoundBehindManyOfAKey(t *testing.T) {
	s := openMem(t, vfs.NewMem(1), nil)
	q := message.Queue{Topic: "t"}
	for i := range 3 * maxLooked {
		e, places := hot(t, s.Last().Index+1, q)
		if s.NeedsRoll(len(e.Data)) {
			require.NoError(t, s.Roll(same))
		}
		_, err := s.Append(e, int64(1000+i), places)
		require.NoError(t, err)
	}
	require.Greater(t, len(s.Segments()), 10)
	found, err := s.Lookup("t", "hot", 10, 1000, 1009)
	require.NoError(t, err)
	require.Len(t, found, 10)
	looked := 0
	err = s.Find("t", "hot", 0, 0, func(message.Record) bool { looked++; return true })
	require.ErrorIs(t, err, ErrMany)
	require.Equal(t, maxLooked, looked)
}

// hot is an entry of one record with the key hot.
func hot(t *testing.T, index uint64, q message.Queue) (Entry, []Place) {
	t.Helper()
	m := message.Message{Topic: q.Topic, QueueID: q.ID, Body: []byte("x"), Properties: "KEYS\x01hot\x02"}
	e := Entry{Index: index, Term: 1, AppendedAt: int64(index), Data: []byte("command")}
	at := len(e.Data)
	var err error
	e.Data, err = m.AppendRecord(e.Data)
	require.NoError(t, err)
	return e, []Place{{Queue: q, Start: at, Size: len(e.Data) - at}}
}
