package raftlog

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"raftmq/internal/vfs"
)

var (
	// ErrNotLeader: the command was not proposed here and has no effect. Ask the
	// leader.
	ErrNotLeader = errors.New("raftlog: not leader")
	// ErrUnknownOutcome: the command may have taken effect, or may yet. Only what
	// is safe to do twice may be tried again.
	ErrUnknownOutcome = errors.New("raftlog: outcome unknown")
	// ErrClosed: the replica was closed before the command was proposed.
	ErrClosed = errors.New("raftlog: replica closed")
)

// ReplicaConfig is how one replica of one group is opened.
type ReplicaConfig struct {
	Group uint64
	// Log is the group's view of the node's write-ahead log. For the catalogue it
	// keeps term and vote only, and Logs and Snapshots are set.
	Log *GroupLog
	// Logs keeps the entries; nil: Log.
	Logs raft.LogStore
	// Snapshots of a group whose log Raft compacts itself; nil: floors and
	// checkpoints.
	Snapshots raft.SnapshotStore
	// Bootstrap is the first configuration of a group that has no state yet. Every
	// replica is given the identical one. Empty: the replica waits to be added.
	Bootstrap []raft.Server

	Heartbeat     time.Duration // 0: 2 s; failover does not wait for it, see nudge.go
	CommitTimeout time.Duration // 0: 5 s; how long a follower that lost a message may lag; see commitpush.go
	Logger        hclog.Logger

	// OnLeader is called, one call after the other, when this replica becomes able
	// to lead in term (everything before is applied), and with lead=false and the
	// same term when it no longer is.
	OnLeader func(lead bool, term uint64)
	// OnStall is called when applying waits for room on the disk, with the machine's
	// error, and with nil when it goes on. It must not call the replica.
	OnStall func(error)
	// OnFault is called once when the machine could not apply an entry, once when its
	// state could not be made durable, once when Raft's term could not, and once when
	// its log could not be read or did not take what follows a truncation.
	OnFault func(error)
}

// Replica is this node's member of one group. Its methods are safe for
// concurrent use.
type Replica struct {
	cfg    ReplicaConfig
	host   *Host
	self   raft.ServerID
	raft   *raft.Raft
	logs   *Log
	net    *GroupTransport
	apply  *applier
	floors *floors // nil for the catalogue
	log    hclog.Logger

	ready     atomic.Uint64 // term in which a barrier of ours was applied
	gate      gate
	reads     readRounds
	pushes    commitPush
	proposals proposals
	asked     atomic.Bool   // a trigger was asked for, and has not come
	unsafe    error         // why there are no more checkpoints; guarded by apply.save
	large     atomic.Int64  // when the state had no room in a checkpoint, ns since the transport's epoch; 0: it had, the last time
	ending    chan struct{} // closed when it begins to close
	closing   chan struct{} // closed after its last checkpoint
	closed    sync.Once
	wg        sync.WaitGroup
}

// largeAgain is how long the write-ahead log is not heeded that asks for a checkpoint of a state which is
// too large for one: to encode it takes the processor's time.
const largeAgain = time.Second

