package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
)

// FileOffsets is an OffsetStore in a file, for one broadcasting consumer, as RocketMQ's keep one:
//
//	{"version": 1, "offsets": {"TOPIC": {"QUEUE": OFFSET}}}
//
// with the next offset to be handled. It is written whole to a second file beside it, synced, and renamed: after a crash there is the one or
// the other; a link is replaced by a file. All of it is in memory, and is written each time: some 20 bytes a queue. Consumers that run at
// the same time each have a file of their own.
type FileOffsets struct {
	path string

	mu      sync.Mutex
	free    *sync.Cond // a write has ended
	offsets map[string]map[int]int64
	changes int // made so far; a write holds those before it
	written int
	writing bool
	failed  int // changes that a write which failed was to hold
	err     error
}

type offsetsFile struct {
	Version int                      `json:"version"`
	Offsets map[string]map[int]int64 `json:"offsets"`
}

// NewFileOffsets reads the file; one that is not there is made with the first offset. A file that is not such a file is an ErrInvalid, and
// left as it is.
func NewFileOffsets(path string) (*FileOffsets, error) {
	f := &FileOffsets{path: path, offsets: make(map[string]map[int]int64)}
	f.free = sync.NewCond(&f.mu)
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return f, nil
	}
	if err != nil {
		return nil, err
	}
	var there offsetsFile
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields() // it is somebody else's, and would be written over
	if err := d.Decode(&there); err != nil {
		return nil, fmt.Errorf("%w: offsets in %s: %w", ErrInvalid, path, err)
	}
	if _, err := d.Token(); err != io.EOF || there.Version != 1 || there.Offsets == nil {
		return nil, fmt.Errorf("%w: %s: no file of offsets of version 1, or more than that", ErrInvalid, path)
	}
	for topic, queues := range there.Offsets {
		for queue, offset := range queues {
			if queue < 0 || offset < 0 {
				return nil, fmt.Errorf("%w: offsets in %s: offset %d in queue %d of %s", ErrInvalid, path, offset, queue, topic)
			}
		}
		f.offsets[topic] = queues
	}
	return f, nil
}

// Load implements OffsetStore.
func (f *FileOffsets) Load(_ context.Context, topic string, queue int) (int64, bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	offset, ok := f.offsets[topic][queue]
	return offset, ok, nil
}

// Store implements OffsetStore. It returns when the file that has the offset is durable; several at once share a write.
func (f *FileOffsets) Store(_ context.Context, topic string, queue int, offset int64) error {
	if queue < 0 || offset < 0 {
		return fmt.Errorf("%w: offset %d in queue %d of %s", ErrInvalid, offset, queue, topic)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.offsets[topic] == nil {
		f.offsets[topic] = make(map[int]int64)
	}
	f.offsets[topic][queue] = offset
	f.changes++
	mine := f.changes
	for f.written < mine {
		if f.failed >= mine {
			return f.err
		}
		if f.writing {
			f.free.Wait()
			continue
		}
		f.writing = true
		holds := f.changes
		b, err := json.MarshalIndent(offsetsFile{1, f.offsets}, "", "  ")
		f.mu.Unlock()
		if err == nil {
			err = replaceFile(f.path, append(b, '\n'))
		}
		f.mu.Lock()
		f.writing = false
		if err != nil {
			f.failed, f.err = holds, fmt.Errorf("write offsets: %w", err)
		} else {
			f.written = holds
		}
		f.free.Broadcast()
	}
	return nil
}

// replaceFile has a file be b, or as it was.
func replaceFile(path string, b []byte) (err error) {
	next, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	_, err = next.Write(b)
	if err == nil {
		err = next.Sync()
	}
	if err = errors.Join(err, next.Close()); err == nil {
		err = os.Rename(next.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(next.Name()))
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
