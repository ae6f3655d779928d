package main

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"raftmq/jepsen/check"
	"raftmq/jepsen/mutant"
)

// Only the mutant's own property kills it: another that happens to be broken, or
// evidence that is missing, is no proof.
func TestAMutantIsKilledByItsOwnPropertyOnly(t *testing.T) {
	for _, x := range []struct {
		name    string
		unknown bool
		verdict check.Verdict
		note    string
		killed  bool
	}{
		{"found", false, check.Invalid, "why", true},
		{"not found", false, check.Valid, "why", false},
		{"not known", false, check.Unknown, "why", false},
		{"blind suite noticed", true, check.Unknown, "it is blind", true},
		{"not known for another reason", true, check.Unknown, "too few sends", false},
		{"blind suite took for a bug", true, check.Invalid, "it is blind", false},
		{"blind suite believed", true, check.Valid, "it is blind", false},
	} {
		t.Run(x.name, func(t *testing.T) {
			b, err := json.Marshal(check.Report{Verdict: check.Invalid, Results: []check.Result{
				{ID: "P1", Verdict: check.Invalid, Violations: []check.Violation{{Text: "another"}}},
				{ID: "P6", Verdict: x.verdict, Violations: []check.Violation{{Text: "ours"}}, Notes: []string{"a note", x.note}},
			}})
			require.NoError(t, err)
			var s score
			require.NoError(t, s.judge(mutant.Mutant{Property: "P6", Unknown: x.unknown, Says: "is blind"}, b))
			require.Equal(t, x.killed, s.Killed)
			require.Equal(t, "ours", s.Said)
			require.Error(t, s.judge(mutant.Mutant{Property: "P99"}, b))
		})
	}
}

func TestTheBoardNamesSurvivors(t *testing.T) {
	var out bytes.Buffer
	require.NoError(t, showBoard(&out, []score{{Mutant: "a", Killed: true}}))
	require.Contains(t, out.String(), "1 mutants, 0 alive")
	out.Reset()
	require.Equal(t, exitInvalid, exitCode(showBoard(&out, []score{{Mutant: "a", Killed: true}, {Mutant: "b"}})))
	require.Regexp(t, `b +ALIVE`, out.String())
}

// What was decided before is not run again.
func TestAHuntGoesOnBehindWhatIsDecided(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "score.json"), []byte(`{"mutant":"m","killed":true,"seed":2}`), 0o644))
	s, err := hunt(t.Context(), &bytes.Buffer{}, mutant.Mutant{Name: "m"}, "/nowhere", dir, "", 1, 1, 1)
	require.NoError(t, err)
	require.True(t, s.Killed)
	require.Equal(t, 2, s.Seed)
	_, err = hunt(t.Context(), &bytes.Buffer{}, mutant.Mutant{Name: "other"}, "/nowhere", dir, "", 1, 1, 1)
	require.Error(t, err, "that of another mutant does not count")
}

func TestNoMutantsAreNotAllKilled(t *testing.T) {
	i := slices.IndexFunc(mutant.All, func(m mutant.Mutant) bool {
		return m.Backend == "" && !slices.ContainsFunc(strings.Split(m.Nemesis, ","), simulable)
	})
	require.GreaterOrEqual(t, i, 0, "all can be simulated")
	c := root()
	c.SetArgs([]string{"mutants", "--backend", "simulated", "--only", mutant.All[i].Name, "--store", t.TempDir()})
	c.SetErr(io.Discard)
	require.Equal(t, exitSetup, exitCode(c.ExecuteContext(t.Context())))
}
