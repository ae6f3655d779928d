package history_test

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"raftmq/jepsen/history"
)

func TestWhatWasAddedIsReadBackInOneOrder(t *testing.T) {
	name := filepath.Join(t.TempDir(), "history.jsonl")
	w, err := history.Create(name)
	require.NoError(t, err)
	var wg sync.WaitGroup
	for _, p := range []string{"0", "1", "2"} {
		wg.Go(func() {
			for range 100 {
				w.Add(history.Op{Process: p, Type: history.Invoke, F: history.Send, Values: []string{p}})
				w.Add(history.Op{Process: p, Type: history.OK, F: history.Send, Values: []string{p}, Places: []history.Place{{Queue: "t/0", Offset: 0}}})
			}
		})
	}
	wg.Wait()
	require.NoError(t, w.Close())
	ops, err := history.Load(name)
	require.NoError(t, err)
	require.Len(t, ops, 600)
	for i, op := range ops {
		require.EqualValues(t, i, op.Index)
		if i > 0 {
			require.GreaterOrEqual(t, op.Time, ops[i-1].Time)
		}
		if op.Type == history.OK {
			require.Equal(t, []history.Place{{Queue: "t/0", Offset: 0}}, op.Places, "offset 0 is not left out")
		}
	}
	_, err = history.Create(name)
	require.ErrorIs(t, err, os.ErrExist, "a history is never written over")
}

func TestAnInvokeIsInTheFileBeforeTheRequestLeaves(t *testing.T) {
	name := filepath.Join(t.TempDir(), "history.jsonl")
	w, err := history.Create(name)
	require.NoError(t, err)
	defer w.Close()
	require.NoError(t, w.Add(history.Op{Process: "0", Type: history.Invoke, F: history.Send}))
	ops, err := history.Load(name)
	require.NoError(t, err)
	require.Len(t, ops, 1)
}

func TestAHistoryThatIsNotWholeIsNotRead(t *testing.T) {
	const good = `{"i":0,"t":1,"p":"0","type":"invoke","f":"send"}` + "\n"
	for _, x := range []struct{ name, text, want string }{
		{"cut short", good + `{"i":1,"t":2,"p":"0","type":"ok"`, "line 2: cut short"},
		{"a line is missing", good + `{"i":2,"t":2,"p":"0","type":"ok","f":"send"}` + "\n", "line 2: index 2, want 1"},
		{"unknown type", good + `{"i":1,"t":2,"p":"0","type":"maybe","f":"send"}` + "\n", `line 2: type "maybe"`},
		{"unknown field", good + `{"i":1,"t":2,"p":"0","type":"ok","f":"send","x":1}` + "\n", "unknown field"},
		{"no JSON", "hello\n", "line 1"},
	} {
		t.Run(x.name, func(t *testing.T) {
			_, err := history.Decode(strings.NewReader(x.text))
			require.ErrorContains(t, err, x.want)
		})
	}
}

func TestStreamsOfASeedDoNotMeet(t *testing.T) {
	draw := func(s history.Seed, name string) (out [8]uint64) {
		r := s.Stream(name)
		for i := range out {
			out[i] = r.Uint64()
		}
		return out
	}
	require.Equal(t, draw(7, "nemesis"), draw(7, "nemesis"))
	require.NotEqual(t, draw(7, "nemesis"), draw(7, "workload"))
	require.NotEqual(t, draw(7, "nemesis"), draw(8, "nemesis"))
}

func FuzzDecode(f *testing.F) {
	f.Add(`{"i":0,"t":1,"p":"0","type":"ok","f":"final","msgs":[{"k":"q","o":0,"v":"0-1"}]}` + "\n")
	f.Fuzz(func(t *testing.T, s string) {
		ops, err := history.Decode(strings.NewReader(s))
		if err == nil {
			for i, op := range ops {
				require.EqualValues(t, i, op.Index)
			}
		}
	})
}
