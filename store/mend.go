package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"raftmq/internal/vfs"
)

// Peer is another replica of the partition. What it gives is checked before it is
// used.
type Peer interface {
	// Starts returns the marks before its retained segments, oldest first.
	Starts(ctx context.Context) ([]Mark, error)
	// Raw is Store.Raw there.
	Raw(ctx context.Context, start Position, off int64, b []byte) error
	// FloorFile is Store.FloorFile there.
	FloorFile(ctx context.Context, start Position) ([]byte, error)
}

// Mender replaces damaged files of a store that is closed: the log's by those of
// peers, which hold the same bytes, queues by what the log says. A file is replaced
// whole, by one that was synced and read again before it took the name; so a crash
// leaves the old one or the new one, and Mend may be called again. Until all of a
// file is there, nothing of the damaged one is touched.
type Mender struct {
	Dir     string
	Options Options
	State   []byte // with which the store is to be opened
	Peers   []Peer // asked in this order
	// Places says where records lie in an entry, and to which queue each goes.
	Places func(Entry) ([]Place, error)
	// Timers says what an entry, whose data lies at, did to timers. It is given those
	// of a segment in order, with the last store time before them. nil: nothing.
	Timers func(e Entry, at Position, lastMs int64) ([]TimerOp, error)

	ready map[Position]Position // segments that Probe has, under probeName, and their ends
}

// ErrNoCopy: no peer that could be asked has what is damaged here as it was written.
// Nothing of it was changed.
var ErrNoCopy = errors.New("store: no peer has a good copy")

const (
	mendName  = "mend.tmp" // Open removes it
	mendChunk = 64 << 10   // asked of a peer at once
	// mendRounds bounds how many files that Open names are mended in one call.
	mendRounds = 4096
)

// Probe gets what Mend will need of peers for the files, and puts it beside them; the
// store may be open meanwhile. ErrNoCopy: Mend cannot mend them.
func (m *Mender) Probe(ctx context.Context, files []string) error {
	m.Options = m.Options.mending()
	m.ready = make(map[Position]Position)
	st, err := decodeState(m.State)
	if err != nil {
		return fmt.Errorf("mend %s: %w", m.Dir, err)
	}
	for _, f := range files {
		at, kind, _ := strings.Cut(f, ".")
		n, err := strconv.ParseInt(at, 10, 64)
		start := Position(n)
		if err != nil || start >= st.mark.Position || start < m.first(st) {
			continue
		}
		switch kind {
		case "log":
			all, _, err := m.starts(ctx, st)
			if err != nil {
				return err
			}
			if _, err := scan(ctx, m.Options.FS, segmentName(m.Dir, start, "log"), start, endOf(all, start, st.mark.Position), nil); err == nil {
				continue // it is good after all
			}
			err = m.fetch(ctx, st, start, endOf(all, start, st.mark.Position), m.probeName(start))
			if err != nil {
				return fmt.Errorf("mend %s: %w", filepath.Join(m.Dir, f), err)
			}
			m.ready[start] = endOf(all, start, st.mark.Position)
		case "floor":
			if err := m.anyFloor(ctx, start, func([]byte) error { return nil }); err != nil {
				return fmt.Errorf("mend %s: %w", filepath.Join(m.Dir, f), err)
			}
		}
	}
	return nil
}

// probeName is a name that Open removes.
func (m *Mender) probeName(start Position) string { return m.path(fmt.Sprintf("mend-%d.tmp", start)) }

// endOf is where the segment at start ends.
func endOf(starts []Position, start, mark Position) Position {
	if i := slices.IndexFunc(starts, func(x Position) bool { return x > start }); i >= 0 {
		return starts[i]
	}
	return mark
}

