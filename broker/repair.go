package broker

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"raftmq/fsm"
	"raftmq/raftlog"
	"raftmq/store"
)

// A replica in quarantine is repaired under its own identity: its vote and its log's
// end are in the write-ahead log and stay. It hands leadership on, is closed, damaged
// files are replaced by what other replicas have or by what its log says, and it is
// opened again; if that cannot be, it is copied whole from a replica that is sound,
// as of a checkpoint of that one. The quarantine is durable before anything is done,
// and ends when all is; whatever comes between, the repair is made again.

const (
	repairEvery = time.Second
	repairPause = 30 * time.Second // at most, between repairs that fail
	repairPoll  = 50 * time.Millisecond
)

// repairs repairs the replicas in quarantine, one after the other.
func (b *Broker) repairs() {
	tick := time.NewTicker(repairEvery)
	defer tick.Stop()
	for {
		select {
		case <-b.sick.wake:
		case <-tick.C:
		case <-b.ctx.Done():
			return
		}
		for _, id := range b.sick.due(time.Now()) {
			if b.ctx.Err() == nil {
				b.treat(id)
			}
		}
	}
}

// treat makes one try to repair a replica.
func (b *Broker) treat(id uint64) {
	if b.clear(id) {
		return
	}
	if b.note(id) != nil {
		return
	}
	if q, _ := b.sick.of(id); b.sick.tell(id) {
		b.event("quarantine", id, "files", q.Files, "reason", q.String())
	}
	desc, ok := b.catalogue.Partition(id)
	if !ok || !b.holds(desc) {
		b.dropSick(id)
		return
	}
	b.withhold(id)
	q, _ := b.sick.of(id)
	err := b.repair(desc, q)
	if b.ctx.Err() != nil {
		return
	}
	if err == nil {
		b.log.Info("replica is repaired", "partition", id, "topic", desc.Topic, "was", q.String())
		b.event("repaired", id, "topic", desc.Topic, "was", q.String())
		return
	}
	stuck := err.Error()
	if before, _ := b.sick.of(id); !strings.Contains(before.Reason, stuck) {
		b.event("not repaired", id, "topic", desc.Topic, "error", stuck)
	}
	b.sick.change(id, func(w *ward) {
		w.failed++
		w.next = time.Now().Add(min(repairEvery<<min(w.failed, 5), repairPause))
		if w.stuck != stuck {
			b.log.Error("a damaged replica is not repaired yet; nobody is served what is damaged, and nothing of it is deleted", "partition", id, "topic", desc.Topic, "error", err)
		}
		w.stuck = stuck
	})
}

// dropSick forgets a replica whose topic is gone. One that is open is dropped by
// reconcile.
func (b *Broker) dropSick(id uint64) {
	b.reshape.Lock()
	defer b.reshape.Unlock()
	if _, open := b.partition(id); open {
		return
	}
	if err := b.removePartition(id); err != nil {
		b.log.Error("remove partition", "partition", id, "error", err)
	}
}

// others are the nodes that hold the partition too, those that answer, by whether
// what they say of their replica is good enough.
func (b *Broker) others(ctx context.Context, desc fsm.Partition, good func(copyLooks) bool) (peers []copyPeer) {
	for _, n := range desc.Voters {
		if n.Name == b.id.Node || !b.transport.Alive(n.Name) {
			continue
		}
		p := copyPeer{b, n.Name, desc.ID}
		if looks, err := p.look(ctx); err == nil && good(looks) {
			peers = append(peers, p)
		}
	}
	return peers
}

func isSound(l copyLooks) bool { return l.Quarantine == nil }
func serves(l copyLooks) bool  { return l.Quarantine == nil || !l.Quarantine.withheld() }

