//go:build !linux

package cluster

import "errors"

var errLimits = errors.New("a running process can be limited on Linux only")

// FilesCanBeLimited says why a process's open files cannot be limited here.
func FilesCanBeLimited() error { return errLimits }

// OpenFiles fails.
func (*Node) OpenFiles() (int, error) { return 0, errLimits }

// LimitFiles fails.
func (*Node) LimitFiles(uint64) (uint64, error) { return 0, errLimits }

// MemoryCanBeLimited says why a process's memory cannot be limited here.
func MemoryCanBeLimited() error { return errLimits }

// Memory cannot be had here.
type Memory struct{}

// LimitMemory fails.
func (*Node) LimitMemory(int64) (*Memory, error) { return nil, errLimits }

// Set fails.
func (*Memory) Set(int64) error { return errLimits }

// Pressed is 0.
func (*Memory) Pressed() int64 { return 0 }

// Free fails.
func (*Memory) Free() error { return errLimits }
