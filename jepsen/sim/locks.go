//go:build simulation && go1.26 && !go1.27

package sim

import (
	"slices"
	"sync"
	_ "unsafe" // for linkname
)

// A bubble's time passes only when all its goroutines wait for each other. Package
// synctest does not count who waits for a lock, since somebody outside could hold it; then
// a node that syncs a file with a lock held, which is right, stops the time for ever if
// another waits for the lock. Nobody outside holds a lock of a node's. So this lets the
// runtime count it, in two tables of Go 1.26; the linker must be told that they
// may be reached (-ldflags=-checklinkname=0).

//go:linkname waitReasons runtime.waitReasonStrings
var waitReasons [45]string

//go:linkname isIdle runtime.isIdleInSynctest
var isIdle [45]bool

// countLocks does it, and reports whether it is possible in this build.
var countLocks = sync.OnceValue(func() bool {
	for _, name := range []string{"sync.Mutex.Lock", "sync.RWMutex.Lock", "sync.RWMutex.RLock"} {
		i := slices.Index(waitReasons[:], name)
		if i < 0 {
			return false
		}
		isIdle[i] = true
	}
	return true
})
