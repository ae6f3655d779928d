package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"raftmq/jepsen/run"
	"raftmq/jepsen/sim"
)

// Bounds of a simulated run. On a crowded machine it takes long, but takes processor
// time; where time stands still, it takes none.
const (
	simulatedWithin = time.Hour
	standsFor       = 5 * time.Minute        // while it must have taken
	leastProcessor  = 100 * time.Millisecond // of processor time
	mostProcessor   = 5 * time.Minute        // in all
)

// said is the file of what a simulated run's process says.
const said = "said.log"

// errBroke says that a simulated run ended without a history to judge: a node has
// panicked, parts of it did not end, or its time stood still.
var errBroke = errors.New("the simulation broke off")

// simulate makes a run in a process of its own, which a panic of a node ends, and says how
// much processor time it took.
func simulate(ctx context.Context, o run.Options) (took time.Duration, err error) {
	if err := sim.Possible(); err != nil {
		return 0, err
	}
	if o.Schedule != nil {
		b, err := json.Marshal(o.Schedule)
		if err == nil {
			err = writeWhole(filepath.Join(o.Store, scheduleFile), b)
		}
		if err != nil {
			return 0, err
		}
	}
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	log, err := os.Create(filepath.Join(o.Store, said))
	if err != nil {
		return 0, err
	}
	defer log.Close()
	within, cancel := context.WithTimeout(ctx, simulatedWithin)
	defer cancel()
	c := exec.CommandContext(within, self, "simulate", o.Store)
	c.Env = append(os.Environ(), append(sim.Settings, "GOTRACEBACK=all")...)
	c.Stdout, c.Stderr = log, log
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}                  // a terminal's ^C is for this program
	c.Cancel = func() error { return c.Process.Signal(syscall.SIGQUIT) } // it says where it stands
	c.WaitDelay = 10 * time.Second
	err = c.Run()
	if p := c.ProcessState; p != nil {
		took = p.UserTime() + p.SystemTime()
	}
	_, none := os.Stat(filepath.Join(o.Store, historyFile))
	switch {
	case ctx.Err() != nil:
		return took, context.Cause(ctx)
	case within.Err() != nil:
		return took, fmt.Errorf("%w: not over after %v; see %s", errBroke, simulatedWithin, log.Name())
	case err != nil && none != nil: // it has not begun
		return took, fmt.Errorf("%w; see %s", err, log.Name())
	case err != nil:
		return took, fmt.Errorf("%w: %w; see %s", errBroke, err, log.Name())
	}
	return took, nil
}

// simulateCommand is the process of simulate.
func simulateCommand() *cobra.Command {
	return &cobra.Command{
		Use: "simulate FOLDER", Short: "Make the simulated run that a folder describes", Args: cobra.ExactArgs(1), Hidden: true,
		RunE: func(_ *cobra.Command, args []string) error {
			dir := args[0]
			b, err := os.ReadFile(filepath.Join(dir, "run.json"))
			if err != nil {
				return err
			}
			var s setting
			if err := json.Unmarshal(b, &s); err != nil {
				return err
			}
			o, err := s.options()
			if err != nil {
				return err
			}
			if b, err := os.ReadFile(filepath.Join(dir, scheduleFile)); err == nil {
				if err := json.Unmarshal(b, &o.Schedule); err != nil {
					return err
				}
			}
			go endIfStanding()
			o.Store = dir
			o.Say = func(format string, args ...any) { fmt.Printf(format+"\n", args...) }
			sim.Alone(o)
			return nil
		},
	}
}

// endIfStanding ends the process, which then says where it stands, if its time stands still
// or it goes on for ever.
func endIfStanding() {
	for last := processor(); ; {
		time.Sleep(standsFor)
		now := processor()
		if now-last < leastProcessor || now > mostProcessor {
			fmt.Printf("%v of processor time, %v of it in the last %v\n", now, now-last, standsFor)
			syscall.Kill(os.Getpid(), syscall.SIGQUIT)
		}
		last = now
	}
}

// processor is how much processor time the process has taken.
func processor() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
