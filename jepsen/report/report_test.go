package report_test

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"io"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftmq/jepsen/check"
	"raftmq/jepsen/history"
	"raftmq/jepsen/report"
)

// run is a short one: two sends, a fault of two seconds in which one is slow, and a
// node that ended by itself.
func run() []history.Op {
	var ops []history.Op
	add := func(at time.Duration, op history.Op) {
		op.Index, op.Time = int64(len(ops)), int64(at)
		ops = append(ops, op)
	}
	add(0, history.Op{Process: "run", Type: history.Info, F: history.Run, Run: &history.Plan{Seed: 7, Workload: "log", Nemesis: "kill", Nodes: []string{"n1", "n2"}, Queues: []string{"q"}}})
	send := func(p string, from, to time.Duration, t history.Type) {
		add(from, history.Op{Process: p, Type: history.Invoke, F: history.Send, Values: []string{p}})
		if t != "" {
			add(to, history.Op{Process: p, Type: t, F: history.Send})
		}
	}
	send("0", 1*time.Second, 1010*time.Millisecond, history.OK)
	send("1", 2*time.Second, 4500*time.Millisecond, history.OK)
	send("2", 4600*time.Millisecond, 4700*time.Millisecond, history.Fail)
	add(5*time.Second, history.Op{Process: "nemesis", Type: history.Info, F: history.Fault, Node: "n1",
		Fault: &history.Effect{Kind: "kill", Verified: true, Before: "n1", Lasted: int64(2 * time.Second)}})
	add(6*time.Second, history.Op{Process: "nemesis", Type: history.Info, F: history.Fault, Node: "n1", Fault: &history.Effect{Kind: "start", Verified: true}})
	add(6500*time.Millisecond, history.Op{Process: "nemesis", Type: history.Info, F: history.Fault, Node: "n2", Fault: &history.Effect{Kind: "exit"}, Error: "<b>it</b> ended"})
	send("3", 7*time.Second, 0, "")
	event := func(at time.Duration, node, what string, partition uint64) {
		add(at, history.Op{Process: "observer", Type: history.Info, F: history.Event, Node: node, Event: &history.Told{What: what, Partition: partition}})
	}
	event(1100*time.Millisecond, "n2", "leadership <lead>", 5)
	event(1200*time.Millisecond, "n2", "leadership <lead>", 6)
	event(7500*time.Millisecond, "n2", "much later", 6)
	for i := range 12 {
		add(time.Duration(i)*time.Second/2, history.Op{Process: "observer", Type: history.Info, F: history.Lag, Node: "n1", Count: 100 * i})
	}
	return ops
}

func TestFiguresAreThoseOfTheHistory(t *testing.T) {
	operations, faults := report.Figures(run())
	require.Equal(t, []report.Operation{{Name: "send", OK: 2, Fail: 1, Unknown: 1, Median: 100 * time.Millisecond, P99: 2500 * time.Millisecond, Slowest: 2500 * time.Millisecond}},
		operations)
	require.Len(t, faults, 2)
	kill := faults[0]
	require.Equal(t, 3*time.Second, kill.From)
	require.Equal(t, 6*time.Second, kill.To, "until it was well again")
	require.True(t, kill.Verified)
	require.Equal(t, 1500*time.Millisecond, kill.Silent, "from the fault on to the first send that was stored")
	require.Equal(t, "exit", faults[1].Kind)
}

// The page is one file: it names nothing outside of itself, what is in a history
// cannot become part of it, and its drawings are well formed.
func TestThePageNeedsNothingElse(t *testing.T) {
	ops := run()
	rep := &check.Report{Verdict: check.Invalid, Results: []check.Result{
		{ID: "P1", Promise: "all is kept", Verdict: check.Invalid, Checked: 4, Violated: 3, Violations: []check.Violation{
			{Text: "<i>0</i> is gone.", Ops: ops[1:3]}, {Text: "second", Ops: ops[1:2]}, {Text: "third", Ops: ops[1:2]}}},
		{ID: "P2", Promise: "nothing else", Verdict: check.Absent},
		{ID: "P3", Promise: "so it is", Verdict: check.Valid, Checked: 1, Notes: []string{"by <chance>"}},
	}}
	var b bytes.Buffer
	require.NoError(t, report.Write(&b, ops, rep, "jepsen test --seed 7"))
	page := b.String()
	require.NotRegexp(t, `(?i)(src|href)\s*=|url\(|@import|https?:`, page)
	for _, s := range []string{"1 of 2 properties held", "&lt;i&gt;0&lt;/i&gt; is gone.", "&lt;b&gt;it&lt;/b&gt; ended", "by &lt;chance&gt;", "1 more", "Not part of this run: P2", "jepsen test --seed 7", "leadership &lt;lead&gt;", "partitions 5 6", "2 times"} {
		require.Contains(t, page, s)
	}
	require.NotContains(t, page, "much later", "an event of another time")
	drawings := regexp.MustCompile(`(?s)<svg.*?</svg>`).FindAllString(page, -1)
	require.Len(t, drawings, 4)
	require.Contains(t, drawings[3], "entries behind")
	for _, d := range drawings {
		require.NotContains(t, d, "NaN")
		for x := xml.NewDecoder(strings.NewReader(d)); ; {
			if _, err := x.Token(); err == io.EOF {
				break
			} else {
				require.NoError(t, err)
			}
		}
	}
	require.Error(t, report.Write(io.Discard, nil, rep, ""), "no history")
}

// A history in which nothing happened is shown too.
func TestAnEmptyRunHasAPage(t *testing.T) {
	ops := run()[:1]
	rep, err := check.History(ops)
	require.NoError(t, err)
	require.NoError(t, report.Write(io.Discard, ops, rep, ""))
}

// A node that complains a lot does not hide who came to lead.
func TestALeaderIsShownBeforeComplaints(t *testing.T) {
	ops := run()
	at := ops[2].Time
	for i := range 50 {
		ops = append(ops, history.Op{Index: int64(len(ops)), Time: at, Process: "observer", Type: history.Info, F: history.Event, Node: "n1", Event: &history.Told{What: fmt.Sprintf("warn: %d.", i)}})
	}
	ops = append(ops, history.Op{Index: int64(len(ops)), Time: at, Process: "observer", Type: history.Info, F: history.Event, Node: "n1", Event: &history.Told{What: "leads at last"}})
	rep := &check.Report{Results: []check.Result{{ID: "P1", Verdict: check.Invalid, Violations: []check.Violation{{Text: "gone", Ops: ops[1:3]}}}}}
	var b bytes.Buffer
	require.NoError(t, report.Write(&b, ops, rep, ""))
	require.Contains(t, b.String(), "leads at last")
	require.Contains(t, b.String(), "warn: 0.")
	require.NotContains(t, b.String(), "warn: 49.")
	require.Contains(t, b.String(), "22 more are in the history.")
}
