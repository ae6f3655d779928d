package broker

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"sort"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"raftmq/fsm"
	"raftmq/internal/vfs"
	"raftmq/raftlog"
)

// catalogueGroup is the Raft group of the catalogue.
const catalogueGroup = 0

// catalogue is this node's replica of the cluster's decisions.
type catalogue struct {
	*fsm.Catalogue
	replica *raftlog.Replica
	kept    CatalogueStore
}

// openCatalogue opens the replica. Its entries are in a store of their own, since there are few;
// its term and vote are in the node's write-ahead log, in one record.
func (b *Broker) openCatalogue() error {
	dir := filepath.Join(b.cfg.Data, "catalogue")
	kept, err := b.keep(dir)
	if err != nil {
		return err
	}
	logs := summedLogs{kept.Logs}
	if err := checkCatalogue(logs, kept.Snapshots); err != nil {
		return errors.Join(fmt.Errorf("%s: %w", dir, err), kept.Close())
	}
	machine, err := fsm.OpenCatalogue(nil)
	if err != nil {
		return errors.Join(err, kept.Close())
	}
	var first []raft.Server // none for a node that was replaced: it waits for a leader
	for _, n := range b.cfg.InitialNodes {
		if b.id.Incarnation > 1 {
			break
		}
		id := fmt.Sprintf("%s.%d", n, 1)
		first = append(first, raft.Server{Suffrage: raft.Voter, ID: raft.ServerID(id), Address: raft.ServerAddress(id)})
	}
	sort.Slice(first, func(i, j int) bool { return first[i].ID < first[j].ID })
	replica, err := b.host.Open(raftlog.ReplicaConfig{
		Group: catalogueGroup, Log: b.wal.Group(catalogueGroup), Logs: logs, Snapshots: kept.Snapshots, Bootstrap: first,
		Heartbeat: b.cfg.Heartbeat, Logger: b.raftLog,
		OnLeader: func(lead bool, term uint64) {
			b.log.Info("leadership of the catalogue", "lead", lead, "term", term)
			b.leadsChanged()
		},
		OnFault: func(err error) { b.fail(fmt.Errorf("catalogue: %w", err)) },
	}, machine)
	if err != nil {
		return errors.Join(fmt.Errorf("open the catalogue: %w", err), kept.Close())
	}
	b.catalogue = &catalogue{machine, replica, kept}
	return nil
}

func (c *catalogue) close() error { return errors.Join(c.replica.Close(), c.kept.Close()) }

// decide proposes a catalogue command. It works on the catalogue's leader only;
// others forward the request that leads to it. errNotHere: certainly no effect.
func (b *Broker) decide(ctx context.Context, cmd []byte) (any, error) {
	if late(byOf(ctx)) {
		return nil, errLate
	}
	v, err := b.catalogue.replica.Propose(ctx, cmd)
	if errors.Is(err, raftlog.ErrNotLeader) {
		return nil, errNotHere
	}
	return v, err
}

// freshWait bounds how long an answer waits for this node to hear what the catalogue
// decided before.
const freshWait = time.Second

// catchUp lets this node hear what the catalogue decided before the call. The error
// says that there was no leader to ask, and changes nothing.
func (b *Broker) catchUp(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, freshWait)
	defer cancel()
	return b.catalogue.replica.CatchUp(ctx)
}

// hear is catchUp that asks again while there is no leader to ask: after a cut the
// replica here may not know one yet, through which a request was decided already.
func (b *Broker) hear(ctx context.Context, wait time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	for {
		err := b.catalogue.replica.CatchUp(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-time.After(lookOften):
		case <-ctx.Done():
			return err
		}
	}
}

