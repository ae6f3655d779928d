package check

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftmq/jepsen/history"
)

var checksOf = ChecksOf{Timeout: 6 * time.Second, Interval: 30 * time.Second, Limit: 15, Slack: time.Second}

// fated makes a transaction of a cluster that keeps its promises: the first decision
// that arrives holds, replies may be lost, and decisions may arrive late.
func fated(rnd *rand.Rand, value string) Transaction {
	t := Transaction{Value: value, Begun: time.Duration(rnd.IntN(1000)) * time.Millisecond, Prepared: []history.Type{history.OK, history.OK, history.Info, history.Fail}[rnd.IntN(4)]}
	line := int64(rnd.IntN(100))
	var fate Fate
	arrived := int64(0)
	stored := t.Prepared != history.Fail && (t.Prepared == history.OK || rnd.IntN(2) == 0)
	for range rnd.IntN(5) {
		line++
		d := Decide{Fate: []Fate{Committed, RolledBack}[rnd.IntN(2)], Begun: line, Type: history.Info}
		line++
		if stored && rnd.IntN(5) > 0 { // else it was lost on the way
			if fate == "" {
				fate, arrived = d.Fate, line
			}
			line++
			if rnd.IntN(4) > 0 { // else the answer was lost
				d.Ended = line
				if d.Type = history.Fail; d.Fate == fate {
					d.Type = history.OK
				}
			}
		}
		t.Decides = append(t.Decides, d)
	}
	if fate == Committed {
		t.Seen = append(t.Seen, Seen{history.Place{Queue: "q", Offset: int64(rnd.IntN(1000))}, arrived + int64(rnd.IntN(10))})
	}
	if stored {
		at := t.Begun + checksOf.Timeout
		for range rnd.IntN(checksOf.Limit + 1) {
			at += time.Duration(rnd.IntN(500)) * time.Millisecond
			t.Asked = append(t.Asked, at)
			at += checksOf.Interval
		}
	}
	t.Owed = len(t.Asked) > 0
	return t
}

// A cluster that keeps its promises is never accused.
func TestTransactionsThatKeepTheirFateAreValid(t *testing.T) {
	for seed := range uint64(300) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		var all []Transaction
		for i := range 30 {
			all = append(all, fated(rnd, fmt.Sprint(i)))
		}
		r := Transactions(all, checksOf, true)
		require.Equal(t, Valid, r.Verdict, "seed %d: %v", seed, r.Violations)
		require.Equal(t, 30, r.Checked)
	}
	require.Equal(t, Unknown, Transactions(nil, checksOf, false).Verdict)
}

// Each broken promise is found.
func TestBrokenFatesAreFound(t *testing.T) {
	ok := func() Transaction {
		return Transaction{Value: "x", Prepared: history.OK, Decides: []Decide{{Committed, 5, history.OK, 6}}, Seen: []Seen{{history.Place{Queue: "q", Offset: 3}, 7}}}
	}
	require.Equal(t, Valid, Transactions([]Transaction{ok()}, checksOf, true).Verdict)
	for _, c := range []struct {
		says  string
		broke func(*Transaction)
	}{
		{"is nowhere", func(x *Transaction) { x.Seen = nil }},
		{"and at q offset 4", func(x *Transaction) { x.Seen = append(x.Seen, Seen{history.Place{Queue: "q", Offset: 4}, 8}) }},
		{"before anybody committed it", func(x *Transaction) { x.Seen[0].Line = 4 }},
		{"is rolled back", func(x *Transaction) {
			x.Decides = []Decide{{Committed, 5, history.Fail, 6}}
		}},
		{"is rolled back", func(x *Transaction) {
			x.Decides = []Decide{{Committed, 4, history.Info, 0}, {RolledBack, 5, history.OK, 6}}
		}},
		{"line 9 that it is rolled back", func(x *Transaction) { x.Decides = append(x.Decides, Decide{RolledBack, 7, history.OK, 8}) }},
		{"line 9 that it is rolled back", func(x *Transaction) { x.Decides = append(x.Decides, Decide{Committed, 7, history.Fail, 8}) }},
		{"nobody committed", func(x *Transaction) { x.Decides = nil }},
		{"nobody asked for that", func(x *Transaction) {
			x.Seen, x.Decides = nil, []Decide{{Committed, 5, history.Fail, 6}, {RolledBack, 7, history.Info, 0}}
		}},
		{"certainly not stored, and is at", func(x *Transaction) { x.Prepared = history.Fail }},
		{"certainly not stored, and was asked", func(x *Transaction) {
			*x = Transaction{Value: "x", Prepared: history.Fail, Asked: []time.Duration{time.Minute}}
		}},
		{"nobody was asked", func(x *Transaction) { x.Owed = true }},
		{"16 times", func(x *Transaction) {
			for i := range 16 {
				x.Asked = append(x.Asked, time.Duration(i+1)*time.Minute)
			}
		}},
		{"before 6s had gone by", func(x *Transaction) { x.Asked = []time.Duration{4 * time.Second} }},
		{"less than 30s apart", func(x *Transaction) { x.Asked = []time.Duration{time.Minute, 80 * time.Second} }},
	} {
		x := ok()
		c.broke(&x)
		r := Transactions([]Transaction{ok(), x}, checksOf, true)
		require.Equal(t, Invalid, r.Verdict, c.says)
		require.Contains(t, r.Violations[0].Text, c.says)
	}
	x := ok()
	x.Seen = nil
	require.Equal(t, Unknown, Transactions([]Transaction{x}, checksOf, false).Verdict, "it may be where nobody read")
}
