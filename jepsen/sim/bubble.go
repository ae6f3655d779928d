package sim

import (
	"context"
	crand "crypto/rand"
	"errors"
	"math/rand"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"raftmq/jepsen/run"
)

// Backend is the name of the simulation among the ways to run nodes.
const Backend = "simulated"

// ErrBuild: this program was built without what a simulation needs.
var ErrBuild = errors.New("sim: this program was built without the simulation: -tags simulation -ldflags=-checklinkname=0, as make build does, with Go 1.26")

// Possible says why this program cannot simulate; nil: it can.
func Possible() error {
	if !countLocks() {
		return ErrBuild
	}
	return nil
}

// leftovers is longer than any goroutine of gossip goes on after its end, which nothing
// waits for.
const leftovers = 5 * time.Minute

// Run makes a run of o in simulated nodes, in a bubble of its own. t is for package
// synctest. It panics if parts of the nodes do not end.
func Run(t *testing.T, o run.Options) (err error) {
	if err := Possible(); err != nil {
		return err
	}
	bubble := ""
	defer func() {
		if p := recover(); p != nil && !onlyUnanswered(bubble) {
			panic(p)
		}
	}()
	synctest.Test(t, func(t *testing.T) {
		bubble = bubbleOf(stack(false))
		o.World = NewWorld(o.Seed, run.Nodes)
		err = run.Run(context.WithoutCancel(t.Context()), o)
		time.Sleep(leftovers)
	})
	return err
}

// unanswered is what waits for a Raft that was shut down before it answered: it never
// does (see raftlog.Replica.Close), and a process ends with what waits for it.
const unanswered = "github.com/hashicorp/raft.(*deferError).Error("

// onlyUnanswered reports whether nothing else is left in a bubble.
func onlyUnanswered(bubble string) bool {
	some := false
	for g := range strings.SplitSeq(stack(true), "\n\n") {
		if bubbleOf(g) != bubble {
			continue
		}
		if !strings.Contains(g, unanswered) {
			return false
		}
		some = true
	}
	return some
}

// bubbleOf is the bubble that the first line of a goroutine's stack names; "": none.
func bubbleOf(stack string) string {
	line, _, _ := strings.Cut(stack, "\n")
	_, bubble, _ := strings.Cut(line, "synctest bubble ")
	return strings.TrimSuffix(bubble, "]:")
}

func stack(all bool) string {
	for n := 1 << 20; ; n *= 2 {
		b := make([]byte, n)
		if k := runtime.Stack(b, all); k < n {
			return string(b[:k])
		}
	}
}

// Settings are for the environment of a process that calls Alone: with them more of what
// happens follows from the seed, and it takes less time.
var Settings = []string{"GOMAXPROCS=1", "GODEBUG=asyncpreemptoff=1,randseednop=0", "GOGC=300"}

// Alone makes a run in a program that is no test, which has nothing else to do, and ends
// the program: with 0 if the run could be made. Package synctest has no other way in.
func Alone(o run.Options) {
	os.Args = os.Args[:1] // flags are those of package testing from here on
	rand.Seed(int64(o.Seed))
	crand.Reader = &numbers{rng: o.Seed.Stream("crypto")}
	testing.Main(func(_, _ string) (bool, error) { return true, nil }, []testing.InternalTest{{Name: "seed", F: func(t *testing.T) {
		if err := Run(t, o); err != nil {
			t.Error(err)
		}
	}}}, nil, nil)
}

// numbers are random numbers of a seed, for who reads crypto/rand.
type numbers struct {
	mu  sync.Mutex
	rng interface{ Uint64() uint64 }
}

func (n *numbers) Read(b []byte) (int, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for i := range b {
		b[i] = byte(n.rng.Uint64())
	}
	return len(b), nil
}
