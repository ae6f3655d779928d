package check

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"raftmq/jepsen/history"
)

func result(t *testing.T, rep *Report, id string) Result {
	t.Helper()
	for _, r := range rep.Results {
		if r.ID == id {
			return r
		}
	}
	require.FailNow(t, "no property "+id)
	return Result{}
}

func TestAHistoryThatKeepsEveryPromiseIsValid(t *testing.T) {
	for seed := range uint64(300) {
		rep, err := History(modelHistory(seed))
		require.NoError(t, err)
		for _, r := range rep.Results {
			if r.Verdict == Absent {
				continue
			}
			require.Equal(t, Valid, r.Verdict, "seed %d, %s: %v %v", seed, r.ID, r.Violations, r.Notes)
			require.Positive(t, r.Checked)
		}
		require.Equal(t, Valid, rep.Verdict)
	}
}

// edit is a history that can be broken.
type edit struct {
	ops   []history.Op
	added int
}

// find is the first line that matches.
func (e *edit) find(ok func(op *history.Op) bool) *history.Op {
	for i := range e.ops {
		if ok(&e.ops[i]) {
			return &e.ops[i]
		}
	}
	panic("the model has no such line")
}

// acked is the first send of so many values that was acknowledged, not at the
// beginning of its queue.
func (e *edit) acked(values int) (invoke, ok *history.Op) {
	open := make(map[string]*history.Op)
	for i := range e.ops {
		op := &e.ops[i]
		if op.F == history.Send && op.Type == history.Invoke {
			open[op.Process] = op
		}
		if op.F == history.Send && op.Type == history.OK && len(op.Places) == values && op.Places[0].Offset > 2 {
			return open[op.Process], op
		}
	}
	panic("the model has no such send")
}

// drop takes messages out of all lines of a kind.
func (e *edit) drop(f, node string, out func(m history.Message) bool) {
	for i := range e.ops {
		if op := &e.ops[i]; op.F == f && (node == "" || op.Node == node) {
			op.Messages = slices.DeleteFunc(slices.Clone(op.Messages), out)
		}
	}
}

// replace changes the value of a place in all lines of a kind.
func (e *edit) replace(f, node string, p history.Place, v string) {
	for i := range e.ops {
		if op := &e.ops[i]; op.F == f && (node == "" || op.Node == node) {
			op.Messages = slices.Clone(op.Messages)
			for j, m := range op.Messages {
				if m.Queue == p.Queue && m.Offset == p.Offset {
					op.Messages[j].Value = v
				}
			}
		}
	}
}

func at1(p history.Place) func(history.Message) bool {
	return func(m history.Message) bool { return m.Queue == p.Queue && m.Offset == p.Offset }
}

func (e *edit) lastOf(f string) *history.Op {
	for i := len(e.ops) - 1; ; i-- {
		if e.ops[i].F == f {
			return &e.ops[i]
		}
	}
}

