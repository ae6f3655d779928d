package check

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"raftmq/jepsen/history"
)

// retryModel is a group that keeps every promise about what it puts back, by requests of
// its own or, if loose, as the bundled client does.
type retryModel struct {
	script
	rng   *rand.Rand
	loose bool
	log   map[string][]history.Message
	taken map[history.Place]bool
	back  map[history.Message]bool // was put back
	fates map[history.Message]string
	next  int
}

const (
	modelTopic, modelAgain, modelDead = "q", "r", "d"
	modelMost                         = 2
)

func retryHistory(seed uint64, loose bool) []history.Op {
	m := &retryModel{rng: rand.New(rand.NewPCG(seed, 5)), loose: loose, log: make(map[string][]history.Message), taken: make(map[history.Place]bool), back: make(map[history.Message]bool), fates: make(map[history.Message]string)}
	m.add(history.Op{Process: "run", Type: history.Info, F: history.Run, Run: &history.Plan{Nodes: modelNodes, Queues: []string{modelTopic, modelAgain, modelDead}, Proves: []string{"P13"},
		Copies:  map[string]history.CopiesOf{modelAgain: {Group: "g"}, modelDead: {Group: "g", Dead: true}},
		Retries: map[string]history.Retries{"g": {Most: modelMost, Queues: []string{modelTopic}}}}})
	for i := range 100 {
		v := fmt.Sprintf("%d-0", i)
		m.send(fmt.Sprint(i), v, m.put(modelTopic, v, 0))
	}
	given := map[string]int{}
	for given[modelTopic] < len(m.log[modelTopic]) || given[modelAgain] < len(m.log[modelAgain]) {
		for _, q := range []string{modelTopic, modelAgain} {
			if given[q] < len(m.log[q]) && m.handle(q, m.log[q][given[q]]) {
				given[q]++
			}
		}
		if n := len(m.log[modelDead]); !loose && n > 0 && m.rng.IntN(3) == 0 {
			m.takeOut(m.log[modelDead][m.rng.IntN(n)])
		}
	}
	m.add(history.Op{Process: "run", Type: history.OK, F: history.Drained, Group: "g"})
	m.add(history.Op{Process: "run", Type: history.OK, F: history.Healed})
	for _, n := range modelNodes {
		op := history.Op{Process: "run", Type: history.OK, F: history.Letters, Group: "g", Node: n}
		for _, x := range m.log[modelDead] {
			if !m.taken[history.Place{Queue: modelDead, Offset: x.Offset}] {
				op.Messages = append(op.Messages, x)
			}
		}
		m.add(op)
		for _, q := range []string{modelTopic, modelAgain, modelDead} {
			m.add(history.Op{Process: "run", Type: history.OK, F: history.Bounds, Queue: q, Range: &history.Range{End: int64(len(m.log[q]))}})
			m.add(history.Op{Process: "run", Type: history.OK, F: history.Final, Node: n, Queue: q, Messages: slices.Clone(m.log[q])})
		}
		m.add(history.Op{Process: "run", Type: history.OK, F: history.Replica, Node: n, Replica: &history.State{Partition: 1, Applied: 9, Digest: "d"}})
	}
	return m.ops
}

func (m *retryModel) put(queue, value string, times int) int64 {
	off := int64(len(m.log[queue]))
	m.log[queue] = append(m.log[queue], history.Message{Queue: queue, Offset: off, Value: value, Times: times})
	return off
}

