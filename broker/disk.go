package broker

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"raftmq/fsm"
	"raftmq/internal/vfs"
	"raftmq/membership"
	"raftmq/raftlog"
)

const (
	// diskEvery is how often the disk is looked at.
	diskEvery = 250 * time.Millisecond
	// handEvery is how often a node without room tries to hand leadership on.
	handEvery = time.Second
	// activeRoom is what the active segments may still take when messages are refused:
	// entries that are under way.
	activeRoom = 16 << 20
)

// diskLimits are settings of one node.
type diskLimits struct {
	cleanAt, forceAt, refuseAt int // percent; 100: never
}

// diskState is what one look at the disk told.
type diskState struct {
	free, total int64 // bytes; what the reserve holds is free
	level       membership.DiskLevel
	tight       bool // what is left is for offsets, decisions and deletes
}

func (s diskState) used() float64 {
	if s.total <= 0 {
		return 0
	}
	return 100 * float64(s.total-s.free) / float64(s.total)
}

// judge sets what the room means. need is how many bytes must be free for messages to
// be taken, reserve of how many messages may use one half; 0: none is wanted. One that
// refuses goes on when there is a little more than what it began to refuse at.
func (l diskLimits) judge(s *diskState, refuses bool, need, reserve int64) {
	refuseAt := float64(l.refuseAt)
	if refuses {
		need, refuseAt = need+need/16, refuseAt-1
	}
	used := s.used()
	reached := func(at int, percent float64) bool { return at < 100 && used >= percent }
	switch {
	case reached(l.refuseAt, refuseAt), reserve > 0 && s.free < need:
		s.level = membership.DiskFull
	case reached(l.forceAt, float64(l.forceAt)):
		s.level = membership.DiskForce
	case reached(l.cleanAt, float64(l.cleanAt)):
		s.level = membership.DiskClean
	default:
		s.level = membership.DiskFine
	}
	s.tight = reserve > 0 && s.free < reserve/2
}

// diskWatch knows what room the data folder's disk has.
type diskWatch struct {
	b       *Broker
	limits  diskLimits
	reserve *reserve

	mu     sync.RWMutex
	state  diskState
	failed bool // the last look did, and was told
}

// openDisk looks at the disk for the first time, which may cut the reserve, before
// anything else is written.
func (b *Broker) openDisk() (*diskWatch, error) {
	_, total, err := b.disk.Space(b.cfg.Data)
	if err != nil {
		return nil, fmt.Errorf("room of the data directory: %w", err)
	}
	r, err := openReserve(b.disk, b.cfg.Data, min(max(0, b.cfg.DiskReserve), int64(total/8)))
	if err != nil {
		return nil, err
	}
	d := &diskWatch{b: b, reserve: r, limits: diskLimits{b.cfg.DiskCleanAt, b.cfg.DiskForceAt, b.cfg.DiskRefuseAt}}
	d.look()
	return d, nil
}

// need is how much must be free for messages to be taken: the reserve, what the
// write-ahead log may still grow by, and entries under way.
func (d *diskWatch) need() int64 {
	if d.reserve.target == 0 {
		return 0
	}
	need := d.reserve.target + min(activeRoom, 2*d.b.cfg.SegmentBytes)
	if w := d.b.wal; w != nil && d.b.cfg.WALDir == "" {
		need += int64(max(0, d.b.cfg.WALSegments-w.Stats().Files)) * d.b.cfg.WALSegmentBytes
	}
	return need
}

// look measures, and cuts or grows the reserve. A disk that does not tell is as it was.
func (d *diskWatch) look() diskState {
	d.mu.Lock()
	defer d.mu.Unlock()
	free, total, err := d.b.disk.Space(d.b.cfg.Data)
	if err == nil {
		var left int64
		if left, err = d.reserve.adjust(int64(free)); err == nil || errors.Is(err, vfs.ErrNoSpace) {
			s := diskState{free: left + d.reserve.held, total: int64(total)}
			d.limits.judge(&s, d.state.level == membership.DiskFull, d.need(), d.reserve.target)
			d.state, err = s, nil
		}
	}
	if err != nil && !d.failed {
		d.b.log.Warn("look at the disk", "error", err)
	}
	d.failed = err != nil
	return d.state
}

// last is what the last look told.
func (d *diskWatch) last() diskState {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.state
}

// watchDisk looks at the disk, tells the others when that changes something, and
// settles which partitions take messages.
func (b *Broker) watchDisk() {
	tick := time.NewTicker(diskEvery)
	defer tick.Stop()
	var told diskState
	var handed time.Time
	var way vfs.Way
	for {
		way = b.tellWay(way)
		before := b.room.last()
		s := b.room.look()
		if s.level != before.level {
			b.log.Info("room on the disk", "state", s.level, "used_percent", int(s.used()), "free_bytes", s.free)
		}
		if moved := s.free - told.free; s.level != told.level || moved > s.total/100 || -moved > s.total/100 {
			told = s
			b.members.Update(func(n *membership.Node) { n.DiskFree, n.Disk = uint64(s.free), s.level })
		}
		if b.begun.Load() {
			for _, p := range b.local() {
				p.judgeRoom(b)
			}
			if now := time.Now(); now.Sub(handed) >= handEvery {
				handed = now
				b.handFull(s)
			}
		}
		select {
		case <-tick.C:
		case <-b.ctx.Done():
			return
		}
	}
}

