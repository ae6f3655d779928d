package main

import (
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestThePageSaysWhatWasReached(t *testing.T) {
	r := twoRounds()
	r.Done = true
	r.sumUp(rowNamed("send64"))
	b, err := page([]*result{r})
	require.NoError(t, err)
	s := string(b)
	require.Contains(t, s, "1 November 2026 to 2 November 2026. nats-server v2, raftmq 0.1.0.\n2 processors.\n")
	require.Contains(t, s, "| 64 in flight, one partition | messages/s, to NATS without fsync | 1.10 × | 1.50 × | 1.78 × | 1.50 to 2 | **goal** |\n")
	require.Contains(t, s, "|  | messages/s, to NATS with fsync | 2.50 × | 4 × | – |  | **not measured** |\n")
	require.Contains(t, s, "| 64 in flight, one partition | raftmq | 40,000/s, p50 3 ms, p99 7 ms | 2 | 0.15, 0.40 ms | 2.50 | 1 % | 2026-11-02 |\n")
	for _, heading := range []string{"## How it is measured", "## Kinds of messages", "## Filters"} {
		require.Contains(t, s, heading)
	}
	require.NotContains(t, s, "trial")
	r.Done = false
	b, err = page([]*result{r})
	require.NoError(t, err)
	require.Contains(t, string(b), "64 in flight, one partition (unfinished)")
	r.Scale = 0.01
	b, err = page([]*result{r})
	require.NoError(t, err)
	require.Contains(t, string(b), "64 in flight, one partition (trial, scale 0.01)")
}

// curveResult is a result of a curve's row with values at each of its points.
func curveResult(w *row) *result {
	r := &result{Row: w.name, Work: w.work, Scale: 1, Rounds: 2, Host: "2 processors", Versions: map[string]string{"raftmq": "0.1.0"}}
	for round := range 2 {
		for i, x := range w.sides {
			v := float64(1000*(i/2+1) + 100*round)
			if strings.HasPrefix(x.name, theirs) {
				v *= 0.6
			}
			r.Runs = append(r.Runs, run{Side: x.name, Round: round, Began: day(1), Figures: figures{rate: v, bandwidth: v / 10, p99: float64(i+1) * 0.7}})
		}
	}
	return r
}

func TestCurvesArePictures(t *testing.T) {
	results, docs := t.TempDir(), t.TempDir()
	for _, w := range rows() {
		if w.curve != nil {
			require.NoError(t, curveResult(&w).save(results))
		}
	}
	require.NoError(t, render(results, docs))
	page, err := os.ReadFile(filepath.Join(docs, document))
	require.NoError(t, err)
	for _, w := range rows() {
		if w.curve == nil {
			continue
		}
		require.Contains(t, string(page), "("+pictures+"/"+w.name+".svg)")
		f, err := os.Open(filepath.Join(docs, pictures, w.name+".svg"))
		require.NoError(t, err)
		defer f.Close()
		d := xml.NewDecoder(f)
		var words strings.Builder
		for {
			token, err := d.Token()
			if errors.Is(err, io.EOF) {
				break
			}
			require.NoError(t, err)
			if c, ok := token.(xml.CharData); ok {
				words.Write(c)
			}
		}
		for _, want := range []string{w.curve.title, w.curve.x, "raftmq", "NATS, without fsync", w.curve.panels[0].title} {
			require.Contains(t, words.String(), want, w.name)
		}
	}
	if keep := os.Getenv("RAFTMQ_PICTURES"); keep != "" {
		require.NoError(t, os.CopyFS(keep, os.DirFS(docs)))
	}
}

// What stands in the repository is what its results and texts give.
func TestThePageIsUpToDate(t *testing.T) {
	docs := t.TempDir()
	require.NoError(t, render("results", docs))
	want, err := os.ReadFile(filepath.Join(docs, document))
	require.NoError(t, err)
	is, err := os.ReadFile(filepath.Join("..", "docs", document))
	require.NoError(t, err)
	require.Equal(t, string(want), string(is), "bin/bench --render renders it")
}
