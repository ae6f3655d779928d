package broker

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"time"

	"raftmq/fsm"
	"raftmq/message"
	"raftmq/raftlog"
	"raftmq/remoting"
	"raftmq/store"
)

// Bounds of one round of checks of a partition.
const (
	checksAtOnce = 256
	checkBytes   = 8 << 20 // of records that are sent
	// checkWait bounds how long one producer, or one node, is waited for, and checkRound
	// all of them: who is not asked by then is asked the next time.
	checkWait  = time.Second
	checkRound = 5 * time.Second
)

// asker is who can be asked about a group's transactions: a client here, or another
// node that has one.
type asker struct {
	conn *remoting.ServerConn
	node string
}

// checkBacks asks producers about halves, of the partitions that are led here, that
// have had no decision for a while. One of whose group no producer is connected waits,
// and is asked about as soon as one is; that counts no check.
func (b *Broker) checkBacks() {
	tick := time.NewTicker(max(10*time.Millisecond, min(time.Second, b.cfg.TransactionTimeout/6)))
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-b.ctx.Done():
			return
		}
		var askers map[string][]asker
		for _, p := range b.local() {
			if pending, parked, _ := p.machine.HalfCounts(); pending == parked || !p.leads() {
				continue
			}
			if askers == nil {
				askers = b.clients.askers()
			}
			b.checkBack(p, askers)
		}
	}
}

// checkBack counts and makes the checks of a partition that are due.
func (b *Broker) checkBack(p *partition, askers map[string][]asker) {
	now := b.atMs()
	bytes := 0
	due := p.machine.Halves(checksAtOnce, func(h *fsm.HalfInfo) bool {
		if h.Parked || h.NextCheck > now || bytes > 0 && bytes+int(h.Bytes) > checkBytes || len(askers[h.Group]) == 0 && int(h.Checks) < b.cfg.TransactionChecks {
			return false
		}
		bytes += int(h.Bytes)
		return true
	})
	if len(due) == 0 {
		return
	}
	checks := make([]fsm.Check, len(due))
	for i, h := range due {
		checks[i] = fsm.Check{Position: h.Position, Checks: h.Checks}
	}
	ctx, cancel := context.WithTimeout(b.ctx, forwardWait)
	defer cancel()
	// The count is an entry before the question leaves: no leader asks more often.
	v, err := p.propose(ctx, fsm.EncodeChecks(nil, now, uint32(b.cfg.TransactionCheckInterval.Milliseconds()), uint32(b.cfg.TransactionChecks), checks))
	if err != nil {
		if b.ctx.Err() == nil && !errors.Is(err, errNotHere) && !errors.Is(err, raftlog.ErrUnknownOutcome) {
			b.log.Warn("count checks of transactions", "partition", p.desc.ID, "topic", p.desc.Topic, "error", err)
		}
		return // what was counted all the same is due again later
	}
	round, end := context.WithTimeout(b.ctx, checkRound)
	defer end()
	silent := make(map[asker]bool) // did not take a question in this round
	for i, s := range v.(fsm.CheckResult).Items {
		switch s {
		case fsm.Asked:
			b.check(round, p, due[i], askers[due[i].Group], silent)
		case fsm.Parked:
			b.log.Warn("a transaction is parked: its producers were asked as often as they are to be", "topic", p.desc.Topic, "transaction", transactionID(p, due[i].Position), "group", due[i].Group, "checks", due[i].Checks)
		}
	}
}

