//go:build !linux || !amd64

package vclock

import (
	"errors"
	"os/exec"
	"time"
)

// Clock cannot be had here.
type Clock struct{}

var errHere = errors.New("clocks of a process can be changed on Linux with amd64 only")

// Possible says why no process can have its own clock here.
func Possible() error { return errHere }

// Start fails.
func Start(*exec.Cmd, time.Duration) (*Clock, error) { return nil, errHere }

// Up fails.
func (*Clock) Up() (time.Duration, error) { return 0, errHere }

// Do fails.
func (*Clock) Do(Change) error { return errHere }
