package fsm

import (
	"bufio"
	"math/rand/v2"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"

	"raftmq/internal/vfs"
	"raftmq/store"
)

// anonymous is the process's memory that no file backs, in bytes; 0 where it is not told.
func anonymous(t *testing.T) int64 {
	t.Helper()
	runtime.GC()
	debug.FreeOSMemory()
	f, err := os.Open("/proc/self/status")
	if err != nil {
		return 0
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if v, ok := strings.CutPrefix(s.Text(), "RssAnon:"); ok {
			kb, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(v), " kB"), 10, 64)
			require.NoError(t, err)
			return kb << 10
		}
	}
	return 0
}

// Many messages that wait over ten years cost disk and little memory, a restart takes
// little time, and what is due is found at once. RAFTMQ_TIMERS=10000000 is the full
// size.
func TestManyMessagesWait(t *testing.T) {
	n, _ := strconv.Atoi(os.Getenv("RAFTMQ_TIMERS"))
	if n == 0 {
		n = 200_000
	}
	const (
		batch = 2000
		start = int64(1_800_000_000_000)
		span  = int64(10 * 365 * 24 * time.Hour / time.Millisecond)
	)
	o := PartitionOptions{Store: store.Options{FS: vfs.OS{}, Number: 7, Logger: nil}}
	dir := t.TempDir()
	m, err := OpenPartition(dir, o, nil)
	require.NoError(t, err)
	idle := anonymous(t)
	rnd := rand.New(rand.NewPCG(1, 1))
	q := queue(0)
	rec := records(t, q, 1, 10)
	items := make([]Delayed, batch)
	index, most := uint64(0), int64(0)
	var state []byte
	checkpoint := func() {
		var sync func() error
		state, sync = m.Checkpoint()
		require.NoError(t, sync())
	}
	began := time.Now()
	for done := 0; done < n; done += batch {
		for i := range items {
			items[i] = Delayed{Item{Queue: q, Records: rec, Count: 1}, start + 1 + rnd.Int64N(span)}
		}
		index++
		_, err := m.Apply([]*raft.Log{{Index: index, Term: 1, Type: raft.LogCommand, Data: EncodeDelay(nil, start, items)}})
		require.NoError(t, err)
		if index%250 == 0 {
			checkpoint()
			most = max(most, anonymous(t)-idle)
		}
	}
	checkpoint()
	most = max(most, anonymous(t)-idle)
	t.Logf("%d stored in %v, %.0f a second; %d MB of memory more at most; %d MB on disk", n, time.Since(began).Round(time.Millisecond), float64(n)/time.Since(began).Seconds(), most>>20, m.Store().DiskBytes()>>20)
	require.Less(t, most, int64(300<<20))
	require.NoError(t, m.Close())

	began = time.Now()
	m, err = OpenPartition(dir, o, state)
	require.NoError(t, err)
	opened := time.Since(began)
	require.Equal(t, n, m.Store().TimerCount())
	t.Logf("open again after %v", opened.Round(time.Microsecond))
	require.Less(t, opened, 10*time.Second)

	fired := 0
	began = time.Now()
	for at := start + span/int64(n)*50; fired < min(n, 20_000); at += span / int64(n) * 500 {
		cursor, _ := m.Timers()
		var dues []Due
		require.NoError(t, m.Store().Timers(cursor, at, func(x store.Timer) bool {
			rec, err := m.Store().TimerRecord(x)
			require.NoError(t, err)
			dues = append(dues, Due{x.TimerKey, rec})
			return true
		}))
		index++
		res, err := m.Apply([]*raft.Log{{Index: index, Term: 1, Type: raft.LogCommand, Data: EncodeFire(nil, at, cursor, dues)}})
		require.NoError(t, err)
		require.Equal(t, FireResult{Done: true, Count: len(dues)}, res[0])
		fired += len(dues)
	}
	t.Logf("%d came in %v", fired, time.Since(began).Round(time.Millisecond))
	lo, hi := m.Store().Bounds(q)
	require.EqualValues(t, fired, hi-lo)
	require.NoError(t, m.Close())
}
