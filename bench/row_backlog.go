package main

import (
	"context"
	"errors"
	"io"
	"net"
	"strconv"
	"time"
)

const loopback = "copy"

// readRaftmq fills a topic, reads it once to warm up, and measures the second reading.
func readRaftmq(count int) func(context.Context, *lab) (figures, error) {
	return func(ctx context.Context, l *lab) (f figures, err error) {
		c, err := startRaftmq(ctx, l)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, c.stop()) }()
		args := []string{"consume", "--count", strconv.Itoa(l.count(count, 1000))}
		if _, err := c.bench(ctx, args...); err != nil {
			return nil, err
		}
		return c.bench(ctx, args...)
	}
}

// readNATS fills a stream, reads it in each way, and measures the fastest once more.
func readNATS(count int) func(context.Context, *lab) (figures, error) {
	return func(ctx context.Context, l *lab) (f figures, err error) {
		c, err := startNATS(ctx, l, natsOptions{})
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, c.stop()) }()
		n := strconv.Itoa(l.count(count, 1000))
		if _, err := c.load(ctx, "fill", "--count", n, "--in-flight", "1024"); err != nil {
			return nil, err
		}
		best, most := 0, 0.0
		for i, how := range natsReads {
			f, err := c.load(ctx, "consume", "--count", n, "--how", how)
			if err != nil {
				return nil, err
			}
			if f[rate] > most {
				best, most = i, f[rate]
			}
		}
		f, err = c.load(ctx, "consume", "--count", n, "--how", natsReads[best])
		if f != nil {
			f["how"] = float64(best)
		}
		return f, err
	}
}

// copyLoopback sends as many bytes over one connection to whoever reads them in this process.
func copyLoopback(count, size int) func(context.Context, *lab) (figures, error) {
	return func(ctx context.Context, l *lab) (figures, error) {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer ln.Close()
		total := int64(l.count(count, 1000)) * int64(size)
		sent := make(chan error, 1)
		go func() {
			out, err := net.Dial("tcp", ln.Addr().String())
			if err != nil {
				ln.Close()
				sent <- err
				return
			}
			defer out.Close()
			piece := make([]byte, 64<<10)
			for left := total; left > 0 && err == nil; left -= int64(len(piece)) {
				_, err = out.Write(piece[:min(int64(len(piece)), left)])
			}
			sent <- err
		}()
		in, err := ln.Accept()
		if err != nil {
			return nil, errors.Join(<-sent, err)
		}
		defer in.Close()
		begin := time.Now()
		n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{in}, make([]byte, 64<<10))
		took := time.Since(begin).Seconds()
		if err = errors.Join(err, <-sent); err != nil {
			return nil, err
		}
		return figures{rate: float64(n) / float64(size) / took, bandwidth: float64(n) / 1e6 / took, sentCount: float64(n) / float64(size)}, nil
	}
}

func backlog() row {
	const count = 500_000
	return row{
		name: "backlog", work: "backlog of 500,000 × 1 KB, one consumer",
		sides: []side{{ours, readRaftmq(count)}, {theirs, readNATS(count)}, {loopback, copyLoopback(count, 1024)}},
		measures: []measure{
			{what: "messages/s, to NATS", of: ratio(ours, theirs, rate), must: 3, unit: " ×"},
			{what: "bytes/s, to a plain copy over one loopback connection", of: ratio(ours, loopback, bandwidth), goal: 0.5, unit: " ×"},
		},
	}
}
