package sim

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/spf13/pflag"

	"raftmq/broker"
	"raftmq/internal/faults"
	"raftmq/internal/vfs"
	"raftmq/jepsen/cluster"
	"raftmq/jepsen/history"
	"raftmq/raftlog"
)

// Exit codes, as those of the program.
const (
	exitError   = 1
	exitDisk    = 70
	exitDamaged = 71
	exitKilled  = -1
)

// drain is how long a node has to end.
const drain = 10 * time.Second

// life is one of a node's, from its start to its end. After its end nothing that it does
// has an effect, though parts of it may still be there.
type life struct {
	w     *World
	place cluster.Place
	pid   int
	begun time.Time
	host  *Host
	disk  *vfs.Mem
	clock faults.Clock
	log   *logFile
	stop  chan struct{} // closes when it is told to end
	ended chan struct{}

	once sync.Once
	tell sync.Once
	code int
	how  string
}

// Begin begins a life.
func (w *World) Begin(p cluster.Place) (cluster.Life, error) {
	cfg, err := config(p, w.sizes)
	if err != nil {
		return nil, err
	}
	log, err := openLog(p.Log)
	if err != nil {
		return nil, err
	}
	w.net.set(p.Raft, p.Gossip)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.pids++
	l := &life{w: w, place: p, pid: w.pids, begun: time.Now(), host: w.net.Host(p.Number), disk: w.disks[p.Number].begin(),
		log: log, stop: make(chan struct{}), ended: make(chan struct{})}
	w.lives[p.Number] = l
	w.wg.Go(func() { l.run(cfg) })
	return l, nil
}

// run is what the program does: it serves until it is told to end or must.
func (l *life) run(cfg broker.Config) {
	defer l.log.close()
	log := hclog.New(&hclog.LoggerOptions{Name: l.place.Name, Level: hclog.Info, IndependentLevels: true, Output: l.log, TimeFn: time.Now})
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() { // ends with cancel
		select {
		case <-l.ended:
			cancel()
		case <-ctx.Done():
		}
	}()
	b, err := broker.Open(ctx, cfg, broker.Deps{Logger: log, Disk: l.disk, Now: l.clock.Now, Net: l.host,
		Catalogue: func(dir string) (broker.CatalogueStore, error) { return keepCatalogue(l.disk, dir) }})
	if err != nil {
		code := exitError
		if errors.Is(err, raftlog.ErrWALDamaged) || errors.Is(err, broker.ErrCatalogueDamaged) || errors.Is(err, broker.ErrFolderDamaged) {
			code = exitDamaged
		}
		log.Error("cannot start", "error", err)
		l.finish(code, err.Error())
		return
	}
	var failed error
	select {
	case <-l.stop:
	case failed = <-b.Failed():
	case <-l.ended:
	}
	down, cancelDown := context.WithTimeout(ctx, drain)
	defer cancelDown()
	over := make(chan error, 1)
	go func() { over <- b.Shutdown(down) }() // this waits for it
	select {
	case err = <-over:
		over <- err
	case <-down.Done():
		if failed == nil { // it has been told, and ends a little later
			err = <-over
			over <- err
		}
	}
	switch {
	case failed != nil:
		l.finish(exitDisk, failed.Error())
	default:
		if err != nil {
			log.Warn("stopped uncleanly", "error", err)
		}
		l.finish(0, "exit status 0")
	}
	<-over
}

// finish is the end of the process. The first counts.
func (l *life) finish(code int, how string) {
	l.once.Do(func() {
		l.host.End()
		l.w.disks[l.place.Number].end()
		l.log.end()
		l.code, l.how = code, how
		if code > 0 {
			l.how = fmt.Sprintf("exit status %d: %s", code, how)
		}
		close(l.ended)
	})
}

func (l *life) isOver() bool {
	select {
	case <-l.ended:
		return true
	default:
		return false
	}
}

func (l *life) PID() int               { return l.pid }
func (l *life) Ended() <-chan struct{} { return l.ended }
func (l *life) Code() int              { return l.code }
func (l *life) How() string            { return l.how }
func (l *life) End()                   { l.tell.Do(func() { close(l.stop) }) }
func (l *life) Kill() error            { l.finish(exitKilled, "killed"); return nil }

// sizes are of a run's files. With small ones there are checkpoints and new segments
// all the time.
type sizes struct{ checkpoint, segment int64 }

func drawSizes(seed history.Seed) sizes {
	rng := seed.Stream("sizes")
	return sizes{checkpoint: 4 << 10 << rng.IntN(15), segment: 128 << 10 << rng.IntN(4)}
}

// config is what the program would make of its flags, but for sizes, of which smaller
// ones count.
func config(p cluster.Place, s sizes) (broker.Config, error) {
	c := broker.Config{
		Cluster: p.Cluster, Node: p.Name, Data: folder, Host: p.Host, InitialNodes: p.Names, Join: p.Join, Slots: p.Slots,
		NameServer: p.Ports.NameServer, Raft: p.Ports.Raft, Gossip: p.Ports.Gossip, HTTP: p.Ports.Web, Listen: p.Ports.Listen,
		RetainEvery: time.Second, DiskCleanAt: 100, DiskForceAt: 100, DiskRefuseAt: 95, DiskReserve: -1,
	}
	f := pflag.NewFlagSet("server", pflag.ContinueOnError)
	f.IntVar(&c.MaxBody, "max-body", 0, "")
	f.Int64Var(&c.WALSegmentBytes, "wal-segment-bytes", 0, "")
	f.Int64Var(&c.SegmentBytes, "segment-bytes", 0, "")
	f.DurationVar(&c.ScrubEvery, "scrub-every", 0, "")
	f.DurationVar(&c.DigestInterval, "digest-interval", 0, "")
	f.StringVar(&c.DeleteWhen, "delete-when", "04", "")
	f.DurationVar(&c.Retention, "retention", 72*time.Hour, "")
	f.DurationVar(&c.TransactionTimeout, "transaction-timeout", 0, "")
	f.DurationVar(&c.TransactionCheckInterval, "transaction-check-interval", 0, "")
	f.IntVar(&c.TransactionChecks, "transaction-checks", 0, "")
	if err := f.Parse(p.Args); err != nil {
		return c, fmt.Errorf("a simulated node's settings: %w", err)
	}
	c.CheckpointBytes, c.SegmentBytes = s.checkpoint, min(c.SegmentBytes, s.segment)
	return c, c.Check()
}

// logFile takes a node's log until its life is over.
type logFile struct {
	mu   sync.Mutex
	file *os.File
	over bool
}

func openLog(name string) (*logFile, error) {
	f, err := os.OpenFile(path.Clean(name), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	return &logFile{file: f}, err
}

func (l *logFile) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over {
		return len(b), nil
	}
	return l.file.Write(b)
}

func (l *logFile) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.over = true
}

func (l *logFile) close() { l.file.Close() }
