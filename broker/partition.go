package broker

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"raftmq/fsm"
	"raftmq/internal/vfs"
	"raftmq/message"
	"raftmq/raftlog"
	"raftmq/remoting"
	"raftmq/store"
)

// partition is this node's replica of one partition, from network to disk.
type partition struct {
	desc     fsm.Partition
	machine  *fsm.PartitionMachine
	replica  *raftlog.Replica
	log      *raftlog.GroupLog
	append   *appender[fsm.Item, fsm.ItemResult]
	delays   *appender[fsm.Delayed, fsm.DelayedResult] // of messages that wait for their time
	putBacks *appender[fsm.PutBack, fsm.Status]
	putting  sync.Mutex            // held while one is let in
	puts     int                   // bytes to be remembered of put-backs on their way; under putting
	allows   func(cmd []byte) bool // all nodes can read it
	maxEntry int
	timers   timers
	commits  *committer
	txs      transactions
	withheld atomic.Bool // in quarantine as a whole: nobody is served from it
	caught   caught      // up with what was committed when it was opened
	pinned   pin
	pins     atomic.Uint64
	refuses  atomic.Bool           // messages: too few replicas have room
	moved    atomic.Int64          // Broker.uptime at which an operator last chose this node to lead; 0: none did
	waits    atomic.Pointer[error] // why applying waits for room; nil: it does not
	in       meter                 // messages stored while this replica led
	aged     atomic.Pointer[aged]

	mu   sync.Mutex
	turn chan struct{} // closed when leadership changes
	let  sync.Once     // go of those who wait
}

// positionOf is where a record lies, or lay, that has a physical offset.
func (p *partition) positionOf(physical int64) store.Position {
	_, low := message.SplitPhysicalOffset(physical)
	return store.Position(message.PositionBefore(low, int64(p.store().Last().Position)))
}

// halfOf is positionOf of a half, which may wait for its decision while the log goes on for
// as long as it likes.
func (p *partition) halfOf(physical int64) store.Position {
	last := p.positionOf(physical)
	for pos := last; pos >= 0; pos -= message.MaxPosition + 1 {
		if _, ok := p.machine.Half(pos); ok {
			return pos
		}
		if _, ok := p.machine.DecisionOf(pos); ok {
			return pos
		}
	}
	return last
}

// archive lets Raft read applied entries back from the commit log.
type archive struct{ store func() *store.Store }

func (a archive) FirstIndex() uint64 {
	first, last := a.store().First(), a.store().Last()
	if last.Index == first.Index {
		return 0
	}
	return first.Index + 1
}

func (a archive) LastIndex() uint64 {
	first, last := a.store().First(), a.store().Last()
	if last.Index == first.Index {
		return 0
	}
	return last.Index
}

func (a archive) GetLog(index uint64, out *raft.Log) error {
	e, err := a.store().Entry(index)
	if errors.Is(err, store.ErrNotFound) {
		if first := a.store().First(); index == first.Index && index > 0 {
			*out = raft.Log{Index: first.Index, Term: first.Term, Type: raft.LogNoop}
			return nil
		}
		return raft.ErrLogNotFound
	}
	if err != nil {
		return err
	}
	*out = raft.Log{Index: e.Index, Term: e.Term, Type: raft.LogType(e.Type), Data: e.Data, AppendedAt: time.Unix(0, e.AppendedAt)}
	return nil
}

