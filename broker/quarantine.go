package broker

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"raftmq/fsm"
	"raftmq/internal/vfs"
	"raftmq/raftlog"
	"raftmq/store"
)

// quarantineFile is in a partition's folder from when damage was found there until
// it is repaired: {"version":2,"files":["00000000000000000000.log"],"reason":"...",
// "crc32c":"..."}.
const (
	quarantineFile    = "quarantine.json"
	quarantineVersion = 2 // 1 had no checksum
)

// quarantine is what is known to be wrong with a replica. Such a one does not stand
// for election and hands leadership on; what is damaged of it nobody is served from.
type quarantine struct {
	Version int      `json:"version"`
	Files   []string `json:"files,omitempty"` // damaged, base names, sorted
	// Whole: its bytes or its state are not the other replicas'; nobody is served
	// anything from it.
	Whole bool `json:"whole,omitempty"`
	// Disputed: no majority of the replicas agrees. Nobody is served anything, and
	// nothing is repaired, until an operator says whose copy counts.
	Disputed bool   `json:"disputed,omitempty"`
	Reason   string `json:"reason"` // what was found first
}

func (q quarantine) withheld() bool { return q.Whole || q.Disputed }

// over: nothing is wrong any more.
func (q quarantine) over() bool { return len(q.Files) == 0 && !q.withheld() }

func (q quarantine) same(o quarantine) bool {
	return slices.Equal(q.Files, o.Files) && q.Whole == o.Whole && q.Disputed == o.Disputed
}

// without is what stays wrong when that much was repaired. One that was copied whole is whole;
// one of which an operator says that it counts is damaged where it was.
func (q quarantine) without(done quarantine) quarantine {
	switch {
	case done.Disputed:
		q.Whole, q.Disputed = false, false
	case done.Whole:
		q.Files, q.Whole, q.Disputed = nil, false, false
	default:
		q.Files = slices.DeleteFunc(slices.Clone(q.Files), func(f string) bool { return slices.Contains(done.Files, f) })
	}
	return q
}

func (q quarantine) String() string {
	switch {
	case q.Disputed:
		return "disputed: " + q.Reason
	case q.Whole:
		return "to be copied whole: " + q.Reason
	}
	return "damaged: " + q.Reason
}

// ward is a replica in quarantine.
type ward struct {
	quarantine
	saved   bool // the file says so
	failed  int  // repairs in a row
	next    time.Time
	stuck   string // why the last repair failed
	treated bool   // being repaired: it is closed, and nobody opens it
	broken  bool   // it cannot be opened as it is
	told    bool   // the event file has it
	alone   bool   // no other replica is better: it may stand for election
	cleared bool   // an operator says that it counts: the quarantine ends
}

// infirmary is the replicas of this node that are in quarantine, open or not.
type infirmary struct {
	mu    sync.Mutex
	wards map[uint64]*ward
	wake  chan struct{} // there is something to repair
	news  chan struct{} // and to note

	noting sync.Mutex // held while the file of a quarantine is written or removed; before mu

	found, repaired uint64 // since the start
}

func newInfirmary() *infirmary {
	return &infirmary{wards: make(map[uint64]*ward), wake: make(chan struct{}, 1), news: make(chan struct{}, 1)}
}

// rouse has what was found noted, and repaired.
func (i *infirmary) rouse() {
	for _, c := range []chan struct{}{i.wake, i.news} {
		select {
		case c <- struct{}{}:
		default:
		}
	}
}

// admit adds to what is wrong with a replica; false: nothing new.
func (i *infirmary) admit(id uint64, q quarantine) bool { return i.admitNoted(id, q, false) }

// admitNoted is admit of what its file says, if noted.
func (i *infirmary) admitNoted(id uint64, q quarantine, noted bool) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	w := i.wards[id]
	news := w == nil
	if news {
		w = &ward{quarantine: quarantine{Version: quarantineVersion, Reason: q.Reason}}
		i.wards[id] = w
	}
	before := len(w.Files)
	for _, f := range q.Files {
		if at, ok := slices.BinarySearch(w.Files, f); !ok {
			w.Files = slices.Insert(w.Files, at, f)
		}
	}
	if !news && len(w.Files) == before && (w.Whole || !q.Whole) && (w.Disputed || !q.Disputed) {
		return false
	}
	w.Whole, w.Disputed = w.Whole || q.Whole, w.Disputed || q.Disputed
	w.saved, w.told, w.next = noted && news, false, time.Time{}
	i.found++
	i.rouse()
	return true
}

// noted counts damage that needs no quarantine.
func (i *infirmary) noted() {
	i.mu.Lock()
	i.found++
	i.mu.Unlock()
}

