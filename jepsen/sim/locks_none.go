//go:build !simulation || !go1.26 || go1.27

package sim

// countLocks is not possible in this build.
func countLocks() bool { return false }
