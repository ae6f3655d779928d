package check

import (
	"fmt"
	"slices"
	"strings"

	"raftmq/jepsen/history"
)

// Exit codes: a disk failed, or what a node may not go on without is damaged.
const (
	exitDisk    = "exit status 70"
	exitDamaged = "exit status 71"
)

// diskExitWithin is for how long after such a fault a node may end for it, in ns.
const diskExitWithin = 15e9

// diskExits are the faults after which a node may end, and with which codes. A full disk is none: who has no room waits. Nor is what is damaged, or
// cannot be read, in the files of a partition: that replica is repaired, and its node goes on.
var diskExits = map[string][]string{
	"fsync-error":       {exitDisk},
	"fsync-stall":       {exitDisk},
	"fsync-hang":        {exitDisk},
	"write-error":       {exitDisk},
	"stall-cut":         {exitDisk},
	"descriptors":       {exitDisk},
	"failed-sync-power": {exitDisk, exitDamaged},
	"flip-wal":          {exitDamaged},
	"flip-catalogue":    {exitDisk, exitDamaged},
	"damaged-minority":  {exitDamaged},
	"wiped-minority":    {exitDamaged},
}

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
	for i := range f.ops {
		op := &f.ops[i]
		if op.F != history.Fault || op.Fault == nil || op.Node != exit.Node || !slices.ContainsFunc(diskExits[op.Fault.Kind], func(code string) bool { return endedWith(exit, code) }) {
			continue
		}
		if begun := op.Time - op.Fault.Lasted; begun <= exit.Time && exit.Time <= op.Time+diskExitWithin {
			return op
		}
	}
	return nil
}

// endedWith reports whether a node ended with a code: a process's is followed by the end of its log, that of a simulated node by why first.
func endedWith(exit *history.Op, code string) bool {
	rest, ok := strings.CutPrefix(exit.Error, code)
	return ok && (strings.HasPrefix(rest, ";") || strings.HasPrefix(rest, ":"))
}
