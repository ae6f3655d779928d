package check

import (
	"fmt"
	"slices"

	"raftmq/jepsen/history"
)

// durable: each acknowledged value is on each replica at the place of its receipt,
// unless that is below the floor of a queue of which messages may go.
func durable(f *facts, r *Result) {
	f.needFinal(r)
	below := 0
	for _, s := range f.sends {
		if !s.is(history.OK) {
			continue
		}
		for i, v := range s.values {
			p := s.outcome.Places[i]
			if p.Offset < f.floor(p.Queue) && slices.Contains(f.plan.Trims, p.Queue) {
				below++
				continue
			}
			for _, node := range f.plan.Nodes {
				d := f.final[dumpKey{node, p.Queue}]
				if d == nil {
					if !slices.Contains(f.plan.Queues, p.Queue) {
						r.violate(fmt.Sprintf("%s was acknowledged at %s in a queue that the topic does not have, %s.", v, at(s.outcome), p.Queue), s.invoke, s.outcome)
					}
					continue
				}
				r.Checked++
				j, there := d.at[p.Offset]
				switch {
				case there && d.messages[j].Value == v:
				case there:
					r.violate(fmt.Sprintf("%s was acknowledged at %s at %s offset %d; %s holds %s there%s.", v, at(s.outcome), p.Queue, p.Offset, node, d.messages[j].Value, f.elsewhere(v)),
						s.invoke, s.outcome, brief(d.lines[j], p))
				case d.whole:
					r.violate(fmt.Sprintf("%s was acknowledged at %s at %s offset %d; %s has nothing there, %s%s.", v, at(s.outcome), p.Queue, p.Offset, node, d.around(p.Offset), f.elsewhere(v)),
						s.invoke, s.outcome, brief(d.last()), f.bounds[p.Queue])
				}
			}
		}
	}
	if below > 0 {
		r.note("%d acknowledged values are below the floor", below)
	}
}

// elsewhere says where a value is in the final dumps.
func (f *facts) elsewhere(v string) string {
	if s := f.places[v]; len(s) > 0 {
		return fmt.Sprintf(", and %s is at %s offset %d", v, s[0].place.Queue, s[0].place.Offset)
	}
	return fmt.Sprintf(", and %s is nowhere", v)
}

// around says where a missing offset would be.
func (d *dump) around(o int64) string {
	switch n := len(d.messages); {
	case n == 0:
		return "its queue is empty"
	case o > d.messages[n-1].Offset:
		return fmt.Sprintf("its queue ends at %d", d.messages[n-1].Offset)
	case o < d.messages[0].Offset:
		return fmt.Sprintf("its queue begins at %d", d.messages[0].Offset)
	}
	return "but has what is before and behind it"
}

func (d *dump) last() *history.Op {
	if len(d.lines) == 0 {
		return nil
	}
	return d.lines[len(d.lines)-1]
}
