package run

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"path/filepath"
	"slices"
	"time"

	"raftmq/client"
	"raftmq/internal/faults"
	"raftmq/internal/vfs/faultfs"
	"raftmq/jepsen/cluster"
)

func power(name, says string, keep bool, whom func(h *hit) []*cluster.Node) kind {
	more := 0
	switch name { // all copies at once: what a cluster has to fear most
	case "power-all":
		more = 5
	case "torn-all":
		more = 3
	}
	return kind{name: name, area: "disk", says: says, short: 500 * time.Millisecond, long: 3 * time.Second, build: true, more: more, unseats: name == "power" || name == "torn", begin: func(ctx context.Context, h *hit) error {
		chance := 0.0
		if keep {
			chance = 0.1 + 0.85*h.rng.Float64()
		}
		if h.rng.IntN(2) == 0 {
			h.holdSyncs(ctx, whom(h)...)
		}
		return h.cutPower(chance, whom(h)...)
	}}
}

// holdSyncs has what is written to the write-ahead logs of nodes wait for its sync until the
// power goes: else that is between the two by chance only. Whoever cannot be told loses its power all the same, and those that
// were told must: they would end later, for no reason that the history has.
func (h *hit) holdSyncs(ctx context.Context, nodes ...*cluster.Node) {
	for _, n := range nodes {
		n.Order(faults.Order{Disk: &[]faultfs.Rule{{Ops: []string{faultfs.OpSync}, Name: "wal/*", Hang: time.Hour}}})
	}
	sleep(ctx, h.draw(50*time.Millisecond, 300*time.Millisecond))
}

func oneOf(h *hit) []*cluster.Node { return []*cluster.Node{h.node} }
func allOf(h *hit) []*cluster.Node { return append([]*cluster.Node{h.node}, h.also...) }

func disk(name, says string, short, long time.Duration, begin func(ctx context.Context, h *hit) error) kind {
	return kind{name: name, area: "disk", says: says, short: short, long: long, build: true, begin: begin}
}

var diskFaults = []kind{
	power("power", "a node loses its power, and all that was not synced", false, oneOf),
	power("power-majority", "all nodes but one lose their power", false, (*hit).majority),
	power("power-all", "R4: all nodes lose their power together", false, allOf),
	power("torn", "a node loses its power; of what was not synced each sector is there or not", true, oneOf),
	power("torn-all", "the same for all nodes together", true, allOf),
	disk("fsync-error", "a sync of a node's write-ahead log fails once, its bytes are gone, and the next one would succeed: the node must end", time.Second, 2*time.Second, func(_ context.Context, h *hit) error {
		return h.mustEnd(faultfs.Rule{Ops: []string{faultfs.OpSync}, Name: "wal/*", Times: 1, Error: "EIO"})
	}),
	disk("write-error", "a write to a node's write-ahead log fails once: the node must end", time.Second, 2*time.Second, func(_ context.Context, h *hit) error {
		return h.mustEnd(faultfs.Rule{Ops: []string{faultfs.OpWrite}, Name: "wal/*", Times: 1, Error: "EIO"})
	}),
	disk("fsync-stall", "a node's syncs take long", 2*time.Second, 6*time.Second, func(_ context.Context, h *hit) error {
		return h.disk(faultfs.Rule{Ops: []string{faultfs.OpSync}, Hang: h.draw(20*time.Millisecond, 1500*time.Millisecond)})
	}),
	disk("fsync-hang", "a sync of a node's write-ahead log never returns: the node must end", 2*time.Second, 4*time.Second, func(_ context.Context, h *hit) error {
		return h.mustEnd(faultfs.Rule{Ops: []string{faultfs.OpSync}, Name: "wal/*", Hang: time.Hour})
	}),
	disk("read-error", "some reads of a node's partitions fail, while all is read from it", 2*time.Second, 5*time.Second, func(ctx context.Context, h *hit) error {
		if err := h.awaitSealed(ctx); err != nil {
			return err
		}
		h.lasts = h.readAll
		return h.disk(faultfs.Rule{Ops: []string{faultfs.OpRead}, Name: "partitions/*/*", Times: 1 + h.rng.Int64N(20), Error: "EIO"})
	}),
	disk("disk-full", "a node's disk is full", 2*time.Second, 6*time.Second, func(_ context.Context, h *hit) error {
		return h.disk(faultfs.Rule{Full: true, Error: "ENOSPC"})
	}),
	{name: "flip", area: "disk", says: "a bit of a file changes while the node is down", short: 500 * time.Millisecond, long: 2 * time.Second, unseats: true, begin: flipDown},
	{name: "flip-live", area: "disk", says: "a bit of a file changes while the node runs", short: time.Second, long: 3 * time.Second, begin: flipLive},
	{name: "flip-wal", area: "disk", says: "a bit of a node's write-ahead log changes while it is down: it starts, or ends with 71 and is replaced", short: 500 * time.Millisecond, long: 2 * time.Second, unseats: true, begin: flipWAL},
	{name: "flip-catalogue", area: "disk", says: "a bit of the catalogue's log changes while its node is down: it starts, or ends with 71 and is replaced (only by its own name)", short: 500 * time.Millisecond, long: 2 * time.Second, apart: true, unseats: true, begin: flipCatalogue},
	{name: "wipe", area: "disk", says: "a node loses its folder and is replaced", short: 500 * time.Millisecond, long: 2 * time.Second, unseats: true, begin: wipe},
}

