package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"raftmq/internal/faults"
)

// Node is one node. What is done to its process is done one after the other.
type Node struct {
	Name       string
	NameServer string
	Listeners  []string // by slot
	Data, Log  string

	c            *Cluster
	number       int // from 0
	base         int
	raft, gossip string
	http         string            // on its own loopback
	web          *http.Client      // that is where the node is
	socket       string            // for orders; "": it takes none
	via          map[string]string // see Network

	other bool          // it runs Options.Other
	up    time.Duration // by how much the next process's monotonic clock is ahead

	turn sync.Mutex // of what ends, starts and signals the process

	mu   sync.Mutex
	life *life // nil: none was started
}

// life is a Life, and what this program wants of it.
type life struct {
	Life
	over  chan struct{} // closes when its end has been told
	asked bool          // it was told to end; guarded by Node.mu
	alone bool          // it ended without having been asked; to be read after over
}

const (
	readyWithin = 2 * time.Minute // also of a node that is copied whole, on a machine that has more to do
	copyRate    = 8 << 20         // bytes of the largest node's a second that it may take longer, beside faults and load
	stopWithin  = 30 * time.Second
	seenWithin  = 5 * time.Second // a signal's effect
	idleWeb     = 8               // connections to a node's HTTP that are kept for the next question
)

func newNode(c *Cluster, number, base int) *Node {
	name := "n" + strconv.Itoa(number+1)
	at := func(port int) string {
		return net.JoinHostPort(c.o.Network.Address(number), strconv.Itoa(base+port))
	}
	n := &Node{Name: name, c: c, number: number, base: base, NameServer: at(0), raft: at(1), gossip: at(2),
		http: net.JoinHostPort("127.0.0.1", strconv.Itoa(base+3)), Data: filepath.Join(c.o.Dir, name), Log: filepath.Join(c.o.Dir, name+".log")}
	for s := range c.o.Slots {
		n.Listeners = append(n.Listeners, at(firstListener+s*listenerStep))
	}
	if c.o.Faults {
		n.socket = filepath.Join(c.sockets, name)
	}
	// A life's connections end with it. A process may be stopped with one open that nobody hears of.
	n.web = &http.Client{Transport: &http.Transport{DialContext: n.dialWeb, DisableKeepAlives: c.o.World == nil, MaxIdleConnsPerHost: idleWeb}}
	return n
}

func (n *Node) dialWeb(ctx context.Context, network, addr string) (conn net.Conn, err error) {
	if w := n.c.o.World; w != nil {
		return w.Web(ctx, n.number)
	}
	err = n.c.o.Network.Enter(n.number, func() (err error) {
		var d net.Dialer
		conn, err = d.DialContext(ctx, network, addr)
		return err
	})
	return conn, err
}

// Start starts a process; that it serves is for AwaitReady to say.
func (n *Node) Start() error {
	n.turn.Lock()
	defer n.turn.Unlock()
	if n.running() != nil {
		return fmt.Errorf("%s runs already", n.Name)
	}
	if n.c.o.OnStart != nil {
		n.c.o.OnStart(n.Name)
	}
	l, err := n.begin()
	if err != nil {
		return err
	}
	x := &life{Life: l, over: make(chan struct{})}
	n.mu.Lock()
	n.life = x
	n.mu.Unlock()
	go func() { // ends with the process, which Stop waits for
		<-l.Ended()
		n.mu.Lock()
		x.alone = !x.asked
		n.mu.Unlock()
		if x.alone && n.c.o.OnExit != nil {
			n.c.o.OnExit(n.Name, l.How()+"; its log ends: "+n.lastLines(3))
		}
		close(x.over)
	}()
	return nil
}