// repair makes one try. It leaves the replica open if it can be.
func (b *Broker) repair(desc fsm.Partition, q quarantine) error {
	if q.Disputed {
		b.openAgain(desc)
		return errors.New("no majority of the replicas agrees: see the runbook")
	}
	if b.sick.alone(desc.ID) && len(b.others(b.ctx, desc, isSound)) > 0 { // another is better again
		b.sick.change(desc.ID, func(w *ward) { w.alone = false })
		b.withhold(desc.ID)
	}
	peers := b.others(b.ctx, desc, serves)
	if len(peers) == 0 && (q.Whole || !derived(q.Files)) {
		b.openAgain(desc)
		b.resign(desc)
		return errors.New("no other replica that could help is there")
	}
	var m *store.Mender
	if p, open := b.partition(desc.ID); open {
		if err := b.stepDown(p); err != nil && len(peers) > 0 {
			return err
		}
		if !q.Whole { // it is closed only if that is of use
			var err error
			if m, err = b.probe(p, q, peers); err != nil {
				b.resign(desc)
				return err
			}
		}
	}
	if !b.closeSick(desc.ID) {
		return nil // its topic was deleted meanwhile
	}
	err := b.mend(desc, q, peers, m)
	if err == nil {
		err = b.release(desc.ID, q)
	}
	b.reopen(desc)
	return err
}

// probe gets what other replicas must give before this one is closed. What they have
// trimmed they need not give: then it is copied whole.
func (b *Broker) probe(p *partition, q quarantine, peers []copyPeer) (*store.Mender, error) {
	if err := p.replica.Checkpoint(); err != nil {
		return nil, err
	}
	c, _, err := p.log.Checkpoint()
	if err != nil {
		return nil, nil // it is copied whole
	}
	state, err := fsm.StoreState(c.State)
	if err != nil {
		return nil, nil
	}
	m := b.mender(p.desc, state, peers)
	if err = m.Probe(b.ctx, q.Files); !errors.Is(err, store.ErrNoCopy) {
		return m, err
	}
	first := p.store().First().Position
	for _, peer := range peers {
		if looks, e := peer.look(b.ctx); e == nil && len(looks.Starts) > 0 && looks.Starts[0].Position > first {
			return m, nil
		}
	}
	return m, err
}

// resign lets a replica that cannot be repaired stand for election again, if every
// other one has answered and none is sound: else there might be no leader for ever,
// and what is not damaged would not be served either.
func (b *Broker) resign(desc fsm.Partition) {
	all := b.others(b.ctx, desc, func(copyLooks) bool { return true })
	if len(all) < len(desc.Voters)-1 || len(b.others(b.ctx, desc, isSound)) > 0 {
		return
	}
	b.sick.change(desc.ID, func(w *ward) { w.alone = true })
	b.withhold(desc.ID)
}

// derived reports whether all files can be built again from the log.
func derived(files []string) bool {
	for _, f := range files {
		if !strings.HasSuffix(f, ".q") && !strings.HasSuffix(f, ".timers") && f != "trim" {
			return false
		}
	}
	return len(files) > 0
}