// of returns what is wrong with a replica.
func (i *infirmary) of(id uint64) (quarantine, bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if w := i.wards[id]; w != nil {
		q := w.quarantine
		q.Files = slices.Clone(q.Files)
		if w.stuck != "" {
			q.Reason += "; not repaired: " + w.stuck
		}
		return q, true
	}
	return quarantine{}, false
}

// shut reports whether a replica is not to be opened: it is being repaired, or must
// be before.
func (i *infirmary) shut(id uint64) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	w := i.wards[id]
	return w != nil && (w.treated || w.broken)
}

// tell reports once that what is wrong with a replica is to be told.
func (i *infirmary) tell(id uint64) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	w := i.wards[id]
	if w == nil || w.told {
		return false
	}
	w.told = true
	return true
}

// ids are the replicas in quarantine, sorted.
func (i *infirmary) ids() []uint64 {
	i.mu.Lock()
	defer i.mu.Unlock()
	return slices.Sorted(maps.Keys(i.wards))
}

// alone reports whether a replica may lead though it is in quarantine.
func (i *infirmary) alone(id uint64) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	w := i.wards[id]
	return w != nil && w.alone && !w.withheld()
}

// closed returns the replicas that are not open for it, and why.
func (i *infirmary) closed() map[uint64]string {
	i.mu.Lock()
	defer i.mu.Unlock()
	why := make(map[uint64]string)
	for id, w := range i.wards {
		if w.treated || w.broken {
			why[id] = w.String()
		}
	}
	return why
}

// change runs f on the replica's ward, if it has one.
func (i *infirmary) change(id uint64, f func(*ward)) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if w := i.wards[id]; w != nil {
		f(w)
	}
}

func (i *infirmary) discharge(id uint64) {
	i.mu.Lock()
	defer i.mu.Unlock()
	delete(i.wards, id)
}

// toNote are the replicas of which not all that is wrong is noted, sorted. That of one which is
// being repaired is noted when that is over: what puts its files in place removes others that are not whole.
func (i *infirmary) toNote() []uint64 {
	i.mu.Lock()
	defer i.mu.Unlock()
	return slices.DeleteFunc(slices.Sorted(maps.Keys(i.wards)), func(id uint64) bool { return i.wards[id].saved || i.wards[id].treated })
}

// due returns the replicas whose repair may be tried now, sorted.
func (i *infirmary) due(now time.Time) []uint64 {
	i.mu.Lock()
	defer i.mu.Unlock()
	ids := slices.DeleteFunc(slices.Sorted(maps.Keys(i.wards)), func(id uint64) bool {
		return i.wards[id].saved && now.Before(i.wards[id].next)
	})
	return ids
}

func (i *infirmary) counts() (inside int, found, repaired uint64) {
	i.mu.Lock()
	defer i.mu.Unlock()
	return len(i.wards), i.found, i.repaired
}

// damaged notes a damaged file of a replica, which is open or about to be. It waits
// for nothing.
func (b *Broker) damaged(id uint64, d *store.Damage) {
	if isIndex(d) {
		b.log.Warn("an index of keys was damaged, and is built again", "partition", id, "file", d.File, "error", d.Err)
		b.event("index built again", id, "file", filepath.Base(d.File), "error", d.Error())
		b.sick.noted()
		return
	}
	if b.sick.admit(id, quarantine{Files: []string{filepath.Base(d.File)}, Reason: d.Error()}) {
		b.log.Error("replica is damaged: it is not served from there, does not stand for election, and is to be repaired", "partition", id, "file", d.File, "offset", d.Offset, "error", d.Err)
	}
	b.withhold(id)
}

// isIndex: of keys, built again from the log as damage is found.
func isIndex(d *store.Damage) bool { return strings.HasSuffix(d.File, ".keys") }

// unopenable puts a replica that could not be opened, or cannot go on, into quarantine, if
// the reason is its files.
func (b *Broker) unopenable(id uint64, err error) bool {
	q := quarantine{Reason: err.Error()}
	var d *store.Damage
	switch {
	case errors.As(err, &d):
		q.Files = []string{filepath.Base(d.File)}
	case errors.Is(err, store.ErrDamaged), errors.Is(err, fsm.ErrState), errors.Is(err, raftlog.ErrWALDamaged), errors.Is(err, fs.ErrNotExist):
		q.Whole = true
	default:
		return false
	}
	b.sick.admit(id, q)
	b.sick.change(id, func(w *ward) { w.broken = true })
	b.log.Error("replica cannot be opened or go on, and is to be repaired; the others go on", "partition", id, "error", err)
	return true
}

// halted is told that an open replica cannot go on. If it is for bytes that are not what was written, it is
// closed and repaired, and the others go on; else the node ends.
func (b *Broker) halted(p *partition, err error) {
	id := p.desc.ID
	if !errors.Is(err, store.ErrDamaged) { // at once: whoever holds reshape may take long
		b.fail(fmt.Errorf("partition %d of %s: %w", id, p.desc.Topic, err))
		return
	}
	b.reshape.Lock()
	defer b.reshape.Unlock()
	b.unopenable(id, err)
	if open, ok := b.partition(id); ok && open == p { // else it is being repaired already
		b.closeToRepair(id)
	}
}