// Mend replaces the files by those base names, then whatever else keeps Open from
// succeeding. nil: the store can be opened with State. ErrNoCopy if a file of the
// log cannot be had.
func (m *Mender) Mend(ctx context.Context, files []string) error {
	m.Options = m.Options.mending()
	st, err := decodeState(m.State)
	if err != nil {
		return fmt.Errorf("mend %s: %w", m.Dir, err)
	}
	files = slices.Clone(files)
	slices.SortFunc(files, func(a, b string) int { // what others are built from first
		return cmp.Or(cmp.Compare(mendRank(a), mendRank(b)), cmp.Compare(a, b))
	})
	for _, f := range files {
		if err := m.file(ctx, st, f); err != nil {
			return fmt.Errorf("mend %s: %w", filepath.Join(m.Dir, f), err)
		}
	}
	tries := make(map[string]int)
	for range mendRounds {
		s, err := Open(m.Dir, m.Options, m.State)
		if err == nil {
			if err = errors.Join(m.finish(s), s.Close()); err == nil {
				return nil
			}
		}
		var d *Damage
		if !errors.As(err, &d) || filepath.Dir(d.File) != filepath.Clean(m.Dir) {
			return fmt.Errorf("mend: %w", err)
		}
		name := filepath.Base(d.File)
		if tries[name]++; tries[name] > 2 {
			return fmt.Errorf("%w: mended in vain: %w", ErrNoCopy, err)
		}
		if err := m.file(ctx, st, name); err != nil {
			return fmt.Errorf("mend %s: %w", d.File, err)
		}
	}
	return fmt.Errorf("mend %s: more than %d files are damaged", m.Dir, mendRounds)
}

// mending is o for a store that nobody uses yet.
func (o Options) mending() Options {
	if o.FS == nil {
		o.FS = vfs.OS{}
	}
	o.queueFile = cmp.Or(o.queueFile, defaultQueueFile)
	o.OnDamage, o.OnFault = nil, nil
	return o
}

func mendRank(name string) int {
	return slices.Index([]string{cutName, ".log", ".floor", ".keys", ".q", timerSuffix}, cmp.Or(filepath.Ext(name), name))
}

// file mends one file, by its kind.
func (m *Mender) file(ctx context.Context, st state, name string) error {
	if q, base, ok := parseQueueName(name); ok {
		return m.queue(ctx, st, q, base)
	}
	if name == cutName {
		return m.cut(st)
	}
	if isTimerRun(name) {
		return m.timers(ctx, st)
	}
	at, kind, _ := strings.Cut(name, ".")
	n, err := strconv.ParseInt(at, 10, 64)
	start := Position(n)
	switch {
	case err != nil:
		return fmt.Errorf("store: no file of a partition is named %q", name)
	case start >= st.mark.Position || start < st.first.Position: // Open has no use for it
		return nil
	case kind == "log":
		return m.segment(ctx, st, start)
	case kind == "floor":
		return m.floor(ctx, start)
	case kind == "keys":
		return m.remove(name)
	}
	return fmt.Errorf("store: no file of a partition is named %q", name)
}

func (m *Mender) path(name string) string { return filepath.Join(m.Dir, name) }

