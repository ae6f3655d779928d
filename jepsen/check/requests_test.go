package check

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"raftmq/jepsen/history"
)

// script is a small history of requests, in the order of its lines.
type script struct{ ops []history.Op }

func (s *script) add(op history.Op) *history.Op {
	op.Index, op.Time = int64(len(s.ops)), int64(len(s.ops))*1e9
	s.ops = append(s.ops, op)
	return &s.ops[len(s.ops)-1]
}

// call adds a request and its outcome, one right after the other.
func (s *script) call(op history.Op, t history.Type, out history.Op) {
	op.Type = history.Invoke
	s.add(op)
	out.Process, out.F, out.Type, out.Group, out.Queue, out.Topic, out.Node = op.Process, op.F, t, op.Group, op.Queue, op.Topic, op.Node
	s.add(out)
}

func newScript(proves ...string) *script {
	s := &script{}
	s.add(history.Op{Process: "run", Type: history.Info, F: history.Run, Run: &history.Plan{Nodes: []string{"n1"}, Queues: []string{"q"}, Proves: proves}})
	return s
}

// end adds what the queue holds at the end.
func (s *script) end(from int64, values ...string) {
	s.add(history.Op{Process: "run", Type: history.OK, F: history.Healed})
	var ms []history.Message
	for i, v := range values {
		ms = append(ms, history.Message{Queue: "q", Offset: from + int64(i), Value: v})
	}
	s.add(history.Op{Process: "run", Type: history.OK, F: history.Bounds, Queue: "q", Range: &history.Range{Min: from, End: from + int64(len(values))}})
	s.add(history.Op{Process: "run", Type: history.OK, F: history.Final, Node: "n1", Queue: "q", Messages: ms})
	s.add(history.Op{Process: "run", Type: history.OK, F: history.Replica, Node: "n1", Replica: &history.State{Partition: 1, Applied: 9, Digest: "d"}})
}

func (s *script) disk(t history.Type, from int64, values ...string) {
	var ms []history.Message
	for i, v := range values {
		ms = append(ms, history.Message{Queue: "q", Offset: from + int64(i), Value: v})
	}
	s.add(history.Op{Process: "run", Type: t, F: history.Disk, Node: "n1", Queue: "q", Messages: ms})
}

// transaction adds a send whose local transaction says fate, or nothing.
func (s *script) transaction(process, value, fate string, answer history.Type) {
	s.add(history.Op{Process: process, Type: history.Invoke, F: history.Send, Values: []string{value}})
	s.add(history.Op{Process: "l", Type: history.Info, F: history.Prepared, Values: []string{value}})
	if fate != "" {
		s.decide("l", value, fate, answer)
	}
	s.add(history.Op{Process: process, Type: history.Info, F: history.Send})
}

func (s *script) decide(process, value, fate string, answer history.Type) {
	s.call(history.Op{Process: process, F: history.Decide, Values: []string{value}, Fate: fate}, answer, history.Op{})
}

func (s *script) leads(node string, partition, term uint64) {
	s.add(history.Op{Process: "observer", Type: history.Info, F: history.Event, Node: node, Event: &history.Told{What: fmt.Sprintf("leadership lead=true term=%d", term), Partition: partition}})
}

// tells adds what a node writes of itself.
func (s *script) tells(node, what string) {
	s.add(history.Op{Process: "observer", Type: history.Info, F: history.Event, Node: node, Event: &history.Told{What: what}})
}

func (s *script) exit(node, how string) {
	s.add(history.Op{Process: "nemesis", Type: history.Info, F: history.Fault, Node: node, Fault: &history.Effect{Kind: "exit"}, Error: how})
}

func (s *script) fault(node, kind string, lasted int64) {
	s.add(history.Op{Process: "nemesis", Type: history.Info, F: history.Fault, Node: node, Fault: &history.Effect{Kind: kind, Lasted: lasted}})
}

func (s *script) undone(node string) {
	s.add(history.Op{Process: "nemesis", Type: history.Info, F: history.Fault, Node: node, Fault: &history.Effect{Kind: "heal"}})
}

func (s *script) send(process, value string, offset int64) {
	s.call(history.Op{Process: process, F: history.Send, Values: []string{value}}, history.OK, history.Op{Places: []history.Place{{Queue: "q", Offset: offset}}})
}

func (s *script) again(process, value string, t history.Type, offset int64) {
	out := history.Op{}
	if t == history.OK {
		out.Places = []history.Place{{Queue: "q", Offset: offset}}
	}
	s.call(history.Op{Process: process, F: history.Resend, Values: []string{value}}, t, out)
}

func (s *script) bounds(lo, hi int64) {
	s.call(history.Op{Process: "asker", F: history.End, Queue: "q", Node: "n1"}, history.OK, history.Op{Range: &history.Range{Min: lo, End: hi}})
}

func (s *script) read(from int64, values ...string) {
	var ms []history.Message
	for i, v := range values {
		ms = append(ms, history.Message{Queue: "q", Offset: from + int64(i), Value: v})
	}
	s.call(history.Op{Process: "reader", F: history.Read}, history.OK, history.Op{Messages: ms})
}

func (s *script) look(from int64, t history.Type, g *history.Range, values ...string) {
	var ms []history.Message
	for i, v := range values {
		ms = append(ms, history.Message{Queue: "q", Offset: from + int64(i), Value: v})
	}
	s.call(history.Op{Process: "looker", F: history.Look, Queue: "q", Node: "n1", Range: &history.Range{Min: from}}, t, history.Op{Range: g, Messages: ms})
}

// kept is what a node's log has of a topic.
func (s *script) kept(topic string, from, to int64) {
	s.add(history.Op{Process: "keeper", Type: history.Info, F: history.Kept, Node: "n1", Topic: topic, Range: &history.Range{Min: from, End: to}})
}

func (s *script) commit(process string, t history.Type, offset int64) {
	s.call(history.Op{Process: process, F: history.Commit, Group: "g", Queue: "q", Places: []history.Place{{Queue: "q", Offset: offset}}}, t, history.Op{})
}

func (s *script) reset(offset int64) {
	s.call(history.Op{Process: "operator", F: history.Reset, Group: "g", Queue: "q", Places: []history.Place{{Queue: "q", Offset: offset}}}, history.OK, history.Op{})
}

func (s *script) told(offset int64) {
	s.call(history.Op{Process: "asker", F: history.Committed, Group: "g", Queue: "q"}, history.OK, history.Op{Messages: []history.Message{{Queue: "q", Offset: offset}}})
}

func (s *script) lock(process, f string, t history.Type) {
	s.call(history.Op{Process: process, F: f, Group: "g", Queue: "q"}, t, history.Op{})
}

func (s *script) deliver(process string, offset int64, value string) {
	s.add(history.Op{Process: process, Type: history.OK, F: history.Deliver, Group: "g", Messages: []history.Message{{Queue: "q", Offset: offset, Value: value}}})
}

func (s *script) delay(process, value string, wait int64, t history.Type) {
	s.call(history.Op{Process: process, F: history.Delay, Values: []string{value}, Wait: wait}, t, history.Op{})
}

// later lets time go by.
func (s *script) later(ns int64) {
	for range ns / 1e9 {
		s.add(history.Op{Process: "run", Type: history.Info, F: history.Fault})
	}
}

func (s *script) recall(value string, t history.Type) {
	s.call(history.Op{Process: "r", F: history.Recall, Values: []string{value}}, t, history.Op{})
}

func (s *script) put(count int, t history.Type) {
	s.call(history.Op{Process: "p", F: history.PutTopic, Topic: "t", Count: count, Node: "n1"}, t, history.Op{})
}

func (s *script) dropTopic(t history.Type) {
	s.call(history.Op{Process: "p", F: history.DropTopic, Topic: "t", Node: "n1"}, t, history.Op{})
}

