package sim

import (
	"context"
	"errors"
	"os"
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
	synctest.Test(t, func(t *testing.T) {
		o.World = NewWorld(o.Seed, run.Nodes)
		err = run.Run(context.WithoutCancel(t.Context()), o)
		time.Sleep(leftovers)
	})
	return err
}

// Alone calls f with what Run needs, in a program that is no test, and ends the program:
// with 0 if f had no error. Package synctest has no other way in.
func Alone(name string, f func(t *testing.T) error) {
	os.Args = os.Args[:1] // flags are those of package testing from here on
	testing.Main(func(_, _ string) (bool, error) { return true, nil }, []testing.InternalTest{{Name: name, F: func(t *testing.T) {
		if err := f(t); err != nil {
			t.Error(err)
		}
	}}}, nil, nil)
}
