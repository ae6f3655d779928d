package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"raftmq/jepsen/check"
	"raftmq/jepsen/run"
)

// hunterOf runs seeds that are judged at once.
func hunterOf(store string, out *bytes.Buffer, verdict func(seed uint64) string) *hunter {
	return &hunter{out: out, store: store, times: 1, try: func(_ context.Context, s setting, _ []run.Planned) (tried, error) {
		return tried{Seed: s.Seed, Verdict: verdict(s.Seed)}, nil
	}}
}

func valid(uint64) string { return check.Valid.String() }

// line is what a seed leaves for a run that goes on behind it.
func line(t *testing.T, seed uint64, verdict, said string) []byte {
	b, err := json.Marshal(tried{Seed: seed, Verdict: verdict, Said: said})
	require.NoError(t, err)
	return append(b, '\n')
}

// A seed that was decided counts, also while others that were left out before are run beside it.
func TestASeedThatFailedBeforeCounts(t *testing.T) {
	const seeds = 2000
	store := t.TempDir()
	var known bytes.Buffer
	for seed := uint64(1); seed <= seeds; seed += 2 { // jobs leave gaps
		known.Write(line(t, seed, check.Invalid.String(), ""))
	}
	require.NoError(t, os.WriteFile(filepath.Join(store, "seeds.jsonl"), known.Bytes(), 0o644))
	var out bytes.Buffer
	err := hunterOf(store, &out, valid).run(t.Context(), 1, seeds, 8)
	require.Equal(t, exitInvalid, exitCode(err))
	require.Contains(t, out.String(), fmt.Sprintf("%d INVALID, %d valid", seeds/2, seeds/2))
}

// A seed whose line follows one that was cut short is not forgotten, nor are those behind a long one.
func TestSeedsAreReadBackAsTheyWere(t *testing.T) {
	store := t.TempDir()
	long := line(t, 1, check.Valid.String(), string(bytes.Repeat([]byte("x"), 100<<10)))
	require.NoError(t, os.WriteFile(filepath.Join(store, "seeds.jsonl"), append(append(long, line(t, 2, check.Valid.String(), "")...), `{"seed":3,"verd`...), 0o644))
	var out bytes.Buffer
	var made []uint64
	h := hunterOf(store, &out, func(seed uint64) string {
		made = append(made, seed)
		return check.Invalid.String()
	})
	require.Equal(t, exitInvalid, exitCode(h.run(t.Context(), 1, 3, 1)))
	require.Equal(t, []uint64{3}, made)
	h.all = nil
	require.Equal(t, exitInvalid, exitCode(h.run(t.Context(), 1, 3, 1)))
	require.Equal(t, []uint64{3}, made, "all were decided")
}

func TestNoSeedsAreNotValid(t *testing.T) {
	var out bytes.Buffer
	h := hunterOf(t.TempDir(), &out, valid)
	require.Equal(t, exitSetup, exitCode(h.run(t.Context(), math.MaxUint64, 2, 1)))
	require.NoError(t, h.run(t.Context(), math.MaxUint64, 1, 1))
}

// What could not be made is no seed that failed, and is run again.
func TestARunThatCouldNotBeMadeIsNoSeed(t *testing.T) {
	store := t.TempDir()
	var out bytes.Buffer
	h := hunterOf(store, &out, valid)
	h.try = func(context.Context, setting, []run.Planned) (tried, error) { return tried{}, errors.New("no program") }
	require.Equal(t, exitSetup, exitCode(h.run(t.Context(), 1, 9, 2)))
	before, _, err := readTried(filepath.Join(store, "seeds.jsonl"))
	require.NoError(t, err)
	require.Empty(t, before)
}
