package broker

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"raftmq/raftlog"
)

// Readiness is what /readyz answers: whether this node serves, and if not, why. A
// node is ready when it knows the catalogue as of its start, when each partition that
// it holds is open and has applied all that was committed when it was opened, and
// when each has a leader.
type Readiness struct {
	Ready    bool     `json:"ready"`
	Reasons  []string `json:"reasons,omitempty"` // at most maxReasons; none if ready
	Held     int      `json:"partitions_held"`   // by what the catalogue says, as far as it is known here
	Open     int      `json:"partitions_open"`
	CaughtUp int      `json:"partitions_caught_up"`
}

// maxReasons bounds what is said of single partitions.
const maxReasons = 8

// Bounds of catching up, which asks each group's leader how far it is.
const (
	catchUpAtOnce = 64
	catchUpWait   = time.Second // for one answer
	catchUpLook   = 20 * time.Millisecond
	catchUpAgain  = 5  // looks from a question that was not answered to the next
	catchUpMore   = 50 // from one that was: what the leader sent may be lost
)

// caught is whether a replica has applied what was committed when it was opened. It
// is once true for ever. Its methods may be called from any goroutine.
type caught struct {
	up     atomic.Bool
	mu     sync.Mutex
	known  bool   // the leader has said how far it is:
	target uint64 // that far
	why    error  // the last question's
	pause  int    // looks until the next
}

// behind says why not; "" if it has.
func (c *caught) behind() string {
	if c.up.Load() {
		return ""
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.known:
		return fmt.Sprintf("it has yet to apply what was committed, up to entry %d", c.target)
	case c.why != nil:
		return c.why.Error()
	}
	return "its leader is being asked"
}

// look asks how far the group's leader is, unless that is known, and then whether
// this replica is there. The leader is one of nodes.
func (c *caught) look(ctx context.Context, r *raftlog.Replica, nodes []string) (up bool) {
	c.mu.Lock()
	up, known, target, asks := c.up.Load(), c.known, c.target, c.pause == 0
	c.pause = max(0, c.pause-1)
	c.mu.Unlock()
	if up || known && r.Reached(target) {
		c.set(true, known, target, nil)
		return true
	}
	if !asks {
		return false
	}
	var err error
	for _, node := range nodes {
		one, cancel := context.WithTimeout(ctx, catchUpWait)
		var index uint64
		index, err = r.Committed(one, node)
		cancel()
		if err == nil {
			if !known { // what was committed later need not be waited for
				known, target = true, index
			}
			break
		}
	}
	up = known && r.Reached(target)
	c.set(up, known, target, err)
	return up
}

func (c *caught) set(up, known bool, target uint64, why error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.up.Store(up)
	c.known, c.target, c.why, c.pause = known, target, why, catchUpAgain
	if known {
		c.pause = catchUpMore
	}
}

// mayLead are the nodes to ask how far a group's leader is: the leader, or, where
// none is known, all.
func (b *Broker) mayLead(group uint64) (nodes []string) {
	if node := b.leaderOf(group); node != "" {
		return []string{node}
	}
	for _, n := range b.members.Nodes() {
		if n.Name != b.id.Node && b.transport.Alive(n.Name) {
			nodes = append(nodes, n.Name)
		}
	}
	return append(nodes, b.id.Node)
}

// catchUps looks at the catalogue and at each partition that is opened until they
// have caught up.
func (b *Broker) catchUps() {
	again := time.NewTimer(0)
	defer again.Stop()
	begun, told := time.Now(), false
	for {
		b.mu.RLock()
		changed := b.changed
		b.mu.RUnlock()
		if !b.allCaughtUp() {
			again.Reset(catchUpLook)
		} else if r := b.Readiness(); r.Ready && !told {
			told = true
			b.log.Info("ready", "partitions", r.Held, "after", time.Since(begun).Round(time.Millisecond))
		} else if !told {
			again.Reset(catchUpLook)
		}
		select {
		case <-changed:
		case <-again.C:
		case <-b.ctx.Done():
			return
		}
	}
}

// allCaughtUp looks at all once, several at a time.
func (b *Broker) allCaughtUp() bool {
	var missing atomic.Int32
	var wg sync.WaitGroup
	some := make(chan struct{}, catchUpAtOnce)
	look := func(c *caught, group uint64, r *raftlog.Replica) {
		if c.behind() == "" {
			return
		}
		some <- struct{}{}
		wg.Go(func() {
			defer func() { <-some }()
			if !c.look(b.ctx, r, b.mayLead(group)) {
				missing.Add(1)
			} else if group == catalogueGroup { // partitions that are made anew have waited for it
				b.leadsChanged()
			}
		})
	}
	look(&b.caught, catalogueGroup, b.catalogue.replica)
	for _, p := range b.local() {
		look(&p.caught, p.desc.ID, p.replica)
	}
	wg.Wait()
	return missing.Load() == 0
}

