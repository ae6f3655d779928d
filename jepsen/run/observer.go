package run

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"raftmq/jepsen/cluster"
	"raftmq/jepsen/history"
)

const (
	noticeEvery = 100 * time.Millisecond // how late an event may be in the history
	lagEvery    = 500 * time.Millisecond
	lagSeldom   = 2 * time.Second        // in a World: who runs thousands of seeds looks at the lag of few
	lagWithin   = 400 * time.Millisecond // a node that answers later has no lag then
	mostEvents  = 4000                   // of each node in a run that no verdict needs, and as many lines of its log: a history stays small
	eventWords  = 300                    // bytes of one
	tailBytes   = 256 << 10              // read of a file at once
)

// observe writes what the nodes tell of themselves, and how far each lags, until the function that
// it returns is called. Of the verdicts only those about terms, and about replicas that differ or are damaged, depend on it: the rest is for who reads
// the report.
func (r *run) observe(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	for _, n := range r.cluster.Nodes {
		wg.Go(func() { r.notice(ctx, n) })
	}
	wg.Go(func() { r.lags(ctx) })
	return func() { cancel(); wg.Wait() }
}

// notice follows a node's event file and its log.
func (r *run) notice(ctx context.Context, n *cluster.Node) {
	events, log := &tail{dir: n.Files, name: "events.jsonl"}, &tail{dir: func() fs.FS { return os.DirFS(filepath.Dir(n.Log)) }, name: filepath.Base(n.Log)}
	told := told{seen: make(map[string]bool)}
	logged := 0
	for more := true; more; {
		more = sleep(ctx, noticeEvery) // once more after the end
		for _, l := range events.lines() {
			if e := told.next(l); e != nil {
				r.history.Add(history.Op{Process: "observer", Type: history.Info, F: history.Event, Node: n.Name, Event: e})
			}
		}
		for _, l := range log.lines() {
			if e := complaintOf(l); e != nil && (logged < mostEvents || e.Differs()) {
				logged++
				r.history.Add(history.Op{Process: "observer", Type: history.Info, F: history.Event, Node: n.Name, Event: e})
			}
		}
	}
}

// told is what a node's event file has told.
type told struct {
	seen   map[string]bool // a file that a power cut took back is read from its beginning
	others int             // that no verdict needs
}

// next is the event of a line; nil: it is none, was told before, or is one too many. Those of leadership and of damage never
// are: the verdicts about terms and about replicas are from all of them.
func (t *told) next(line string) *history.Told {
	e := eventOf(line)
	if e == nil || t.seen[line] {
		return nil
	}
	if !strings.HasPrefix(e.What, "leadership ") && !e.Damage() {
		if t.others == mostEvents {
			return nil
		}
		t.others++
	}
	t.seen[line] = true
	return e
}

// eventOf reads a line of an event file; nil: a power cut has left part of it.
func eventOf(line string) *history.Told {
	var fields map[string]json.RawMessage
	var what string
	e := &history.Told{}
	if json.Unmarshal([]byte(line), &fields) != nil || json.Unmarshal(fields["event"], &what) != nil {
		return nil
	}
	json.Unmarshal(fields["partition"], &e.Partition)
	for _, k := range []string{"time", "event", "partition"} {
		delete(fields, k)
	}
	for _, k := range slices.Sorted(maps.Keys(fields)) {
		what += fmt.Sprintf(" %s=%s", k, fields[k])
	}
	e.What = what[:min(len(what), eventWords)]
	return e
}

// complaintOf is a warning or an error in a log, without the node's time; nil: it is neither.
func complaintOf(line string) *history.Told {
	for _, level := range []string{"[WARN]", "[ERROR]"} {
		if _, words, ok := strings.Cut(line, " "+level+" "); ok {
			what := strings.ToLower(strings.Trim(level, "[]")) + ": " + strings.TrimSpace(words)
			return &history.Told{What: what[:min(len(what), eventWords)]}
		}
	}
	return nil
}

// tail reads the lines that are added to a file.
type tail struct {
	dir  func() fs.FS // where it lies, which may become another disk
	name string
	at   int64
}

// lines are the whole ones that were added since. A file that is shorter than it was is read from its
// beginning; one that is not there has none.
func (t *tail) lines() []string {
	dir := t.dir()
	if info, err := fs.Stat(dir, t.name); err != nil || info.Size() == t.at {
		return nil // as nearly always
	}
	f, err := dir.Open(t.name)
	if err != nil {
		return nil
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil
	}
	if info.Size() < t.at {
		t.at = 0
	}
	if info.Size() == t.at {
		return nil
	}
	at, ok := f.(io.ReaderAt)
	if !ok {
		return nil
	}
	b := make([]byte, min(tailBytes, info.Size()-t.at))
	n, err := at.ReadAt(b, t.at)
	if err != nil && err != io.EOF {
		return nil
	}
	end := bytes.LastIndexByte(b[:n], '\n') + 1
	if end == 0 && n == tailBytes {
		end = n // a line of that length is nobody's
	}
	t.at += int64(end)
	return strings.Split(string(b[:end]), "\n")
}

// lags asks all nodes at once, again and again. A node that does not answer has no lag then.
func (r *run) lags(ctx context.Context) {
	every := lagEvery
	if r.o.World != nil {
		every = lagSeldom
	}
	for sleep(ctx, every) {
		applied := make([]map[uint64]uint64, len(r.cluster.Nodes))
		var wg sync.WaitGroup
		for i, n := range r.cluster.Nodes {
			wg.Go(func() {
				ctx, cancel := context.WithTimeout(ctx, lagWithin)
				defer cancel()
				if rs, err := n.AllReplicas(ctx); err == nil {
					applied[i] = make(map[uint64]uint64)
					for _, x := range rs {
						applied[i][x.ID] = x.Applied
					}
				}
			})
		}
		wg.Wait()
		for i, behind := range lagOf(applied) {
			if behind >= 0 {
				r.history.Add(history.Op{Process: "observer", Type: history.Info, F: history.Lag, Node: r.cluster.Nodes[i].Name, Count: behind})
			}
		}
	}
}

// lagOf is how many entries each node has applied less than whoever has applied most, over the
// partitions that it has; -1: it did not say.
func lagOf(applied []map[uint64]uint64) []int {
	most := make(map[uint64]uint64)
	for _, a := range applied {
		for id, n := range a {
			most[id] = max(most[id], n)
		}
	}
	out := make([]int, len(applied))
	for i, a := range applied {
		if a == nil {
			out[i] = -1
		}
		for id, n := range a {
			out[i] += int(most[id] - n)
		}
	}
	return out
}
