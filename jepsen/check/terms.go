package check

import (
	"fmt"
	"strconv"
	"strings"

	"raftmq/jepsen/history"
)

// terms: of each partition's terms at most one node tells that it led in it. What a node
// did not tell, since it was killed before, is not missed.
func terms(f *facts, r *Result) {
	type term struct{ partition, term uint64 }
	led := make(map[term]*history.Op)
	for i := range f.ops {
		op := &f.ops[i]
		if op.F != history.Event || op.Event == nil {
			continue
		}
		n, leads := leads(op.Event.What)
		if !leads {
			continue
		}
		r.Checked++
		t := term{op.Event.Partition, n}
		switch other := led[t]; {
		case other == nil:
			led[t] = op
		case other.Node != op.Node:
			r.violate(fmt.Sprintf("%s led partition %d in term %d, says its event at %s, and %s in the same term, says its event at %s.", other.Node, t.partition, t.term, at(other), op.Node, at(op)), other, op)
		}
	}
}

// leads reads the event of one that began to lead.
func leads(what string) (term uint64, ok bool) {
	rest, ok := strings.CutPrefix(what, "leadership lead=true term=")
	if !ok {
		return 0, false
	}
	term, err := strconv.ParseUint(rest, 10, 64)
	return term, err == nil
}
