package client

import "time"

// SetLockHeld is for how long locks of queues count from now on.
func SetLockHeld(d time.Duration) (undo func()) {
	was := lockHeld
	lockHeld = d
	return func() { lockHeld = was }
}
