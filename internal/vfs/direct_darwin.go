package vfs

import "os"

// direct has no equal here.
type direct struct{}

func (*direct) write(*os.File, []byte, int64) (bool, error) { return false, nil }

func (*direct) close() error { return nil }
