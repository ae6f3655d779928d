package check

import (
	"fmt"

	"raftmq/jepsen/history"
)

// recovery: after the last fault all nodes were ready and alike, groups came to
// the end, no node had ended by itself, and all stopped cleanly when told to.
func recovery(f *facts, r *Result) {
	healed := false
	for i := range f.ops {
		op := &f.ops[i]
		switch {
		case op.F == history.Healed:
			r.Checked++
			healed = true
			if op.Type != history.OK {
				r.violate(fmt.Sprintf("the cluster did not recover: %s.", op.Error), op)
			}
		case op.F == history.Drained && op.Type != history.OK:
			r.violate(fmt.Sprintf("group %s did not come to the end: %s.", op.Group, op.Error), op)
		case op.F == history.Fault && op.Fault != nil && op.Fault.Kind == "exit":
			r.violate(fmt.Sprintf("%s ended by itself at %s: %s.", op.Node, at(op), op.Error), op)
		case op.F == history.Stopped && op.Type != history.OK:
			r.violate(fmt.Sprintf("nodes did not stop cleanly: %s.", op.Error), op)
		}
	}
	if !healed {
		r.doubt("the history ends before the cluster was whole again")
	}
}
