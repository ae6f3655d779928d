package raftlog

import (
	"errors"
	"time"

	"raftmq/internal/vfs"
)

// roomAgain is how often a machine that found its disk full is asked again.
const roomAgain = 100 * time.Millisecond

// lacksRoom reports whether a machine's error says that the disk is full: nothing was
// done, nothing is known to be lost, and it may be tried again.
func lacksRoom(err error) bool { return errors.Is(err, vfs.ErrNoSpace) }

// awaitRoomLocked lets go of the lock for a moment, so that checkpoints can be taken,
// which win room. The error is a.err: the replica has ended, as over says, or must.
func (a *applier) awaitRoomLocked(why error, over <-chan struct{}) error {
	if a.stalled == nil && a.onStall != nil {
		a.onStall(why)
	}
	a.stalled = why
	a.mu.Unlock()
	t := time.NewTimer(roomAgain)
	defer t.Stop()
	closing := false
	select {
	case <-t.C:
	case <-over:
		closing = true
	}
	a.mu.Lock()
	if closing && a.err == nil {
		a.err = ErrClosed
	}
	return a.err
}

// goesOnLocked says that there was room after all.
func (a *applier) goesOnLocked() {
	if a.stalled == nil {
		return
	}
	a.stalled = nil
	if a.onStall != nil {
		a.onStall(nil)
	}
}

// Stalled is why applying waits: the disk is full. nil: it does not wait. What is
// committed meanwhile waits in the log, as far as that has room.
func (r *Replica) Stalled() error {
	r.apply.mu.Lock()
	defer r.apply.mu.Unlock()
	return r.apply.stalled
}