// openPartition opens the replica from its latest checkpoint; the write-ahead
// log replays the rest.
func (b *Broker) openPartition(desc fsm.Partition, bootstrap []raft.Server) (*partition, error) {
	group := b.wal.Group(desc.ID)
	if err := b.recall(desc.ID); err != nil {
		return nil, err
	}
	// Now, since what opens the store removes files that are half written.
	if err := b.persist(desc.ID); err != nil && !errors.Is(err, vfs.ErrNoSpace) {
		return nil, err
	}
	c, _, err := group.Checkpoint()
	if err != nil {
		return nil, fmt.Errorf("partition %d: %w", desc.ID, err)
	}
	log := b.log.Named("partition").With("partition", desc.ID, "topic", desc.Topic, "slot", desc.Slot)
	p := &partition{desc: desc, log: group, allows: b.allows, maxEntry: b.maxEntry(), turn: make(chan struct{})}
	fault := func(err error) { b.fail(fmt.Errorf("partition %d of %s: %w", desc.ID, desc.Topic, err)) }
	machine, err := fsm.OpenPartition(b.partitionDir(desc.ID), fsm.PartitionOptions{Store: store.Options{
		FS: b.disk, SegmentBytes: b.cfg.SegmentBytes, Number: desc.Number, Logger: log,
		OnFault:  fault,
		OnDamage: func(d *store.Damage) { b.damaged(desc.ID, d) },
	}}, c.State)
	if err != nil {
		return nil, fmt.Errorf("open partition %d of %s: %w", desc.ID, desc.Topic, err)
	}
	group.SetArchive(archive{machine.Store})
	p.machine = machine
	p.replica, err = b.host.Open(raftlog.ReplicaConfig{
		Group: desc.ID, Log: group, Bootstrap: bootstrap, Heartbeat: b.cfg.Heartbeat, Logger: b.raftLog,
		OnLeader: func(lead bool, term uint64) {
			log.Info("leadership", "lead", lead, "term", term)
			b.event("leadership", desc.ID, "lead", lead, "term", term)
			p.turns()
			b.leadsChanged()
		},
		OnFault: func(err error) { b.halted(p, err) }, OnStall: p.stalled(b, b.cfg.Data),
	}, roomyMachine{machine, func() bool { return b.room.last().tight }})
	if err != nil {
		return nil, errors.Join(err, machine.Close())
	}
	if q, ok := b.sick.of(desc.ID); ok {
		p.withheld.Store(q.withheld())
		p.replica.SitOut(true)
	}
	p.append = newAppender(messages, b.admission.records, p.start, b.time)
	p.delays = newAppender(delays, b.admission.records, p.start, b.time)
	p.putBacks = newAppender(putBacks, b.admission.records, p.start, b.time)
	p.txs.room, p.txs.propose, p.txs.now = b.admission.records, p.start, b.time
	p.commits = newCommitter(p, b.time)
	return p, nil
}

// maxEntry is the most bytes that an entry of a partition may have.
func (b *Broker) maxEntry() int { return int(min(store.MaxEntry, b.wal.MaxEntry())) }

func (b *Broker) partitionDir(id uint64) string {
	return filepath.Join(b.cfg.Data, "partitions", fmt.Sprintf("%08d", id))
}

func (p *partition) store() *store.Store { return p.machine.Store() }

// leads reports whether this replica may answer for the partition.
func (p *partition) leads() bool {
	_, ok := p.replica.Leads()
	return ok && !p.withheld.Load()
}

// turned returns a channel that closes when this replica comes to lead or ceases
// to, and when an operator has moved a group. Take it before asking whether it leads.
func (p *partition) turned() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.turn
}

func (p *partition) turns() {
	p.mu.Lock()
	defer p.mu.Unlock()
	close(p.turn)
	p.turn = make(chan struct{})
}

// fits refuses what makes an entry that no replica could apply or store, and behind which a leader could send nothing.
func (p *partition) fits(cmd []byte) error {
	if len(cmd) > p.maxEntry {
		return fmt.Errorf("%w: it makes an entry of %d bytes, at most %d", remoting.ErrHeader, len(cmd), p.maxEntry)
	}
	return nil
}

// propose is for commands other than appends. errNotHere, remoting.ErrHeader:
// certainly no effect.
func (p *partition) propose(ctx context.Context, cmd []byte) (any, error) {
	if err := p.fits(cmd); err != nil {
		return nil, err
	}
	if late(byOf(ctx)) {
		return nil, errLate
	}
	if !p.allows(cmd) {
		return nil, errLevel
	}
	v, err := p.replica.Propose(ctx, cmd)
	if errors.Is(err, raftlog.ErrNotLeader) || errors.Is(err, raftlog.ErrClosed) {
		return nil, errNotHere
	}
	return v, err
}

// start proposes a command and has then called with what became of it. After an error it is
// not called, and nothing was done.
func (p *partition) start(cmd []byte, then func(result any, err error)) error {
	if err := p.fits(cmd); err != nil {
		return err
	}
	if !p.allows(cmd) {
		return errLevel
	}
	return p.replica.StartFunc(cmd, then)
}

// letGo answers those who wait for entries to be applied: what becomes of them is not known.
func (p *partition) letGo() {
	p.let.Do(func() {
		close(p.append.over)
		close(p.delays.over)
		close(p.putBacks.over)
		p.txs.letGo()
	})
}

func (p *partition) close() error {
	err := p.replica.Close()
	p.turns() // its last word on leadership came while Raft was still there
	p.append.close()
	p.delays.close()
	p.putBacks.close()
	p.txs.close()
	p.commits.close()
	return errors.Join(err, p.machine.Close())
}