// handle has a message handled, or failed and put back; false: it is to be handled again.
func (m *retryModel) handle(q string, x history.Message) bool {
	op := history.Op{Process: "member", Type: history.OK, F: history.Deliver, Group: "g", Messages: []history.Message{x}}
	if m.rng.IntN(2) == 0 {
		m.add(op)
		return m.rng.IntN(8) > 0 // it may be given again
	}
	op.Type = history.Fail
	if _, known := m.fates[x]; !known {
		m.fates[x] = ""
		if m.rng.IntN(4) == 0 {
			m.fates[x] = history.Burying
		}
	}
	op.Fate = m.fates[x]
	m.add(op)
	to := modelAgain
	if op.Fate != "" || x.Times >= modelMost {
		to = modelDead
	}
	if m.loose {
		if !m.back[x] || m.rng.IntN(2) == 0 { // it may be known to be put back
			m.put(to, x.Value, x.Times+1)
			m.back[x] = true
		}
		return m.rng.IntN(6) > 0 // its member may end before it has committed
	}
	t := []history.Type{history.OK, history.OK, history.Info, history.Fail}[m.rng.IntN(4)]
	made := 0
	if m.back[x] && m.rng.IntN(2) == 0 { // it is known to be put back
		if t == history.Fail {
			t = history.OK
		}
	} else if t == history.OK || t == history.Info && m.rng.IntN(2) == 0 {
		m.put(to, x.Value, x.Times+1)
		m.back[x] = true
		if t == history.OK {
			made = 1
		}
	}
	if t == history.OK && m.rng.IntN(8) == 0 { // its node asked again, and was told that it was done before
		made = 0
	}
	m.next++
	m.call(history.Op{Process: fmt.Sprintf("m-%d", m.next), F: history.Back, Group: "g", Values: []string{x.Value}, Count: x.Times, Fate: op.Fate,
		Places: []history.Place{{Queue: q, Offset: x.Offset}}}, t, history.Op{Count: made})
	return t == history.OK
}

func (m *retryModel) takeOut(x history.Message) {
	p := history.Place{Queue: modelDead, Offset: x.Offset}
	op := history.Op{F: history.TakeOut, Group: "g", Values: []string{x.Value}, Places: []history.Place{p}}
	if m.rng.IntN(3) == 0 {
		op.Fate = history.Dropping
	}
	m.next++
	op.Process = fmt.Sprintf("m-%d", m.next)
	t := []history.Type{history.OK, history.OK, history.Info, history.Fail}[m.rng.IntN(4)]
	out := history.Op{}
	if t == history.OK || t == history.Info && m.rng.IntN(2) == 0 {
		if !m.taken[p] {
			m.taken[p] = true
			if out.Count = 1; op.Fate == "" {
				m.put(modelAgain, x.Value, 0)
			}
		}
		if t == history.Info {
			out.Count = 0
		}
	}
	m.call(op, t, out)
}

func TestAGroupThatKeepsItsPromisesAboutRetriesIsValid(t *testing.T) {
	for seed := range uint64(500) {
		rep, err := History(retryHistory(seed, seed%2 == 0))
		require.NoError(t, err)
		for _, id := range []string{"P1", "P2", "P3", "P4", "P5", "P6", "P13"} {
			r := result(t, rep, id)
			require.Equal(t, Valid, r.Verdict, "seed %d, %s: %v %v", seed, id, r.Violations, r.Notes)
		}
	}
}

// requests calls visit for each request and its outcome, until that is true.
func (e *edit) requests(f string, visit func(invoke, outcome *history.Op) bool) {
	for i := range e.ops {
		if op := &e.ops[i]; op.F == f && op.Type == history.Invoke && visit(op, &e.ops[i+1]) {
			return
		}
	}
	panic("the model has no such request")
}

// lose takes the copies of a key out of all dumps, and puts nothing in their place.
func (e *edit) lose(queue, value string, times int) {
	e.drop(history.Final, "", func(m history.Message) bool { return m.Queue == queue && m.Value == value && m.Times == times })
}

// again adds a copy to the end of a queue, handled if it is of retries.
func (e *edit) again(queue, value string, times int) {
	e.added++
	off := int64(1000 + e.added)
	for i := range e.ops {
		if op := &e.ops[i]; op.F == history.Final && op.Queue == queue {
			op.Messages = append(slices.Clone(op.Messages), history.Message{Queue: queue, Offset: off, Value: value, Times: times})
		}
		if op := &e.ops[i]; op.F == history.Letters && queue == modelDead {
			op.Messages = append(slices.Clone(op.Messages), history.Message{Queue: queue, Offset: off, Value: value, Times: times})
		}
	}
	if queue == modelAgain {
		e.ops = append(e.ops, history.Op{Index: int64(len(e.ops)), Type: history.OK, F: history.Deliver, Process: "member", Group: "g", Messages: []history.Message{{Queue: queue, Offset: off, Value: value, Times: times}}})
	}
}

