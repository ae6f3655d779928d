//go:build race

package mqtest

import "time"

// The race detector makes everything ten times slower, and keeps memory of its own.
const (
	raceDetector = true
	sideBySide   = 3 // tests that run at once
	hostileEvery = time.Second
)
