package check

import (
	"fmt"
	"math/rand/v2"

	"raftmq/jepsen/history"
)

// model is a log that keeps every promise, and writes the history of a run against
// it: concurrent sends of which some fail and of some the outcome is not known,
// batches, a reader, a group, faults, and the end.
type model struct {
	rng   *rand.Rand
	ops   []history.Op
	log   map[string][]string
	begun map[string]*wanted // by process
	next  int
}

type wanted struct {
	values []string
	places []history.Place // nil: not applied yet
	dead   bool            // it will not be
}

var (
	modelNodes  = []string{"n1", "n2", "n3"}
	modelQueues = []string{"t/0", "t/1"}
)

func (m *model) add(op history.Op) {
	op.Index, op.Time = int64(len(m.ops)), int64(len(m.ops))*1e6
	m.ops = append(m.ops, op)
}

// apply stores what p wanted for, if it is not yet.
func (m *model) apply(a *wanted) {
	if a.places != nil || a.dead {
		return
	}
	q := modelQueues[m.rng.IntN(len(modelQueues))]
	for _, v := range a.values {
		a.places = append(a.places, history.Place{Queue: q, Offset: int64(len(m.log[q]))})
		m.log[q] = append(m.log[q], v)
	}
}

// messages are those of a queue in [from, to).
func (m *model) messages(q string, from, to int) (out []history.Message) {
	for o := from; o < to; o++ {
		out = append(out, history.Message{Queue: q, Offset: int64(o), Value: m.log[q][o]})
	}
	return out
}

func modelHistory(seed uint64) []history.Op {
	m := &model{rng: history.Seed(seed).Stream("model"), log: make(map[string][]string), begun: make(map[string]*wanted)}
	m.add(history.Op{Process: "run", Type: history.Info, F: history.Run, Run: &history.Plan{
		Seed: seed, Workload: "log", Nemesis: "kill", Nodes: modelNodes, Queues: modelQueues, Groups: map[string][]string{"g": modelQueues}, Proves: []string{"P7", "P8", "P9", "P15"}, Sends: 60, Faults: 1}})
	read, given := make(map[string]int), make(map[string]int)
	process, sent := [4]int{0, 1, 2, 3}, 0
	for len(m.ops) < 400 || sent < 60 {
		w := m.rng.IntN(4)
		p := fmt.Sprint(process[w])
		switch a := m.begun[p]; {
		case a == nil:
			a = &wanted{}
			for range 1 + 2*m.rng.IntN(2) {
				a.values = append(a.values, fmt.Sprintf("%s-%d", p, m.next))
				m.next++
			}
			m.begun[p], sent = a, sent+1
			m.add(history.Op{Process: p, Type: history.Invoke, F: history.Send, Values: a.values})
		case m.rng.IntN(2) == 0:
			m.apply(a)
		default:
			switch x := m.rng.IntN(12); {
			case x == 0: // a new process goes on; the send may be applied later
				m.add(history.Op{Process: p, Type: history.Info, F: history.Send, Error: "timeout"})
				process[w] += 4
				if m.rng.IntN(2) == 0 {
					m.apply(a)
				}
				continue
			case x == 1 && a.places == nil:
				a.dead = true
				m.add(history.Op{Process: p, Type: history.Fail, F: history.Send, Error: "no leader"})
			default:
				m.apply(a)
				m.add(history.Op{Process: p, Type: history.OK, F: history.Send, Places: a.places})
			}
			delete(m.begun, p)
		}
		q := modelQueues[m.rng.IntN(2)]
		if n := len(m.log[q]); m.rng.IntN(4) == 0 && n > read[q] {
			m.add(history.Op{Process: "reader", Type: history.Invoke, F: history.Read})
			m.add(history.Op{Process: "reader", Type: history.OK, F: history.Read, Messages: m.messages(q, read[q], n)})
			read[q] = n
		}
		if n := len(m.log[q]); m.rng.IntN(4) == 0 && n > 0 {
			m.add(history.Op{Process: "member", Type: history.OK, F: history.Deliver, Group: "g", Messages: m.messages(q, max(0, given[q]-1), n)})
			given[q] = n
		}
		if m.rng.IntN(8) == 0 {
			m.add(history.Op{Process: "asker", Type: history.Invoke, F: history.Committed, Group: "g"})
			m.add(history.Op{Process: "asker", Type: history.OK, F: history.Committed, Group: "g", Messages: []history.Message{{Queue: q, Offset: int64(given[q])}}})
		}
		if len(m.ops) > 150 && m.ops[0].Time == 0 {
			m.ops[0].Time = 1 // once
			m.add(history.Op{Process: "nemesis", Type: history.Info, F: history.Fault, Node: "n1", Fault: &history.Effect{Kind: "kill", PID: 7, Verified: true, Before: "n1", After: "n2"}})
			m.add(history.Op{Process: "nemesis", Type: history.Info, F: history.Fault, Node: "n1", Fault: &history.Effect{Kind: "start", PID: 8, Verified: true}})
		}
	}
	m.add(history.Op{Process: "run", Type: history.OK, F: history.Healed})
	for _, q := range modelQueues {
		m.add(history.Op{Process: "member", Type: history.OK, F: history.Deliver, Group: "g", Messages: m.messages(q, given[q], len(m.log[q]))})
	}
	m.add(history.Op{Process: "run", Type: history.OK, F: history.Drained, Group: "g"})
	for _, q := range modelQueues {
		m.add(history.Op{Process: "run", Type: history.OK, F: history.Bounds, Queue: q, Range: &history.Range{End: int64(len(m.log[q]))}})
		for _, n := range modelNodes {
			half := len(m.log[q]) / 2
			m.add(history.Op{Process: "run", Type: history.Info, F: history.Final, Node: n, Queue: q, Messages: m.messages(q, 0, half)})
			m.add(history.Op{Process: "run", Type: history.OK, F: history.Final, Node: n, Queue: q, Messages: m.messages(q, half, len(m.log[q]))})
		}
	}
	for _, n := range modelNodes {
		m.add(history.Op{Process: "run", Type: history.OK, F: history.Replica, Node: n, Replica: &history.State{Partition: 1, Applied: 99, Digest: "d"}})
	}
	return m.ops
}
