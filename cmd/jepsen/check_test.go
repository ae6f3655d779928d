package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	plan = `{"i":0,"t":0,"p":"run","type":"info","f":"run","run":{"seed":1,"workload":"log","nemesis":"none","nodes":["n1"],"queues":["t/0"],"sends":1,"faults":0}}` + "\n"
	sent = plan +
		`{"i":1,"t":1,"p":"0","type":"invoke","f":"send","v":["0-0"]}` + "\n" +
		`{"i":2,"t":2,"p":"0","type":"ok","f":"send","at":[{"k":"t/0","o":0}]}` + "\n" +
		`{"i":3,"t":3,"p":"run","type":"ok","f":"healed"}` + "\n" +
		`{"i":4,"t":4,"p":"run","type":"ok","f":"bounds","k":"t/0","range":{"min":0,"end":1}}` + "\n"
	whole = sent +
		`{"i":5,"t":5,"p":"run","type":"ok","f":"final","node":"n1","k":"t/0","msgs":[{"k":"t/0","o":0,"v":"0-0"}]}` + "\n" +
		`{"i":6,"t":6,"p":"run","type":"ok","f":"replica","node":"n1","replica":{"partition":1,"applied":3,"digest":"d"}}` + "\n"
	lost = sent + `{"i":5,"t":5,"p":"run","type":"ok","f":"final","node":"n1","k":"t/0"}` + "\n"
)

// The exit code is all that a machine reads: only what was checked and held is 0.
func TestCheckExitsByItsVerdict(t *testing.T) {
	for _, x := range []struct {
		name, history, says string
		code                int
	}{
		{"valid", whole, "verdict: valid", exitValid},
		{"lost", lost, "P1, 1 of 1: 0-0 was acknowledged at 0.000 s at t/0 offset 0; n1 has nothing there, its queue is empty, and 0-0 is nowhere.", exitInvalid},
		{"nothing was read at the end", sent, "verdict: unknown", exitUnknown},
		{"nothing happened", plan, "load: 0 sends of 1 planned", exitUnknown},
		{"no history", "{}", "", exitSetup},
		{"cut short", whole[:len(whole)-9], "", exitSetup},
	} {
		t.Run(x.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "history.jsonl")
			require.NoError(t, os.WriteFile(file, []byte(x.history), 0o644))
			c := root()
			var out bytes.Buffer
			c.SetOut(&out)
			c.SetArgs([]string{"check", file})
			require.Equal(t, x.code, exitCode(c.Execute()), out.String())
			require.Contains(t, out.String(), x.says)
		})
	}
}

func TestWrongUseIsASetUpError(t *testing.T) {
	for _, args := range [][]string{{}, {"check"}, {"check", "/nowhere/history.jsonl"}, {"nonsense"}} {
		c := root()
		c.SetArgs(args)
		c.SetOut(&bytes.Buffer{})
		require.Equal(t, exitSetup, exitCode(c.Execute()), "%q", args)
	}
}