func (s *script) get(node string, count int) {
	s.call(history.Op{Process: "g", F: history.GetTopic, Topic: "t", Node: node}, history.OK, history.Op{Count: count})
}

func (s *script) note(t history.Type, value string) {
	s.call(history.Op{Process: "p", F: history.Note, Topic: "t", Node: "n1", Values: []string{value}}, t, history.Op{})
}

func (s *script) notes(values ...string) {
	s.call(history.Op{Process: "g", F: history.Notes, Topic: "t", Node: "n1"}, history.OK, history.Op{Values: values})
}

// Each property of requests, with histories that keep it and histories that break it
// in one way each.
func TestRequestsAreJudged(t *testing.T) {
	for _, x := range []struct {
		name, id string
		want     Verdict
		says     string
		tell     func(s *script)
	}{
		{"sent again, one place", "P6b", Valid, "", func(s *script) {
			s.send("0", "0-0", 0)
			s.again("1", "0-0", history.OK, 0)
			s.again("1", "0-0", history.Fail, 0)
			s.end(0, "0-0")
		}},
		{"unknown, then sent again", "P6b", Valid, "", func(s *script) {
			s.call(history.Op{Process: "0", F: history.Send, Values: []string{"0-0"}}, history.Info, history.Op{})
			s.again("1", "0-0", history.OK, 0)
			s.end(0, "0-0")
		}},
		{"sent again beside it, and stored before it began", "P5", Valid, "", func(s *script) {
			s.again("1-again", "1-0", history.OK, 0)
			s.send("0", "0-0", 1)
			s.send("1", "1-0", 0)
			s.end(0, "1-0", "0-0")
		}},
		{"sent again beside it, in vain, and stored before what was there", "P5", Invalid, "stands before it", func(s *script) {
			s.again("1-again", "1-0", history.Fail, 0)
			s.send("0", "0-0", 1)
			s.send("1", "1-0", 0)
			s.end(0, "1-0", "0-0")
		}},
		{"sent again beside it, and read before it began", "P2", Valid, "", func(s *script) {
			s.again("0-again", "0-0", history.OK, 0)
			s.read(0, "0-0")
			s.send("0", "0-0", 0)
			s.end(0, "0-0")
		}},
		{"sent again beside it, and handled before it began", "P8", Valid, "", func(s *script) {
			s.again("0-again", "0-0", history.OK, 0)
			s.commit("a", history.OK, 1)
			s.told(1)
			s.send("0", "0-0", 0)
			s.end(0, "0-0")
		}},
		{"sent again beside it, and the queue's end before it began", "P17", Valid, "", func(s *script) {
			s.again("0-again", "0-0", history.OK, 0)
			s.bounds(0, 1)
			s.look(0, history.OK, &history.Range{End: 1}, "0-0")
			s.send("0", "0-0", 0)
			s.end(0, "0-0")
		}},
		{"sent again, another place", "P6b", Invalid, "sent again under the same identity", func(s *script) {
			s.send("0", "0-0", 0)
			s.again("1", "0-0", history.OK, 1)
			s.end(0, "0-0", "0-0")
		}},
		{"sent again, and not there", "P6b", Invalid, "on n1 it is not there", func(s *script) {
			s.call(history.Op{Process: "0", F: history.Send, Values: []string{"0-0"}}, history.Info, history.Op{})
			s.again("1", "0-0", history.OK, 0)
			s.end(0)
		}},

		{"ends that know everything", "P17", Valid, "", func(s *script) {
			s.send("0", "0-0", 0)
			s.bounds(0, 1)
			s.send("0", "0-1", 1)
			s.look(1, history.OK, &history.Range{End: 2}, "0-1")
			s.look(0, history.OK, nil, "0-0") // it stopped before the end
			s.end(0, "0-0", "0-1")
		}},
		{"an old end", "P17", Invalid, "that the queue ends at 1", func(s *script) {
			s.send("0", "0-0", 0)
			s.send("0", "0-1", 1)
			s.bounds(0, 1)
			s.end(0, "0-0", "0-1")
		}},
		{"an end that goes back", "P17", Invalid, "that the queue ends at 1", func(s *script) {
			s.call(history.Op{Process: "0", F: history.Send, Values: []string{"0-0", "0-1"}}, history.Info, history.Op{})
			s.bounds(0, 2)
			s.bounds(0, 1)
			s.end(0, "0-0", "0-1")
		}},
		{"an end of what was sent later", "P17", Invalid, "was sent later", func(s *script) {
			s.bounds(0, 1)
			s.send("0", "0-0", 0)
			s.end(0, "0-0")
		}},
		{"an old read", "P17", Invalid, "that the queue ends at 1", func(s *script) {
			s.send("0", "0-0", 0)
			s.send("0", "0-1", 1)
			s.look(0, history.OK, &history.Range{End: 1}, "0-0")
			s.end(0, "0-0", "0-1")
		}},
		{"a read with a hole", "P17", Invalid, "and gave 1 where 0 should be", func(s *script) {
			s.send("0", "0-0", 0)
			s.send("0", "0-1", 1)
			s.look(1, history.OK, &history.Range{End: 2}, "0-1")
			s.ops[len(s.ops)-2].Range = &history.Range{Min: 0}
			s.end(0, "0-0", "0-1")
		}},

		{"commits and moves in one order", "P8r", Valid, "", func(s *script) {
			s.told(-1)
			s.commit("a", history.OK, 3)
			s.commit("b", history.OK, 2)
			s.told(3)
			s.commit("a", history.Info, 4)
			s.told(3)
			s.told(4)
			s.reset(1)
			s.commit("a", history.OK, 2) // passed over
			s.told(1)
			s.end(0, "0-0", "0-1", "0-2", "0-3")
		}},
		{"a commit undoes an operator's move", "P8r", Invalid, "no order of the 4", func(s *script) {
			s.commit("a", history.OK, 1)
			s.reset(0)
			s.commit("a", history.OK, 2)
			s.told(2)
			s.end(0, "0-0", "0-1")
		}},
		{"a commit of which nobody knows undoes an operator's move", "P8r", Invalid, "no order of the 4", func(s *script) {
			s.reset(0)
			s.commit("a", history.Info, 2)
			s.told(0)
			s.told(2)
			s.end(0, "0-0", "0-1")
		}},
		{"a commit of which nobody knows stands before an operator's move, of which nobody knows either", "P8r", Valid, "", func(s *script) {
			s.commit("a", history.OK, 1)
			s.call(history.Op{Process: "operator", F: history.Reset, Group: "g", Queue: "q", Places: []history.Place{{Queue: "q", Offset: 0}}}, history.Info, history.Op{})
			s.commit("b", history.Info, 2)
			s.told(1)
			s.told(2)
			s.told(0)
			s.end(0, "0-0", "0-1")
		}},
		{"a commit that is forgotten", "P8r", Invalid, "no order of the 3", func(s *script) {
			s.commit("a", history.OK, 2)
			s.commit("a", history.OK, 3)
			s.told(2)
			s.end(0, "0-0", "0-1", "0-2")
		}},
		{"a move that is forgotten", "P8r", Invalid, "no order of the 3", func(s *script) {
			s.commit("a", history.OK, 3)
			s.reset(1)
			s.told(3)
			s.end(0, "0-0", "0-1", "0-2")
		}},
		{"a refused commit counts", "P8r", Invalid, "no order of the 1", func(s *script) {
			s.commit("a", history.Fail, 3)
			s.told(3)
			s.end(0, "0-0", "0-1", "0-2")
		}},
		{"an acknowledged commit is told lower", "P8", Invalid, "and 2 at", func(s *script) {
			s.commit("a", history.OK, 3)
			s.told(2)
			s.end(0, "0-0", "0-1", "0-2")
		}},
		{"a commit past the end is acknowledged", "P8", Invalid, "whose end is 1", func(s *script) {
			s.commit("a", history.OK, 3)
			s.end(0, "0-0")
		}},

		{"a commit that was refused counts", "P8", Invalid, "which nobody has committed", func(s *script) {
			s.commit("a", history.OK, 1)
			s.commit("b", history.Fail, 3)
			s.told(3)
			s.end(0, "0-0", "0-1", "0-2")
		}},
		{"a commit counts before it is asked for", "P8", Invalid, "which nobody has committed", func(s *script) {
			s.commit("a", history.OK, 1)
			s.told(2)
			s.commit("b", history.OK, 2)
			s.end(0, "0-0", "0-1", "0-2")
		}},
		{"a commit of which nobody knows counts", "P8", Valid, "", func(s *script) {
			s.commit("a", history.OK, 1)
			s.commit("b", history.Fail, 2)
			s.commit("b", history.Info, 2)
			s.told(2)
			s.end(0, "0-0", "0-1", "0-2")
		}},

		{"one holder after the other", "P11", Valid, "", func(s *script) {
			s.lock("a", history.Lock, history.OK)
			s.lock("b", history.Lock, history.Fail)
			s.commit("b", history.Fail, 1)
			s.deliver("a", 0, "0-0")
			s.commit("a", history.OK, 1)
			s.lock("a", history.Unlock, history.OK)
			s.lock("b", history.Lock, history.OK)
			s.deliver("b", 1, "0-1")
			s.commit("b", history.Info, 2)
			s.lock("b", history.Unlock, history.Info)
			s.lock("a", history.Lock, history.OK)
			s.deliver("a", 1, "0-1")
			s.end(0, "0-0", "0-1")
		}},
		{"two holders", "P11", Invalid, "b was given it", func(s *script) {
			s.lock("a", history.Lock, history.OK)
			s.lock("b", history.Lock, history.OK)
			s.end(0)
		}},
		{"two holders, long after", "P11", Valid, "", func(s *script) {
			s.lock("a", history.Lock, history.OK)
			s.deliver("a", 0, "0-0")
			for range 30 {
				s.lock("c", history.Lock, history.Fail)
			}
			s.lock("b", history.Lock, history.OK)
			s.end(0)
		}},
		{"an unlock of unknown outcome that takes effect late", "P11", Valid, "", func(s *script) {
			s.lock("a", history.Lock, history.OK)
			s.deliver("a", 0, "0-0")
			s.lock("a", history.Unlock, history.Info)
			s.lock("a", history.Lock, history.OK) // it has it still: the unlock is on its way
			s.lock("a", history.Lock, history.OK)
			s.commit("b", history.Fail, 1)
			s.lock("b", history.Lock, history.OK) // and has arrived
			s.commit("b", history.OK, 1)
			s.commit("a", history.Fail, 1)
			s.lock("b", history.Unlock, history.OK)
			s.lock("c", history.Lock, history.OK)
			s.end(0, "0-0")
		}},
		{"an unlock of unknown outcome that takes effect long after", "P11", Invalid, "b was given it", func(s *script) {
			s.lock("a", history.Lock, history.OK)
			s.lock("a", history.Unlock, history.Info)
			s.later(150e9)
			s.lock("a", history.Lock, history.OK)
			s.lock("b", history.Lock, history.OK)
			s.end(0)
		}},
		{"two unlocks of unknown outcome that take effect late", "P11", Valid, "", func(s *script) {
			s.lock("a", history.Lock, history.OK)
			s.deliver("a", 0, "0-0")
			s.lock("a", history.Unlock, history.Info)
			s.lock("a", history.Lock, history.OK)
			s.lock("a", history.Unlock, history.Info)
			s.lock("c", history.Lock, history.Fail)
			for range 2 {
				s.lock("a", history.Lock, history.OK)
				s.lock("b", history.Lock, history.OK)
				s.lock("b", history.Unlock, history.OK)
			}
			s.end(0)
		}},
		{"nobody is refused a lock", "P11", Unknown, "nobody was refused", func(s *script) {
			s.lock("a", history.Lock, history.OK)
			s.end(0)
		}},
		{"transactions that all are committed", "P10", Unknown, "no transaction was rolled back", func(s *script) {
			s.transaction("0", "0-0", history.Committing, history.OK)
			s.end(0, "0-0")
		}},
		{"topics that only come", "P14", Unknown, "no topic was deleted", func(s *script) {
			s.put(2, history.OK)
			s.note(history.OK, "x")
			s.notes("x")
			s.get("n1", 2)
			s.end(0)
		}},
		{"nothing is sent again", "P6b", Unknown, "nothing was sent again", func(s *script) {
			s.send("0", "0-0", 0)
			s.again("1", "0-0", history.Fail, 0)
			s.end(0, "0-0")
		}},
		{"an unlock that takes effect twice", "P11", Invalid, "b was given it", func(s *script) {
			s.lock("a", history.Lock, history.OK)
			s.lock("a", history.Unlock, history.Info)
			for range 2 {
				s.lock("a", history.Lock, history.OK)
				s.lock("b", history.Lock, history.OK)
				s.lock("b", history.Unlock, history.OK)
			}
			s.end(0)
		}},
		{"an unlock that was done takes effect again", "P11", Invalid, "b was given it", func(s *script) {
			s.lock("a", history.Lock, history.OK)
			s.lock("a", history.Unlock, history.OK)
			s.lock("a", history.Lock, history.OK)
			s.lock("b", history.Lock, history.OK)
			s.end(0)
		}},
		{"an unlock that certainly was not done takes effect", "P11", Invalid, "b was given it", func(s *script) {
			s.lock("a", history.Lock, history.OK)
			s.lock("a", history.Unlock, history.Fail)
			s.lock("b", history.Lock, history.OK)
			s.end(0)
		}},
		{"an unlock of unknown outcome of somebody else", "P11", Invalid, "b was given it", func(s *script) {
			s.lock("b", history.Unlock, history.Info)
			s.lock("a", history.Lock, history.OK)
			s.lock("b", history.Lock, history.OK)
			s.end(0)
		}},
		{"an unlock of unknown outcome, and the holder may still commit beside another", "P11", Invalid, "a committed there", func(s *script) {
			s.lock("a", history.Lock, history.OK)
			s.lock("a", history.Unlock, history.Info)
			s.lock("a", history.Lock, history.OK)
			s.lock("b", history.Lock, history.OK)
			s.commit("a", history.OK, 1)
			s.end(0, "0-0")
		}},
		{"a commit under another's lock", "P11", Invalid, "b committed there", func(s *script) {
			s.lock("a", history.Lock, history.OK)
			s.commit("b", history.OK, 1)
			s.end(0, "0-0")
		}},
		{"handled out of order", "P11", Invalid, "nobody had handled 0", func(s *script) {
			s.lock("a", history.Lock, history.OK)
			s.deliver("a", 1, "0-1")
			s.end(0, "0-0", "0-1")
		}},
		{"handled out of order, behind a commit that was refused", "P11", Invalid, "nobody had handled 0", func(s *script) {
			s.lock("a", history.Lock, history.OK)
			s.commit("b", history.Fail, 1)
			s.deliver("a", 1, "0-1")
			s.end(0, "0-0", "0-1")
		}},
		{"handled from where a commit may have moved the group", "P11", Valid, "", func(s *script) {
			s.lock("a", history.Lock, history.OK)
			s.lock("b", history.Lock, history.Fail)
			s.commit("b", history.Info, 1)
			s.deliver("a", 1, "0-1")
			s.end(0, "0-0", "0-1")
		}},
		{"handled again after a commit", "P11", Invalid, "though a commit of 1 was acknowledged", func(s *script) {
			s.lock("a", history.Lock, history.OK)
			s.deliver("a", 0, "0-0")
			s.commit("a", history.OK, 1)
			s.lock("a", history.Unlock, history.OK)
			s.lock("b", history.Lock, history.OK)
			s.deliver("b", 0, "0-0")
			s.end(0, "0-0")
		}},

		{"messages that come after their time", "P12", Valid, "", func(s *script) {
			s.delay("a", "1-0", 3e9, history.OK)
			s.delay("a", "2-0", 3e9, history.Info) // it may be stored
			s.delay("a", "3-0", 3e9, history.Info) // or not
			s.delay("a", "4-0", 3e9, history.OK)
			s.recall("4-0", history.Info)
			s.recall("4-0", history.OK)
			s.delay("a", "5-0", 3e9, history.OK)
			s.recall("5-0", history.Info) // whether it comes is not known
			s.delay("a", "6-0", 3e9, history.OK)
			s.later(4e9)
			s.recall("6-0", history.Fail)
			s.deliver("r", 0, "1-0")
			s.end(0, "1-0", "2-0", "6-0")
		}},
		{"a message that comes early", "P12", Invalid, "was to come 30s after", func(s *script) {
			s.delay("a", "1-0", 30e9, history.OK)
			s.deliver("r", 0, "1-0")
			s.later(30e9)
			s.end(0, "1-0")
		}},
		{"a message that comes a second early", "P12", Invalid, "was to come 9s after", func(s *script) {
			s.delay("a", "1-0", 9e9, history.OK)
			s.later(6e9)
			s.deliver("r", 0, "1-0") // 8 s after its invoke
			s.end(0, "1-0")
		}},
		{"a second early, while a node's timers ran fast", "P12", Valid, "came 1s before its time", func(s *script) {
			s.delay("a", "0-0", 3e9, history.OK)
			s.recall("0-0", history.OK)
			s.delay("a", "1-0", 9e9, history.OK)
			s.fault("n1", "timer-rate", 1e9)
			s.undone("n1")
			s.later(4e9)
			s.deliver("r", 0, "1-0")
			s.end(0, "1-0")
		}},
		{"a second early, long after a node's timers ran fast", "P12", Invalid, "was to come 9s after", func(s *script) {
			s.fault("n1", "timer-rate", 1e9)
			s.undone("n1")
			s.later(5e9)
			s.delay("a", "1-0", 9e9, history.OK)
			s.later(6e9)
			s.deliver("r", 0, "1-0")
			s.end(0, "1-0")
		}},
		{"much too early, while a node's timers ran fast", "P12", Invalid, "was to come 30s after", func(s *script) {
			s.delay("a", "1-0", 30e9, history.OK)
			s.fault("n1", "timer-rate", 1e9)
			s.undone("n1")
			s.later(4e9)
			s.deliver("r", 0, "1-0")
			s.end(0, "1-0")
		}},
		{"much too early, while a node's timers ran fast and it was cut off", "P12", Valid, "of 1 messages nobody can say", func(s *script) {
			s.delay("a", "0-0", 3e9, history.OK)
			s.recall("0-0", history.OK)
			s.delay("a", "1-0", 30e9, history.OK)
			s.fault("n2", "isolate", 1e9)
			s.fault("n1", "timer-rate", 1e9)
			s.undone("n2")
			s.undone("n1")
			s.deliver("r", 0, "1-0")
			s.end(0, "1-0")
		}},
		{"a message that waits for ever", "P12", Invalid, "is nowhere", func(s *script) {
			s.delay("a", "1-0", 3e9, history.OK)
			s.later(4e9)
			s.end(0)
		}},
		{"a message that comes twice", "P12", Invalid, "was sent once", func(s *script) {
			s.delay("a", "1-0", 3e9, history.Info)
			s.later(4e9)
			s.end(0, "1-0", "1-0")
		}},
		{"a message that comes after it was taken back", "P12", Invalid, "was taken back", func(s *script) {
			s.delay("a", "1-0", 3e9, history.OK)
			s.recall("1-0", history.OK)
			s.later(4e9)
			s.end(0, "1-0")
		}},
		{"a recall that was too late, and nothing comes", "P12", Invalid, "is nowhere", func(s *script) {
			s.delay("a", "1-0", 3e9, history.Info)
			s.later(4e9)
			s.recall("1-0", history.Fail)
			s.end(0)
		}},
		{"two answers about one recall", "P12", Invalid, "and comes, says", func(s *script) {
			s.delay("a", "1-0", 3e9, history.OK)
			s.recall("1-0", history.OK)
			s.recall("1-0", history.Fail)
			s.later(4e9)
			s.end(0)
		}},

		{"topics that come and go", "P14", Valid, "", func(s *script) {
			s.get("n1", 0)
			s.put(2, history.OK)
			s.get("n2", 2)
			s.note(history.OK, "x")
			s.notes("x")
			s.dropTopic(history.OK)
			s.get("n2", 2) // it has not heard of it
			s.get("n1", 0)
			s.put(3, history.OK)
			s.notes()
			s.get("n2", 2) // nor of this
			s.dropTopic(history.Info)
			s.get("n1", 0)
			s.end(0)
			s.get("n1", 0)
			s.get("n2", 0)
		}},
		{"a topic that a node does not know", "P14", Invalid, "that there is none", func(s *script) {
			s.put(2, history.OK)
			s.get("n2", 0)
			s.end(0)
		}},
		{"a topic that a node does not know, long after a deletion of which nobody knows", "P14", Invalid, "that there is none", func(s *script) {
			s.put(2, history.OK)
			s.dropTopic(history.Info)
			s.later(150e9)
			s.put(2, history.OK)
			s.get("n2", 0)
			s.end(0)
		}},
		{"a message is lost, long after a deletion of which nobody knows", "P14", Invalid, "does not give it", func(s *script) {
			s.put(2, history.OK)
			s.dropTopic(history.Info)
			s.later(150e9)
			s.put(2, history.OK)
			s.note(history.OK, "x")
			s.notes()
			s.end(0)
		}},
		{"a deletion of which nobody knows is done behind a creation", "P14", Valid, "", func(s *script) {
			s.put(2, history.OK)
			s.note(history.OK, "x")
			s.notes("x")
			s.dropTopic(history.OK)
			s.dropTopic(history.Info)
			s.later(60e9)
			s.put(2, history.OK)
			s.note(history.OK, "y")
			s.get("n2", 0)
			s.notes()
			s.end(0)
			s.get("n1", 0)
		}},
		{"a node that has answered a deletion, and does not know of it", "P14", Invalid, "as before", func(s *script) {
			s.put(2, history.OK)
			s.dropTopic(history.OK)
			s.get("n1", 2)
			s.later(1e9)
			s.put(2, history.OK)
			s.end(0)
		}},
		{"a node that has answered a change, long after one of which nobody knows", "P14", Invalid, "as before", func(s *script) {
			s.put(2, history.Info)
			s.later(150e9)
			s.put(3, history.OK)
			s.get("n1", 2)
			s.dropTopic(history.OK)
			s.end(0)
		}},
		{"a node that is started again does not know of a deletion", "P14", Valid, "", func(s *script) {
			s.put(2, history.OK)
			s.dropTopic(history.OK)
			s.add(history.Op{Process: "nemesis", Type: history.Info, F: history.Started, Node: "n1"})
			s.get("n1", 2)
			s.put(2, history.Info)
			s.put(3, history.OK)
			s.get("n1", 2) // what nobody knew is done late
			s.note(history.OK, "x")
			s.notes("x")
			s.dropTopic(history.OK)
			s.end(0)
			s.get("n1", 0)
			s.get("n2", 0)
		}},
		{"a topic as nobody wants it", "P14", Invalid, "nobody has asked for", func(s *script) {
			s.put(2, history.OK)
			s.put(4, history.Fail)
			s.get("n2", 4)
			s.end(0)
		}},
		{"nodes that do not agree at the end", "P14", Invalid, "at the end n1 says", func(s *script) {
			s.put(2, history.OK)
			s.put(3, history.OK)
			s.end(0)
			s.get("n1", 3)
			s.get("n2", 2)
		}},
		{"a message outlives its topic", "P14", Invalid, "gives it again", func(s *script) {
			s.put(2, history.OK)
			s.note(history.OK, "x")
			s.dropTopic(history.OK)
			s.put(2, history.OK)
			s.notes("x")
			s.end(0)
		}},
		{"a message outlives its topic at another node, at the end", "P14", Invalid, "gives it again", func(s *script) {
			s.put(2, history.OK)
			s.note(history.OK, "x")
			s.dropTopic(history.OK)
			s.put(2, history.OK)
			s.end(0)
			s.call(history.Op{Process: "g", F: history.Notes, Topic: "t", Node: "n2"}, history.OK, history.Op{Values: []string{"x"}})
		}},
		{"a message is not known to another node, at the end", "P14", Invalid, "does not give it", func(s *script) {
			s.put(2, history.OK)
			s.dropTopic(history.OK)
			s.put(2, history.OK)
			s.note(history.OK, "x")
			s.end(0)
			s.call(history.Op{Process: "g", F: history.Notes, Topic: "t", Node: "n2"}, history.OK, history.Op{})
		}},
		{"a node does not know yet what became of a topic", "P14", Valid, "", func(s *script) {
			s.put(2, history.OK)
			s.note(history.OK, "x")
			s.dropTopic(history.OK)
			s.put(2, history.OK)
			s.note(history.OK, "y")
			s.get("n1", 2)
			s.call(history.Op{Process: "g", F: history.Notes, Topic: "t", Node: "n2"}, history.OK, history.Op{Values: []string{"x"}})
			s.end(0)
			s.call(history.Op{Process: "g", F: history.Notes, Topic: "t", Node: "n2"}, history.OK, history.Op{Values: []string{"y"}})
		}},
		{"a message that failed", "P14", Invalid, "certainly failed", func(s *script) {
			s.put(2, history.OK)
			s.note(history.Fail, "x")
			s.notes("x")
			s.end(0)
		}},

		{"a node ends when its disk fails", "P20", Valid, "under fsync-error", func(s *script) {
			s.exit("n1", "exit status 70; its log ends: x")
			s.fault("n1", "fsync-error", 2e9)
			s.end(0)
		}},
		{"a simulated node ends when its disk fails", "P20", Valid, "under fsync-stall", func(s *script) {
			s.exit("n1", "exit status 70: write-ahead log: sync: too long; its log ends: x")
			s.fault("n1", "fsync-stall", 2e9)
			s.end(0)
		}},
		{"a node ends with a code that is longer", "P20", Invalid, "ended by itself", func(s *script) {
			s.exit("n1", "exit status 700; its log ends: x")
			s.fault("n1", "fsync-stall", 2e9)
			s.end(0)
		}},
		{"a node sees that its write-ahead log is damaged", "P20", Valid, "under flip-wal", func(s *script) {
			s.fault("n1", "flip-wal", 2e9)
			s.exit("n1", "exit status 71; its log ends: x")
			s.end(0)
		}},
		{"a node ends when its disk is full", "P20", Invalid, "ended by itself", func(s *script) {
			s.exit("n1", "exit status 70; its log ends: x")
			s.fault("n1", "disk-full", 2e9)
			s.end(0)
		}},
		{"a node ends when another's disk fails", "P20", Invalid, "ended by itself", func(s *script) {
			s.exit("n1", "exit status 70; its log ends: x")
			s.fault("n2", "fsync-error", 2e9)
			s.end(0)
		}},
		{"a node panics when its disk fails", "P20", Invalid, "ended by itself", func(s *script) {
			s.exit("n1", "exit status 2; its log ends: x")
			s.fault("n1", "fsync-error", 2e9)
			s.end(0)
		}},
		{"a node ends before its disk fails", "P20", Invalid, "ended by itself", func(s *script) {
			s.exit("n1", "exit status 70; its log ends: x")
			s.end(0)
			s.fault("n1", "fsync-error", 1e9)
		}},
		{"a node ends when a bit of its messages changes", "P20", Invalid, "ended by itself", func(s *script) {
			s.exit("n1", "exit status 70; its log ends: x")
			s.fault("n1", "flip-live", 2e9)
			s.end(0)
		}},
		{"a node ends when it cannot read its messages", "P20", Invalid, "ended by itself", func(s *script) {
			s.exit("n1", "exit status 70; its log ends: x")
			s.fault("n1", "read-error", 2e9)
			s.end(0)
		}},
		{"a node takes a sync that hangs for damage", "P20", Invalid, "ended by itself", func(s *script) {
			s.exit("n1", "exit status 71; its log ends: x")
			s.fault("n1", "fsync-stall", 2e9)
			s.end(0)
		}},
		{"a node ends when it is stopped", "P20", Invalid, "ended by itself", func(s *script) {
			s.exit("n1", "exit status 70; its log ends: x")
			s.fault("n1", "pause", 2e9)
			s.end(0)
		}},

		{"transactions that share their fate", "P10", Valid, "", func(s *script) {
			s.transaction("0", "0-0", history.Committing, history.OK)
			s.transaction("1", "1-0", history.RollingBack, history.OK)
			s.transaction("2", "2-0", history.Committing, history.Info)
			s.add(history.Op{Process: "d", Type: history.Info, F: history.Asked, Values: []string{"2-0"}})
			s.transaction("3", "3-0", "", "")
			s.add(history.Op{Process: "c", Type: history.Info, F: history.Asked, Values: []string{"3-0"}})
			s.decide("c", "3-0", history.Committing, history.Info)
			s.read(0, "0-0")
			s.end(0, "0-0", "3-0")
		}},
		{"a producer is asked about what nobody has sent", "P10", Invalid, "which nobody has sent", func(s *script) {
			s.transaction("0", "0-0", history.Committing, history.OK)
			s.add(history.Op{Process: "c", Type: history.Info, F: history.Asked, Values: []string{"!9 bytes, first 00"}})
			s.end(0, "0-0")
		}},
		{"a producer is asked at once", "P10", Invalid, "before 2s had gone by", func(s *script) {
			s.add(history.Op{Process: "0", Type: history.Invoke, F: history.Send, Values: []string{"0-0"}})
			s.add(history.Op{Process: "d", Type: history.Info, F: history.Asked, Values: []string{"0-0"}})
			s.end(0)
		}},
		{"a producer is asked too early, while a node's timers ran fast", "P10", Unknown, "no transaction was committed", func(s *script) {
			s.fault("n1", "timer-rate", 1e9)
			s.undone("n1")
			s.add(history.Op{Process: "0", Type: history.Invoke, F: history.Send, Values: []string{"0-0"}})
			s.add(history.Op{Process: "d", Type: history.Info, F: history.Asked, Values: []string{"0-0"}})
			s.fault("n2", "timer-rate", 1e9)
			s.fault("n3", "isolate", 1e9)
			s.add(history.Op{Process: "1", Type: history.Invoke, F: history.Send, Values: []string{"1-0"}})
			s.add(history.Op{Process: "d", Type: history.Info, F: history.Asked, Values: []string{"1-0"}})
			s.end(0)
		}},
		{"what producers answer is never heard", "P10", Invalid, "5 times since the last fault", func(s *script) {
			s.transaction("3", "3-0", "", "")
			for range mostAnswers + 1 {
				s.add(history.Op{Process: "c", Type: history.Info, F: history.Asked, Values: []string{"3-0"}})
				s.decide("c", "3-0", history.RollingBack, history.Info)
			}
			s.end(0)
		}},
		{"a producer is asked for ever about what it has committed", "P10", Invalid, "5 times since the last fault", func(s *script) {
			s.transaction("3", "3-0", history.Committing, history.OK)
			for range mostAnswers {
				s.add(history.Op{Process: "c", Type: history.Info, F: history.Asked, Values: []string{"3-0"}})
				s.decide("c", "3-0", history.Committing, history.Info)
			}
			s.end(0, "3-0")
		}},
		{"what a producer has committed, when it was asked, is lost", "P10", Invalid, "nobody was asked about it in the last", func(s *script) {
			s.transaction("3", "3-0", "", "")
			s.add(history.Op{Process: "c", Type: history.Info, F: history.Asked, Values: []string{"3-0"}})
			s.decide("c", "3-0", history.Committing, history.Info)
			s.fault("n1", "kill", 1e9)
			s.undone("n1")
			s.later(25e9)
			s.end(0)
		}},
		{"answers of producers are lost under faults, and at last one is heard", "P10", Valid, "", func(s *script) {
			s.transaction("0", "0-0", history.Committing, history.OK)
			s.transaction("1", "1-0", history.RollingBack, history.OK)
			s.transaction("3", "3-0", "", "")
			for range 2 * mostAnswers {
				s.add(history.Op{Process: "c", Type: history.Info, F: history.Asked, Values: []string{"3-0"}})
				s.decide("c", "3-0", history.Committing, history.Info)
			}
			s.fault("n1", "kill", 1e9)
			s.undone("n1")
			for range mostAnswers {
				s.add(history.Op{Process: "c", Type: history.Info, F: history.Asked, Values: []string{"3-0"}})
				s.decide("c", "3-0", history.Committing, history.Info)
			}
			s.read(0, "0-0")
			s.end(0, "0-0", "3-0")
		}},
		{"what was to be committed is asked about until the end", "P10", Valid, "", func(s *script) {
			s.transaction("0", "0-0", history.Committing, history.OK)
			s.transaction("1", "1-0", history.RollingBack, history.OK)
			s.transaction("3", "3-0", "", "")
			s.add(history.Op{Process: "c", Type: history.Info, F: history.Asked, Values: []string{"3-0"}})
			s.decide("c", "3-0", history.Committing, history.Info)
			s.later(30e9)
			s.add(history.Op{Process: "c", Type: history.Info, F: history.Asked, Values: []string{"3-0"}})
			s.read(0, "0-0")
			s.end(0, "0-0")
		}},
		{"a run breaks off before producers are asked", "P10", Unknown, "not read to their ends", func(s *script) {
			s.transaction("0", "0-0", history.Committing, history.OK)
			s.transaction("1", "1-0", history.RollingBack, history.OK)
			s.transaction("3", "3-0", "", "")
			s.read(0, "0-0")
		}},
		{"a run breaks off while answers of producers are lost", "P10", Unknown, "not read to their ends", func(s *script) {
			s.transaction("0", "0-0", history.Committing, history.OK)
			s.transaction("1", "1-0", history.RollingBack, history.OK)
			s.transaction("3", "3-0", "", "")
			for range mostAnswers + 1 {
				s.add(history.Op{Process: "c", Type: history.Info, F: history.Asked, Values: []string{"3-0"}})
				s.decide("c", "3-0", history.RollingBack, history.Info)
			}
			s.read(0, "0-0")
		}},
		{"nobody would have seen a transaction's message too early", "P10", Unknown, "nobody read", func(s *script) {
			s.transaction("0", "0-0", history.Committing, history.OK)
			s.transaction("1", "1-0", history.RollingBack, history.OK)
			s.transaction("3", "3-0", "", "")
			s.add(history.Op{Process: "c", Type: history.Info, F: history.Asked, Values: []string{"3-0"}})
			s.end(0, "0-0")
		}},
		{"nobody would have been given a message too early", "P12", Unknown, "of 1 messages that came 0 were given", func(s *script) {
			s.delay("a", "0-0", 3e9, history.OK)
			s.recall("0-0", history.OK)
			s.delay("a", "1-0", 3e9, history.OK)
			s.later(4e9)
			s.end(0, "1-0")
		}},
		{"no offset was ever told", "P8", Unknown, "above 0", func(s *script) {
			s.told(-1)
			s.told(0)
			s.end(0, "0-0")
		}},
		{"no batch was acknowledged", "P15", Unknown, "no batch was acknowledged", func(s *script) {
			s.call(history.Op{Process: "0", F: history.Send, Values: []string{"0-0", "0-1"}}, history.Info, history.Op{})
			s.end(0)
		}},
		{"ends alone", "P17", Unknown, "nobody read to an end", func(s *script) {
			s.send("0", "0-0", 0)
			s.bounds(0, 1)
			s.end(0, "0-0")
		}},
		{"nobody reads what is trimmed", "P19", Unknown, "nobody read", func(s *script) {
			s.bounds(1, 3)
			s.end(1, "0-1", "0-2")
		}},
		{"a rolled back message is there", "P10", Invalid, "is rolled back", func(s *script) {
			s.transaction("1", "1-0", history.RollingBack, history.OK)
			s.decide("c", "1-0", history.Committing, history.Info)
			s.end(0, "1-0")
		}},
		{"a message is there that nobody committed", "P10", Invalid, "nobody committed", func(s *script) {
			s.transaction("3", "3-0", "", "")
			s.add(history.Op{Process: "c", Type: history.Info, F: history.Asked, Values: []string{"3-0"}})
			s.end(0, "3-0")
		}},
		{"a committed message is nowhere", "P10", Invalid, "is nowhere", func(s *script) {
			s.transaction("0", "0-0", history.Committing, history.OK)
			s.end(0)
		}},
		{"two fates", "P10", Invalid, "was answered that it is", func(s *script) {
			s.transaction("0", "0-0", history.Committing, history.OK)
			s.decide("c", "0-0", history.RollingBack, history.OK)
			s.end(0, "0-0")
		}},
		{"nobody was asked", "P10", Invalid, "nobody was asked", func(s *script) {
			s.transaction("3", "3-0", "", "")
			s.end(0)
		}},

		{"what is below a floor", "P1", Valid, "1 acknowledged values are below", func(s *script) {
			s.ops[0].Run.Trims = []string{"q"}
			s.send("0", "0-0", 0)
			s.send("0", "0-1", 1)
			s.end(1, "0-1")
		}},
		{"a floor where nothing goes", "P1", Invalid, "has nothing there", func(s *script) {
			s.send("0", "0-0", 0)
			s.send("0", "0-1", 1)
			s.end(1, "0-1")
		}},
		{"leaders of their own terms", "terms", Valid, "", func(s *script) {
			s.leads("n1", 1, 2)
			s.leads("n1", 2, 2)
			s.leads("n1", 1, 2) // read again
			s.leads("n2", 1, 3)
			s.end(0)
		}},
		{"two leaders in one term", "terms", Invalid, "in the same term", func(s *script) {
			s.leads("n1", 1, 2)
			s.leads("n2", 1, 2)
			s.end(0)
		}},

		{"replicas that differed, and were made alike", "P16", Invalid, "n1 said at", func(s *script) {
			s.tells("n1", "error: n1: replicas of a partition differ: partition=7 topic=t entry=5")
			s.end(0)
		}},
		{"a catalogue that differed, and was replaced", "P16", Invalid, "n1 said at", func(s *script) {
			s.tells("n1", "error: n1: replicas of the catalogue differ: entry=5")
			s.end(0)
		}},
		{"a replica that a fault has damaged, and that was repaired", "P16", Valid, "", func(s *script) {
			s.tells("n1", `quarantine files=["1.log"] reason="damaged: 1.log at 7"`)
			s.fault("n1", "flip-live", 3e9)
			s.tells("n1", `repaired topic="t"`)
			s.tells("n1", `write-ahead log damaged error="x"`)
			s.end(0)
		}},
		{"a replica that nothing has damaged, and that was repaired", "P16", Invalid, "nothing had damaged them", func(s *script) {
			s.fault("n2", "flip", 1e9)
			s.fault("n1", "power", 1e9)
			s.tells("n1", `quarantine files=["1.log"] reason="damaged: 1.log at 7"`)
			s.tells("n1", `repaired topic="t"`)
			s.end(0)
		}},
		{"a write-ahead log that is damaged before anything damages it", "P16", Invalid, "nothing had damaged them", func(s *script) {
			s.tells("n1", `write-ahead log damaged error="x"`)
			s.later(5e9)
			s.fault("n1", "flip-wal", 1e9)
			s.end(0)
		}},

		{"disks that have what was given", "disk", Valid, "", func(s *script) {
			s.send("0", "0-0", 0)
			s.call(history.Op{Process: "1", F: history.Send, Values: []string{"1-0"}}, history.Info, history.Op{})
			s.end(1, "1-0")
			s.disk(history.OK, 0, "0-0", "1-0") // what is below the floor is not gone yet
		}},
		{"a disk that lacks what was given", "disk", Invalid, "has nothing there on its disk", func(s *script) {
			s.end(0, "0-0", "0-1")
			s.disk(history.OK, 0, "0-0")
		}},
		{"a disk that has something else", "disk", Invalid, "has 0-9 there on its disk", func(s *script) {
			s.end(0, "0-0")
			s.disk(history.OK, 0, "0-9")
		}},
		{"a disk that has more", "disk", Invalid, "did not give it", func(s *script) {
			s.end(0, "0-0")
			s.disk(history.OK, 0, "0-0", "0-1")
		}},
		{"a disk that was not read", "disk", Unknown, "was not read", func(s *script) {
			s.end(0, "0-0")
			s.disk(history.Info, 0, "0-0")
		}},

		{"a queue that is trimmed", "P19", Valid, "", func(s *script) {
			s.bounds(0, 3)
			s.look(0, history.OK, &history.Range{End: 3}, "0-0", "0-1", "0-2")
			s.bounds(2, 3)
			s.look(1, history.Fail, &history.Range{Min: 2})
			s.look(2, history.OK, &history.Range{End: 3}, "0-2")
			s.end(2, "0-2")
		}},
		{"nothing is trimmed", "P19", Unknown, "nothing was trimmed", func(s *script) {
			s.bounds(0, 3)
			s.end(0, "0-0", "0-1", "0-2")
		}},
		{"a queue's beginning is past its end", "P19", Invalid, "and then that it ends at 3", func(s *script) {
			s.bounds(5, 3)
			s.end(5, "0-5")
		}},
		{"a queue's beginning goes back", "P19", Invalid, "it begins at 1", func(s *script) {
			s.bounds(2, 3)
			s.bounds(1, 3)
			s.end(2, "0-2")
		}},
		{"a queue's beginning is lower at the end", "P19", Invalid, "and at 1 at the end", func(s *script) {
			s.bounds(2, 3)
			s.end(1, "0-1", "0-2")
		}},
		{"what is kept is not served", "P19", Invalid, "is not kept any more", func(s *script) {
			s.bounds(1, 3)
			s.look(2, history.Fail, &history.Range{Min: 3})
			s.end(1, "0-1", "0-2")
		}},

		{"who reads below a beginning is never told where it is", "P19", Unknown, "of 10 reads below a beginning none was told", func(s *script) {
			s.bounds(2, 3)
			for range mostUntold {
				s.look(1, history.Fail, nil)
			}
			s.look(2, history.OK, &history.Range{End: 3}, "0-2")
			s.end(2, "0-2")
		}},
		{"who reads below a beginning is told where it is at last", "P19", Valid, "", func(s *script) {
			s.bounds(2, 3)
			for range mostUntold {
				s.look(1, history.Fail, nil)
			}
			s.look(1, history.Fail, &history.Range{Min: 2})
			s.look(2, history.OK, &history.Range{End: 3}, "0-2")
			s.end(2, "0-2")
		}},
		{"as many bytes as are to be kept", "P19", Valid, "", func(s *script) {
			s.ops[0].Run.Keeps = map[string]int64{"t": 1000}
			s.bounds(2, 3)
			s.look(2, history.OK, &history.Range{End: 3}, "0-2")
			s.kept("t", 5000, 6000)
			s.kept("u", 5000, 5001)
			s.end(2, "0-2")
		}},
		{"fewer bytes than are to be kept", "P19", Invalid, "of which 1000 are to be kept", func(s *script) {
			s.ops[0].Run.Keeps = map[string]int64{"t": 1000}
			s.bounds(2, 3)
			s.look(2, history.OK, &history.Range{End: 3}, "0-2")
			s.kept("t", 5000, 5999)
			s.end(2, "0-2")
		}},

		{"a message that was stored twice, and is gone", "P6", Invalid, "was sent once", func(s *script) {
			s.ops[0].Run.Trims = []string{"q"}
			s.send("0", "0-0", 0)
			s.read(0, "0-0")
			s.look(1, history.OK, &history.Range{End: 2}, "0-0")
			s.end(2, "0-2")
		}},
		{"a message that was stored twice, and is there once", "P6", Invalid, "was sent once", func(s *script) {
			s.ops[0].Run.Trims = []string{"q"}
			s.send("0", "0-0", 1)
			s.read(0, "0-0")
			s.end(1, "0-0")
		}},
		{"a message that is read again, and is gone", "P6", Valid, "", func(s *script) {
			s.ops[0].Run.Trims = []string{"q"}
			s.send("0", "0-0", 0)
			s.read(0, "0-0")
			s.look(0, history.OK, &history.Range{End: 1}, "0-0")
			s.end(1)
		}},
		{"what was read is in no place at the end", "P3", Invalid, "and the queue ends at 1", func(s *script) {
			s.send("0", "0-0", 0)
			s.call(history.Op{Process: "1", F: history.Send, Values: []string{"1-0"}}, history.Info, history.Op{})
			s.read(0, "0-0", "1-0") // the send was undone then
			s.end(0, "0-0")
		}},
		{"a send that failed, and failed again, is there", "P2", Invalid, "certainly failed", func(s *script) {
			s.call(history.Op{Process: "0", F: history.Send, Values: []string{"0-0"}}, history.Fail, history.Op{})
			s.again("1", "0-0", history.Fail, 0)
			s.end(0, "0-0")
		}},
		{"a send that failed, and may have been stored when it was sent again", "P2", Valid, "", func(s *script) {
			s.call(history.Op{Process: "0", F: history.Send, Values: []string{"0-0"}}, history.Fail, history.Op{})
			s.again("1", "0-0", history.Fail, 0)
			s.again("1", "0-0", history.Info, 0)
			s.end(0, "0-0")
		}},
		{"an end that never was", "P17", Invalid, "at the end it ends at 1", func(s *script) {
			s.send("0", "0-0", 0)
			s.bounds(0, 3)
			s.end(0, "0-0")
		}},
		{"a commit past the end, which is filled later", "P8", Invalid, "was sent later", func(s *script) {
			s.send("0", "0-0", 0)
			s.commit("a", history.OK, 2)
			s.send("0", "0-1", 1)
			s.end(0, "0-0", "0-1")
		}},
		{"a commit of what was sent before", "P8", Valid, "", func(s *script) {
			s.send("0", "0-0", 0)
			s.commit("a", history.OK, 1)
			s.told(1)
			s.send("0", "0-1", 1)
			s.end(0, "0-0", "0-1")
		}},
		{"a reader that is not given the first", "P7", Invalid, "offset 1 of q first", func(s *script) {
			s.send("0", "0-0", 0)
			s.send("0", "0-1", 1)
			s.read(1, "0-1")
			s.end(0, "0-0", "0-1")
		}},
		{"a reader that is given the first of what is kept", "P7", Valid, "", func(s *script) {
			s.ops[0].Run.Trims = []string{"q"}
			s.send("0", "0-0", 0)
			s.send("0", "0-1", 1)
			s.read(1, "0-1")
			s.end(1, "0-1")
		}},
		{"a reader that is given nothing of one queue", "P7", Unknown, "less than half", func(s *script) {
			s.ops[0].Run.Queues = []string{"q/0", "q/1"}
			for i := range int64(4) {
				s.call(history.Op{Process: "0", F: history.Send, Values: []string{fmt.Sprint("0-", i)}}, history.OK, history.Op{Places: []history.Place{{Queue: "q/0", Offset: i}}})
			}
			s.call(history.Op{Process: "0", F: history.Send, Values: []string{"0-4"}}, history.OK, history.Op{Places: []history.Place{{Queue: "q/1", Offset: 0}}})
			var ms []history.Message
			for i := range int64(4) {
				ms = append(ms, history.Message{Queue: "q/0", Offset: i, Value: fmt.Sprint("0-", i)})
			}
			s.call(history.Op{Process: "reader", F: history.Read}, history.OK, history.Op{Messages: ms})
		}},
		{"a reader that is given nothing at all, beside one that is", "P7", Unknown, "a reader was given nothing", func(s *script) {
			s.call(history.Op{Process: "batch-reader", F: history.Read}, history.OK, history.Op{})
			s.send("0", "0-0", 0)
			s.read(0, "0-0")
			s.end(0, "0-0")
		}},
		{"a node that says nothing of a topic at the end", "P14", Unknown, "n1 did not say whether there is topic t", func(s *script) {
			s.put(2, history.OK)
			s.note(history.OK, "x")
			s.notes("x")
			s.dropTopic(history.OK)
			s.get("n1", 0)
			s.end(0)
			s.call(history.Op{Process: "g", F: history.GetTopic, Topic: "t", Node: "n1"}, history.Fail, history.Op{})
		}},
		{"a node that says something of a topic at last", "P14", Valid, "", func(s *script) {
			s.put(2, history.OK)
			s.note(history.OK, "x")
			s.notes("x")
			s.dropTopic(history.OK)
			s.end(0)
			s.call(history.Op{Process: "g", F: history.GetTopic, Topic: "t", Node: "n1"}, history.Fail, history.Op{})
			s.get("n1", 0)
		}},
		{"a topic that was deleted is there at the end", "P14", Invalid, "which was changed since", func(s *script) {
			s.put(2, history.OK)
			s.dropTopic(history.OK)
			s.end(0)
			s.get("n1", 2)
			s.get("n2", 2)
		}},
		{"a topic's change is forgotten", "P14", Invalid, "which was changed since", func(s *script) {
			s.put(2, history.OK)
			s.put(3, history.OK)
			s.end(0)
			s.get("n1", 2)
			s.get("n2", 2)
		}},
		{"a topic that may have been changed back", "P14", Valid, "", func(s *script) {
			s.put(2, history.Info)
			s.get("n1", 2)
			s.note(history.OK, "x")
			s.notes("x")
			s.dropTopic(history.OK)
			s.put(3, history.OK)
			s.end(0)
			s.get("n1", 2) // the first was done last
			s.get("n2", 2)
		}},
		{"a message is lost before its topic", "P14", Invalid, "does not give it", func(s *script) {
			s.put(2, history.OK)
			s.note(history.OK, "x")
			s.dropTopic(history.OK)
			s.put(2, history.OK)
			s.note(history.OK, "y")
			s.note(history.OK, "z")
			s.notes("z")
			s.end(0)
		}},
		{"messages of a topic that may be deleted", "P14", Valid, "", func(s *script) {
			s.put(2, history.OK)
			s.note(history.OK, "x")
			s.notes("x")
			s.dropTopic(history.OK)
			s.put(2, history.OK)
			s.note(history.OK, "y")
			s.dropTopic(history.Info)
			s.notes()
			s.get("n1", 2)
			s.end(0)
		}},
		{"what is kept is said to be gone", "P17", Invalid, "is not kept any more", func(s *script) {
			s.send("0", "0-0", 0)
			s.send("0", "0-1", 1)
			s.bounds(0, 2)
			s.look(0, history.Fail, &history.Range{Min: 1})
			s.end(0, "0-0", "0-1")
		}},
		{"nothing is handled under the locks", "P11", Unknown, "nothing was handled under a lock", func(s *script) {
			s.lock("a", history.Lock, history.OK)
			s.lock("b", history.Lock, history.Fail)
			s.end(0)
		}},
		{"a message that is read before it is committed", "P10", Invalid, "before anybody committed it", func(s *script) {
			s.add(history.Op{Process: "0", Type: history.Invoke, F: history.Send, Values: []string{"0-0"}})
			s.add(history.Op{Process: "l", Type: history.Info, F: history.Prepared, Values: []string{"0-0"}})
			s.read(0, "0-0")
			s.decide("l", "0-0", history.Committing, history.OK)
			s.add(history.Op{Process: "0", Type: history.OK, F: history.Send, Places: []history.Place{{Queue: "q", Offset: 0}}})
			s.end(0, "0-0")
		}},
		{"a rolled back message is read", "P10", Invalid, "is rolled back", func(s *script) {
			s.transaction("1", "1-0", history.RollingBack, history.OK)
			s.decide("c", "1-0", history.Committing, history.Info)
			s.read(0, "1-0")
			s.end(0)
		}},
		{"nobody is asked about what may be decided, and is not", "P10", Invalid, "nobody was asked", func(s *script) {
			s.transaction("2", "2-0", history.Committing, history.Info)
			s.end(0)
		}},
		{"a transaction that waits for nothing and is nowhere", "P10", Invalid, "waits for no decision", func(s *script) {
			s.transaction("2", "2-0", history.Committing, history.Info)
			s.add(history.Op{Process: "c", Type: history.Info, F: history.Asked, Values: []string{"2-0"}})
			s.decide("c", "2-0", history.Committing, history.Info)
			s.add(history.Op{Process: "run", Type: history.OK, F: history.Settled, Topic: "t"})
			s.end(0)
		}},
		{"a disk that has two in one place", "disk", Invalid, "has 0-9 there too", func(s *script) {
			s.end(0, "0-0")
			s.disk(history.Info, 0, "0-9")
			s.disk(history.OK, 0, "0-0")
		}},
	} {
		t.Run(x.name, func(t *testing.T) {
			s := newScript(x.id)
			x.tell(s)
			rep, err := History(s.ops)
			require.NoError(t, err)
			r := result(t, rep, x.id)
			require.Equal(t, x.want, r.Verdict, "%v", r)
			said := strings.Join(r.Notes, "\n")
			for _, v := range r.Violations {
				require.True(t, slices.IsSortedFunc(v.Ops, func(a, b history.Op) int { return int(a.Index - b.Index) }))
				said += v.Text + "\n"
			}
			require.Contains(t, said, x.says)
		})
	}
}

func TestARunThatIsToProveWhatIsNoPropertyIsNotJudged(t *testing.T) {
	_, err := History(newScript("P999").ops)
	require.ErrorContains(t, err, "P999, which is no property")
}
