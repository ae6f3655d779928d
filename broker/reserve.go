package broker

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"raftmq/internal/vfs"
)

// reserveName is a file without content in the data folder. Its blocks are room that
// the node has for certain: it is cut when the disk fills up, so that offsets,
// decisions and deletes go on, and grows again when there is room.
const reserveName = "reserve"

// reserve is that file. Not safe for concurrent use.
type reserve struct {
	disk   vfs.FS
	file   vfs.File // nil: none is wanted
	target int64    // bytes
	held   int64    // bytes of the file, all of them allocated
}

// slack is how much is kept free for whoever needs it before the reserve is asked:
// enough for what a node writes, beside messages, between two looks.
func (r *reserve) slack() int64 { return r.target / 16 }

// openReserve opens the file, or makes it, without any room. target 0: none is
// wanted, and one that is there is removed.
func openReserve(disk vfs.FS, dir string, target int64) (*reserve, error) {
	r := &reserve{disk: disk, target: target}
	name := filepath.Join(dir, reserveName)
	if target == 0 {
		if err := disk.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("remove the reserve: %w", err)
		}
		return r, nil
	}
	f, err := disk.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		f, err = disk.Create(name)
	}
	if err == nil {
		if r.held, err = f.Size(); err != nil {
			err = errors.Join(err, f.Close())
		}
	}
	if err != nil {
		return nil, fmt.Errorf("open the reserve: %w", err)
	}
	r.file = f
	return r, nil
}

// adjust cuts the file when less than the slack is free, and lets it grow while more
// is. free is what the disk has besides the file, and what it has afterwards.
func (r *reserve) adjust(free int64) (int64, error) {
	slack, was := r.slack(), r.held
	switch {
	case r.file == nil:
		return free, nil
	case r.held > r.target:
		r.held = r.target
	case free < slack && r.held > 0:
		r.held -= min(r.held, max(2*slack-free, 1))
	case r.held < r.target && free >= 4*slack:
		more := min(r.target-r.held, free-3*slack)
		if err := r.file.Allocate(r.held, more); err != nil {
			return free, fmt.Errorf("grow the reserve: %w", errors.Join(err, r.file.Truncate(r.held)))
		}
		r.held += more
		return free - more, nil
	default:
		return free, nil
	}
	if err := r.file.Truncate(r.held); err != nil {
		r.held = was
		return free, fmt.Errorf("cut the reserve: %w", err)
	}
	return free + was - r.held, nil
}

func (r *reserve) close() error {
	if r.file == nil {
		return nil
	}
	return r.file.Close()
}