// found makes the cluster, once: on the first leader of a catalogue that is
// empty.
func (b *Broker) found(ctx context.Context) error {
	if len(b.catalogue.Slots()) > 0 {
		return nil
	}
	names := slices.Clone(b.cfg.InitialNodes)
	slices.Sort(names)
	nodes := make([]fsm.Node, len(names))
	for i, n := range names {
		nodes[i] = fsm.Node{Name: n, Incarnation: 1}
	}
	slots := make([]fsm.Slot, b.cfg.Slots)
	for i := range slots {
		slots[i] = fsm.Slot{ID: i, Replicas: replicaSet(names, i)}
	}
	v, err := b.decide(ctx, fsm.EncodeBootstrap(nil, b.cfg.Cluster, slots, nodes))
	if err == nil && !errors.Is(v.(fsm.CatalogueResult).Err, fsm.ErrBootstrapped) {
		err = v.(fsm.CatalogueResult).Err
	}
	return err
}

// replicaSet gives slot i three nodes, each first for its share of the slots.
func replicaSet(names []string, i int) []string {
	n := min(3, len(names))
	set := make([]string, n)
	for j := range set {
		set[j] = names[(i+j)%len(names)]
	}
	return set
}

// watchCatalogue keeps this node's replicas as the catalogue wants them.
func (b *Broker) watchCatalogue() {
	retry := time.NewTicker(time.Second)
	defer retry.Stop()
	lacks := false // room
	for {
		changed := b.catalogue.Changed()
		if b.leadsHere(catalogueGroup) {
			ctx, cancel := context.WithTimeout(b.ctx, forwardWait)
			if err := b.found(ctx); err != nil && b.ctx.Err() == nil {
				b.log.Warn("found the cluster", "error", err)
			}
			if err := b.raiseLevel(ctx); err != nil && b.ctx.Err() == nil {
				b.log.Warn("raise the cluster's feature level", "error", err)
			}
			cancel()
		}
		was := lacks
		lacks = false
		for _, err := range []error{b.keepLevel(), b.learnLives()} {
			if errors.Is(err, vfs.ErrNoSpace) { // again at the next look
				if lacks = true; !was {
					b.log.Warn("no room to note what the catalogue says of nodes", "error", err)
				}
			} else if err != nil {
				b.fail(err)
				return
			}
		}
		b.reconcile()
		select {
		case <-changed:
		case <-b.kick:
		case <-retry.C:
		case <-b.ctx.Done():
			return
		}
	}
}

// reconcile opens the partitions that this node should hold, closes those of topics
// that are gone, and removes what is left of such.
func (b *Broker) reconcile() {
	if !b.present() {
		return
	}
	b.reshape.Lock()
	defer b.reshape.Unlock()
	if b.ctx.Err() != nil { // closePartitions has been there, or comes
		return
	}
	knows := b.caught.up.Load() // before it is looked at what there is: to close what is gone takes a while
	want := make(map[uint64]fsm.Partition)
	for _, p := range b.catalogue.Partitions() {
		if b.holds(p) {
			want[p.ID] = p
		}
	}
	b.mu.RLock()
	var gone []*partition
	for id, p := range b.partitions {
		if _, ok := want[id]; !ok {
			gone = append(gone, p)
		}
		delete(want, id)
	}
	b.mu.RUnlock()
	for _, p := range gone {
		b.drop(p)
	}
	b.removeLeftovers(want)
	if !knows {
		kept := b.wal.Groups()
		maps.DeleteFunc(want, func(id uint64, _ fsm.Partition) bool { // its topic may have been deleted long ago: what was decided since is yet to come
			_, votes := slices.BinarySearch(kept, id) // its folder alone may be what a power cut has left of it, or brought back
			return !votes
		})
	}
	b.openAll(want)
}

// openAtOnce bounds how many partitions are opened side by side: each waits for files
// now and then, and a new one for the write-ahead log, whose syncs they share.
const openAtOnce = 16

func (b *Broker) openAll(want map[uint64]fsm.Partition) {
	var wg sync.WaitGroup
	defer wg.Wait()
	some := make(chan struct{}, openAtOnce)
	for _, id := range slices.Sorted(maps.Keys(want)) {
		some <- struct{}{}
		if b.ctx.Err() != nil || b.broken.Load() {
			return
		}
		if b.sick.shut(id) {
			<-some
			continue
		}
		wg.Go(func() {
			defer func() { <-some }()
			b.openOne(want[id])
		})
	}
}

