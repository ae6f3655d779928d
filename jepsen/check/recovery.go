package check

import (
	"fmt"
	"slices"
	"strings"

	"raftmq/jepsen/history"
)

// Exit codes with which a node may end when its disk fails or has lost what it needs, and
// for how long after such a fault, in ns.
var diskExits = []string{"exit status 70", "exit status 71"}

const diskExitWithin = 15e9

// diskFaults are the faults after which it may. A full disk is none: who has no room waits.
var diskFaults = []string{"fsync-error", "write-error", "read-error", "fsync-stall", "fsync-hang", "flip", "flip-live", "flip-then-lead", "flip-wal", "flip-catalogue", "damaged-minority", "wiped-minority", "stall-cut", "failed-sync-power", "descriptors"}

// recovery: after the last fault all nodes were ready and alike, groups came to
// the end, no node had ended by itself, unless its disk failed and it said so by its exit
// code, and all stopped cleanly when told to.
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
			if cause := f.diskFault(op); cause != nil {
				r.note("%s ended by itself at %s, under %s: %s", op.Node, at(op), cause.Fault.Kind, op.Error)
				continue
			}
			r.violate(fmt.Sprintf("%s ended by itself at %s: %s.", op.Node, at(op), op.Error), op)
		case op.F == history.Stopped && op.Type != history.OK:
			r.violate(fmt.Sprintf("nodes did not stop cleanly: %s.", op.Error), op)
		}
	}
	if !healed {
		r.doubt("the history ends before the cluster was whole again")
	}
}

// diskFault is the fault of its disk for which a node may have ended; nil: there is none,
// or its exit code says something else.
func (f *facts) diskFault(exit *history.Op) *history.Op {
	if !slices.ContainsFunc(diskExits, func(code string) bool { return strings.HasPrefix(exit.Error, code+";") }) {
		return nil
	}
	for i := range f.ops {
		op := &f.ops[i]
		if op.F != history.Fault || op.Fault == nil || op.Node != exit.Node || !slices.Contains(diskFaults, op.Fault.Kind) {
			continue
		}
		if begun := op.Time - op.Fault.Lasted; begun <= exit.Time && exit.Time <= op.Time+diskExitWithin {
			return op
		}
	}
	return nil
}