// withhold lets an open replica act by what is wrong with it.
func (b *Broker) withhold(id uint64) {
	q, ok := b.sick.of(id)
	if p, open := b.partition(id); open {
		p.withheld.Store(ok && q.withheld())
		p.replica.SitOut(ok && !b.sick.alone(id))
	}
}

func (b *Broker) quarantinePath(id uint64) string {
	return filepath.Join(b.partitionDir(id), quarantineFile)
}

// recall admits a replica that was in quarantine before the node started.
func (b *Broker) recall(id uint64) error {
	name := b.quarantinePath(id)
	raw, err := vfs.ReadFile(b.disk, name, 1<<20)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if vfs.Starved(err) { // whether there is one is not known
		return fmt.Errorf("read %s: %w", name, err)
	}
	q, noted := quarantine{Whole: true, Reason: name + " cannot be read"}, false // whatever it said
	if err == nil {
		var doc quarantine
		switch err := unseal(raw, quarantineVersion, &doc); {
		case err == nil:
			q, noted = doc, doc.Version == quarantineVersion
		case !errors.Is(err, ErrFolderDamaged):
			return fmt.Errorf("read %s: %w", name, err)
		}
	}
	if b.sick.admitNoted(id, q, noted) {
		b.log.Warn("replica is in quarantine since before the start", "partition", id, "reason", q.String())
	}
	return nil
}

// persist makes a quarantine durable, if it is not.
func (b *Broker) persist(id uint64) error {
	b.sick.noting.Lock()
	defer b.sick.noting.Unlock()
	if !slices.Contains(b.sick.toNote(), id) {
		return nil
	}
	q, _ := b.sick.of(id)
	if err := b.writeQuarantine(id, q); err != nil {
		return err
	}
	b.sick.change(id, func(w *ward) { w.saved = w.same(q) }) // unless more was found meanwhile
	return nil
}

func (b *Broker) writeQuarantine(id uint64, q quarantine) error {
	q.Version = quarantineVersion
	if err := vfs.MakeDir(b.disk, b.partitionDir(id)); err != nil {
		return err
	}
	return writeSealed(b.disk, b.quarantinePath(id), q)
}

// note is persist, whose failure ends the node unless it is for want of room.
func (b *Broker) note(id uint64) error {
	err := b.persist(id)
	if errors.Is(err, vfs.ErrNoSpace) {
		b.log.Error("note that a replica is damaged", "partition", id, "error", err)
	} else if err != nil {
		b.fail(fmt.Errorf("note that partition %d is damaged: %w", id, err))
	}
	return err
}

// noteQuarantines notes what is found as it is found: the repair of another replica may take
// long, and a start meanwhile would know nothing of it.
func (b *Broker) noteQuarantines() {
	for {
		select {
		case <-b.sick.news:
		case <-b.ctx.Done():
			return
		}
		for _, id := range b.sick.toNote() {
			b.note(id) // if not, before it is repaired
		}
	}
}

// left is what stays wrong with a replica of which that much was repaired.
func (i *infirmary) left(id uint64, done quarantine) (q quarantine) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if w := i.wards[id]; w != nil {
		q = w.without(done)
		q.Files = slices.Clone(q.Files)
	}
	return q
}

// mended takes what was repaired out of what is wrong with a replica, whose file says what was
// left then; what was found since is not lost.
func (i *infirmary) mended(id uint64, done, left quarantine) {
	i.mu.Lock()
	defer i.mu.Unlock()
	w := i.wards[id]
	if w == nil {
		return
	}
	i.repaired++
	w.quarantine = w.without(done)
	if w.over() {
		delete(i.wards, id)
		return
	}
	w.cleared, w.saved, w.next = false, w.same(left), time.Time{}
	i.rouse()
}

// release ends a quarantine, durably, of which that much was repaired. What else was found
// meanwhile stays. Of a replica that was removed there is nothing to end.
func (b *Broker) release(id uint64, done quarantine) (err error) {
	b.sick.noting.Lock()
	defer b.sick.noting.Unlock()
	if _, sick := b.sick.of(id); !sick {
		return nil
	}
	left := b.sick.left(id, done)
	if left.over() {
		if err = b.disk.Remove(b.quarantinePath(id)); err == nil || errors.Is(err, fs.ErrNotExist) {
			err = b.disk.SyncDir(b.partitionDir(id))
		}
	} else {
		err = b.writeQuarantine(id, left)
	}
	if err == nil {
		b.sick.mended(id, done, left)
	}
	return err
}