// Readiness reports whether the node can serve, and why not.
func (b *Broker) Readiness() Readiness {
	var r Readiness
	r.Reasons = b.unready(&r)
	r.Ready = len(r.Reasons) == 0
	return r
}

// Ready is Readiness in one line.
func (b *Broker) Ready() (ok bool, reason string) {
	r := b.Readiness()
	return r.Ready, strings.Join(r.Reasons, "; ")
}

// unready says why the node cannot serve, nothing if it can, and counts partitions.
func (b *Broker) unready(r *Readiness) []string {
	if b.web.draining.Load() {
		return []string{"draining"}
	}
	if reason := b.unbegun(); reason != "" {
		return []string{reason}
	}
	var reasons []string
	for _, p := range b.catalogue.Partitions() {
		if !b.holds(p) {
			continue
		}
		r.Held++
		here, ok := b.partition(p.ID)
		if !ok {
			continue
		}
		r.Open++
		behind := here.caught.behind()
		if behind == "" {
			r.CaughtUp++
		}
		waits := here.waits.Load()
		switch {
		case len(reasons) == maxReasons:
		case waits != nil:
			reasons = append(reasons, fmt.Sprintf("%s: the replica of partition %d of %s waits: %v", noRoom(*waits), p.ID, p.Topic, *waits))
		case !b.led(p.ID):
			reasons = append(reasons, fmt.Sprintf("partition %d of %s has no leader", p.ID, p.Topic))
		case behind != "":
			reasons = append(reasons, fmt.Sprintf("partition %d of %s is being caught up: %s", p.ID, p.Topic, behind))
		}
	}
	if r.CaughtUp < r.Open {
		reasons = append([]string{fmt.Sprintf("%d of %d partitions are caught up", r.CaughtUp, r.Held)}, reasons...)
	}
	if r.Open < r.Held {
		reasons = append([]string{fmt.Sprintf("%d of %d partitions are open", r.Open, r.Held)}, reasons...)
	}
	if len(reasons) == 0 && b.catalogue.Replacing() == b.id.Node {
		return []string{fmt.Sprintf("this node was replaced and is being caught up: %s", cmp.Or(b.voteless(), "the catalogue has yet to hear that it votes again"))}
	}
	return reasons
}

// unbegun says why this node does not know yet which partitions it has to serve, or
// may not serve any; "" if it does and may.
func (b *Broker) unbegun() string {
	switch {
	case !b.begun.Load():
		if reason := b.entrance.waits(); reason != "" {
			return fmt.Sprintf("the data folder is empty, and the cluster knows another: this node waits to be replaced: %s", reason)
		}
		unlike := b.entrance.unlikeOthers()
		if never, _ := b.peers.missing(b.cfg.InitialNodes, b.id.Node); len(never) > 0 {
			why := fmt.Sprintf("waiting for %s: a new node begins when all initial nodes have let it in", strings.Join(never, ", "))
			if unlike != "" {
				why = unlike + "; " + why
			}
			return why
		}
		if unlike != "" {
			return unlike
		}
		if len(b.cfg.InitialNodes) == 0 && !b.member.Load() {
			return "no initial nodes are set: this node waits for a cluster that knows it"
		}
		return "starting"
	case b.wal.Err() != nil:
		return "write-ahead log failed"
	case len(b.catalogue.Slots()) == 0:
		return "the cluster is not founded yet, or its catalogue has no leader: " + b.caught.behind()
	case !b.led(catalogueGroup):
		return "the catalogue has no leader"
	case !b.present():
		return "the catalogue is being caught up with"
	}
	if behind := b.caught.behind(); behind != "" {
		return "the catalogue is being caught up with: " + behind
	}
	return ""
}

// ready answers 200 or 503: "ok" or a reason a line, or, to who accepts
// application/json, a Readiness.
func (w *web) ready(rw http.ResponseWriter, req *http.Request) {
	r := w.b.Readiness()
	status := http.StatusOK
	if !r.Ready {
		status = http.StatusServiceUnavailable
	}
	rw.Header().Set("Cache-Control", "no-store")
	if strings.Contains(req.Header.Get("Accept"), "application/json") || req.URL.Query().Get("format") == "json" {
		rw.Header().Set("Content-Type", "application/json")
		rw.WriteHeader(status)
		json.NewEncoder(rw).Encode(r)
		return
	}
	if !r.Ready {
		http.Error(rw, strings.Join(r.Reasons, "\n"), status)
		return
	}
	fmt.Fprintln(rw, "ok")
}
