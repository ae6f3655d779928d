package sim

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"raftmq/jepsen/check"
	"raftmq/jepsen/history"
	"raftmq/jepsen/run"
)

func env(name, or string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return or
}

func TestTry(t *testing.T) {
	n, _ := strconv.ParseUint(env("SEED", "1"), 10, 64)
	limit, _ := time.ParseDuration(env("LIMIT", "30s"))
	rate, _ := strconv.Atoi(env("RATE", "50"))
	seed := history.Seed(n)
	dir := t.TempDir()
	if os.Getenv("DIR") != "" {
		dir = os.Getenv("DIR")
	}
	require.True(t, countLocks())
	began := time.Now()
	var fake time.Duration
	var faults []string
	for _, f := range run.Kinds() {
		if run.Simulable(f) {
			faults = append(faults, f)
		}
	}
	if f := os.Getenv("FAULTS"); f == "none" {
		faults = nil
	} else if f != "" {
		faults = strings.Split(f, ",")
	}
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		err := run.Run(t.Context(), run.Options{Store: dir, Seed: seed, Workloads: strings.Split(env("WORKLOAD", "log"), ","), Faults: faults, Limit: limit, Rate: rate, World: NewWorld(seed, 3), Say: t.Logf})
		fake = time.Since(start)
		time.Sleep(2 * time.Minute) // what gossip leaves behind
		require.NoError(t, err)
	})
	t.Logf("%v in %v", fake, time.Since(began))
	ops, err := history.Load(filepath.Join(dir, "history.jsonl"))
	require.NoError(t, err)
	r, err := check.History(ops)
	require.NoError(t, err)
	for _, x := range r.Results {
		t.Logf("%-5s %-8v %6d %s %v", x.ID, x.Verdict, x.Checked, x.Promise, x.Notes)
		for _, v := range x.Violations {
			t.Logf("   %s", v.Text)
		}
	}
	t.Log(r.Verdict, len(ops))
}
