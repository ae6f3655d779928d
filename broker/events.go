package broker

import (
	"encoding/json"
	"errors"
	"io/fs"
	"path/filepath"
	"sync"
	"time"

	"raftmq/internal/vfs"
)

// The event file tells what happened to this node's replicas, for whoever looks
// afterwards: a JSON object a line, with time, event and what it is about. It is not
// synced, and a line that cannot be written is only logged.
const (
	eventFile    = "events.jsonl"
	eventOldFile = "events.1.jsonl" // the one before, when that was full
	eventBytes   = 1 << 20
)

type events struct {
	mu   sync.Mutex
	file vfs.File // nil: not opened yet, or closed
	size int64
	over bool // closed
}

// event notes something. args are pairs of name and value.
func (b *Broker) event(what string, partition uint64, args ...any) {
	line := map[string]any{"time": b.now().UTC().Format(time.RFC3339Nano), "event": what, "partition": partition}
	for i := 0; i+1 < len(args); i += 2 {
		line[args[i].(string)] = args[i+1]
	}
	raw, err := json.Marshal(line)
	if err == nil {
		err = b.events.append(b.disk, b.cfg.Data, append(raw, '\n'))
	}
	if err != nil {
		b.log.Warn("write the event file", "event", what, "error", err)
	}
}

func (e *events) append(disk vfs.FS, dir string, line []byte) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.over {
		return nil
	}
	name := filepath.Join(dir, eventFile)
	if e.file != nil && e.size >= eventBytes {
		err := errors.Join(e.file.Close(), disk.Rename(name, filepath.Join(dir, eventOldFile)))
		if e.file = nil; err != nil {
			return err
		}
	}
	if e.file == nil {
		f, err := disk.Open(name)
		if errors.Is(err, fs.ErrNotExist) {
			f, err = disk.Create(name)
		}
		if err != nil {
			return err
		}
		size, err := f.Size()
		if err != nil {
			return errors.Join(err, f.Close())
		}
		e.file, e.size = f, size
	}
	n, err := e.file.WriteAt(line, e.size)
	e.size += int64(n)
	return err
}

func (e *events) close() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.over = true
	if e.file == nil {
		return nil
	}
	f := e.file
	e.file = nil
	return f.Close()
}