// stepDown hands leadership to a sound replica, if this one leads. If none is, it
// goes on to lead.
func (b *Broker) stepDown(p *partition) error {
	if _, leads := p.replica.Leads(); !leads {
		return nil
	}
	var errs []error
	for _, to := range b.others(b.ctx, p.desc, isSound) {
		ctx, cancel := context.WithTimeout(b.ctx, 3*time.Second)
		err := p.replica.Transfer(ctx, to.node)
		cancel()
		if err == nil || errors.Is(err, raftlog.ErrNotLeader) {
			return nil
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// closeSick closes a replica to be repaired and keeps it closed; false: it is no
// longer wanted.
func (b *Broker) closeSick(id uint64) bool {
	b.reshape.Lock()
	defer b.reshape.Unlock()
	if _, ok := b.catalogue.Partition(id); !ok {
		return false
	}
	b.sick.noting.Lock()
	b.sick.change(id, func(w *ward) { w.treated = true })
	b.sick.noting.Unlock()
	b.closeToRepair(id)
	return true
}

// closeToRepair closes a replica, if it is open. The caller holds reshape.
func (b *Broker) closeToRepair(id uint64) {
	b.mu.Lock()
	p := b.partitions[id]
	delete(b.partitions, id)
	b.locals = nil
	b.mu.Unlock()
	if p == nil {
		return
	}
	if err := p.close(); err != nil {
		b.log.Warn("close a replica to repair it", "partition", id, "error", err)
	}
}

// reopen lets reconcile open the replica, or remove it if its topic was deleted meanwhile.
func (b *Broker) reopen(desc fsm.Partition) {
	b.reshape.Lock()
	b.left.add(desc.ID)
	b.reshape.Unlock()
	b.sick.change(desc.ID, func(w *ward) { w.treated, w.broken = false, false })
	select {
	case b.kick <- struct{}{}:
	default:
	}
}

// openAgain lets a replica that is closed, and not repaired, be opened as it is: what could not be read may be read now.
func (b *Broker) openAgain(desc fsm.Partition) {
	if _, open := b.partition(desc.ID); !open {
		b.reopen(desc)
	}
}

// mender is of a replica's files.
func (b *Broker) mender(desc fsm.Partition, state []byte, peers []copyPeer) *store.Mender {
	m := &store.Mender{
		Dir: b.partitionDir(desc.ID), State: state, Places: fsm.Places(), Timers: fsm.TimerOps(),
		Options: store.Options{FS: b.disk, SegmentBytes: b.cfg.SegmentBytes, Number: desc.Number, Logger: b.log.Named("repair").With("partition", desc.ID)},
	}
	for _, p := range peers {
		m.Peers = append(m.Peers, p)
	}
	return m
}

// mend repairs the closed replica's files. probed has what was got of peers before, if
// anything.
func (b *Broker) mend(desc fsm.Partition, q quarantine, peers []copyPeer, probed *store.Mender) error {
	group := b.wal.Group(desc.ID)
	c, _, err := group.Checkpoint()
	if err != nil {
		b.log.Warn("the checkpoint of a damaged replica cannot be read", "partition", desc.ID, "error", err)
		q.Whole = true
	}
	state, err := fsm.StoreState(c.State)
	if err != nil {
		b.log.Warn("the state of a damaged replica cannot be read", "partition", desc.ID, "error", err)
		q.Whole = true
	}
	m := probed
	if m == nil {
		m = b.mender(desc, state, peers)
	}
	m.State = state
	if !q.Whole {
		err := m.Mend(b.ctx, q.Files)
		if err == nil || !errors.Is(err, store.ErrNoCopy) || len(peers) == 0 {
			return err
		}
		b.log.Warn("what is damaged cannot be had by itself: the replica is to be copied whole", "partition", desc.ID, "error", err)
	}
	errs := []error{errors.New("no replica could be copied")}
	for _, p := range peers {
		err := b.copyWhole(desc, group, *m, p, c.Index)
		if err == nil {
			return nil
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// copyWhole takes a peer's checkpoint and what it names, in place of this replica's
// own. Its log in the write-ahead log goes on behind it, as after an installed floor.
func (b *Broker) copyWhole(desc fsm.Partition, group *raftlog.GroupLog, m store.Mender, p copyPeer, above uint64) error {
	c, err := p.checkpoint(b.ctx)
	for began := time.Now(); err == nil && c.Index < above && time.Since(began) < copyWait; { // what is applied here is committed
		time.Sleep(repairPoll)
		c, err = p.checkpoint(b.ctx)
	}
	if err != nil {
		return err
	}
	if c.Index < above {
		return fmt.Errorf("%s has applied %d entries, here are %d: it is to catch up first", p.node, c.Index, above)
	}
	if err := group.Fits(c); err != nil {
		return fmt.Errorf("checkpoint of %s: %w", p.node, err)
	}
	if m.State, err = fsm.StoreState(c.State); err != nil {
		return fmt.Errorf("the state of %s: %w", p.node, err)
	}
	if err := m.Copy(b.ctx, p); err != nil {
		return fmt.Errorf("copy from %s: %w", p.node, err)
	}
	if c.Index == above || group.Has(c.Index, c.Term) { // readable or not: what lies behind it may count towards a majority
		err = group.SaveCheckpoint(c)
	} else { // it ends before, or was never committed from there on
		err = group.Reset(c)
	}
	if err != nil { // the write-ahead log has failed, and the node ends; or the peer lags
		return fmt.Errorf("checkpoint of %s: %w", p.node, err)
	}
	return nil
}
