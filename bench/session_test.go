package main

import (
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func day(n int) time.Time { return time.Date(2026, 11, n, 12, 0, 0, 0, time.UTC) }

// counting is a row whose runs are counted, and fail when they are told to.
type counting struct {
	took []string // the sides that ran, in their order
	fail int      // the run, counted from 1, that fails; 0: none
}

func (c *counting) row(names ...string) *row {
	w := &row{name: "counted", work: "runs that are counted", measures: []measure{{what: "rate", of: figure(ours, rate)}}}
	for _, name := range names {
		w.sides = append(w.sides, side{name, func(context.Context, *lab) (figures, error) {
			if len(c.took)+1 == c.fail {
				return nil, errors.New("the machine went down")
			}
			c.took = append(c.took, name)
			return figures{rate: float64(len(c.took))}, nil
		}})
	}
	return w
}

func newSession(t *testing.T, nats string) *session {
	return &session{
		lab: &lab{scale: 1, out: io.Discard, nats: nats, dir: t.TempDir()}, results: t.TempDir(),
		disk: func(context.Context) (figures, error) { return figures{diskSync: 0.1}, nil },
	}
}

func (s *session) measure(w *row, build string) error {
	return s.row(context.Background(), w, map[string]string{"raftmq": "0.1.0"}, build)
}

func TestSidesTakeTurns(t *testing.T) {
	s, c := newSession(t, "nats-server"), new(counting)
	require.NoError(t, s.measure(c.row(ours, theirs), "a"))
	require.Equal(t, []string{ours, theirs, ours, theirs, ours, theirs}, c.took)
	r, err := readResult(s.results, "counted")
	require.NoError(t, err)
	require.True(t, r.Done)
	require.Equal(t, 3.0, *r.Summary[0].Value, "the median of 1, 3 and 5")
	require.Equal(t, figures{rate: 4}, r.Medians[theirs])
	require.Equal(t, 0.1, r.Runs[0].Machine[diskSync])
}

// A run of the bench ends in the middle of a round; the next one does what is left and nothing again.
func TestItGoesOnWhereItWasBrokenOff(t *testing.T) {
	s, c := newSession(t, "nats-server"), &counting{fail: 4}
	w := c.row(ours, theirs)
	require.ErrorContains(t, s.measure(w, "a"), "went down")
	r, err := readResult(s.results, "counted")
	require.NoError(t, err)
	require.Len(t, r.Runs, 3)
	require.False(t, r.Done)
	c.fail = 0
	require.NoError(t, s.measure(w, "a"))
	require.Equal(t, []string{ours, theirs, ours, theirs, ours, theirs}, c.took)
	require.NoError(t, s.measure(w, "a"))
	require.NoError(t, s.measure(w, "b"))
	require.Len(t, c.took, 6, "what is done stays, also for another build")
	s.fresh = true
	require.NoError(t, s.measure(w, "b"))
	require.Len(t, c.took, 12)
}

func TestBuildsAndScalesAreNotMixed(t *testing.T) {
	s, c := newSession(t, "nats-server"), &counting{fail: 3}
	w := c.row(ours, theirs)
	require.Error(t, s.measure(w, "a"))
	c.fail = 0
	require.NoError(t, s.measure(w, "b"))
	require.Len(t, c.took, 2+6, "a row that another build began begins anew")
	s.lab.scale = 0.01
	require.NoError(t, s.measure(w, "b"))
	require.Len(t, c.took, 2+6+2, "so does one of another scale")
}

func TestWithoutNATSItsSidesFollowLater(t *testing.T) {
	s, c := newSession(t, ""), new(counting)
	w := c.row(ours, theirs, theirsSync)
	require.NoError(t, s.measure(w, "a"))
	require.Equal(t, []string{ours, ours, ours}, c.took)
	s.lab.nats = "nats-server"
	require.NoError(t, s.measure(w, "a"))
	require.Equal(t, strings.Repeat(theirs+theirsSync, 3), strings.Join(c.took[3:], ""))
}

func TestADamagedResultIsNotOverwritten(t *testing.T) {
	s, c := newSession(t, ""), new(counting)
	require.NoError(t, os.WriteFile(resultFile(s.results, "counted"), []byte("{"), 0o600))
	require.ErrorContains(t, s.measure(c.row(ours), "a"), "counted.json")
	require.Empty(t, c.took)
}