func (m *Mender) remove(name string) error {
	if err := m.Options.FS.Remove(m.path(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return m.Options.FS.SyncDir(m.Dir)
}

// store is one to call list and readers of, that has no files open.
func (m *Mender) store() *Store {
	return &Store{dir: m.Dir, o: m.Options, disk: m.Options.FS, files: &files{disk: m.Options.FS, open: make(map[string]*openFile)}}
}

// first is where the log starts that State is opened with.
func (m *Mender) first(st state) Position {
	cut, err := m.store().readCut()
	if err != nil {
		return st.first.Position
	}
	return max(cut, st.first.Position)
}

// cut makes the trim file say where the files begin that are there.
func (m *Mender) cut(st state) error {
	have, err := m.store().list()
	if err != nil {
		return err
	}
	for _, start := range have.starts {
		if start > st.first.Position && start < st.mark.Position {
			return vfs.WriteFile(m.Options.FS, m.path(cutName), encodeCut(start))
		}
		if start == st.first.Position {
			break
		}
	}
	return m.remove(cutName)
}

// starts returns where segments of the log start, by what is here and what peers
// say; the ones that are not here.
func (m *Mender) starts(ctx context.Context, st state) (all, missing []Position, err error) {
	first := m.first(st)
	in := func(p Position) bool { return p >= first && p < st.mark.Position }
	have, err := m.store().list()
	if err != nil {
		return nil, nil, err
	}
	for _, p := range have.starts {
		if in(p) {
			all = append(all, p)
		}
	}
	for _, peer := range m.Peers {
		marks, err := peer.Starts(ctx)
		if err != nil {
			continue
		}
		for _, k := range marks {
			if in(k.Position) && !slices.Contains(all, k.Position) {
				all, missing = append(all, k.Position), append(missing, k.Position)
			}
		}
	}
	slices.Sort(all)
	return all, missing, nil
}

// segment replaces the segment at start, and adds those that are not there.
func (m *Mender) segment(ctx context.Context, st state, start Position) error {
	all, wanted, err := m.starts(ctx, st)
	if err != nil {
		return err
	}
	if start < m.first(st) {
		return nil
	}
	if !slices.Contains(wanted, start) {
		wanted = append(wanted, start)
	}
	for _, p := range wanted {
		end, name := endOf(all, p, st.mark.Position), segmentName(m.Dir, p, "log")
		if m.ready[p] == end && end > 0 {
			delete(m.ready, p)
			if err := m.take(m.probeName(p), name); err != nil {
				return err
			}
			continue
		}
		if err := m.fetch(ctx, st, p, end, name); err != nil {
			return err
		}
	}
	return nil
}

// fetch makes name the segment that holds [start, end), as the first peer has it that
// has a good one; or as it is here, if that is good after all.
func (m *Mender) fetch(ctx context.Context, st state, start, end Position, name string) error {
	own := segmentName(m.Dir, start, "log")
	if _, err := scan(ctx, m.Options.FS, own, start, end, nil); err == nil && name == own {
		return nil
	}
	errs := []error{fmt.Errorf("%w of the log from %d to %d", ErrNoCopy, start, end)}
	for i, p := range m.Peers {
		err := m.fetchFrom(ctx, p, start, end, start == m.first(st), name)
		if err == nil {
			return nil
		}
		if errors.Is(err, errMendDisk) {
			return err
		}
		errs = append(errs, fmt.Errorf("peer %d: %w", i, err))
	}
	return errors.Join(errs...)
}

// errMendDisk: the disk here, and not what the peer gave, is why a file was not
// mended.
var errMendDisk = errors.New("store: mend")

func (m *Mender) fetchFrom(ctx context.Context, p Peer, start, end Position, first bool, name string) error {
	own := segmentName(m.Dir, start, "log")
	return m.replace(name, func(f vfs.File) error {
		buf := make([]byte, mendChunk)
		for off := int64(0); off < int64(end-start); {
			b := buf[:min(int64(len(buf)), int64(end-start)-off)]
			if err := p.Raw(ctx, start, off, b); err != nil {
				return err
			}
			if off == 0 && !first {
				if err := m.joined(own, b); err != nil {
					return err
				}
			}
			if _, err := f.WriteAt(b, off); err != nil {
				return fmt.Errorf("%w: %w", errMendDisk, err)
			}
			off += int64(len(b))
		}
		return nil
	}, func(tmp string) error {
		_, err := scan(ctx, m.Options.FS, tmp, start, end, nil)
		return err
	})
}

// joined makes the head of a segment, which a peer may have as its first, name the
// frame before it.
func (m *Mender) joined(name string, b []byte) error {
	o, err := decodeHead(name, b)
	if err != nil || o.frame != 0 {
		return err
	}
	own := make([]byte, segmentHead)
	f, err := m.Options.FS.Open(name)
	if err != nil {
		return unread(name, 0, err)
	}
	defer f.Close()
	if _, err := f.ReadAt(own, 0); err != nil {
		return unread(name, 0, err)
	}
	mine, err := decodeHead(name, own)
	if err == nil && mine.prev != o.prev {
		err = damaged(name, 8, "it says that it starts after entry %d, the peer's after %d", mine.prev.Index, o.prev.Index)
	}
	if err != nil {
		return fmt.Errorf("the peer's log begins at %d: %w", o.prev.Position, err)
	}
	copy(b, own)
	return nil
}

// replace makes name a file that fill writes: it is synced, and then what check says
// of it on the disk, before it takes the name.
func (m *Mender) replace(name string, fill func(vfs.File) error, check func(tmp string) error) error {
	disk, tmp := m.Options.FS, m.path(mendName)
	if err := disk.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %w", errMendDisk, err)
	}
	f, err := disk.Create(tmp)
	if err != nil {
		return fmt.Errorf("%w: %w", errMendDisk, err)
	}
	if err := fill(f); err != nil {
		return errors.Join(err, f.Close())
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("%w: sync %s: %w", errMendDisk, tmp, err)
	}
	if err := check(tmp); err != nil {
		return err
	}
	return m.take(tmp, name)
}

// take gives a file that is durable its name, durably.
func (m *Mender) take(tmp, name string) error {
	if err := errors.Join(m.Options.FS.Rename(tmp, name), m.Options.FS.SyncDir(m.Dir)); err != nil {
		return fmt.Errorf("%w: %w", errMendDisk, err)
	}
	return nil
}

// floor replaces what is kept beside the segment at start by a peer's.
func (m *Mender) floor(ctx context.Context, start Position) error {
	return m.anyFloor(ctx, start, func(b []byte) error {
		return vfs.WriteFile(m.Options.FS, segmentName(m.Dir, start, "floor"), b)
	})
}

// anyFloor gives the first good copy of a floor that a peer has to use.
func (m *Mender) anyFloor(ctx context.Context, start Position, use func([]byte) error) error {
	errs := []error{fmt.Errorf("%w of the floor at %d", ErrNoCopy, start)}
	name := segmentName(m.Dir, start, "floor")
	for i, p := range m.Peers {
		b, err := p.FloorFile(ctx, start)
		if err == nil {
			var at state
			if at, _, err = decodeFloor(name, b); err == nil && at.mark.Position != start {
				err = fmt.Errorf("store: the floor is of %d", at.mark.Position)
			}
		}
		if err == nil {
			return use(b)
		}
		errs = append(errs, fmt.Errorf("peer %d: %w", i, err))
	}
	return errors.Join(errs...)
}

// Copy replaces everything by what peer has; State is peer's. When it returns nil
// the store can be opened with State. Until then call it again, or, if the log here was
// not another one, Mend with the state of before: what is not there any more is damage
// that it finds.
func (m *Mender) Copy(ctx context.Context, peer Peer) error {
	m.Options = m.Options.mending()
	m.Peers = []Peer{peer}
	st, err := decodeState(m.State)
	if err == nil {
		err = vfs.MakeDir(m.Options.FS, m.Dir)
	}
	var marks []Mark
	if err == nil {
		marks, err = peer.Starts(ctx)
	}
	if err != nil {
		return fmt.Errorf("copy to %s: %w", m.Dir, err)
	}
	marks = slices.DeleteFunc(marks, func(k Mark) bool {
		return k.Position >= st.mark.Position && k.Position != st.first.Position
	})
	if len(marks) == 0 || marks[0].Position < st.first.Position {
		return fmt.Errorf("copy to %s: %w: the peer's log is not the state's", m.Dir, ErrNoCopy)
	}
	if err := m.copyAll(ctx, st, marks); err != nil {
		return fmt.Errorf("copy to %s: %w", m.Dir, err)
	}
	s, err := Open(m.Dir, m.Options, m.State)
	if err != nil {
		return fmt.Errorf("copy: %w", err)
	}
	return errors.Join(m.finish(s), s.Close())
}

// finish builds the indexes of keys that are not there.
func (m *Mender) finish(s *Store) error {
	have, err := s.list()
	if err != nil {
		return err
	}
	for _, g := range s.segments[:len(s.segments)-1] {
		if _, ok := have.other[filepath.Base(g.keys.name)]; ok {
			continue
		}
		if _, err := s.positions(g, 0); err != nil { // whatever hash: it indexes all
			return fmt.Errorf("mend %s: %w", g.keys.name, err)
		}
	}
	return s.Sync(s.last)
}

func (m *Mender) copyAll(ctx context.Context, st state, marks []Mark) error {
	keep := make(map[string]bool)
	first := marks[0].Position
	for i, k := range marks {
		if k.Index > 0 {
			if err := m.floor(ctx, k.Position); err != nil {
				return err
			}
			keep[filepath.Base(segmentName("", k.Position, "floor"))] = true
		}
		end := st.mark.Position
		if i+1 < len(marks) {
			end = marks[i+1].Position
		}
		if st.empty() {
			continue
		}
		if err := m.fetchFrom(ctx, m.Peers[0], k.Position, end, i == 0, segmentName(m.Dir, k.Position, "log")); err != nil {
			return err
		}
		keep[filepath.Base(segmentName("", k.Position, "log"))] = true
	}
	names, err := m.Options.FS.List(m.Dir)
	if err != nil {
		return err
	}
	for _, n := range names {
		_, _, queue := parseQueueName(n)
		switch ext := filepath.Ext(n); {
		case keep[n]:
		case queue, ext == ".log", ext == ".floor", ext == ".keys", n == cutName: // timers replaces its runs last: nobody would miss them
			if err := m.Options.FS.Remove(m.path(n)); err != nil {
				return err
			}
		}
	}
	if err := m.Options.FS.SyncDir(m.Dir); err != nil {
		return err
	}
	if first > st.first.Position {
		if err := vfs.WriteFile(m.Options.FS, m.path(cutName), encodeCut(first)); err != nil {
			return err
		}
	}
	if err := m.allQueues(ctx, st); err != nil {
		return err
	}
	return m.timers(ctx, st)
}
