package run

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"raftmq/jepsen/history"
)

func TestWhatANodeWritesBecomesAnEvent(t *testing.T) {
	require.Equal(t, &history.Told{What: "leadership lead=true term=4", Partition: 7},
		eventOf(`{"event":"leadership","lead":true,"partition":7,"term":4,"time":"2026-01-01T00:00:00Z"}`))
	require.Nil(t, eventOf(`{"event":"leadership","le`), "torn")
	require.Nil(t, eventOf(""))
	require.Equal(t, &history.Told{What: "warn: raft: lost: node=n2"}, complaintOf("2026-01-01T00:00:00.000Z [WARN]  raft: lost: node=n2"))
	require.Equal(t, &history.Told{What: "error: disk: full"}, complaintOf("2026-01-01T00:00:00.000Z [ERROR] disk: full"))
	require.Nil(t, complaintOf("2026-01-01T00:00:00.000Z [INFO]  started"))
}

// However long a run is, all that nodes tell of leadership and of damage is in its history: two leaders of one term, and what nothing has damaged, may
// come at its end.
func TestEveryLeaderAndAllDamageIsNoticed(t *testing.T) {
	n := told{seen: make(map[string]bool)}
	led, damaged, others := 0, 0, 0
	for i := range 3 * mostEvents {
		if n.next(fmt.Sprintf(`{"event":"repaired","partition":%d,"time":"2026-01-01T00:00:00Z"}`, i)) != nil {
			others++
		}
		for _, line := range []string{`{"event":"quarantine","files":["1.log"],"partition":%d,"reason":"x","time":"2026-01-01T00:00:00Z"}`, `{"event":"write-ahead log damaged","error":"x","partition":%d,"time":"2026-01-01T00:00:00Z"}`} {
			if n.next(fmt.Sprintf(line, i)) != nil {
				damaged++
			}
		}
		for _, lead := range []bool{true, false} {
			line := fmt.Sprintf(`{"event":"leadership","lead":%v,"partition":7,"term":%d,"time":"2026-01-01T00:00:00Z"}`, lead, i)
			if n.next(line) != nil {
				led++
			}
			require.Nil(t, n.next(line), "it was told before")
		}
	}
	require.Equal(t, 6*mostEvents, led)
	require.Equal(t, 6*mostEvents, damaged)
	require.Equal(t, mostEvents, others)
}

// Only whole lines come out, each once, and a file that began again is read from its beginning.
func TestATailGivesEachLineOnce(t *testing.T) {
	name := filepath.Join(t.TempDir(), "log")
	l := &tail{dir: func() fs.FS { return os.DirFS(filepath.Dir(name)) }, name: filepath.Base(name)}
	write := func(s string) { require.NoError(t, os.WriteFile(name, []byte(s), 0o600)) }
	whole := func() (out []string) {
		for _, s := range l.lines() {
			if s != "" {
				out = append(out, s)
			}
		}
		return out
	}
	require.Empty(t, whole(), "it is not there")
	write("a\nb")
	require.Equal(t, []string{"a"}, whole())
	write("a\nb\nc\n")
	require.Equal(t, []string{"b", "c"}, whole())
	require.Empty(t, whole())
	write("d\n")
	require.Equal(t, []string{"d"}, whole())
}

func TestLagIsAgainstWhoAppliedMost(t *testing.T) {
	require.Equal(t, []int{0, 5, -1}, lagOf([]map[uint64]uint64{{1: 10, 2: 7}, {1: 6, 2: 6}, nil}))
	require.Equal(t, []int{3, 4}, lagOf([]map[uint64]uint64{{1: 10, 2: 4}, {1: 6, 2: 7}}))
}