var mutations = []struct {
	name, id string
	want     Verdict
	says     string // part of the sentence or note
	lines    int    // of the first contradiction; 0: not looked at
	change   func(e *edit)
}{
	{"an acknowledged value is gone from one replica", "P1", Invalid, "n2 has nothing there", 4, func(e *edit) {
		_, ok := e.acked(1)
		e.drop(history.Final, "n2", at1(ok.Places[0]))
	}},
	{"the end of a replica is gone", "P1", Invalid, "its queue ends at", 0, func(e *edit) {
		e.drop(history.Final, "n3", func(m history.Message) bool { return m.Queue == "t/0" && m.Offset > 5 })
	}},
	{"a receipt names another place", "P1", Invalid, "holds", 0, func(e *edit) {
		_, ok := e.acked(1)
		ok.Places = []history.Place{{Queue: ok.Places[0].Queue, Offset: ok.Places[0].Offset - 1}}
	}},
	{"a receipt names a queue that is none", "P1", Invalid, "does not have", 2, func(e *edit) {
		_, ok := e.acked(1)
		ok.Places = []history.Place{{Queue: "t/9", Offset: 0}}
	}},
	{"a dump is missing", "P1", Unknown, "not read to the end", 0, func(e *edit) {
		e.ops = slices.DeleteFunc(e.ops, func(op history.Op) bool { return op.F == history.Final && op.Node == "n2" })
	}},
	{"a dump was cut short", "P4", Unknown, "not read to the end", 0, func(e *edit) { e.lastOf(history.Final).Type = history.Info }},
	{"a failed send is in the log", "P2", Invalid, "certainly failed", 3, func(e *edit) {
		_, ok := e.acked(1)
		ok.Type, ok.Places, ok.Error = history.Fail, nil, "refused"
	}},
	{"a value that nobody sent", "P2", Invalid, "was never sent", 1, func(e *edit) { e.replace(history.Final, "", history.Place{Queue: "t/0", Offset: 3}, "66-66") }},
	{"bytes that nobody sent", "P2", Invalid, "bytes that nobody sent", 1, func(e *edit) { e.replace(history.Read, "", history.Place{Queue: "t/0", Offset: 3}, "!0badf00d") }},
	{"a value is read before it is sent", "P2", Invalid, "before it was sent", 2, func(e *edit) {
		read := e.find(func(op *history.Op) bool { return op.F == history.Read && op.Type == history.OK })
		v := e.lastOf(history.Final).Messages
		read.Messages = append(slices.Clone(read.Messages), v[len(v)-1])
	}},
	{"a message of a queue that is none", "P2", Invalid, "a queue that there is not", 1, func(e *edit) {
		inv, _ := e.acked(1)
		e.lastOf(history.Deliver).Messages = []history.Message{{Queue: "t/2", Offset: 0, Value: inv.Values[0]}}
	}},
	{"a reader is told another value", "P3", Invalid, "reader reader", 2, func(e *edit) {
		_, ok := e.acked(1)
		e.replace(history.Read, "", ok.Places[0], "0-0")
	}},
	{"two replicas differ", "P3", Invalid, "to n2", 2, func(e *edit) {
		e.replace(history.Final, "n2", history.Place{Queue: "t/0", Offset: 3}, "0-0")
	}},
	{"a gap on all replicas", "P4", Invalid, "where 3 should be", 3, func(e *edit) { e.drop(history.Final, "", at1(history.Place{Queue: "t/0", Offset: 3})) }},
	{"a replica ends early", "P4", Invalid, "its leader says", 2, func(e *edit) {
		b := e.lastOf(history.Bounds)
		b.Range = &history.Range{End: b.Range.End + 1}
	}},
	{"a later send stands earlier", "P5", Invalid, "stands before it", 5, func(e *edit) {
		// The receipt of the last send takes the place of the first, and the other way round.
		var oks []*history.Op
		for i := range e.ops {
			if op := &e.ops[i]; op.F == history.Send && op.Type == history.OK && len(op.Places) == 1 && op.Places[0].Queue == "t/0" {
				oks = append(oks, op)
			}
		}
		a, b := oks[0], oks[len(oks)-1]
		a.Places, b.Places = b.Places, a.Places
	}},
	{"an unknown send stands before what was over when it began", "P5", Invalid, "stands before it", 5, func(e *edit) {
		// The last send is not known of, and found at the place of the first of the queue.
		var inv *history.Op
		for i := range e.ops {
			if op := &e.ops[i]; op.F == history.Send && op.Type == history.Invoke {
				inv = op
			}
		}
		for i := range e.ops {
			if op := &e.ops[i]; op.F == history.Send && op.Process == inv.Process && op.Index > inv.Index {
				op.Type, op.Places = history.Info, nil
			}
		}
		for i := range e.ops {
			e.ops[i].Messages = slices.DeleteFunc(slices.Clone(e.ops[i].Messages), func(m history.Message) bool { return slices.Contains(inv.Values, m.Value) })
		}
		e.replace(history.Final, "", history.Place{Queue: "t/0", Offset: 0}, inv.Values[0])
	}},
	{"a batch in another order", "P5", Invalid, "in this order", 2, func(e *edit) {
		_, ok := e.acked(3)
		slices.Reverse(ok.Places)
	}},
	{"a value stands twice", "P6", Invalid, "was sent once", 4, func(e *edit) {
		inv, ok := e.acked(1)
		e.replace(history.Final, "", history.Place{Queue: ok.Places[0].Queue, Offset: 0}, inv.Values[0])
	}},
	{"a replica gives a place twice", "P6", Invalid, "twice", 1, func(e *edit) {
		f := e.lastOf(history.Final)
		f.Messages = append(slices.Clone(f.Messages), f.Messages[len(f.Messages)-1])
	}},
	{"a reader skips", "P7", Invalid, "right after", 2, func(e *edit) { e.drop(history.Read, "", at1(history.Place{Queue: "t/0", Offset: 3})) }},
	{"a reader goes back", "P7", Invalid, "right after", 2, func(e *edit) {
		r := e.lastOf(history.Read)
		r.Messages = append(slices.Clone(r.Messages), history.Message{Queue: "t/0", Offset: 0, Value: "x"})
	}},
	{"a committed offset goes back", "P8", Invalid, "and 0 at", 3, func(e *edit) {
		var last *history.Op
		seen := make(map[string]bool)
		for i := range e.ops {
			if op := &e.ops[i]; op.F == history.Committed && op.Type == history.OK {
				if q := op.Messages[0]; seen[q.Queue] {
					last = op
				} else if q.Offset > 0 {
					seen[q.Queue] = true
				}
			}
		}
		last.Messages = []history.Message{{Queue: last.Messages[0].Queue, Offset: 0}}
	}},
	{"a committed offset is past the end", "P8", Invalid, "whose end is", 2, func(e *edit) { e.lastOf(history.Committed).Messages = []history.Message{{Queue: "t/0", Offset: 9999}} }},
	{"nobody asked for the offsets", "P8", Unknown, "nothing to check", 0, func(e *edit) {
		for i := range e.ops {
			if e.ops[i].F == history.Committed {
				e.ops[i].F = "nothing"
			}
		}
	}},
	{"an acknowledged value was not delivered", "P9", Invalid, "has never handled it", 3, func(e *edit) {
		_, ok := e.acked(1)
		e.drop(history.Deliver, "", at1(ok.Places[0]))
	}},
	{"an acknowledged value was delivered only to handlers that failed", "P9", Invalid, "has never handled it", 3, func(e *edit) {
		_, ok := e.acked(1)
		for i := range e.ops {
			if op := &e.ops[i]; op.F == history.Deliver && slices.ContainsFunc(op.Messages, at1(ok.Places[0])) {
				op.Type = history.Fail
			}
		}
	}},
	{"a group did not come to the end", "P9", Unknown, "did not come to the end", 0, func(e *edit) { e.lastOf(history.Drained).Type = history.Info }},
	{"a part of a batch", "P15", Invalid, "some are stored", 0, func(e *edit) {
		_, ok := e.acked(3)
		e.drop(history.Final, "", at1(ok.Places[1]))
	}},
	{"a part of a batch, of a dump that was cut short", "P15", Unknown, "not read to the end", 0, func(e *edit) {
		_, ok := e.acked(3)
		e.drop(history.Final, "", at1(ok.Places[1]))
		e.lastOf(history.Final).Type = history.Info
	}},
	{"a batch with a stranger in it", "P15", Invalid, "stand apart", 0, func(e *edit) {
		inv, ok := e.acked(3)
		e.replace(history.Final, "", ok.Places[1], "0-0")
		e.replace(history.Final, "", history.Place{Queue: ok.Places[0].Queue, Offset: 0}, inv.Values[1])
	}},
	{"another digest", "P16", Invalid, "has digest", 2, func(e *edit) {
		e.lastOf(history.Replica).Replica = &history.State{Partition: 1, Applied: 99, Digest: "e"}
	}},
	{"a replica that lags", "P16", Unknown, "not compared at one entry", 0, func(e *edit) {
		e.lastOf(history.Replica).Replica = &history.State{Partition: 1, Applied: 98, Digest: "c"}
	}},
	{"a silent replica", "P16", Unknown, "n3 said nothing", 0, func(e *edit) { e.ops = e.ops[:len(e.ops)-1] }},
	{"no recovery", "P20", Invalid, "did not recover", 1, func(e *edit) { e.lastOf(history.Healed).Type = history.Info }},
	{"a group hangs", "P20", Invalid, "did not come to the end", 1, func(e *edit) { e.lastOf(history.Drained).Type = history.Info }},
	{"a node ends by itself", "P20", Invalid, "ended by itself", 1, func(e *edit) { e.lastOf(history.Fault).Fault = &history.Effect{Kind: "exit"} }},
	{"a node does not stop cleanly", "P20", Invalid, "did not stop cleanly", 1, func(e *edit) {
		e.ops = append(e.ops, history.Op{Index: int64(len(e.ops)), Process: "run", Type: history.Info, F: history.Stopped})
	}},
	{"the run was cut short", "P20", Unknown, "ends before", 0, func(e *edit) { e.lastOf(history.Healed).F = "nothing" }},
	{"too few sends", "load", Unknown, "planned", 0, func(e *edit) {
		p := *e.ops[0].Run
		p.Sends = 1e6
		e.ops[0].Run = &p
	}},
	{"too few acknowledged", "load", Unknown, "were acknowledged", 0, func(e *edit) {
		for i := range e.ops {
			if op := &e.ops[i]; op.F == history.Send && op.Type == history.OK {
				op.Type, op.Places = history.Info, nil
			}
		}
	}},
	{"faults that nobody felt", "load", Unknown, "every request was answered at once", 0, func(e *edit) {
		for range manyFaults {
			e.ops = append(e.ops, history.Op{Index: int64(len(e.ops)), Process: "nemesis", Type: history.Info, F: history.Fault, Node: "n1", Fault: &history.Effect{Kind: "kill", Verified: true}})
		}
		dead := make(map[string]bool)
		for _, op := range e.ops {
			if op.F == history.Send && op.Type != history.Invoke && op.Type != history.OK {
				dead[op.Process] = true
			}
		}
		open := make(map[string]int) // sends without an outcome go
		for i := range e.ops {
			op := &e.ops[i]
			if op.F != history.Send {
				continue
			}
			if op.Type == history.Invoke {
				open[op.Process] = i
			} else {
				delete(open, op.Process)
			}
			if dead[op.Process] {
				op.F = "nothing"
			}
		}
		for _, i := range open {
			e.ops[i].F = "nothing"
		}
	}},
	{"sends that fail while nothing is broken", "load", Unknown, "while nothing was broken", 0, func(e *edit) {
		n := 0
		for i := range e.ops {
			e.ops[i].Time += 100e9
			if op := &e.ops[i]; op.F == history.Send && op.Type == history.OK {
				if n++; n%2 == 0 {
					op.Type, op.Places = history.Info, nil
				}
			}
			if op := &e.ops[i]; op.F == history.Fault {
				op.F = "nothing"
			}
		}
	}},
	{"a reader that stops", "P7", Unknown, "less than half", 0, func(e *edit) {
		e.drop(history.Read, "", func(m history.Message) bool { return m.Offset > 2 })
	}},
	{"a fault without proof", "faults", Unknown, "is not proved", 0, func(e *edit) {
		e.find(func(op *history.Op) bool { return op.F == history.Fault }).Fault = &history.Effect{Kind: "kill"}
	}},
	{"a planned fault did not happen", "faults", Unknown, "0 faults of 1 planned", 0, func(e *edit) {
		e.ops = slices.DeleteFunc(e.ops, func(op history.Op) bool { return op.F == history.Fault })
	}},
	{"no leader changed", "faults", Unknown, "no fault took a leader away", 0, func(e *edit) {
		e.find(func(op *history.Op) bool { return op.F == history.Fault }).Fault = &history.Effect{Kind: "kill", Verified: true, Before: "n2", After: "n2"}
	}},
}

