package sim

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
	"time"

	"raftmq/internal/faults"
	"raftmq/internal/vfs/faultfs"
	"raftmq/jepsen/cluster"
	"raftmq/jepsen/history"
	"raftmq/jepsen/link"
	"raftmq/jepsen/run"
)

// World is where simulated nodes live. All of it belongs to one bubble of package
// testing/synctest, and to one run.
type World struct {
	seed  history.Seed
	sizes sizes
	net   *Network
	disks []*disk
	wg    sync.WaitGroup // of what lives leave behind

	mu    sync.Mutex
	lives []*life // the last of each node; nil: it had none
	pids  int
}

var _ run.World = (*World)(nil)

// NewWorld is one with so many nodes' disks, empty.
func NewWorld(seed history.Seed, nodes int) *World {
	w := &World{seed: seed, sizes: drawSizes(seed), lives: make([]*life, nodes)}
	for i := range nodes {
		w.disks = append(w.disks, newDisk(seed.Stream("disk/"+strconv.Itoa(i))))
	}
	return w
}

// Join makes the network.
func (w *World) Join(links *link.Net) run.Network {
	w.net = NewNetwork(links, w.seed)
	return network{w, w.net.Host(links.Hosts() - 1)}
}

// network is the World's as a cluster has it.
type network struct {
	w       *World
	clients *Host
}

func (network) Bind(i int) string                 { return address(i) }
func (network) Address(i int) string              { return address(i) }
func (network) Enter(_ int, f func() error) error { return f() }

func (n network) Dial(ctx context.Context, _ int, addr string) (net.Conn, error) {
	return n.clients.Dial(ctx, addr)
}

// Close returns when what the nodes' lives left behind is gone.
func (n network) Close() error {
	n.clients.End()
	n.w.wg.Wait()
	return nil
}

// life is the last of a node's.
func (w *World) life(node int) (*life, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	l := w.lives[node]
	if l == nil || l.isOver() {
		return nil, fmt.Errorf("node %d does not run", node)
	}
	return l, nil
}

// Web connects from the node's own host.
func (w *World) Web(_ context.Context, node int) (net.Conn, error) {
	l, err := w.life(node)
	if err != nil {
		return nil, err
	}
	return l.host.near(net.JoinHostPort(address(node), strconv.Itoa(l.place.Ports.Web)))
}

// Order breaks or mends a node.
func (w *World) Order(node int, o faults.Order) (a faults.Answer, err error) {
	l, err := w.life(node)
	if err != nil {
		return a, err
	}
	if a.Hits, err = w.disks[node].order(o.Disk); err != nil {
		return a, err
	}
	if o.Clock != nil {
		l.clock.Do(*o.Clock)
	}
	shown, real := l.clock.Both()
	a.Wall, a.Real, a.Runs = shown.UnixNano(), real.UnixNano(), int64(time.Since(l.begun))
	return a, nil
}

var errRuns = errors.New("the node runs")

// CutPower takes what was not durable.
func (w *World) CutPower(node int, keep float64, rng *rand.Rand) (faultfs.Lost, error) {
	if _, err := w.life(node); err == nil {
		return faultfs.Lost{}, errRuns
	}
	return w.disks[node].cut(keep, rng.Uint64()), nil
}

// Wipe gives the node an empty disk.
func (w *World) Wipe(node int) error {
	if _, err := w.life(node); err == nil {
		return errRuns
	}
	w.disks[node].wipe()
	return nil
}

// Files are those in the node's folder.
func (w *World) Files(node int) fs.FS { return files{w.disks[node]} }

// Flip changes bits of a byte, as a disk that decays does.
func (w *World) Flip(node int, name string, at int64, bits byte) error {
	return w.disks[node].now().Damage(folder+"/"+name, at, 1, func(b []byte) { b[0] ^= bits })
}

// Via: nodes call each other where they are.
func (network) Via(int, []cluster.Peer) (map[string]string, error) { return nil, nil }