func (b *Broker) openOne(desc fsm.Partition) {
	fresh := b.wal.Group(desc.ID).Bytes() == 0
	p, err := b.openPartition(desc, b.firstVoters(desc))
	if errors.Is(err, vfs.ErrNoSpace) { // it is tried again
		b.log.Warn("no room to open a partition", "partition", desc.ID, "topic", desc.Topic, "error", err)
		return
	}
	if err != nil && b.unopenable(desc.ID, err) {
		return
	}
	if err != nil {
		b.fail(err)
		return
	}
	b.mu.Lock()
	b.partitions[desc.ID] = p
	b.locals = nil
	b.mu.Unlock()
	b.withhold(desc.ID)
	b.opened()
	if fresh && b.preferred(desc) == b.id.Node {
		p.replica.Nudge()
	}
}

// present reports whether what the catalogue says here is of this node's
// incarnation: what is older is not acted on, nor is what comes after it.
func (b *Broker) present() bool {
	n, ok := b.catalogue.Node(b.id.Node)
	return ok && n.Incarnation == b.id.Incarnation
}

// holds reports whether this node has a replica of a partition, in whatever
// incarnation it had it first.
func (b *Broker) holds(p fsm.Partition) bool {
	return slices.ContainsFunc(p.Voters, func(n fsm.Node) bool { return n.Name == b.id.Node })
}

// firstVoters is a partition's first configuration; none if this incarnation was
// not in it, which waits for a leader to add it.
func (b *Broker) firstVoters(desc fsm.Partition) (voters []raft.Server) {
	if !slices.Contains(desc.Voters, fsm.Node{Name: b.id.Node, Incarnation: b.id.Incarnation}) {
		return nil
	}
	for _, n := range desc.Voters {
		id := fmt.Sprintf("%s.%d", n.Name, n.Incarnation)
		voters = append(voters, raft.Server{Suffrage: raft.Voter, ID: raft.ServerID(id), Address: raft.ServerAddress(id)})
	}
	return voters
}

// preferred is the first replica of the partition's slot that is alive and has its
// votes, and room.
func (b *Broker) preferred(desc fsm.Partition) string {
	replacing := b.catalogue.Replacing()
	for _, s := range b.catalogue.Slots() {
		if s.ID == desc.Slot {
			for _, n := range s.Replicas {
				if n != replacing && !b.full(n) && (n == b.id.Node || b.transport.Alive(n)) {
					return n
				}
			}
		}
	}
	return ""
}

// closePartitions closes what is open, each once. The node's context has ended, so none
// is opened any more. Those that wait for room, and so for answers in vain, wait side by side.
func (b *Broker) closePartitions() error {
	b.reshape.Lock() // who drops or repairs a partition closes it
	defer b.reshape.Unlock()
	all := b.local()
	b.mu.Lock()
	clear(b.partitions)
	b.locals = nil
	b.mu.Unlock()
	var wg sync.WaitGroup
	errs := make([]error, len(all))
	some := make(chan struct{}, openAtOnce)
	for i, p := range all {
		some <- struct{}{}
		wg.Go(func() {
			defer func() { <-some }()
			errs[i] = p.close()
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// drop closes a partition whose topic is gone and removes what it kept.
func (b *Broker) drop(p *partition) {
	b.mu.Lock()
	delete(b.partitions, p.desc.ID)
	b.locals = nil
	b.mu.Unlock()
	err := p.close()
	if errors.Is(err, vfs.ErrNoSpace) { // for a last checkpoint, which nobody needs
		err = nil
	}
	if err == nil {
		err = b.removePartition(p.desc.ID)
	}
	if err != nil {
		b.left.add(p.desc.ID) // again at the next look
		b.log.Error("remove partition", "partition", p.desc.ID, "topic", p.desc.Topic, "error", err)
		return
	}
	delete(b.left.ids, p.desc.ID)
	b.log.Info("partition removed", "partition", p.desc.ID, "topic", p.desc.Topic)
}