// Open starts the replica. m holds the state of the group's latest checkpoint,
// or nothing. After vfs.ErrNoSpace it may be tried again.
func (h *Host) Open(cfg ReplicaConfig, m Machine) (*Replica, error) {
	if cfg.Heartbeat == 0 {
		cfg.Heartbeat = 2 * time.Second
	}
	if cfg.CommitTimeout == 0 {
		cfg.CommitTimeout = 5 * time.Second
	}
	if cfg.Logs == nil {
		cfg.Logs = cfg.Log
	}
	log := cfg.Logger
	if log == nil {
		log = hclog.NewNullLogger()
	}
	r := &Replica{cfg: cfg, host: h, self: h.ID(), log: log, ending: make(chan struct{}), closing: make(chan struct{})}
	r.logs = NewLog(cfg.Logs, r.faulted)
	r.pushes.r = r
	r.proposals.r, r.proposals.open = r, make(map[*byte]*command)
	r.apply = &applier{logs: cfg.Logs, machine: m, fault: r.faulted, advanced: r.pushes.note, answer: r.proposals.applied, grown: make(chan struct{}), save: make(chan struct{}, 1),
		closing: r.closing, ending: r.ending, onStall: cfg.OnStall}
	r.apply.applied.index, r.apply.applied.term = m.Applied()
	snapshots := cfg.Snapshots
	if snapshots == nil {
		c, ok, err := cfg.Log.Checkpoint()
		if err != nil {
			return nil, fmt.Errorf("group %d: read checkpoint: %w", cfg.Group, err)
		}
		if ok {
			if c.Index != r.apply.applied.index {
				return nil, fmt.Errorf("group %d: state is at entry %d, checkpoint at %d", cfg.Group, r.apply.applied.index, c.Index)
			}
			r.apply.applied.conf, r.apply.applied.confIndex = c.Configuration, c.ConfigurationIndex
		}
		r.floors = &floors{group: cfg.Log, machine: m, conf: r.Members}
		r.apply.floors, r.apply.reset = r.floors, r.resetLog
		snapshots = r.floors
		cfg.Log.OnPressure(func() {
			if at := r.large.Load(); at > 0 && time.Since(h.transport.epoch)-time.Duration(at) < largeAgain {
				return
			}
			if err := r.Checkpoint(); err != nil && !errors.Is(err, ErrClosed) && !lacksRoom(err) {
				log.Error("checkpoint for write-ahead log space", "error", err)
			}
		})
	}
	r.net = h.transport.Group(cfg.Group)
	r.net.SetLog(r.logs)
	r.net.backlog.more = r.triggerOnce
	r.net.SetHeartbeat(cfg.Heartbeat)
	if err := r.start(snapshots); err != nil {
		r.noCheckpoints(ErrClosed)
		r.net.Close()
		return nil, fmt.Errorf("group %d: %w", cfg.Group, err)
	}
	if r.floors != nil {
		r.floors.started()
	}
	h.add(r)
	r.wg.Go(r.watch)
	return r, nil
}

func (r *Replica) start(snapshots raft.SnapshotStore) error {
	c := raft.DefaultConfig()
	c.LocalID = r.self
	c.HeartbeatTimeout, c.ElectionTimeout = r.cfg.Heartbeat, r.cfg.Heartbeat
	c.LeaderLeaseTimeout = r.lease()
	c.CommitTimeout = r.cfg.CommitTimeout
	c.MaxAppendEntries = 32 // entries of up to 256 KiB; the transport bounds bytes
	c.BatchApplyCh = true
	c.NoLegacyTelemetry = true
	c.ShutdownOnRemove = false // a leader that is removed may be added again
	c.Logger = r.log
	if r.floors != nil {
		c.NoSnapshotRestoreOnStart = true // the machine was opened at the checkpoint
		c.TrailingLogs = 1 << 62          // the archive retains, Raft never compacts
		c.SnapshotInterval, c.SnapshotThreshold = 1000*time.Hour, 1<<62
	}
	if len(r.cfg.Bootstrap) > 0 {
		if err := r.bootstrap(snapshots); err != nil {
			return fmt.Errorf("bootstrap: %w", err)
		}
	}
	stable := &haltingStable{StableStore: r.cfg.Log, fault: r.faulted}
	ra, err := raft.NewRaft(c, r.apply, r.logs, stable, snapshots, r.net)
	if err != nil {
		return fmt.Errorf("start: %w", err)
	}
	stable.armed.Store(true)
	applied := r.Applied
	r.logs.applied.Store(&applied)
	ahead := func(logs []*raft.Log) {
		if ra.State() == raft.Leader { // it is the goroutine that leads which asks
			r.net.sendAhead(r.header(), ra.CommitIndex(), logs)
		}
	}
	r.logs.ahead.Store(&ahead)
	r.raft = ra
	return nil
}

// bootstrap writes the first entry, unless there are entries or a snapshot. The library's own writes a term and then the entry, and takes
// a term for state: a group whose nodes ended between the two, or had no room for the entry, would never have a leader. Every replica
// has the same first entry, so it may be written in whatever term.
func (r *Replica) bootstrap(snapshots raft.SnapshotStore) error {
	last, err := r.cfg.Logs.LastIndex()
	if err != nil || last > 0 {
		return err
	}
	if metas, err := snapshots.List(); err != nil || len(metas) > 0 {
		return err
	}
	const key = "CurrentTerm" // the library's
	term, err := r.cfg.Log.GetUint64([]byte(key))
	if err == nil && term == 0 {
		err = r.cfg.Log.SetUint64([]byte(key), 1)
	}
	if err == nil {
		err = r.cfg.Logs.StoreLog(&raft.Log{Index: 1, Term: 1, Type: raft.LogConfiguration, Data: raft.EncodeConfiguration(raft.Configuration{Servers: r.cfg.Bootstrap})})
	}
	if errors.Is(err, ErrWALFull) && !errors.Is(err, ErrWALFailed) {
		err = fmt.Errorf("%w: %w", err, vfs.ErrNoSpace) // it may be tried again
	}
	return err
}