// begin begins a life.
func (n *Node) begin() (Life, error) {
	if w := n.c.o.World; w != nil {
		return w.Begin(Place{Number: n.number, Cluster: n.c.name, Name: n.Name, Host: n.c.o.Network.Address(n.number), Names: strings.Split(n.c.names(), ","), Join: strings.Split(n.c.gossip(), ","),
			Raft: n.raft, Gossip: n.gossip, Ports: Ports{n.base, n.base + 1, n.base + 2, n.base + 3, n.base + firstListener}, Slots: n.c.o.Slots, Log: n.Log, Args: n.c.o.Args})
	}
	log, err := os.OpenFile(n.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	program := n.c.o.Program
	if n.other {
		program = n.c.o.Other
	}
	cmd := exec.Command(program, append([]string{
		"server", "--cluster", n.c.name, "--node", n.Name, "--data", n.Data, "--initial-nodes", n.c.names(), "--join", n.c.gossip(),
		"--nameserver-port", strconv.Itoa(n.base), "--raft-port", strconv.Itoa(n.base + 1), "--gossip-port", strconv.Itoa(n.base + 2),
		"--host", n.c.o.Network.Bind(n.number), "--advertise", n.c.o.Network.Address(n.number),
		"--http-port", strconv.Itoa(n.base + 3), "--listen-port", strconv.Itoa(n.base + firstListener), "--slots", strconv.Itoa(n.c.o.Slots),
		"--disk-clean-at", "100", "--disk-force-at", "100", "--disk-refuse-at", n.refuseAt(), "--disk-reserve", "-1",
	}, n.c.o.Args...)...)
	cmd.Stdout, cmd.Stderr, cmd.SysProcAttr = log, log, childAttr()
	if n.socket != "" {
		if err := n.setUp(); err != nil {
			return nil, err
		}
		cmd.Env = append(os.Environ(), faults.Variable+"="+n.setupFile())
	}
	begun := make(chan error)
	p := &process{cmd: cmd, up: n.up, ended: make(chan struct{})}
	n.up = 0
	n.c.starts <- func() { begun <- n.c.o.Network.Enter(n.number, p.start) }
	if err := <-begun; err != nil {
		return nil, err
	}
	go p.wait() // ends with the process
	return p, nil
}

// StartLong is Start of a process whose machine seems to have been up for so much longer.
func (n *Node) StartLong(up time.Duration) error {
	n.turn.Lock()
	n.up = up
	n.turn.Unlock()
	return n.Start()
}

// Up is by how much the process's monotonic clock is ahead, read from its memory.
func (n *Node) Up() (time.Duration, error) {
	if l := n.running(); l != nil {
		if p, ok := l.Life.(*process); ok && p.clock != nil {
			return p.clock.Up()
		}
	}
	return 0, fmt.Errorf("%s has no clock of its own", n.Name)
}

// Switch has the node run the other release's program from its next start on, or no
// longer.
func (n *Node) Switch(other bool) {
	n.turn.Lock()
	defer n.turn.Unlock()
	n.other = other
}

// refuseAt is from how full a disk on the node takes no messages. The machine's disk is
// not the run's own; the layer of a test build tells one that is.
func (n *Node) refuseAt() string {
	if n.socket != "" {
		return "95"
	}
	return "100"
}

// running is the process, nil if it has ended or none was started.
func (n *Node) running() *life {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.life == nil {
		return nil
	}
	select {
	case <-n.life.over:
		return nil
	default:
		return n.life
	}
}

// Running reports whether a process of the node is there, paused or not.
func (n *Node) Running() bool { return n.running() != nil }

// PID is that of the process; 0 if none runs.
func (n *Node) PID() int {
	if p := n.running(); p != nil {
		return p.PID()
	}
	return 0
}

// Kill ends the process with -9. Without an error it was seen to be gone, by that
// signal.
func (n *Node) Kill() (pid int, err error) {
	n.turn.Lock()
	defer n.turn.Unlock()
	p := n.running()
	if p == nil {
		return 0, fmt.Errorf("%s does not run", n.Name)
	}
	pid = p.PID()
	n.mu.Lock()
	p.asked = true
	n.mu.Unlock()
	if err := p.Kill(); err != nil {
		return pid, fmt.Errorf("%s: %w", n.Name, err)
	}
	<-p.over
	return pid, nil
}

// Pause stops the process with SIGSTOP. Without an error it was seen stopped.
func (n *Node) Pause() (pid int, err error) { return n.signal(syscall.SIGSTOP, true) }

// Resume lets a paused process go on. Without an error it was seen to.
func (n *Node) Resume() (pid int, err error) { return n.signal(syscall.SIGCONT, false) }

func (n *Node) signal(sig syscall.Signal, want bool) (pid int, err error) {
	n.turn.Lock()
	defer n.turn.Unlock()
	l := n.running()
	if l == nil {
		return 0, fmt.Errorf("%s does not run", n.Name)
	}
	p, ok := l.Life.(*process)
	if !ok {
		return 0, fmt.Errorf("%s is no process: it cannot be stopped", n.Name)
	}
	pid = p.PID()
	if err := p.cmd.Process.Signal(sig); err != nil {
		return pid, err
	}
	for end := time.Now().Add(seenWithin); ; {
		is, err := paused(pid)
		if err == nil && is == want {
			return pid, nil
		}
		if time.Now().After(end) {
			return pid, errors.Join(fmt.Errorf("%s: no effect of %v", n.Name, sig), err)
		}
		time.Sleep(time.Millisecond) // nothing tells a stop
	}
}

// Paused reports whether the process is stopped by a signal; false if none runs.
func (n *Node) Paused() (bool, error) {
	if pid := n.PID(); pid != 0 && n.c.o.World == nil {
		return paused(pid)
	}
	return false, nil
}

// MayEnd says whether the process that runs may end by itself: then OnExit is not told.
func (n *Node) MayEnd(may bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.life != nil {
		n.life.asked = may
	}
}

// AwaitEnd returns the exit code of the process when it has ended by itself.
func (n *Node) AwaitEnd(ctx context.Context, within time.Duration) (code int, err error) {
	n.mu.Lock()
	p := n.life
	n.mu.Unlock()
	if p == nil {
		return 0, fmt.Errorf("%s was never started", n.Name)
	}
	select {
	case <-p.over: // also if there is no time to wait
		return p.Code(), nil
	default:
	}
	select {
	case <-p.over:
		return p.Code(), nil
	case <-time.After(within):
		return 0, fmt.Errorf("%s still runs after %v", n.Name, within)
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	}
}

// TellEnd tells OnExit how the last process ended, which MayEnd or Stop has kept from it: it was not to
// end so.
func (n *Node) TellEnd() {
	n.mu.Lock()
	p := n.life
	n.mu.Unlock()
	if p != nil && n.running() == nil && n.c.o.OnExit != nil {
		n.c.o.OnExit(n.Name, p.How()+"; its log ends: "+n.lastLines(3))
	}
}

// Wipe takes the node's folder away. The process must be gone.
func (n *Node) Wipe() error {
	n.turn.Lock()
	defer n.turn.Unlock()
	if n.running() != nil {
		return fmt.Errorf("%s runs", n.Name)
	}
	if w := n.c.o.World; w != nil {
		return w.Wipe(n.number)
	}
	return errors.Join(os.RemoveAll(n.Data), os.RemoveAll(n.twin()))
}

// Stop ends the process, if one runs: SIGTERM, and -9 if that is not enough. Without an
// error it ended by itself, with 0.
func (n *Node) Stop() error {
	n.turn.Lock()
	defer n.turn.Unlock()
	p := n.running()
	if p == nil {
		return nil
	}
	n.mu.Lock()
	p.asked = true
	n.mu.Unlock()
	p.End()
	select {
	case <-p.over:
		if p.Code() != 0 && !p.alone { // else there was nothing left to stop, and OnExit was told
			return fmt.Errorf("%s: %s", n.Name, p.How())
		}
		return nil
	case <-time.After(stopWithin):
		p.Kill()
		<-p.over
		return fmt.Errorf("%s did not stop within %v", n.Name, stopWithin)
	}
}

// AwaitReady returns when the node says that it is ready, after at most two minutes, and longer if the others have much that it may have to copy.
func (n *Node) AwaitReady(ctx context.Context) error {
	limit := time.NewTimer(readyWithin)
	defer limit.Stop()
	for longer := false; ; {
		try, cancel := context.WithTimeout(ctx, seenWithin)
		b, err := n.get(try, "/readyz")
		cancel()
		if err == nil {
			return nil
		}
		if n.running() == nil {
			return fmt.Errorf("%s ended; its log ends: %s", n.Name, n.lastLines(3))
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-limit.C:
			if longer {
				return fmt.Errorf("%s is not ready: %w %s", n.Name, err, b)
			}
			longer = true
			limit.Reset(time.Duration(n.c.mostData()/copyRate) * time.Second)
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready: %w %s", n.Name, err, b)
		}
	}
}

// mostData is how many bytes the node has that has most.
func (c *Cluster) mostData() (most int64) {
	for _, n := range c.Nodes {
		var bytes int64
		filepath.WalkDir(n.Data, func(_ string, d fs.DirEntry, err error) error {
			if err == nil && d.Type().IsRegular() {
				if st, err := d.Info(); err == nil {
					bytes += st.Size()
				}
			}
			return nil // files come and go meanwhile
		})
		most = max(most, bytes)
	}
	return most
}

// Replica is one of a node's replicas, as it says itself.
type Replica struct {
	ID       uint64 `json:"id"`
	Topic    string `json:"topic"`
	State    string `json:"state"` // of Raft: Leader and others
	Term     uint64 `json:"term"`
	Last     uint64 `json:"last"` // of Raft's log
	Applied  uint64 `json:"applied"`
	First    int64  `json:"first"` // where what is kept begins, in bytes
	Position int64  `json:"position"`
	Digest   string `json:"digest"` // of the log through Applied
	Damage   string `json:"damage"`
}

// AllReplicas asks the node for all that it has open.
func (n *Node) AllReplicas(ctx context.Context) ([]Replica, error) { return n.replicas(ctx, "") }

func (n *Node) replicas(ctx context.Context, query string) ([]Replica, error) {
	b, err := n.get(ctx, "/debug/partitions"+query)
	if err != nil {
		return nil, err
	}
	var all []Replica
	if err := json.Unmarshal(b, &all); err != nil {
		return nil, fmt.Errorf("%s: %w", n.Name, err)
	}
	return all, nil
}

// Replicas asks the node for those of a topic.
func (n *Node) Replicas(ctx context.Context, topic string) ([]Replica, error) {
	all, err := n.replicas(ctx, "?topic="+url.QueryEscape(topic))
	if err != nil {
		return nil, err
	}
	var out []Replica
	for _, r := range all {
		if r.Topic == topic { // another release's program tells of all
			out = append(out, r)
		}
	}
	return out, nil
}

func (n *Node) get(ctx context.Context, path string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+n.http+path, nil)
	if err != nil {
		return nil, err
	}
	resp, err := n.web.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, 4<<20))
	if err == nil && resp.StatusCode != http.StatusOK {
		err = errors.New(resp.Status)
	}
	return b, err
}

func (n *Node) lastLines(count int) string {
	b, err := os.ReadFile(n.Log)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	return strings.Join(lines[max(0, len(lines)-count):], " | ")
}
