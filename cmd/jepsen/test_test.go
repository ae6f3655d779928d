package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"raftmq/jepsen/history"
	"raftmq/jepsen/run"
)

// A run on real processes is valid, and each lie that its history is then made to
// tell is found.
func TestARealRunIsValidUntilItsHistoryLies(t *testing.T) {
	program := os.Getenv("RAFTMQ_JEPSEN")
	if program == "" {
		t.Skip("RAFTMQ_JEPSEN is not set to a raftmq program")
	}
	store := t.TempDir()
	var out bytes.Buffer
	c := root()
	c.SetOut(&out)
	c.SetErr(&out)
	c.SetArgs([]string{"test", "--nemesis", "kill,pause", "--time-limit", "12s", "--rate", "60", "--seed", "1", "--store", store, "--binary", program})
	require.Equal(t, exitValid, exitCode(c.Execute()), "%s", &out)
	files, err := filepath.Glob(filepath.Join(store, "*", "results.json"))
	require.NoError(t, err)
	require.Len(t, files, 1)
	ops, err := history.Load(filepath.Join(filepath.Dir(files[0]), "history.jsonl"))
	require.NoError(t, err)

	last := func(ops []history.Op, f string, ok func(op *history.Op) bool) *history.Op {
		for i := len(ops) - 1; i >= 0; i-- {
			if ops[i].F == f && ok(&ops[i]) {
				return &ops[i]
			}
		}
		require.FailNow(t, "no line of "+f)
		return nil
	}
	full := func(op *history.Op) bool { return len(op.Messages) > 3 }
	for _, x := range []struct {
		name, says string
		code       int
		lie        func(ops []history.Op)
	}{
		{"a message is gone from a replica", "P1, 1 of", exitInvalid, func(ops []history.Op) {
			op := last(ops, history.Final, full)
			op.Messages = append(op.Messages[:1], op.Messages[2:]...)
		}},
		{"an acknowledged send failed", "certainly failed", exitInvalid, func(ops []history.Op) {
			op := last(ops, history.Send, func(op *history.Op) bool { return op.Type == history.OK })
			op.Type, op.Places = history.Fail, nil
		}},
		{"two messages changed places", "P3, 1 of", exitInvalid, func(ops []history.Op) {
			m := last(ops, history.Final, full).Messages
			m[0].Value, m[1].Value = m[1].Value, m[0].Value
		}},
		{"a message is there twice", "P6, 1 of", exitInvalid, func(ops []history.Op) {
			m := last(ops, history.Final, full).Messages
			m[0].Value = m[1].Value
		}},
		{"a digest differs", "P16, 1 of", exitInvalid, func(ops []history.Op) {
			last(ops, history.Replica, func(*history.Op) bool { return true }).Replica.Digest = "0"
		}},
		{"a kill did not happen", "is not proved", exitUnknown, func(ops []history.Op) {
			last(ops, history.Fault, func(*history.Op) bool { return true }).Fault.Verified = false
		}},
		{"a replica was not read", "not read to the end", exitUnknown, func(ops []history.Op) {
			last(ops, history.Final, func(*history.Op) bool { return true }).Type = history.Info
		}},
	} {
		t.Run(x.name, func(t *testing.T) {
			var lied []history.Op
			b, err := json.Marshal(ops)
			require.NoError(t, err)
			require.NoError(t, json.Unmarshal(b, &lied))
			x.lie(lied)
			file := filepath.Join(t.TempDir(), "history.jsonl")
			var lines bytes.Buffer
			for _, op := range lied {
				require.NoError(t, json.NewEncoder(&lines).Encode(op))
			}
			require.NoError(t, os.WriteFile(file, lines.Bytes(), 0o644))
			var out bytes.Buffer
			c := root()
			c.SetOut(&out)
			c.SetArgs([]string{"check", file})
			require.Equal(t, x.code, exitCode(c.Execute()), "%s", &out)
			require.Contains(t, out.String(), x.says)
		})
	}
}

// On each backend that there is here, nodes are cut off, lose their power and have a
// wrong clock, each with its proof, and the run is valid.
func TestARunOnEachBackend(t *testing.T) {
	program := os.Getenv("RAFTMQ_JEPSEN")
	if program == "" {
		t.Skip("RAFTMQ_JEPSEN is not set to a raftmq program")
	}
	program += "-faults"
	all, err := run.Backends(program)
	require.NoError(t, err)
	for _, b := range all {
		if !b.Can || !b.Links {
			continue
		}
		t.Run(b.Name, func(t *testing.T) {
			var out bytes.Buffer
			c := root()
			c.SetOut(&out)
			c.SetErr(&out)
			c.SetArgs([]string{"test", "--nemesis", "isolate,torn,clock-jump,loss", "--backend", b.Name, "--time-limit", "15s", "--rate", "60", "--seed", "2",
				"--store", t.TempDir(), "--binary", program})
			require.Equal(t, exitValid, exitCode(c.Execute()), "%s", &out)
			require.Contains(t, out.String(), "on "+b.Name)
		})
	}
}

func TestARunThatCannotBeIsASetUpError(t *testing.T) {
	for _, args := range [][]string{
		{"--workload", "nonsense"}, {"--workload", "log,log"}, {"--workload", "stock", "--stock", "", "--binary", os.Args[0]},
		{"--nemesis", "kill,nonsense"}, {"--rate", "0"}, {"--time-limit", "0s"}, {"--backend", "nonsense"},
		{"--nemesis", "isolate", "--backend", "loopback"}, {"--nemesis", "power", "--binary", os.Args[0]}, {"--binary", "/nowhere/raftmq"},
		{"--binary", os.Args[0], "--nemesis", "kill", "--time-limit", "1s"}, // no room for a fault
	} {
		c := root()
		c.SetOut(&bytes.Buffer{})
		c.SetErr(&bytes.Buffer{})
		c.SetArgs(append([]string{"test", "--store", t.TempDir()}, args...))
		require.Equal(t, exitSetup, exitCode(c.Execute()), "%q", args)
	}
}
