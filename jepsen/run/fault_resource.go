package run

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"raftmq/jepsen/cluster"
)

var resourceFaults = []kind{
	{name: "starve", area: "resource", says: "a node has a processor for a tenth to half of the time: it is stopped and goes on many times a second", short: 3 * time.Second, long: 8 * time.Second, begin: starve},
	{name: "descriptors", area: "resource", says: "a node may open no more files and connections than it has, and clients connect to it", short: 2 * time.Second, long: 5 * time.Second, here: cluster.FilesCanBeLimited, begin: descriptors},
	{name: "memory", area: "resource", says: "a node has little memory for what comes, page cache included, and may be killed for it", short: 3 * time.Second, long: 8 * time.Second, here: cluster.MemoryCanBeLimited, begin: memory},
}

// Of a processor's time that a node is given in turns of so long.
const starveTurn = 40 * time.Millisecond

func starve(_ context.Context, h *hit) error {
	runs := time.Duration((0.1 + 0.4*h.rng.Float64()) * float64(starveTurn))
	h.pid = h.node.PID()
	h.detail = fmt.Sprintf("%v of each %v", runs.Round(time.Millisecond), starveTurn)
	var failed error
	h.lasts = func(ctx context.Context) {
		for end := time.Now().Add(h.p.For); time.Now().Before(end) && ctx.Err() == nil && failed == nil; h.count++ {
			if _, failed = h.node.Pause(); failed != nil {
				break
			}
			sleep(ctx, starveTurn-runs)
			if _, failed = h.node.Resume(); failed != nil {
				break
			}
			sleep(ctx, runs)
		}
	}
	h.proof = func(context.Context) error {
		if failed == nil && h.count < 10 {
			return fmt.Errorf("it was stopped %d times", h.count)
		}
		return failed
	}
	h.resumeAgain(h.node)
	return nil
}

// Connections that are made to a node which may not have more, and go again by turns.
const (
	knocks     = 64
	knockEvery = 5 * time.Millisecond
	knockTurn  = 600 * time.Millisecond
)

func descriptors(_ context.Context, h *hit) error {
	open, err := h.node.OpenFiles()
	if err != nil {
		return err
	}
	limit := open + h.rng.IntN(8)
	h.node.MayEnd(true) // it may have to open a file that it cannot do without
	h.pid = h.node.PID()
	before, err := h.node.LimitFiles(uint64(limit))
	h.undone = "heal"
	h.undo = func(ctx context.Context) error {
		if h.node.Running() {
			_, err := h.node.LimitFiles(before)
			if err = errors.Join(err, h.ready(ctx)); err == nil {
				h.node.MayEnd(false)
				return nil
			}
			code, ended := h.node.AwaitEnd(ctx, endsWithin)
			if ended == nil {
				ended = h.endedWith(code, exitDisk)
			}
			if ended != nil { // else it was at it
				return err
			}
		}
		return errors.Join(h.node.Start(), h.node.AwaitReady(ctx))
	}
	if err != nil {
		return err
	}
	h.lasts = func(ctx context.Context) {
		var conns []net.Conn
		begun := time.Now()
		for end := time.Now().Add(h.p.For); time.Now().Before(end) && ctx.Err() == nil && h.node.Running(); {
			if time.Since(begun) > knockTurn {
				for _, c := range conns {
					c.Close()
				}
				conns, begun = nil, time.Now()
				sleep(ctx, knockTurn/4)
			}
			if len(conns) < knocks {
				try, cancel := context.WithTimeout(ctx, time.Second)
				if c, err := h.cluster.Only(h.node)(try, "tcp", h.node.NameServer); err == nil {
					conns = append(conns, c)
				}
				cancel()
			}
			if n, err := h.node.OpenFiles(); err == nil && n >= limit {
				h.count++
			}
			sleep(ctx, knockEvery)
		}
		for _, c := range conns {
			c.Close()
		}
	}
	h.proof = func(context.Context) error {
		h.detail = fmt.Sprintf("%d files and connections, seen %d times", limit, h.count)
		if !h.node.Running() {
			code, err := h.node.AwaitEnd(context.Background(), 0)
			h.detail += fmt.Sprintf("; it ended with %d", code)
			if err == nil {
				err = h.endedWith(code, exitDisk)
			}
			return err
		}
		if h.count == 0 {
			return errors.New("it never had as many as it may")
		}
		return nil
	}
	return nil
}

// Bytes that a node has for what comes: less and less, until that is not enough.
const (
	mostMemory   = 24 << 20
	leastMemory  = 1 << 20
	squeezeEvery = 200 * time.Millisecond
)

func memory(_ context.Context, h *hit) error {
	limit := int64(mostMemory)
	h.node.MayEnd(true) // the kernel may kill it
	h.pid = h.node.PID()
	m, err := h.node.LimitMemory(limit)
	if err != nil {
		h.node.MayEnd(false)
		return err
	}
	h.undone = "heal"
	h.undo = func(ctx context.Context) error {
		err := m.Free()
		if h.node.Running() {
			h.node.MayEnd(false)
			return errors.Join(err, h.ready(ctx))
		}
		if code, ended := h.node.AwaitEnd(ctx, 0); ended == nil {
			err = errors.Join(err, h.endedWith(code, exitKilled, exitDisk))
		}
		return errors.Join(err, h.node.Start(), h.node.AwaitReady(ctx))
	}
	h.lasts = func(ctx context.Context) {
		var reading sync.WaitGroup
		reading.Go(func() { h.readAll(ctx) }) // brings pages in
		for end := time.Now().Add(h.p.For); time.Now().Before(end) && m.Pressed() == 0 && sleep(ctx, squeezeEvery); {
			if less := limit * 7 / 8; less > leastMemory && m.Set(less) == nil {
				limit = less
			}
		}
		reading.Wait()
	}
	h.proof = func(context.Context) error {
		h.count = m.Pressed()
		h.detail = fmt.Sprintf("%d KiB more", limit>>10)
		if !h.node.Running() {
			h.detail += "; killed"
		}
		if h.count == 0 {
			return errors.New("it was enough")
		}
		return nil
	}
	return nil
}