func TestEachBrokenPromiseIsFound(t *testing.T) {
	for _, x := range mutations {
		t.Run(x.name, func(t *testing.T) {
			for seed := range uint64(20) {
				e := &edit{ops: modelHistory(seed)}
				x.change(e)
				rep, err := History(e.ops)
				require.NoError(t, err)
				r := result(t, rep, x.id)
				require.Equal(t, x.want, r.Verdict, "seed %d: %v", seed, r)
				require.GreaterOrEqual(t, rep.Verdict, x.want)
				if x.want == Unknown {
					require.Contains(t, strings.Join(r.Notes, "\n"), x.says)
					continue
				}
				require.Positive(t, r.Violated)
				said := ""
				for _, v := range r.Violations {
					said += v.Text + "\n"
					for i := range v.Ops {
						require.LessOrEqual(t, len(v.Ops[i].Messages), 3, "only what matters is shown")
						require.True(t, i == 0 || v.Ops[i-1].Index <= v.Ops[i].Index)
					}
				}
				require.Contains(t, said, x.says)
				if x.lines > 0 {
					require.GreaterOrEqual(t, len(r.Violations[0].Ops), 1)
					require.LessOrEqual(t, len(r.Violations[0].Ops), x.lines)
				}
			}
		})
	}
}

func TestWhatIsNoHistoryIsNotJudged(t *testing.T) {
	good := modelHistory(1)
	for _, x := range []struct {
		name, want string
		change     func(e *edit)
	}{
		{"empty", "does not begin", func(e *edit) { e.ops = nil }},
		{"no plan", "does not begin", func(e *edit) { e.ops[0].Run = nil }},
		{"no nodes", "does not name", func(e *edit) { e.ops[0].Run = &history.Plan{Queues: []string{"t/0"}} }},
		{"a value twice", "is sent twice", func(e *edit) { e.lastInvoke().Values = e.firstInvoke().Values }},
		{"an outcome alone", "without its beginning", func(e *edit) { e.firstInvoke().F = "nothing" }},
		{"two at once", "two things at once", func(e *edit) {
			i := e.firstInvoke().Index
			e.ops = slices.Insert(e.ops, int(i), e.ops[i])
		}},
		{"places missing", "have 0 places", func(e *edit) { _, ok := e.acked(1); ok.Places = nil }},
	} {
		t.Run(x.name, func(t *testing.T) {
			e := &edit{ops: slices.Clone(good)}
			x.change(e)
			_, err := History(e.ops)
			require.ErrorContains(t, err, x.want)
		})
	}
}

func (e *edit) firstInvoke() *history.Op {
	return e.find(func(op *history.Op) bool { return op.F == history.Send && op.Type == history.Invoke })
}

func (e *edit) lastInvoke() (last *history.Op) {
	for i := range e.ops {
		if op := &e.ops[i]; op.F == history.Send && op.Type == history.Invoke {
			last = op
		}
	}
	return last
}
