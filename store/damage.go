package store

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"syscall"

	"raftmq/internal/vfs"
)

// Damage says where bytes on disk are not what was written; errors.Is takes it for
// ErrDamaged. The bytes are left as they are, and are not served.
type Damage struct {
	File   string // with the store's directory
	Offset int64  // in the file
	Err    error  // what is wrong there
}

func (d *Damage) Error() string {
	return fmt.Sprintf("%v: %s at %d: %v", ErrDamaged, d.File, d.Offset, d.Err)
}

func (d *Damage) Unwrap() error { return d.Err }

func (d *Damage) Is(target error) bool { return target == ErrDamaged }

func damaged(file string, off int64, format string, args ...any) error {
	return &Damage{File: file, Offset: off, Err: fmt.Errorf(format, args...)}
}

// unread is what a failed read, or open, of what must be there means: damage if
// the file lacks it or the disk cannot give it; else, as without a free file
// descriptor, nothing is known.
func unread(file string, off int64, err error) error {
	for _, bad := range []error{io.EOF, io.ErrUnexpectedEOF, fs.ErrNotExist, syscall.EIO, syscall.EBADMSG, vfs.ErrFault} {
		if errors.Is(err, bad) {
			return damaged(file, off, "read: %w", err)
		}
	}
	return fmt.Errorf("read %s at %d: %w", file, off, err)
}

// tell reports damage in err to the owner, once for each file, and returns err.
func (s *Store) tell(err error) error {
	var d *Damage
	if s.o.OnDamage == nil || !errors.As(err, &d) {
		return err
	}
	s.toldMu.Lock()
	_, before := s.told[d.File]
	s.told[d.File] = struct{}{}
	s.toldMu.Unlock()
	if !before {
		s.o.OnDamage(d)
	}
	return err
}
