package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// lab is where runs happen.
type lab struct {
	program  string  // raftmq
	nats     string  // nats-server; empty: its sides are left out
	rocketmq string  // folder of RocketMQ's jars; empty: its sides are left out
	self     string  // this program, for loads that are processes
	dir      string  // absolute; the clusters' data, removed after each run
	scale    float64 // of durations and counts; 1: full size
	out      io.Writer

	natsProcs int      // GOMAXPROCS of a nats-server; 0: its own choice
	lock      *os.File // of dir
}

// labDir is made in the directory that is given, and removed; what an earlier bench left in it that was killed goes too.
const labDir = ".bench-data"

// open makes the directory for the clusters and finds the programs.
func (l *lab) open(data string) (err error) {
	for _, p := range []*string{&l.program, &l.nats} {
		if *p == "" {
			continue
		}
		if *p, err = filepath.Abs(*p); err != nil {
			return err
		}
		if _, err := os.Stat(*p); err != nil {
			return fmt.Errorf("%w: \"make bench\" builds it", err)
		}
	}
	if l.rocketmq != "" {
		if l.rocketmq, err = filepath.Abs(l.rocketmq); err != nil {
			return err
		}
		if rocketVersion(l.rocketmq) == "" {
			return fmt.Errorf("no jars of a RocketMQ broker in %s: \"make bench\" fetches them", l.rocketmq)
		}
	}
	if l.self, err = os.Executable(); err != nil {
		return err
	}
	if data, err = filepath.Abs(data); err != nil {
		return err
	}
	l.dir = filepath.Join(data, labDir)
	if err := os.MkdirAll(l.dir, 0o755); err != nil {
		return err
	}
	if l.lock, err = os.Open(l.dir); err != nil {
		return err
	}
	if err := syscall.Flock(int(l.lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return fmt.Errorf("another bench runs in %s: %w", l.dir, err)
	}
	left, err := filepath.Glob(filepath.Join(l.dir, "*"))
	for _, name := range left {
		err = errors.Join(err, os.RemoveAll(name))
	}
	return err
}

func (l *lab) close() error { return errors.Join(os.RemoveAll(l.dir), l.lock.Close()) }

// duration is d at the lab's scale, a second at least.
func (l *lab) duration(d time.Duration) time.Duration {
	return max(time.Duration(float64(d)*l.scale), time.Second)
}

// count is n at the lab's scale, least at least.
func (l *lab) count(n, least int) int { return max(int(float64(n)*l.scale), min(n, least)) }

func (l *lab) say(format string, args ...any) { fmt.Fprintf(l.out, format+"\n", args...) }

// output runs a process in the lab's directory and returns what it prints.
func (l *lab) output(ctx context.Context, env []string, program string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir = l.dir
	cmd.Env = append(append(os.Environ(), "TMPDIR="+l.dir), env...)
	cmd.SysProcAttr = childAttr()
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 20 * time.Second
	var out, complaint bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaint
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("%s %s: %w: %s", filepath.Base(program), strings.Join(args, " "), err, strings.TrimSpace(complaint.String()))
	}
	return out.Bytes(), nil
}

// disk times the disk that the clusters are on, at rest.
func (l *lab) disk(ctx context.Context) (figures, error) {
	b, err := l.output(ctx, nil, l.program, "bench", "disk")
	if err != nil {
		return nil, err
	}
	return parseFigures(b)
}

// versions of what is measured, and the first of the hash of raftmq's program.
func (l *lab) versions(ctx context.Context) (versions map[string]string, build string, err error) {
	versions = make(map[string]string)
	b, err := l.output(ctx, nil, l.program, "version", "-o", "json")
	if err != nil {
		return nil, "", err
	}
	var v struct{ Version, Go string }
	if err := json.Unmarshal(b, &v); err != nil {
		return nil, "", err
	}
	versions["raftmq"], versions["Go"] = v.Version, strings.TrimPrefix(v.Go, "go")
	if l.nats != "" {
		b, err := l.output(ctx, nil, l.nats, "--version")
		if err != nil {
			return nil, "", err
		}
		fields := strings.Fields(string(b)) // nats-server: v2.15.3
		versions["nats-server"] = fields[len(fields)-1]
		versions["nats.go"] = natsClientVersion
	}
	if l.rocketmq != "" {
		versions["RocketMQ"] = rocketVersion(l.rocketmq)
	}
	f, err := os.Open(l.program)
	if err != nil {
		return nil, "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return nil, "", err
	}
	return versions, hex.EncodeToString(h.Sum(nil)[:6]), nil
}

// sleep waits for d, or less if ctx ends.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