func TestEachBrokenPromiseAboutRetriesIsFound(t *testing.T) {
	back := func(dead bool) func(e *edit) *history.Op {
		return func(e *edit) (found *history.Op) {
			e.requests(history.Back, func(inv, out *history.Op) bool {
				if out.Type == history.OK && out.Count > 0 && (inv.Fate == history.Burying || inv.Count >= modelMost) == dead {
					found = inv
				}
				return found != nil
			})
			return found
		}
	}
	took := func(fate string, count int) func(e *edit) (*history.Op, *history.Op) {
		return func(e *edit) (inv, out *history.Op) {
			e.requests(history.TakeOut, func(i, o *history.Op) bool {
				if o.Type == history.OK && i.Fate == fate && o.Count == count {
					inv, out = i, o
				}
				return inv != nil
			})
			return inv, out
		}
	}
	for _, x := range []struct {
		name   string
		loose  bool
		want   Verdict
		says   string
		change func(e *edit)
	}{
		{"a message that was put back is gone", false, Invalid, "was told", func(e *edit) {
			inv := back(false)(e)
			e.lose(modelAgain, inv.Values[0], inv.Count+1)
		}},
		{"a message comes again twice", false, Invalid, "and there are", func(e *edit) {
			inv := back(false)(e)
			for range 40 {
				e.again(modelAgain, inv.Values[0], inv.Count+1)
			}
		}},
		{"a refused request makes a copy", false, Invalid, "and there are", func(e *edit) {
			inv := back(false)(e)
			for i := range e.ops {
				if op := &e.ops[i]; op.F == history.Back && op.Type == history.Invoke && op.Values[0] == inv.Values[0] && op.Count == inv.Count {
					e.ops[i+1].Type = history.Fail
				}
			}
		}},
		{"a dead letter is gone", false, Invalid, "was told", func(e *edit) {
			inv := back(true)(e)
			e.lose(modelDead, inv.Values[0], inv.Count+1)
		}},
		{"a dead letter lies there twice", false, Invalid, "and there are", func(e *edit) {
			inv := back(true)(e)
			for range 40 {
				e.again(modelDead, inv.Values[0], inv.Count+1)
			}
		}},
		{"the times are forgotten", false, Invalid, "was told", func(e *edit) {
			inv := back(false)(e)
			v, n := inv.Values[0], inv.Count+1
			for i := range e.ops {
				ms := slices.Clone(e.ops[i].Messages)
				for j := range ms {
					if ms[j].Value == v && ms[j].Queue == modelAgain && ms[j].Times == n {
						ms[j].Times = n - 1
					}
				}
				e.ops[i].Messages = ms
			}
		}},
		{"a message comes again more often than set", false, Invalid, "times again at most", func(e *edit) {
			e.again(modelAgain, "0-0", modelMost+1)
		}},
		{"a message is given up too early", false, Invalid, "has never failed it", func(e *edit) {
			e.again(modelDead, "0-0", 1)
			for i := range e.ops {
				if op := &e.ops[i]; op.F == history.Deliver && op.Messages[0].Value == "0-0" && op.Messages[0].Times == 0 {
					op.Type, op.Fate = history.OK, ""
				}
			}
		}},
		{"what came again is not given to the group", false, Invalid, "never handled it nor put it back", func(e *edit) {
			p := history.Place{Queue: modelAgain, Offset: 0}
			e.drop(history.Deliver, "", at1(p))
			for i := range e.ops {
				if op := &e.ops[i]; op.F == history.Back && op.Type == history.Invoke && op.Places[0] == p {
					e.ops[i+1].Type = history.Fail
				}
			}
			e.ops = slices.DeleteFunc(e.ops, func(op history.Op) bool { return op.F == history.Deliver && len(op.Messages) == 0 })
		}},
		{"a group goes past a message of which nobody knows whether it was put back", false, Invalid, "never handled it nor put it back", func(e *edit) {
			p := history.Place{Queue: modelTopic, Offset: 3}
			for i := range e.ops {
				op := &e.ops[i]
				if op.F == history.Deliver && at1(p)(op.Messages[0]) {
					op.Type = history.Fail
				}
				if op.F == history.Back && op.Type == history.Invoke && op.Places[0] == p {
					e.ops[i+1].Type = history.Info
				}
			}
		}},
		{"a letter is taken out twice", false, Invalid, "was taken out 2 times", func(e *edit) {
			inv, out := took("", 1)(e)
			a, b := *inv, *out
			a.Index, b.Index, a.Process, b.Process = int64(len(e.ops)), int64(len(e.ops))+1, "x", "x"
			e.ops = append(e.ops, a, b)
		}},
		{"a letter that was taken out does not come", false, Invalid, "and comes", func(e *edit) {
			inv, _ := took("", 1)(e)
			e.lose(modelAgain, inv.Values[0], 0)
		}},
		{"a letter that was taken out once comes twice", false, Invalid, "and comes", func(e *edit) {
			inv, _ := took("", 1)(e)
			for range 30 {
				e.again(modelAgain, inv.Values[0], 0)
			}
		}},
		{"a letter that was dropped comes", false, Invalid, "and comes", func(e *edit) {
			inv, _ := took(history.Dropping, 1)(e)
			for range 30 {
				e.again(modelAgain, inv.Values[0], 0)
			}
		}},
		{"a letter that was taken out is listed", false, Invalid, "lists it", func(e *edit) {
			inv, _ := took("", 1)(e)
			l := e.lastOf(history.Letters)
			l.Messages = append(slices.Clone(l.Messages), history.Message{Queue: inv.Places[0].Queue, Offset: inv.Places[0].Offset, Value: inv.Values[0]})
		}},
		{"a letter is not listed", false, Invalid, "does not list it", func(e *edit) {
			l := e.lastOf(history.Letters)
			if len(l.Messages) == 0 {
				panic("the model has no dead letters left")
			}
			p := l.Messages[0]
			l.Messages = l.Messages[1:]
			for i := range e.ops { // of those that nobody knows of it could be true
				if op := &e.ops[i]; op.F == history.TakeOut && op.Type == history.Invoke && op.Places[0].Offset == p.Offset {
					e.ops[i+1].Type = history.Fail
				}
			}
		}},
		{"a letter is gone that nobody took out", false, Invalid, "and nobody took it out", func(e *edit) {
			inv, _ := took("", 1)(e)
			for i := range e.ops {
				if op := &e.ops[i]; op.F == history.TakeOut && op.Type == history.Invoke && op.Places[0] == inv.Places[0] && e.ops[i+1].Type != history.Fail {
					e.ops[i+1].Type, e.ops[i+1].Count = history.OK, 0
				}
			}
		}},
		{"a message that never failed lies among the dead letters", false, Invalid, "has never failed it", func(e *edit) {
			e.again(modelDead, "0-0", 0)
		}},
		{"another letter is listed in one's place", false, Invalid, "where", func(e *edit) {
			l := e.lastOf(history.Letters)
			if len(l.Messages) == 0 {
				panic("the model has no dead letters left")
			}
			l.Messages = slices.Clone(l.Messages)
			l.Messages[0].Value = "!9 bytes, first 00"
		}},
		{"a letter is listed with other times", false, Invalid, "where", func(e *edit) {
			l := e.lastOf(history.Letters)
			if len(l.Messages) == 0 {
				panic("the model has no dead letters left")
			}
			l.Messages = slices.Clone(l.Messages)
			l.Messages[0].Times++
		}},
		{"the letters were not listed through one node", false, Unknown, "were not listed through n2", func(e *edit) {
			e.ops = slices.DeleteFunc(e.ops, func(op history.Op) bool { return op.F == history.Letters && op.Node == "n2" })
		}},
		{"the letters were not listed", false, Unknown, "were not listed", func(e *edit) {
			e.ops = slices.DeleteFunc(e.ops, func(op history.Op) bool { return op.F == history.Letters })
		}},
		{"the group did not come to the end", false, Unknown, "did not come to the end", func(e *edit) { e.lastOf(history.Drained).Type = history.Info }},
		{"nothing was taken out", false, Unknown, "or taken out", func(e *edit) {
			for i := range e.ops {
				if op := &e.ops[i]; op.F == history.TakeOut && op.Type == history.OK {
					op.Type = history.Fail
				}
			}
			e.drop(history.Final, "", func(m history.Message) bool { return m.Queue == modelAgain && m.Times == 0 })
			for i := range e.ops {
				if op := &e.ops[i]; op.F == history.TakeOut && op.Type == history.Invoke {
					e.ops[i+1].Type = history.Fail
				}
				if op := &e.ops[i]; op.F == history.Letters {
					op.Messages = slices.Clone(e.lastDead())
				}
			}
		}},

		{"a bundled client's failed message does not come again", true, Invalid, "and it is not there", func(e *edit) {
			d := e.find(func(op *history.Op) bool {
				return op.F == history.Deliver && op.Type == history.Fail && op.Fate == "" && op.Messages[0].Times < modelMost
			})
			e.lose(modelAgain, d.Messages[0].Value, d.Messages[0].Times+1)
		}},
		{"a bundled client's message is lost when it is given up", true, Invalid, "and it is not there", func(e *edit) {
			d := e.find(func(op *history.Op) bool {
				return op.F == history.Deliver && op.Type == history.Fail && (op.Fate != "" || op.Messages[0].Times >= modelMost)
			})
			e.lose(modelDead, d.Messages[0].Value, d.Messages[0].Times+1)
		}},
		{"a bundled client's message comes twice for one failure", true, Invalid, "failed it 1 times", func(e *edit) {
			fails := make(map[history.Message]int)
			for _, op := range e.ops {
				if op.F == history.Deliver && op.Type == history.Fail {
					fails[op.Messages[0]]++
				}
			}
			d := e.find(func(op *history.Op) bool {
				return op.F == history.Deliver && op.Type == history.Fail && op.Fate == "" && op.Messages[0].Times < modelMost && fails[op.Messages[0]] == 1 && op.Messages[0].Times == 0
			})
			e.again(modelAgain, d.Messages[0].Value, 1)
		}},
		{"a bundled client's message is not given", true, Invalid, "never handled it nor put it back", func(e *edit) {
			p := history.Place{Queue: modelTopic, Offset: 3}
			e.ops = slices.DeleteFunc(e.ops, func(op history.Op) bool { return op.F == history.Deliver && at1(p)(op.Messages[0]) })
		}},
	} {
		t.Run(x.name, func(t *testing.T) {
			tried := 0
			for seed := range uint64(20) {
				e := &edit{ops: retryHistory(seed, x.loose)}
				if !applies(e, x.change) {
					continue // this history has not the request that is to be broken
				}
				tried++
				for i := range e.ops {
					e.ops[i].Index = int64(i)
				}
				rep, err := History(e.ops)
				require.NoError(t, err)
				r := result(t, rep, "P13")
				require.Equal(t, x.want, r.Verdict, "seed %d: %v", seed, r)
				said := ""
				for _, v := range r.Violations {
					said += v.Text + "\n"
				}
				for _, n := range r.Notes {
					said += n + "\n"
				}
				require.Contains(t, said, x.says, "seed %d", seed)
			}
			require.Positive(t, tried)
		})
	}
}

// applies makes a change; false: the history has nothing that it could be made to.
func applies(e *edit, change func(e *edit)) (ok bool) {
	defer func() {
		if p := recover(); p != nil {
			if _, known := p.(string); !known {
				panic(p)
			}
		}
	}()
	change(e)
	return true
}

func (e *edit) lastDead() []history.Message {
	for i := len(e.ops) - 1; ; i-- {
		if op := e.ops[i]; op.F == history.Final && op.Queue == modelDead {
			return op.Messages
		}
	}
}