// cutPower kills nodes, and takes from their folders what was not durable.
func (h *hit) cutPower(keep float64, nodes ...*cluster.Node) (err error) {
	for _, n := range nodes {
		pid, e := n.Kill()
		if err = errors.Join(err, e); n == h.node {
			h.pid = pid
		}
	}
	h.startAgain(nodes...)
	if err != nil {
		return err
	}
	var all faultfs.Lost
	for _, n := range nodes {
		lost, err := n.CutPower(keep, h.rng)
		if err != nil {
			return err
		}
		all.Sectors += lost.Sectors
		all.Names += lost.Names
		all.SectorsKept += lost.SectorsKept
		all.NamesKept += lost.NamesKept
	}
	h.count = int64(all.Sectors + all.Names)
	h.detail = fmt.Sprintf("%d nodes, %v", len(nodes), all)
	switch {
	case !all.Any():
		return errors.New("all was durable: nothing was lost")
	case keep > 0 && all.SectorsKept+all.NamesKept == 0:
		return errors.New("all that was not durable was lost: that is no more than a loss of power")
	}
	return nil
}

// disk puts a rule in force that the node must outlive.
func (h *hit) disk(r faultfs.Rule) error {
	h.pid = h.node.PID()
	h.detail = fmt.Sprintf("%+v", r)
	_, err := h.node.Order(faults.Order{Disk: &[]faultfs.Rule{r}})
	h.undone = "heal"
	h.undo = func(ctx context.Context) error {
		if _, err := h.node.Order(faults.Order{Disk: &[]faultfs.Rule{}}); err != nil {
			return err
		}
		return h.ready(ctx)
	}
	h.proof = func(context.Context) error {
		a, err := h.node.Order(faults.Order{})
		if err != nil {
			return err
		}
		if h.count = a.Hits[0]; h.count == 0 {
			return errors.New("nothing was done that it could strike")
		}
		return nil
	}
	return err
}

// awaitSealed waits until the node has a segment that is full: what is appended to is
// read from memory.
func (h *hit) awaitSealed(ctx context.Context) error {
	for end := time.Now().Add(time.Minute); ; sleep(ctx, 100*time.Millisecond) {
		names, err := fs.Glob(h.node.Files(), "partitions/*/*.floor")
		switch {
		case err != nil || len(names) > 0:
			return err
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case time.Now().After(end):
			return errors.New("there is no full segment after a minute")
		}
	}
}

// readAll reads every queue through the node alone for as long as the fault lasts, whatever
// comes of it.
func (h *hit) readAll(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, h.p.For)
	defer cancel()
	for ctx.Err() == nil {
		cl, err := client.Dial(ctx, client.WithEndpoints(h.node.NameServer), client.WithDialer(h.cluster.Only(h.node)))
		if err != nil {
			continue
		}
		for _, t := range h.topics() {
			rd, err := cl.NewReader(t.Name, client.FromPosition(client.Earliest()))
			if err != nil {
				continue
			}
			for range rd.UntilEnd(ctx) {
			}
			rd.Close()
		}
		cl.Close(context.WithoutCancel(ctx))
		sleep(ctx, 100*time.Millisecond)
	}
}

// endsWithin is how long a node has to see a failed disk and end: its write deadline,
// and to hand leadership on.
const endsWithin = 30 * time.Second

// Exit codes of a node whose disk failed, and of one that was killed.
const (
	exitDisk   = 70
	exitKilled = -1
)

// mustEnd puts a rule in force by which the node must end.
func (h *hit) mustEnd(r faultfs.Rule) error {
	h.node.MayEnd(true)
	if err := h.disk(r); err != nil {
		return err
	}
	h.proof = func(ctx context.Context) error {
		code, err := h.node.AwaitEnd(ctx, endsWithin)
		if err == nil {
			err = h.endedWith(code, exitDisk)
		}
		h.count = 1
		return err
	}
	h.startAgain(h.node)
	start := h.undo
	h.undo = func(ctx context.Context) error {
		if h.node.Running() { // it did not end: that is told
			h.node.MayEnd(false)
			_, err := h.node.Order(faults.Order{Disk: &[]faultfs.Rule{}})
			return err
		}
		return start(ctx)
	}
	return nil
}

