package cluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"syscall"
	"time"

	"raftmq/internal/faults"
	"raftmq/internal/vfs/faultfs"
	"raftmq/jepsen/vclock"
)

// Life is one life of a node: a process, or what stands for one.
type Life interface {
	// PID is its number; no two lives have the same at once.
	PID() int
	// Ended closes when it is gone.
	Ended() <-chan struct{}
	// Code is its exit code, and How its end in words. Both are for after Ended.
	Code() int
	How() string
	// Kill ends it at once. Without an error it is gone, by that.
	Kill() error
	// End tells it to end.
	End()
}

// World is where nodes live that are no processes of this machine. Nodes are numbered
// from 0; what is done to one is done one after the other.
type World interface {
	// Begin begins a node's next life.
	Begin(p Place) (Life, error)
	// Web connects to the node's own HTTP, whatever the links do.
	Web(ctx context.Context, node int) (net.Conn, error)
	// Order breaks or mends the disk and the clock of the life that runs.
	Order(node int, o faults.Order) (faults.Answer, error)
	// CutPower takes what was not durable, but for what is kept by chance, from a node
	// that does not run.
	CutPower(node int, keep float64, rng *rand.Rand) (faultfs.Lost, error)
	// Wipe takes all from its disk.
	Wipe(node int) error
	// Files are those on its disk.
	Files(node int) fs.FS
	// Flip changes bits of a byte of a file.
	Flip(node int, name string, at int64, bits byte) error
}

// Place is what a node is told when its life begins.
type Place struct {
	Number              int
	Cluster, Name, Host string
	Names, Join         []string // of all
	Raft, Gossip        string
	Ports               Ports
	Slots               int
	Log                 string   // file that its log is added to
	Args                []string // more flags
}

// Ports are a node's.
type Ports struct{ NameServer, Raft, Gossip, Web, Listen int }

// process is the Life of a process.
type process struct {
	cmd   *exec.Cmd
	clock *vclock.Clock // nil: it has none of its own
	up    time.Duration // by how much its monotonic clock was ahead when it began
	ended chan struct{} // closes when it has been waited for
	err   error         // of the wait
}

// start starts it, with clocks of its own where that is possible.
func (p *process) start() (err error) {
	if vclock.Possible() != nil {
		return p.cmd.Start()
	}
	p.clock, err = vclock.Start(p.cmd, p.up)
	return err
}

// wait returns when it is gone.
func (p *process) wait() {
	p.err = p.cmd.Wait()
	close(p.ended)
}

func (p *process) PID() int               { return p.cmd.Process.Pid }
func (p *process) Ended() <-chan struct{} { return p.ended }
func (p *process) Code() int              { return p.cmd.ProcessState.ExitCode() }
func (p *process) How() string            { return p.cmd.ProcessState.String() }

func (p *process) Kill() error {
	if err := p.cmd.Process.Kill(); err != nil {
		return err
	}
	select {
	case <-p.ended:
	case <-time.After(seenWithin):
		return errors.New("it is still there after kill -9")
	}
	if ws, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || !ws.Signaled() || ws.Signal() != syscall.SIGKILL {
		return fmt.Errorf("it ended otherwise: %v", p.cmd.ProcessState)
	}
	return nil
}

func (p *process) End() {
	p.cmd.Process.Signal(syscall.SIGTERM)
	p.cmd.Process.Signal(syscall.SIGCONT)
}

// Files are those of the node's folder.
func (n *Node) Files() fs.FS {
	if w := n.c.o.World; w != nil {
		return w.Files(n.number)
	}
	return os.DirFS(n.Data)
}

// Flip changes bits of a byte of a file of the node's folder.
func (n *Node) Flip(name string, at int64, bits byte) error {
	if w := n.c.o.World; w != nil {
		return w.Flip(n.number, name, at, bits)
	}
	f, err := os.OpenFile(n.Data+"/"+name, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	var b [1]byte
	_, err = f.ReadAt(b[:], at)
	if err == nil {
		_, err = f.WriteAt([]byte{b[0] ^ bits}, at)
	}
	return errors.Join(err, f.Close())
}
