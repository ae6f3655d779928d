package report

import (
	"slices"
	"strings"
	"time"

	"raftmq/jepsen/check"
	"raftmq/jepsen/history"
)

// Event is what a node told of itself, of one partition or of several alike.
type Event struct {
	At         time.Duration // of the first
	Node       string
	What       string
	Partitions []uint64 // none: of the node, or the catalogue
	Times      int
}

const (
	behindEvents = 500 * time.Millisecond // how long behind a line of a contradiction an event may lie to be shown with it
	mostShown    = 30                     // events with a contradiction
)

// lag is how many entries a node had applied less than the foremost.
type lag struct {
	at    time.Duration
	count int
}

func partitionsOf(e *history.Told) []uint64 {
	if e.Partition == 0 {
		return nil
	}
	return []uint64{e.Partition}
}

// near are the events shortly before or behind a line of a contradiction, those of one node that say the
// same as one; and how many more there are than are shown.
func (f *figures) near(v check.Violation) (out []Event, more int) {
	type alike struct{ node, what string }
	rows := make(map[alike]int)
	for _, e := range f.events {
		if !touches(v.Ops, e.At) {
			continue
		}
		i, there := rows[alike{e.Node, e.What}]
		if !there {
			i = len(out)
			rows[alike{e.Node, e.What}] = i
			out = append(out, Event{At: e.At, Node: e.Node, What: e.What})
		}
		out[i].Partitions = append(out[i].Partitions, e.Partitions...)
		out[i].Times++
	}
	more = max(0, len(out)-mostShown)
	for i, left := len(out)-1, more; left > 0 && i >= 0; i-- {
		if out[i].complaint() {
			out, left = slices.Delete(out, i, i+1), left-1
		}
	}
	return out[:min(len(out), mostShown)], more
}

// complaint reports whether e is of a node's log: those go first when there are too many.
func (e Event) complaint() bool {
	return strings.HasPrefix(e.What, "warn: ") || strings.HasPrefix(e.What, "error: ")
}

func touches(ops []history.Op, at time.Duration) bool {
	for _, op := range ops {
		if t := time.Duration(op.Time); at >= t-beforehand && at <= t+behindEvents {
			return true
		}
	}
	return false
}
