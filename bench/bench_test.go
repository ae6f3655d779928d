package main

import (
	"cmp"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestMain lets the test program be the load that it starts.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && (os.Args[1] == "nats-load" || os.Args[1] == "wire-load") {
		main()
	}
	os.Exit(m.Run())
}

// trialScale makes every duration a second and every count its least.
const trialScale = 1e-9

// trialLab has the programs that RAFTMQ_BIN and RAFTMQ_NATS name, or those in ../bin; without them the test is skipped. RocketMQ's jars,
// which RAFTMQ_ROCKETMQ names or ../bin/rocketmq has, may be missing.
func trialLab(t *testing.T) *lab {
	l := &lab{scale: trialScale, out: t.Output()}
	for _, p := range []struct {
		path     *string
		env, def string
	}{{&l.program, "RAFTMQ_BIN", "../bin/raftmq"}, {&l.nats, "RAFTMQ_NATS", "../bin/nats-server"}} {
		if *p.path = os.Getenv(p.env); *p.path == "" {
			*p.path = p.def
		}
		if _, err := os.Stat(*p.path); err != nil {
			t.Skipf("%v: \"make bench\" builds it, or name it in %s", err, p.env)
		}
	}
	if l.rocketmq = cmp.Or(os.Getenv("RAFTMQ_ROCKETMQ"), "../bin/rocketmq"); rocketVersion(l.rocketmq) == "" {
		l.rocketmq = ""
	}
	require.NoError(t, l.open(t.TempDir()))
	return l
}

// Each row runs to its end against real processes, and gives all that its measures ask for. -short runs one that
// has each system.
func TestRowsRun(t *testing.T) {
	for _, w := range rows() {
		t.Run(w.name, func(t *testing.T) {
			if testing.Short() && w.name != "send64" {
				t.Skip("one row is enough")
			}
			l := trialLab(t)
			if w.curve != nil { // the ends are enough
				w.sides = append(w.sides[:2:2], w.sides[len(w.sides)-2:]...)
			}
			s := &session{lab: l, results: t.TempDir(), disk: l.disk}
			if len(s.sides(&w)) == 0 {
				t.Skip("RocketMQ's jars are not there: \"make bench\" fetches them")
			}
			require.NoError(t, s.run(t.Context(), []row{w}, ""))
			r, err := readResult(s.results, w.name)
			require.NoError(t, err)
			require.True(t, r.Done)
			require.Len(t, r.Runs, len(w.sides))
			for i, m := range r.Summary {
				require.NotNil(t, m.Value, w.measures[i].what)
			}
			if w.curve != nil {
				for _, x := range r.Runs {
					for _, p := range w.curve.panels {
						require.Positive(t, x.Figures[p.figure], "%s of %s", p.figure, x.Side)
					}
				}
			}
			left, err := filepath.Glob(filepath.Join(l.dir, "*"))
			require.NoError(t, err)
			require.Empty(t, left, "data is removed")
		})
	}
}

// The load that is for RocketMQ is RocketMQ's to raftmq too.
func TestRocketMQsFramesAreSent(t *testing.T) {
	f, err := sendWireRaftmq(sending{inFlight: 64, duration: time.Second})(t.Context(), trialLab(t))
	require.NoError(t, err)
	require.Greater(t, f[sentCount], 64.0)
	require.Positive(t, f[p50])
}