// wayMeans is what an operator is told of how the write-ahead log is written.
var wayMeans = [...]string{
	vfs.WriteAndSync:  "no O_DIRECT: each write is copied into the page cache and then synced, two calls that keep a processor; slower",
	vfs.DirectWrite:   "no io_submit: each write past the page cache keeps a processor until it is durable; slower with many clients; it is not looked for again before the next start",
	vfs.DirectSubmits: "each write goes past the page cache and keeps no processor",
}

// tellWay logs how the write-ahead log is written, when that is known and when it is
// another way than was told.
func (b *Broker) tellWay(told vfs.Way) vfs.Way {
	s := b.wal.Stats()
	if s.Way == told || s.Way == vfs.NotWritten {
		return told
	}
	args := []any{"way", s.Way, "means", wayMeans[s.Way]}
	if s.WhyWay != nil {
		args = append(args, "reason", s.WhyWay)
	}
	b.log.Info("how the write-ahead log is written", args...)
	return s.Way
}

// full reports whether a node has no room for messages, by its last word.
func (b *Broker) full(node string) bool {
	if node == b.id.Node {
		return b.room.last().level == membership.DiskFull
	}
	n, ok := b.members.Node(node)
	return ok && n.Disk == membership.DiskFull
}

// judgeRoom decides whether the partition takes messages: not while so many of its
// replicas lack room that those which have it, and are there, are no majority.
func (p *partition) judgeRoom(b *Broker) {
	var full, there int
	for _, v := range p.desc.Voters {
		switch {
		case b.full(v.Name):
			full++
		case v.Name == b.id.Node || b.transport.Alive(v.Name):
			there++
		}
	}
	if refuses := full > 0 && there <= len(p.desc.Voters)/2; refuses != p.refuses.Swap(refuses) && p.leads() {
		b.log.Warn("room for messages", "partition", p.desc.ID, "topic", p.desc.Topic, "refuses", refuses, "full", full, "replicas", len(p.desc.Voters))
	}
}

// handFull hands on what is led here to replicas that have room, when this node has
// none.
func (b *Broker) handFull(s diskState) {
	var wg sync.WaitGroup
	some := make(chan struct{}, balanceMoves)
	for _, p := range b.local() {
		waits := p.replica.Stalled() != nil
		if !waits && (s.level != membership.DiskFull || !p.leads()) || waits && p.replica.Stats().State != raft.Leader.String() {
			continue
		}
		var to []string
		for _, v := range p.desc.Voters {
			if v.Name != b.id.Node && b.transport.Alive(v.Name) && !b.full(v.Name) {
				to = append(to, v.Name)
			}
		}
		if len(to) == 0 {
			continue
		}
		some <- struct{}{}
		wg.Go(func() {
			defer func() { <-some }()
			ctx, cancel := context.WithTimeout(b.ctx, 3*time.Second)
			defer cancel()
			if err := handOn(ctx, p.replica, to); err != nil && b.ctx.Err() == nil {
				b.log.Debug("hand leadership to a node with room", "partition", p.desc.ID, "nodes", to, "error", err)
			}
		})
	}
	wg.Wait()
}

// roomyMachine is a partition's machine that applies no messages to the last room,
// which is for offsets, decisions and deletes: it waits before them, as on a full disk.
type roomyMachine struct {
	*fsm.PartitionMachine
	tight func() bool
}

// Apply implements raftlog.Machine.
func (m roomyMachine) Apply(entries []*raft.Log) ([]any, error) {
	if !m.tight() {
		return m.PartitionMachine.Apply(entries)
	}
	n := 0
	for n < len(entries) && !(entries[n].Type == raft.LogCommand && fsm.StoresMessages(entries[n].Data)) {
		n++
	}
	results, err := m.PartitionMachine.Apply(entries[:n])
	if err == nil && n < len(entries) {
		err = fmt.Errorf("entry %d stores messages, and what room is left is not for them: %w", entries[n].Index, vfs.ErrNoSpace)
	}
	return results, err
}

// noRoom says what is lacking by an error for want of room.
func noRoom(err error) string {
	switch {
	case errors.Is(err, vfs.ErrNoFiles):
		return "no more files may be open"
	case errors.Is(err, raftlog.ErrCheckpointSize):
		return "no room for the state in a segment of the write-ahead log"
	case errors.Is(err, raftlog.ErrWALFull):
		return "no room for the state in the write-ahead log"
	}
	return "no room on the disk"
}

// stalled notes and logs that the replica waits for room, or goes on.
func (p *partition) stalled(b *Broker, dir string) func(error) {
	return func(err error) {
		if err == nil {
			p.waits.Store(nil)
			b.log.Info("there is room again: the replica goes on", "partition", p.desc.ID, "topic", p.desc.Topic)
			return
		}
		p.waits.Store(&err)
		b.log.Error("no room: the replica waits, and applies nothing", "lacks", noRoom(err), "partition", p.desc.ID, "topic", p.desc.Topic, "folder", filepath.Clean(dir), "error", err)
	}
}