// check asks one of askers about a half: another each time.
func (b *Broker) check(ctx context.Context, p *partition, h fsm.HalfInfo, askers []asker, silent map[asker]bool) {
	rec, err := p.machine.HalfRecord(h)
	if err != nil {
		if !errors.Is(err, store.ErrNotFound) {
			b.log.Warn("read a half", "partition", p.desc.ID, "topic", p.desc.Topic, "error", err)
		}
		return
	}
	m := rec.Message()
	m.Properties = string(message.AppendProperty([]byte(m.Properties), message.PropCheckTimes, strconv.FormatUint(uint64(h.Checks)+1, 10)))
	if counted, err := m.AppendRecord(nil); err == nil { // else there is no room for it
		rec = counted
	}
	physical := p.machine.PhysicalOffset(h.Position)
	message.Stamp(rec, message.Offset(stateOffset(p.desc.Slot, h.Number)), physical, h.Born)
	unique, _ := rec.Property(message.PropUniqueKey)
	header := remoting.CheckTransactionHeader{
		StateTableOffset: stateOffset(p.desc.Slot, h.Number), CommitLogOffset: physical, MsgID: unique, TransactionID: unique,
		OffsetMsgID: message.OffsetID(rec.StoreHost(), physical), Topic: p.desc.Topic, BrokerName: brokerName(p.desc.Slot),
	}
	for i := range askers {
		a := askers[(int(h.Checks)+int(h.Number)+i)%len(askers)]
		if silent[a] {
			continue
		}
		if b.ask(ctx, a, h.Group, header, rec) {
			b.tx.checks.Add(1)
			return
		}
		silent[a] = true
	}
	b.tx.unasked.Add(1)
}

// ask sends a check to a, and reports whether it left.
func (b *Broker) ask(ctx context.Context, a asker, group string, header remoting.CheckTransactionHeader, rec message.Record) bool {
	ctx, cancel := context.WithTimeout(ctx, checkWait)
	defer cancel()
	if a.conn != nil {
		cmd := remoting.NewOneway(remoting.CheckTransactionState, header)
		cmd.Body = rec
		a.conn.Room(ctx)
		return ctx.Err() == nil && a.conn.Send(cmd) == nil
	}
	r := &request{Command: remoting.NewRequest(remoting.CheckTransactionState, header), slot: noSlot}
	r.SetExt(extGroup, group)
	r.Body = rec
	reply, err := b.forwards.call(ctx, a.node, r, checkWait)
	return err == nil && reply.Code == remoting.OK
}

// extGroup is the group of a check that is sent on.
const extGroup = "_group"

// relayCheck answers 39 of another node: it asks a producer that is connected here.
func (b *Broker) relayCheck(ctx context.Context, r *request) *remoting.Command {
	var h remoting.CheckTransactionHeader
	if err := h.Decode(r.Ext); err != nil {
		return r.failed(err)
	}
	group := r.Ext[extGroup]
	here := b.clients.askersHere()[group]
	turn := int(b.tx.relayed.Add(1)) // another each time, as check does
	for i := range here {
		if b.ask(ctx, here[(turn+i)%len(here)], group, h, r.Body) {
			return r.ReplyWith(nil, nil)
		}
	}
	return r.absent()
}

// askersHere are the connections here by the producer groups of their clients, one of
// each client and group.
func (g *registry) askersHere() map[string][]asker {
	type named struct{ group, client string }
	seen := make(map[named]bool)
	m := make(map[string][]asker)
	g.mu.RLock()
	defer g.mu.RUnlock()
	conns := make([]*remoting.ServerConn, 0, len(g.conns))
	for c := range g.conns {
		conns = append(conns, c)
	}
	slices.SortFunc(conns, func(x, y *remoting.ServerConn) int { return int(x.ID()) - int(y.ID()) })
	for _, c := range conns {
		info := g.conns[c]
		for _, group := range info.Producer {
			if k := (named{group, info.ID}); !seen[k] {
				seen[k] = true
				m[group] = append(m[group], asker{conn: c})
			}
		}
	}
	return m
}

// askers are askersHere, and the other live nodes that have clients of a group.
func (g *registry) askers() map[string][]asker {
	m := g.askersHere()
	g.mu.RLock()
	defer g.mu.RUnlock()
	nodes := make([]string, 0, len(g.lists))
	for node := range g.lists {
		if g.b.transport.Alive(node) {
			nodes = append(nodes, node)
		}
	}
	slices.Sort(nodes)
	for _, node := range nodes {
		for _, info := range g.lists[node].Clients {
			for _, group := range info.Producer {
				if as := m[group]; info.Until == 0 && (len(as) == 0 || as[len(as)-1].node != node) {
					m[group] = append(as, asker{node: node})
				}
			}
		}
	}
	return m
}
