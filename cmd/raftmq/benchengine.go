package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"raftmq/internal/vfs"
	"raftmq/raftlog"
)

// benchEngine measures what is below the broker: three replicas of one group in
// this process, with the write-ahead log on disk and the transport over loopback.
// Messages are bytes that the machine forgets. They are gathered into entries as
// the broker does.
func benchEngine(ctx context.Context, g *globals, f benchFlags) error {
	dir, err := os.MkdirTemp(".", ".raftmq-engine-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	e, err := startEngine(dir)
	if err != nil {
		return err
	}
	defer e.close()
	leader, err := e.leader(ctx)
	if err != nil {
		return err
	}
	m, err := beginMeter(".")
	if err != nil {
		return err
	}
	gather := make(chan engineSend, f.inFlight)
	done := make(chan struct{})
	go gatherEntries(leader, gather, done)
	body := make([]byte, f.size)
	latencies := make([][]float64, f.inFlight)
	failures := make([]error, f.inFlight)
	begin := time.Now()
	end := begin.Add(f.duration)
	var wg sync.WaitGroup
	for w := range f.inFlight {
		wg.Go(func() {
			answer := make(chan error, 1)
			for at := time.Now(); at.Before(end) && ctx.Err() == nil; at = time.Now() {
				gather <- engineSend{body, answer}
				if err := <-answer; err != nil {
					failures[w] = err
					return
				}
				latencies[w] = append(latencies[w], float64(time.Since(at).Microseconds())/1000)
			}
		})
	}
	wg.Wait()
	took := time.Since(begin)
	close(gather)
	<-done
	if err := errors.Join(failures...); err != nil {
		return err
	}
	r := m.end(slices.Concat(latencies...), took, f.size)
	return r.print(g.output, fmt.Sprintf("Raft and the write-ahead log alone, %d in flight, %d bytes", f.inFlight, f.size))
}

type engineSend struct {
	body   []byte
	answer chan error
}

// The broker's numbers: see broker/batch.go.
const (
	engineEntry  = 256 << 10
	engineFlying = 2
	engineYields = 4
)

func gatherEntries(leader *raftlog.Replica, in <-chan engineSend, done chan<- struct{}) {
	defer close(done)
	flying := make(chan struct{}, engineFlying)
	for first := range in {
		flying <- struct{}{}
		for range engineYields {
			runtime.Gosched()
		}
		batch := []engineSend{first}
		cmd := slices.Clone(first.body)
	gather:
		for len(cmd)+len(first.body) <= engineEntry {
			select {
			case s, ok := <-in:
				if !ok {
					break gather
				}
				batch, cmd = append(batch, s), append(cmd, s.body...)
			default:
				break gather
			}
		}
		then := func(_ any, err error) {
			<-flying
			for _, s := range batch {
				s.answer <- err
			}
		}
		if err := leader.StartFunc(cmd, then); err != nil {
			then(nil, err)
		}
	}
	for range engineFlying {
		flying <- struct{}{}
	}
}

// engine is three nodes without brokers.
type engine struct {
	closers  []func() error // in order
	replicas []*raftlog.Replica
}

func startEngine(dir string) (*engine, error) {
	e := new(engine)
	addrs := make(map[string]string)
	var listeners []net.Listener
	var servers []raft.Server
	var names []string
	for i := range 3 {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, errors.Join(err, e.close())
		}
		name := fmt.Sprintf("n%d", i+1)
		names, listeners = append(names, name), append(listeners, ln)
		addrs[name] = ln.Addr().String()
		id := name + ".1"
		servers = append(servers, raft.Server{ID: raft.ServerID(id), Address: raft.ServerAddress(id)})
	}
	dial := func(ctx context.Context, node string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", addrs[node])
	}
	for i, name := range names {
		if err := e.startNode(filepath.Join(dir, name), name, listeners[i], dial, names, servers); err != nil {
			return nil, errors.Join(err, e.close())
		}
	}
	e.replicas[0].Nudge()
	return e, nil
}

func (e *engine) startNode(dir, name string, ln net.Listener, dial func(context.Context, string) (net.Conn, error), names []string, servers []raft.Server) error {
	wal, err := raftlog.OpenWAL(dir, raftlog.WALOptions{FS: vfs.OS{}})
	if err != nil {
		return errors.Join(err, ln.Close())
	}
	e.closers = append(e.closers, wal.Close)
	t, err := raftlog.NewTransport(raftlog.TransportConfig{Cluster: "engine", Node: name, Incarnation: 1, Listener: ln, Dial: dial})
	if err != nil {
		return err
	}
	e.closers = append(e.closers, t.Close)
	t.SetPeers(names)
	host := raftlog.NewHost(t, name, 1, nil)
	e.closers = append(e.closers, func() error { host.Close(); return nil })
	r, err := host.Open(raftlog.ReplicaConfig{Group: 1, Log: wal.Group(1), Bootstrap: servers}, new(forgetful))
	if err != nil {
		return err
	}
	e.closers, e.replicas = append(e.closers, r.Close), append(e.replicas, r)
	return nil
}

func (e *engine) leader(ctx context.Context) (*raftlog.Replica, error) {
	for {
		for _, r := range e.replicas {
			if _, ok := r.Leads(); ok {
				return r, nil
			}
		}
		if err := sleep(ctx, 10*time.Millisecond); err != nil {
			return nil, err
		}
	}
}

// close ends the nodes in the reverse order of their start.
func (e *engine) close() error {
	var err error
	for _, c := range slices.Backward(e.closers) {
		err = errors.Join(err, c())
	}
	return err
}

// forgetful is a machine that keeps nothing but how far it is.
type forgetful struct{ index, term uint64 }

func (m *forgetful) Apply(entries []*raft.Log) ([]any, error) {
	last := entries[len(entries)-1]
	m.index, m.term = last.Index, last.Term
	return make([]any, len(entries)), nil
}

func (m *forgetful) Applied() (index, term uint64)          { return m.index, m.term }
func (m *forgetful) Checkpoint() ([]byte, func() error)     { return nil, func() error { return nil } }
func (m *forgetful) Floor() ([]byte, uint64, uint64, error) { return nil, 0, 0, nil }
func (m *forgetful) Restore([]byte, uint64, uint64) error   { return nil }
