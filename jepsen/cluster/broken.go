package cluster

import (
	"debug/buildinfo"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"raftmq/internal/faults"
	"raftmq/internal/vfs/faultfs"
	"raftmq/jepsen/vclock"
)

// TakesFaults reports whether a program was built with the tag "faults", so that its
// disk and clock can be broken.
func TakesFaults(program string) (bool, error) {
	info, err := buildinfo.ReadFile(program)
	if err != nil {
		return false, err
	}
	for _, s := range info.Settings {
		if s.Key == "-tags" {
			return slices.Contains(strings.Split(s.Value, ","), "faults"), nil
		}
	}
	return false, nil
}

// twin is where the disk layer keeps what is durable.
func (n *Node) twin() string { return n.Data + ".twin" }

// How often a test build looks for what is to be deleted, and after how many bytes of entries a
// replica makes a checkpoint: what it is started from is to be made within a run.
const (
	retainEvery     = time.Second
	checkpointBytes = 256 << 10
)

// setUp writes what the node is told of its faults when it starts.
func (n *Node) setUp() error {
	s := faults.Setup{Socket: n.socket, Data: n.Data, Twin: n.twin(), Via: n.via, RetainEvery: retainEvery, CheckpointBytes: checkpointBytes}
	b, err := json.Marshal(s)
	if err != nil {
		return err
	}
	return os.WriteFile(n.setupFile(), b, 0o644)
}

func (n *Node) setupFile() string { return filepath.Join(n.c.o.Dir, n.Name+".faults.json") }

// Order has the node break its disk or its clock, or mend them.
func (n *Node) Order(o faults.Order) (faults.Answer, error) {
	if w := n.c.o.World; w != nil {
		return w.Order(n.number, o)
	}
	if n.socket == "" {
		return faults.Answer{}, fmt.Errorf("%s is no test build: its disk and clock cannot be broken", n.Name)
	}
	a, err := faults.Send(n.socket, o)
	if err != nil {
		err = fmt.Errorf("%s: %w", n.Name, err)
	}
	return a, err
}

// SetClock changes the clocks of the process: those that its kernel shows it, or, where
// that is not possible, the wall clock that a test build is given.
func (n *Node) SetClock(ch vclock.Change) error {
	n.turn.Lock() // no pause meanwhile
	defer n.turn.Unlock()
	p := n.running()
	if p == nil {
		return fmt.Errorf("%s does not run", n.Name)
	}
	if p, ok := p.Life.(*process); ok && p.clock != nil {
		return p.clock.Do(ch)
	}
	if ch.Timers != 0 && ch.Timers != 1 {
		return fmt.Errorf("timers of %s: %w", n.Name, vclock.Possible())
	}
	_, err := n.Order(faults.Order{Clock: &faults.ClockOrder{Jump: ch.Jump, Rate: ch.Wall, Back: ch.Right}})
	return err
}

// Clock asks a test build for its clocks: by how much its wall clock is off, and how long
// it runs by its monotonic one.
func (n *Node) Clock() (off, runs time.Duration, err error) {
	a, err := n.Order(faults.Order{})
	return time.Duration(a.Wall - time.Now().UnixNano()), time.Duration(a.Runs), err
}

// CutPower takes from the node's folder what was not durable, but for what is kept by
// chance; see faultfs.Cut. The process must be gone.
func (n *Node) CutPower(keep float64, rng *rand.Rand) (faultfs.Lost, error) {
	n.turn.Lock()
	defer n.turn.Unlock()
	if n.running() != nil {
		return faultfs.Lost{}, fmt.Errorf("%s runs", n.Name)
	}
	if w := n.c.o.World; w != nil {
		return w.CutPower(n.number, keep, rng)
	}
	if n.socket == "" {
		return faultfs.Lost{}, fmt.Errorf("%s has no disk layer", n.Name)
	}
	return faultfs.Cut(n.Data, n.twin(), keep, rng)
}
