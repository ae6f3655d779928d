package main

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"time"

	"raftmq/internal/vfs"
)

const (
	// diskProbes is how often bench disk syncs 4 KiB.
	diskProbes = 500
	// streamBytes is what bench disk writes in pieces of streamPiece, a MiB, each durable before the next, over space that was
	// written before, streamRounds times.
	streamBytes  = 64 << 20
	streamPiece  = 1 << 20
	streamRounds = 3
)

// benchDisk prints how long synced small writes take and what synced large ones give.
func benchDisk(dir string) error {
	ms, err := diskSyncs(dir, diskProbes)
	if err != nil {
		return err
	}
	stream, err := diskStream(dir)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(map[string]float64{"fdatasync_p50_ms": quantile(ms, 0.5), "fdatasync_p99_ms": quantile(ms, 0.99), "disk_mb_per_s": stream})
}

// diskStream is the best of some rounds of synced large writes, in MB/s: what else the disk does meanwhile does
// not count.
func diskStream(dir string) (mbPerS float64, err error) {
	name := fmt.Sprintf("%s/.raftmq-bench-%d", dir, os.Getpid())
	f, err := vfs.OS{}.Create(name)
	if err != nil {
		return 0, err
	}
	defer os.Remove(name)
	defer f.Close()
	b := vfs.Aligned(streamPiece)
	for i := range b {
		b[i] = byte(i)
	}
	for round := range streamRounds + 1 { // the first makes the space
		begin := time.Now()
		for at := int64(0); at < streamBytes; at += streamPiece {
			if err := f.WriteThrough(b, at); err != nil {
				return 0, err
			}
		}
		if round > 0 {
			mbPerS = max(mbPerS, streamBytes/1e6/time.Since(begin).Seconds())
		}
	}
	return mbPerS, nil
}

// diskSyncs times n overwrites of 4 KiB, each with fdatasync, in a file written
// before: as the write-ahead log does it.
func diskSyncs(dir string, n int) ([]float64, error) {
	name := fmt.Sprintf("%s/.raftmq-bench-%d", dir, os.Getpid())
	f, err := vfs.OS{}.Create(name)
	if err != nil {
		return nil, err
	}
	defer os.Remove(name)
	defer f.Close()
	if _, err := f.WriteAt(make([]byte, 4096*n), 0); err != nil {
		return nil, err
	}
	if err := f.Sync(); err != nil {
		return nil, err
	}
	b := make([]byte, 4096)
	ms := make([]float64, n)
	for i := range ms {
		b[0] = byte(i)
		begin := time.Now()
		if _, err := f.WriteAt(b, int64(i)*4096); err != nil {
			return nil, err
		}
		if err := f.SyncData(); err != nil {
			return nil, err
		}
		ms[i] = float64(time.Since(begin).Microseconds()) / 1000
	}
	slices.Sort(ms)
	return ms, nil
}
