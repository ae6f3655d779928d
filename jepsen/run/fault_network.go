package run

import (
	"context"
	"errors"
	"fmt"
	"time"

	"raftmq/jepsen/link"
)

const (
	shortCut, longCut = time.Second, 8 * time.Second
)

func onLinks(name, says string, unseats bool, begin func(ctx context.Context, h *hit) error) kind {
	return kind{name: name, area: "network", says: says, short: shortCut, long: longCut, links: true, unseats: unseats, begin: begin}
}

var networkFaults = []kind{
	onLinks("isolate", "a node is cut off from the others, not from clients", true, func(_ context.Context, h *hit) error {
		return h.rules(both(h.away()), link.Rule{Cut: true})
	}),
	onLinks("alone", "a node is cut off from the others and from clients", true, func(_ context.Context, h *hit) error {
		return h.rules(both(append(h.away(), h.toClients()...)), link.Rule{Cut: true})
	}),
	onLinks("clients-cut", "clients are cut off from a node, which the others reach", false, func(_ context.Context, h *hit) error {
		return h.rules(both(h.toClients()), link.Rule{Cut: true})
	}),
	onLinks("unheard", "a node hears the others, and is not heard by them", false, func(_ context.Context, h *hit) error {
		return h.rules(h.away(), link.Rule{Cut: true})
	}),
	onLinks("deaf", "a node is heard by the others, and does not hear them", false, func(_ context.Context, h *hit) error {
		return h.rules(turned(h.away()), link.Rule{Cut: true})
	}),
	onLinks("bridge", "the others are cut off from each other; a node reaches both sides", false, func(_ context.Context, h *hit) error {
		var ways []way
		for _, a := range h.also {
			for _, b := range h.also {
				if a != b {
					ways = append(ways, way{h.number(a), h.number(b)})
				}
			}
		}
		return h.rules(ways, link.Rule{Cut: true})
	}),
	onLinks("flap", "a node is cut off and joined again, many times", false, flap),
	onLinks("gossip-cut", "a node's gossip is cut off, Raft is not", false, func(_ context.Context, h *hit) error {
		return h.rules(both(h.away()), link.Rule{Cut: true, Only: link.Gossip})
	}),
	onLinks("raft-cut", "a node's Raft is cut off, gossip is not", false, func(_ context.Context, h *hit) error {
		return h.rules(both(h.away()), link.Rule{Cut: true, Only: link.Raft})
	}),
	onLinks("delay", "what a node sends and is sent is late", false, func(_ context.Context, h *hit) error {
		return h.rules(both(h.away()), link.Rule{Delay: h.draw(10*time.Millisecond, 500*time.Millisecond), Jitter: h.draw(time.Millisecond, 20*time.Millisecond)})
	}),
	onLinks("reorder", "packets of all links overtake each other", false, func(_ context.Context, h *hit) error {
		return h.rules(h.all(), link.Rule{Jitter: h.draw(2*time.Millisecond, 30*time.Millisecond)})
	}),
	onLinks("loss", "packets of all links are lost", false, func(_ context.Context, h *hit) error {
		return h.rules(h.all(), link.Rule{Loss: 0.01 + 0.14*h.rng.Float64()})
	}),
	onLinks("duplicate", "packets of all links come twice", false, func(_ context.Context, h *hit) error {
		return h.rules(h.all(), link.Rule{Duplicate: 0.2 + 0.3*h.rng.Float64(), Jitter: 2 * time.Millisecond})
	}),
	onLinks("corrupt", "packets of all links are damaged", false, func(_ context.Context, h *hit) error {
		return h.rules(h.all(), link.Rule{Corrupt: 0.01 + 0.05*h.rng.Float64()})
	}),
	onLinks("slow", "a node's links carry little", false, func(_ context.Context, h *hit) error {
		return h.rules(both(h.away()), link.Rule{Rate: 64<<10 + h.rng.Int64N(448<<10)})
	}),
	onLinks("reset", "a node's connections to others and clients are reset", false, func(_ context.Context, h *hit) error {
		return h.rules(both(append(h.away(), h.toClients()...)), link.Rule{Reset: true})
	}),
}

// way is from one host to another; the clients are the host behind the last node.
type way struct{ from, to int }

func turned(ways []way) (out []way) {
	for _, w := range ways {
		out = append(out, way{w.to, w.from})
	}
	return out
}

func both(ways []way) []way { return append(ways[:len(ways):len(ways)], turned(ways)...) }

// away are the ways from the node to the others.
func (h *hit) away() (ways []way) {
	for _, n := range h.also {
		ways = append(ways, way{h.number(h.node), h.number(n)})
	}
	return ways
}

func (h *hit) toClients() []way { return []way{{h.number(h.node), len(h.cluster.Nodes)}} }

// all are all ways, those to and from clients too.
func (h *hit) all() (ways []way) {
	for from := range h.links.Hosts() {
		for to := range h.links.Hosts() {
			if from != to {
				ways = append(ways, way{from, to})
			}
		}
	}
	return ways
}

// rules puts a rule in force on ways, and has it proved by what it struck.
func (h *hit) rules(ways []way, r link.Rule) error {
	if h.links == nil {
		return errors.New("this network's links cannot be broken")
	}
	set := func(r link.Rule) {
		for _, w := range ways {
			h.links.Link(w.from, w.to).Set(r)
		}
	}
	struck := func() (n uint64) {
		for _, w := range ways {
			k := h.links.Link(w.from, w.to).Counts()
			if r.Duplicate > 0 { // all are late besides, so that they overtake each other
				n += k.Doubled
			} else {
				n += k.Struck()
			}
		}
		return n
	}
	before := struck()
	set(r)
	h.detail = fmt.Sprintf("%+v on %d ways", r, len(ways))
	h.proof = func(context.Context) error {
		h.count = int64(struck() - before)
		if h.count == 0 && !h.p.Beside { // what it is beside may have left nobody to speak
			return errors.New("nothing went by that it could strike")
		}
		return nil
	}
	h.undone = "heal"
	h.undo = func(ctx context.Context) error {
		set(link.Rule{})
		return h.ready(ctx)
	}
	return nil
}

// ready waits until all nodes that run and are not paused by another fault are ready.
func (h *hit) ready(ctx context.Context) (err error) {
	if h.p.Beside || h.beside {
		return nil // the other one's undoing waits
	}
	for _, n := range h.cluster.Nodes {
		if n.Running() {
			err = errors.Join(err, n.AwaitReady(ctx))
		}
	}
	return err
}

// flap cuts and heals by turns of 50 to 500 ms.
func flap(_ context.Context, h *hit) error {
	ways := both(h.away())
	if err := h.rules(ways, link.Rule{Cut: true}); err != nil {
		return err
	}
	turns := int64(1)
	h.lasts = func(ctx context.Context) {
		for end := time.Now().Add(h.p.For); time.Now().Before(end) && ctx.Err() == nil; turns++ {
			select {
			case <-time.After(h.draw(50*time.Millisecond, 500*time.Millisecond)):
			case <-ctx.Done():
			}
			for _, w := range ways {
				h.links.Link(w.from, w.to).Set(link.Rule{Cut: turns%2 == 0})
			}
		}
	}
	struck := h.proof
	h.proof = func(ctx context.Context) error {
		err := struck(ctx)
		h.detail = fmt.Sprintf("%d turns", turns)
		return err
	}
	return nil
}