// walHead is more than a segment of the write-ahead log has before its entries: only a
// segment that was never used ends there.
const walHead = 8 << 10

// damaged are the kinds of files that a bit is flipped in; messages are most of them.
var damaged = []string{".log", ".log", ".log", ".q", ".keys", ".floor"}

// flip changes a bit of a byte that is not zero, in a file of a kind drawn; kinds of
// which there is none yet are passed over.
func (h *hit) flip(kinds ...string) error {
	kinds = slices.Clone(kinds)
	h.rng.Shuffle(len(kinds), func(i, j int) { kinds[i], kinds[j] = kinds[j], kinds[i] })
	for _, ext := range kinds {
		var names []string
		files := h.node.Files()
		fs.WalkDir(files, ".", func(path string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() && filepath.Ext(path) == ext {
				names = append(names, path)
			}
			return nil
		})
		h.rng.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
		for _, name := range names {
			b, err := fs.ReadFile(files, name)
			if err != nil {
				continue // it went meanwhile
			}
			end := len(bytes.TrimRight(b, "\x00"))
			if end == 0 || ext == ".wal" && end <= walHead {
				continue
			}
			at, bit := h.rng.IntN(end), byte(1)<<h.rng.IntN(8)
			for b[at] == 0 || ext == ".wal" && at < walHead {
				at = (at + 1) % end
			}
			if err := h.node.Flip(name, int64(at), bit); errors.Is(err, fs.ErrNotExist) {
				continue
			} else if err != nil {
				return err
			}
			h.count = 1
			h.detail = fmt.Sprintf("%s at %d of %d: %#02x to %#02x", name, at, end, b[at], b[at]^bit)
			return nil
		}
	}
	return errors.New("there is no file with bytes")
}

func flipDown(ctx context.Context, h *hit) error {
	if err := killOne(ctx, h); err != nil {
		return err
	}
	return h.flip(damaged...)
}

func flipLive(_ context.Context, h *hit) error {
	h.pid = h.node.PID()
	h.undone = "heal"
	h.undo = h.ready
	h.lasts = h.lookAll // what was damaged is asked for before the scrubber comes by
	return h.flip(damaged...)
}

// lookAll reads every queue through the node, in the wire's own words, for as long as the
// fault lasts.
func (h *hit) lookAll(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, h.p.For)
	defer cancel()
	w := h.wire("jepsen-look-all")
	defer w.close()
	topics := h.topics()
	h.rng.Shuffle(len(topics), func(i, j int) { topics[i], topics[j] = topics[j], topics[i] })
	for _, t := range topics {
		for q := range t.count() {
			process := "look-all-" + h.nextProcess()
			if g, ok := w.bounds(ctx, process, t, q, h.node); ok && ctx.Err() == nil {
				w.look(ctx, process, t, q, h.node, g.Min, math.MaxInt)
			}
		}
	}
}

// exitDamaged is the exit code of a node that cannot trust its own votes any more.
const exitDamaged = 71

func flipWAL(ctx context.Context, h *hit) error {
	if err := killOne(ctx, h); err != nil {
		return err
	}
	h.undo = h.startOrReplace
	return h.flip(".wal")
}

func flipCatalogue(ctx context.Context, h *hit) error {
	if err := killOne(ctx, h); err != nil {
		return err
	}
	h.undo = h.startOrReplace
	return h.flip(".db")
}

// startOrReplace starts the node, if it does not run. It must come to be ready, or end since
// it cannot trust its votes; then its folder is taken away, and it is replaced.
func (h *hit) startOrReplace(ctx context.Context) error {
	if !h.node.Running() {
		code, err := h.node.AwaitEnd(ctx, 0)
		if err == nil { // it was killed, or has seen the damage since
			err = h.endedWith(code, exitDamaged, exitKilled)
		}
		if err == nil && code == exitKilled {
			err = h.node.Start()
		}
		if err != nil {
			return err
		}
	}
	h.node.MayEnd(true)
	err := h.node.AwaitReady(ctx)
	if err == nil {
		h.node.MayEnd(false)
		return nil
	}
	code, ended := h.node.AwaitEnd(ctx, endsWithin)
	if ended == nil {
		ended = h.endedWith(code, exitDamaged)
	}
	if ended != nil {
		return errors.Join(err, ended)
	}
	return errors.Join(h.node.Wipe(), h.node.Start(), h.node.AwaitReady(ctx))
}

func wipe(ctx context.Context, h *hit) error {
	if err := killOne(ctx, h); err != nil {
		return err
	}
	h.count = 1
	return h.node.Wipe()
}