func (r *Replica) lease() time.Duration { return r.cfg.Heartbeat / 4 * 3 }

// watch turns Raft's leadership into OnLeader calls.
func (r *Replica) watch() {
	led := uint64(0) // the term that OnLeader knows of
	for {
		closing := false
		select {
		case <-r.raft.LeaderCh(): // changes that follow each other quickly are told as one
		case <-r.closing:
			closing = true
		}
		r.proposals.ask(time.Now())
		term := r.raft.CurrentTerm()
		leads := r.raft.State() == raft.Leader && !closing
		if led != 0 && (!leads || term != led) {
			r.ready.Store(0)
			r.notify(false, led)
			led = 0
		}
		if closing {
			return
		}
		if leads && led == 0 && r.settle(term) {
			led = term
			r.ready.Store(term)
			r.host.greetings.leads(r)
			r.notify(true, term)
		}
	}
}

func (r *Replica) notify(lead bool, term uint64) {
	if r.cfg.OnLeader != nil {
		r.cfg.OnLeader(lead, term)
	}
}

// settle waits until a barrier of this term is applied: from then on everything
// that earlier leaders committed is visible here.
func (r *Replica) settle(term uint64) bool {
	for r.raft.State() == raft.Leader && r.raft.CurrentTerm() == term {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		err := r.await(ctx, func() raft.Future { return r.raft.Barrier(0) })
		cancel()
		if err == nil {
			return r.raft.CurrentTerm() == term
		}
		if errors.Is(err, ErrNotLeader) || errors.Is(err, ErrClosed) {
			return false
		}
	}
	return false
}

// await waits for a future that may never answer, or be had.
func (r *Replica) await(ctx context.Context, ask func() raft.Future) error {
	if err := r.gate.ask(); err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() { // ends when Raft answers: see Close
		done <- ask().Error()
		r.gate.leave()
	}()
	select {
	case err := <-done:
		return outcome(err)
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", ErrUnknownOutcome, context.Cause(ctx))
	case <-r.closing:
		return fmt.Errorf("%w: replica closed", ErrUnknownOutcome)
	}
}

// outcome sorts Raft's errors: certainly not done, or unknown.
func outcome(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrEnqueueTimeout), errors.Is(err, raft.ErrLeadershipTransferInProgress):
		return ErrNotLeader
	default: // leadership lost while waiting, shutdown, a StoreLogs error
		return fmt.Errorf("%w: %w", ErrUnknownOutcome, err)
	}
}

func (r *Replica) faulted(err error) {
	r.log.Error("replica must stop", "error", err)
	if r.cfg.OnFault != nil {
		go r.cfg.OnFault(err) // it will close the replica, which waits for this goroutine
	}
}

// Leader returns the node that this replica believes to lead, "" if none, and
// the term it is in.
func (r *Replica) Leader() (node string, term uint64) {
	addr, _ := r.raft.LeaderWithID()
	node, _ = NodeOf(addr)
	return node, r.raft.CurrentTerm()
}

// Leads reports whether this replica leads and has applied all that came before
// its term. It may have been deposed without knowing: see ReadIndex.
func (r *Replica) Leads() (term uint64, ok bool) {
	term = r.ready.Load()
	return term, term != 0 && r.raft.State() == raft.Leader && r.raft.CurrentTerm() == term
}

// Applied is the index of the last entry applied here.
func (r *Replica) Applied() uint64 {
	at, _, _ := r.apply.progress()
	return at.index
}

// Stats are figures for people.
type Stats struct {
	State                       string
	Term, Last, Commit, Applied uint64
}

func (r *Replica) Stats() Stats {
	return Stats{State: r.raft.State().String(), Term: r.raft.CurrentTerm(), Last: r.raft.LastIndex(), Commit: r.raft.CommitIndex(), Applied: r.Applied()}
}

