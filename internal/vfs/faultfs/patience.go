package faultfs

import (
	"errors"
	"syscall"
	"time"
)

// What the layer itself opens is no part of the product: when the process may have no more
// files open, it is tried again until there is room, for so long.
const (
	roomWithin = 10 * time.Second
	roomEvery  = 2 * time.Millisecond
)

// patiently does what opens a file of the layer's.
func patiently(open func() error) (err error) {
	for end := time.Now().Add(roomWithin); ; time.Sleep(roomEvery) {
		if err = open(); !errors.Is(err, syscall.EMFILE) || time.Now().After(end) {
			return err
		}
	}
}
