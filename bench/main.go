package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"syscall"
)

func main() {
	runtime.LockOSThread() // children end with their thread
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if len(os.Args) > 1 && os.Args[1] == "nats-load" {
		exit(runNATSLoad(ctx, os.Args[2:], os.Stdout))
	}
	if len(os.Args) > 1 && os.Args[1] == "wire-load" {
		exit(runWireLoad(ctx, os.Args[2:], os.Stdout))
	}
	exit(runBench(ctx, os.Args[1:]))
}

func exit(err error) {
	switch {
	case errors.Is(err, flag.ErrHelp):
		os.Exit(0)
	case err != nil:
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// runBench measures what is left to measure and renders all that is there.
func runBench(ctx context.Context, args []string) error {
	l := &lab{out: os.Stdout}
	s := &session{lab: l, disk: l.disk}
	var names, docs, data, commit string
	var list, renderOnly bool
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.StringVar(&l.program, "program", "bin/raftmq", "raftmq's program")
	f.StringVar(&l.nats, "nats", "bin/nats-server", "nats-server's program; empty: raftmq alone")
	f.IntVar(&l.natsProcs, "nats-procs", 0, "GOMAXPROCS of a nats-server; 0: its own choice (the row natsprocs tells which is faster)")
	f.StringVar(&l.rocketmq, "rocketmq", "", "folder of RocketMQ's jars (conformance/oracle/pom.xml names them); empty: it is not measured")
	f.StringVar(&data, "data", ".", "directory on the disk to measure, in which the clusters' data lives meanwhile; 20 GB for the row log5gb")
	f.StringVar(&s.results, "results", "bench/results", "directory of the rows' files")
	f.StringVar(&docs, "docs", "docs", "directory of performance.md and its pictures; empty: none are made")
	f.StringVar(&names, "rows", "", "rows to measure, with commas (default: all)")
	f.Float64Var(&l.scale, "scale", 1, "factor of durations and counts, for trials; below 0.1 each side has one turn")
	f.StringVar(&commit, "commit", "", "of raftmq's source, for the document")
	f.BoolVar(&s.fresh, "fresh", false, "measure again what is there")
	f.BoolVar(&list, "list", false, "print the rows and end")
	f.BoolVar(&renderOnly, "render", false, "only render what is there")
	if err := f.Parse(args); err != nil {
		return err
	}
	picked, err := pick(rows(), names)
	if err != nil {
		return err
	}
	if list {
		for _, w := range picked {
			fmt.Printf("%-20s %s\n", w.name, w.work)
		}
		return nil
	}
	if !renderOnly {
		if err := l.open(data); err != nil {
			return err
		}
		err = errors.Join(s.run(ctx, picked, commit), l.close())
	}
	if docs != "" && ctx.Err() == nil {
		err = errors.Join(err, render(s.results, docs))
	}
	return err
}