// Checkpoint makes the state durable as of now and lets the write-ahead log drop
// what it covers. The apply path is held only while the state is captured. A
// failed sync is final: OnFault is told, and every later Checkpoint fails. So is a
// checkpoint that could not be saved: the machine takes the one before for kept.
// vfs.ErrNoSpace is not final: the checkpoint before holds; ErrCheckpointSize is one, and so is ErrWALFull. ErrClosed after Close.
func (r *Replica) Checkpoint() error { return r.checkpoint(false) }

// CheckpointAgain is Checkpoint also where nothing was applied since the last one: a
// machine may remove only then what the two before needed.
func (r *Replica) CheckpointAgain() error { return r.checkpoint(true) }

func (r *Replica) checkpoint(again bool) error {
	r.apply.save <- struct{}{}
	defer func() { <-r.apply.save }()
	if r.floors == nil || r.unsafe != nil {
		return r.unsafe
	}
	at, state, sync, err := r.apply.capture()
	if err != nil || at.index == 0 {
		return err
	}
	if c, ok, err := r.cfg.Log.Checkpoint(); err == nil && ok && c.Index == at.index && !again {
		return nil
	}
	if err := r.cfg.Log.Fits(at.checkpoint(state)); err != nil { // before the machine takes it for kept
		if r.large.Swap(int64(time.Since(r.host.transport.epoch))+1) == 0 {
			r.log.Error("no checkpoint is made: when the group's share of the write-ahead log is used up it takes nothing more", "group", r.cfg.Group, "error", err)
		}
		return err
	}
	r.large.Store(0)
	err = r.cfg.Log.saveCheckpoint(walCheckpoint, at.checkpoint(state), sync)
	if lacksRoom(err) && errors.Is(err, ErrWALFull) {
		r.log.Warn("no checkpoint is made, until there is room in the write-ahead log", "group", r.cfg.Group, "error", err)
	}
	if err == nil || lacksRoom(err) || errors.Is(err, ErrWALClosed) {
		return err
	}
	r.unsafe = fmt.Errorf("checkpoint group %d at entry %d: %w", r.cfg.Group, at.index, err)
	r.faulted(r.unsafe)
	return r.unsafe
}

// Snapshot has Raft keep the machine's state as of now, of a group whose snapshots are Raft's. ErrUnknownOutcome: perhaps it has.
func (r *Replica) Snapshot(ctx context.Context) error {
	return r.await(ctx, func() raft.Future { return r.raft.Snapshot() })
}

// noCheckpoints ends checkpoints: when it returns none is under way, and the later
// ones answer why.
func (r *Replica) noCheckpoints(why error) {
	r.apply.save <- struct{}{}
	r.unsafe = why
	<-r.apply.save
}

// resetLog makes an installed floor durable: the machine has restored it, and
// the group's entries in the write-ahead log are of no use any more.
func (r *Replica) resetLog(at applied) error {
	state, sync := r.apply.machine.Checkpoint()
	return r.logs.lose(logEnd{at.term, at.index}, func() error { return r.cfg.Log.saveCheckpoint(walReset, at.checkpoint(state), sync) })
}

// Close stops the replica, with a last checkpoint that makes the next start
// short. It does not hand leadership on: see Transfer. What waits for an outcome
// gets it, if it can be had soon. (What Raft has not answered when it is shut down
// it never answers.)
func (r *Replica) Close() (err error) {
	r.closed.Do(func() { err = r.close() })
	return err
}

func (r *Replica) close() error {
	r.host.remove(r)
	r.gate.end()
	close(r.ending)
	r.drain()
	err := r.net.Close()                                     // else Raft waits for calls under way
	if last := r.Checkpoint(); !errors.Is(last, ErrClosed) { // which a floor says that found no room: it will be sent again
		err = errors.Join(last, err)
	}
	r.noCheckpoints(ErrClosed)
	r.reads.close()
	close(r.closing)
	r.proposals.end()
	err = errors.Join(err, r.raft.Shutdown().Error())
	r.wg.Wait()
	return err
}

// drain waits for answers. A leader that cannot reach the others has stepped down,
// and answered, within two of its leases.
func (r *Replica) drain() {
	timer := time.NewTimer(2*r.lease() + time.Second)
	defer timer.Stop()
	select {
	case <-r.gate.drained():
	case <-timer.C:
	}
}
