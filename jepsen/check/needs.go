package check

import (
	"slices"
	"strings"

	"raftmq/jepsen/history"
)

// need is what a run must have had at least once for a property to mean something.
type need struct {
	says string
	met  func(f *facts) bool
}

// needs are those of the properties that have such; the others count what they compare, or
// say themselves what is missing.
var needs = map[string][]need{
	"P6b": {{"nothing was sent again", some(history.Resend, history.OK)}},
	"P7":  {{"readers were given less than half of what was acknowledged in a queue of a topic that they read", readMuch}, {"a reader was given nothing", readersGiven}},
	"P8":  {{"nobody was told an offset above 0", toldOffset}},
	"P8r": {{"nothing was committed", some(history.Commit, history.OK)}, {"nobody asked for an offset", some(history.Committed, history.OK)}},
	"P10": {{"no transaction was committed", decided(history.Committing)}, {"no transaction was rolled back", decided(history.RollingBack)}, {"nobody was asked", asks}, {"nobody read a transaction's message before the end", readTransaction}},
	"P11": {{"no lock was given", some(history.Lock, history.OK)}, {"nobody was refused", refused}, {"nothing was handled under a lock", handledLocked}},
	"P14": {{"no topic was created", some(history.PutTopic, history.OK)}, {"no topic was deleted", some(history.DropTopic, history.OK)},
		{"nobody asked for a topic", some(history.GetTopic, history.OK)}, {"no topic was seen with messages", noted}},
	"P15": {{"no batch was acknowledged", batchStored}},
	"P17": {{"nobody was told an end", some(history.End, history.OK)}, {"nobody read to an end", some(history.Look, history.OK)}},
	"P19": {{"nobody read", some(history.Look, history.OK)}},
}

func some(what string, t history.Type) func(f *facts) bool {
	return func(f *facts) bool {
		for _, a := range f.asked[what] {
			if a.is(t) {
				return true
			}
		}
		return false
	}
}

func decided(fate string) func(f *facts) bool {
	return func(f *facts) bool {
		for _, a := range f.asked[history.Decide] {
			if a.is(history.OK) && a.invoke.Fate == fate {
				return true
			}
		}
		return false
	}
}

func asks(f *facts) bool {
	for i := range f.ops {
		if f.ops[i].F == history.Asked {
			return true
		}
	}
	return false
}

func refused(f *facts) bool {
	return some(history.Lock, history.Fail)(f) || some(history.Commit, history.Fail)(f)
}

// handledLocked reports whether a process handled something of a queue that it has been given.
func handledLocked(f *facts) bool {
	given := make(map[string]bool)
	for i := range f.ops {
		switch op := &f.ops[i]; {
		case op.F == history.Lock && op.Type == history.OK:
			given[op.Group+" "+op.Queue+" "+op.Process] = true
		case op.F == history.Deliver && op.Type == history.OK:
			for _, m := range op.Messages {
				if given[op.Group+" "+m.Queue+" "+op.Process] {
					return true
				}
			}
		}
	}
	return false
}

// toldOffset reports whether a group that had one was asked about.
func toldOffset(f *facts) bool {
	for _, a := range f.asked[history.Committed] {
		if a.is(history.OK) && slices.ContainsFunc(a.outcome.Messages, func(m history.Message) bool { return m.Offset > 0 }) {
			return true
		}
	}
	return false
}

func batchStored(f *facts) bool {
	return slices.ContainsFunc(f.sends, func(s *send) bool { return len(s.values) > 1 && s.is(history.OK) })
}

// readTransaction reports whether somebody who read would have been given a transaction's
// message too early.
func readTransaction(f *facts) bool {
	prepared := make(map[string]bool)
	for i := range f.ops {
		switch op := &f.ops[i]; op.F {
		case history.Prepared:
			prepared[op.Values[0]] = true
		case history.Read, history.Deliver, history.Look:
			if slices.ContainsFunc(op.Messages, func(m history.Message) bool { return prepared[m.Value] }) {
				return true
			}
		}
	}
	return false
}

func noted(f *facts) bool {
	for _, a := range f.asked[history.Notes] {
		if a.is(history.OK) && len(a.outcome.Values) > 0 {
			return true
		}
	}
	return false
}

// readersGiven reports whether each reader was given something: of one that was not, nobody knows which topic it read.
func readersGiven(f *facts) bool {
	given := make(map[string]bool)
	for i := range f.ops {
		if op := &f.ops[i]; op.F == history.Read {
			given[op.Process] = given[op.Process] || len(op.Messages) > 0
		}
	}
	for _, some := range given {
		if !some {
			return false
		}
	}
	return true
}

// readMuch compares, in each queue of the topics of which readers were given something, what
// they were given with what was acknowledged.
func readMuch(f *facts) bool {
	topic := func(queue string) string { return queue[:strings.LastIndexByte(queue, '/')+1] }
	topics := make(map[string]bool) // that were read
	read, sent := make(map[string]int), make(map[string]int)
	for i := range f.ops {
		if op := &f.ops[i]; op.F == history.Read {
			for _, m := range op.Messages {
				topics[topic(m.Queue)] = true
				read[m.Queue]++
			}
		}
	}
	for _, s := range f.sends {
		if s.is(history.OK) {
			for _, p := range s.outcome.Places {
				sent[p.Queue]++
			}
		}
	}
	for q, n := range sent {
		if topics[topic(q)] && 2*read[q] < n {
			return false
		}
	}
	return true
}
