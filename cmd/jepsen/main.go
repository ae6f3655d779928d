// Command jepsen breaks a raftmq cluster of real processes and judges what it
// answered.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"raftmq/jepsen/check"
)

// Exit codes.
const (
	exitValid   = 0
	exitInvalid = 1
	exitUnknown = 2
	exitSetup   = 3
)

// verdictError says that a run or history is not valid.
type verdictError struct{ verdict check.Verdict }

func (e verdictError) Error() string { return "verdict: " + e.verdict.String() }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := root().ExecuteContext(ctx)
	if err != nil {
		fmt.Fprintln(os.Stderr, "jepsen:", err)
	}
	os.Exit(exitCode(err))
}

// exitCode is 0 only for a history that was judged valid.
func exitCode(err error) int {
	v, judged := errors.AsType[verdictError](err)
	switch {
	case err == nil:
		return exitValid
	case errors.Is(err, errBroke):
		return exitInvalid
	case !judged:
		return exitSetup
	case v.verdict == check.Invalid:
		return exitInvalid
	}
	return exitUnknown
}

func root() *cobra.Command {
	c := &cobra.Command{
		Use: "jepsen", Short: "Break a cluster of real processes and judge what it answered",
		Long: `Break a cluster of real processes and judge what it answered.

Exit codes:
  0  valid: every property was checked and held
  1  invalid: one did not hold, or a simulated run broke off
  2  unknown: too little was done, a fault had no effect, or evidence is missing
  3  the run could not be set up, or the history not read`,
		SilenceUsage: true, SilenceErrors: true,
		RunE: func(*cobra.Command, []string) error { return errors.New("which command? See jepsen help") },
	}
	c.AddCommand(testCommand(), checkCommand(), replayCommand(), mutantsCommand(), doctorCommand(), simCommand(), simulateCommand())
	return c
}
