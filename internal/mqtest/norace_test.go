//go:build !race

package mqtest

import "time"

const (
	raceDetector = false
	sideBySide   = 7 // tests that run at once, on however few processors
	hostileEvery = 50 * time.Millisecond
)
