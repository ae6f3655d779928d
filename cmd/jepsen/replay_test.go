package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftmq/jepsen/check"
	"raftmq/jepsen/run"
	"raftmq/jepsen/sim"
)

func kinds(plan []run.Planned) (out []string) {
	for _, p := range plan {
		out = append(out, p.Kind)
	}
	return out
}

// What is found has no fault that could be left out.
func TestShrinkFindsTheFaultsThatMatter(t *testing.T) {
	var plan []run.Planned
	for _, k := range []string{"a", "b", "c", "d", "e", "f", "g", "h", "i"} {
		plan = append(plan, run.Planned{Kind: k})
	}
	for _, need := range [][]string{{"e"}, {"a", "i"}, {"b", "c", "h"}, {}, kinds(plan)} {
		tries := 0
		got, err := shrink(plan, time.Hour, func(p []run.Planned) (bool, error) {
			tries++
			require.NotNil(t, p, "a run without a plan draws one")
			has := kinds(p)
			return !slices.ContainsFunc(need, func(k string) bool { return !slices.Contains(has, k) }), nil
		})
		require.NoError(t, err)
		require.ElementsMatch(t, need, kinds(got))
		require.Less(t, tries, 60)
	}
	boom := errors.New("boom")
	got, err := shrink(plan, time.Hour, func([]run.Planned) (bool, error) { return false, boom })
	require.ErrorIs(t, err, boom)
	require.Len(t, got, len(plan))
	got, err = shrink(plan, -1, func([]run.Planned) (bool, error) { panic("there is no time") })
	require.NoError(t, err)
	require.Len(t, got, len(plan))
}

func TestReplayCountsWhatIsBroken(t *testing.T) {
	bad := &check.Report{Verdict: check.Invalid, Results: []check.Result{{ID: "P1", Verdict: check.Valid}, {ID: "P6", Verdict: check.Invalid}}}
	other := &check.Report{Verdict: check.Invalid, Results: []check.Result{{ID: "P1", Verdict: check.Invalid}}}
	good := &check.Report{Verdict: check.Valid}
	all := []*check.Report{bad, good, other}
	var out bytes.Buffer
	err := replayed(&out, 3, "P6", func() (*check.Report, string, error) {
		r := all[0]
		all = all[1:]
		return r, "folder", nil
	})
	require.Equal(t, exitInvalid, exitCode(err))
	require.Contains(t, out.String(), "P6 was broken in 1 of 3 runs")
	require.Equal(t, exitValid, exitCode(replayed(&out, 2, "", func() (*check.Report, string, error) { return good, "", nil })))
	require.Equal(t, exitSetup, exitCode(replayed(&out, 2, "", func() (*check.Report, string, error) { return nil, "", errors.New("no cluster") })))
	require.Equal(t, exitSetup, exitCode(replayed(&out, 2, "", func() (*check.Report, string, error) { return good, "", errors.New("no page") })))
}

// A simulated run that broke off, since a node has panicked, is no set-up error: neither when it is made
// again, nor when it is looked for.
func TestARunThatBrokeOffIsReplayed(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"run.json": `{"workload":"log","nemesis":"kill","backend":"simulated","limitNs":1000000000,"rate":9,"seed":3}`, "schedule.json": `[]`} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
	}
	_, _, broken, err := recorded(dir)
	require.NoError(t, err)
	require.Equal(t, broke, broken)
	good := &check.Report{Verdict: check.Valid}
	all := []*check.Report{good, nil, good}
	var out bytes.Buffer
	err = replayed(&out, 3, broken, func() (*check.Report, string, error) {
		r := all[0]
		all = all[1:]
		return r, "folder", nil
	})
	require.Equal(t, exitInvalid, exitCode(err))
	require.Contains(t, out.String(), "1 of 3 runs broke off")
	require.Equal(t, exitInvalid, exitCode(fmt.Errorf("%w: exit status 2", errBroke)))
	require.False(t, breaks(nil, "P1"))
}

// What is shrunk is broken, so that no script takes it for valid.
func TestAShrunkRunIsInvalid(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"run.json": `{"workload":"log","nemesis":"kill","limitNs":1000000000,"rate":9,"seed":3}`, "schedule.json": `[]`, "results.json": `{"results":[{"id":"P1","verdict":"INVALID"}]}`} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
	}
	c := root()
	var out bytes.Buffer
	c.SetOut(&out)
	c.SetErr(&out)
	c.SetArgs([]string{"replay", dir, "--shrink", "--binary", os.Args[0]})
	require.Equal(t, exitInvalid, exitCode(c.Execute()))
	require.Contains(t, out.String(), "P1 is broken with 0 of 0 faults")
}

func TestOnlyARunsFolderIsReplayed(t *testing.T) {
	dir := t.TempDir()
	replay := func(args ...string) error {
		c := root()
		c.SetOut(&bytes.Buffer{})
		c.SetErr(&bytes.Buffer{})
		c.SetArgs(append([]string{"replay"}, args...))
		return c.Execute()
	}
	require.ErrorContains(t, replay(dir), "run.json")
	for name, text := range map[string]string{"run.json": `{"workload":"log","nemesis":"kill","limitNs":1000000000,"rate":9,"seed":3}`, "schedule.json": `[]`, "results.json": `{"results":[{"id":"P1","verdict":"valid"}]}`} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
	}
	require.ErrorContains(t, replay(dir, "--shrink", "--binary", os.Args[0]), "no property that does not hold")
	require.Equal(t, exitSetup, exitCode(replay(dir, "--times", "0")))
	s, plan, broken, err := recorded(dir)
	require.NoError(t, err)
	require.Equal(t, setting{Workload: "log", Nemesis: "kill", Limit: time.Second, Rate: 9, Seed: 3}, s)
	require.NotNil(t, plan, "an empty schedule is none that is to be drawn")
	require.Empty(t, broken)
}

func TestARunWithoutItsFaultsIsNotMade(t *testing.T) {
	for _, nemesis := range []string{"resource", "kill,resource", "resource,kill"} { // not simulated
		s := setting{Workload: "log", Nemesis: nemesis, Backend: sim.Backend, Limit: time.Minute, Rate: 100}
		_, err := s.options()
		require.Error(t, err, nemesis)
	}
	s := setting{Workload: "log", Nemesis: "none", Backend: sim.Backend, Limit: time.Minute, Rate: 100}
	o, err := s.options()
	require.NoError(t, err)
	require.Empty(t, o.Faults)
}
