// Command raftmq is the broker, its command line and its benchmarks.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"raftmq/broker"
	"raftmq/client"
)

// Exit codes; see "raftmq exit-codes".
const (
	exitOK          = 0
	exitFailed      = 1
	exitUsage       = 2
	exitNotFound    = 3
	exitUnavailable = 5
	exitUnknown     = 6
	exitConflict    = 7
	exitCheck       = 8
	exitDisk        = 70
	exitDamaged     = 71
	exitTooOld      = 72
	exitInterrupted = 130
)

const exitCodes = `  0  done
  1  failed for another reason
  2  wrong usage or configuration
  3  topic, group, message, transaction or node not found
  5  no majority, no leader, or nothing answers
  6  outcome unknown: it may have been done
  7  exists already, or not in the right state
  8  a check did not hold
 70  the server stopped itself: a disk failed, or its state may not be trusted
 71  the server did not start, or ended: its write-ahead log, the catalogue's, or a file that says who it is, is damaged
 72  the server did not start, or ended: its version is too old for its cluster
130  interrupted`

// exitError carries an exit code.
type exitError struct {
	code int
	err  error
}

func (e exitError) Error() string { return e.err.Error() }
func (e exitError) Unwrap() error { return e.err }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, root())
	if err != nil {
		fmt.Fprintln(os.Stderr, "raftmq:", err)
	}
	os.Exit(exitCode(ctx, err))
}

// run executes c. What fails before a command has begun is wrong usage: an
// unknown command, a wrong number of arguments, a missing flag.
func run(ctx context.Context, c *cobra.Command) error {
	begun := false
	var wrap func(*cobra.Command)
	wrap = func(c *cobra.Command) {
		if f := c.RunE; f != nil {
			c.RunE = func(cmd *cobra.Command, args []string) error {
				begun = true
				return f(cmd, args)
			}
		} else if c.Run == nil && c.HasSubCommands() {
			c.RunE = func(cmd *cobra.Command, args []string) error {
				if len(args) == 0 {
					return cmd.Help()
				}
				near := ""
				if names := cmd.SuggestionsFor(args[0]); len(names) > 0 {
					near = fmt.Sprintf("; did you mean %s?", strings.Join(names, " or "))
				}
				return fmt.Errorf("unknown command %q for %q%s", args[0], cmd.CommandPath(), near)
			}
		}
		for _, sub := range c.Commands() {
			sub.SuggestionsMinimumDistance = 2
			wrap(sub)
		}
	}
	wrap(c)
	err := c.ExecuteContext(ctx)
	if err != nil && !begun {
		if _, ok := errors.AsType[exitError](err); !ok {
			return exitError{exitUsage, err}
		}
	}
	return err
}

func exitCode(ctx context.Context, err error) int {
	if e, ok := errors.AsType[exitError](err); ok {
		return e.code
	}
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, client.ErrUncertain), errors.Is(err, client.ErrNoReply):
		return exitUnknown
	case errors.Is(err, client.ErrTopicNotFound), errors.Is(err, client.ErrGroupNotFound), errors.Is(err, client.ErrNoTransaction), errors.Is(err, client.ErrMessageNotFound):
		return exitNotFound
	case errors.Is(err, client.ErrExists), errors.Is(err, client.ErrTooLate), errors.Is(err, client.ErrDecided), errors.Is(err, client.ErrNotNow), errors.Is(err, errNotConsumed), errors.Is(err, errInUse):
		return exitConflict
	case errors.Is(err, broker.ErrTooOld):
		return exitTooOld
	case errors.Is(err, client.ErrInvalid), errors.Is(err, broker.ErrConfig):
		return exitUsage
	case ctx.Err() != nil:
		return exitInterrupted
	case errors.Is(err, client.ErrUnavailable):
		return exitUnavailable
	}
	return exitFailed
}

// globals are flags of every client command.
type globals struct {
	endpoint []string
	output   string
}

func root() *cobra.Command {
	var g globals
	c := &cobra.Command{
		Use:           "raftmq",
		Short:         "A message broker with RocketMQ's features and clients and etcd's guarantees",
		SilenceErrors: true, SilenceUsage: true,
		Example: "  raftmq dev --data ./data        # three nodes on this machine\n  raftmq topic create orders\n  raftmq send orders hello\n  raftmq consume orders --group g --count 1",
	}
	c.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return exitError{exitUsage, err} })
	env := os.Getenv("RAFTMQ_ENDPOINT")
	if env == "" {
		env = "127.0.0.1:9876"
	}
	c.PersistentFlags().StringSliceVar(&g.endpoint, "endpoint", strings.Split(env, ","), "name servers of any nodes, host:port (RAFTMQ_ENDPOINT)")
	c.PersistentFlags().StringVarP(&g.output, "output", "o", "table", "table, json or jsonl")
	c.RegisterFlagCompletionFunc("output", completeWith("table", "json", "jsonl"))
	c.AddCommand(serverCommand(), configCommand(&g), devCommand(), topicCommand(&g), groupCommand(&g), sendCommand(&g), consumeCommand(&g), requestCommand(&g), replyCommand(&g), messageCommand(&g), timerCommand(&g), dlqCommand(&g), clusterCommand(&g), txCommand(&g), benchCommand(&g),
		versionCommand(&g),
		&cobra.Command{Use: "exit-codes", Short: "What exit codes mean", Long: exitCodes})
	return c
}

func versionCommand(g *globals) *cobra.Command {
	return &cobra.Command{Use: "version", Short: "Print the version", Args: cobra.NoArgs, RunE: func(*cobra.Command, []string) error {
		if err := g.checkOutput(); err != nil {
			return err
		}
		if g.output == "table" {
			_, err := fmt.Printf("raftmq %s %s %s/%s\n", broker.Version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
			return err
		}
		return json.NewEncoder(os.Stdout).Encode(map[string]string{"version": broker.Version, "go": runtime.Version(), "os": runtime.GOOS, "arch": runtime.GOARCH})
	}}
}

// checkOutput refuses a format that is none.
func (g *globals) checkOutput() error {
	switch g.output {
	case "table", "json", "jsonl":
		return nil
	}
	return exitError{exitUsage, fmt.Errorf("output %q: table, json or jsonl", g.output)}
}

// dial connects a client command to the cluster.
func (g *globals) dial(ctx context.Context) (*client.Client, error) {
	if err := g.checkOutput(); err != nil {
		return nil, err
	}
	endpoints := slices.Clone(g.endpoint)
	for i, e := range endpoints {
		endpoints[i] = strings.TrimSpace(e) // a list may have spaces behind its commas
	}
	c, err := client.Dial(ctx, client.WithEndpoints(endpoints...))
	if err != nil && ctx.Err() == nil && !errors.Is(err, client.ErrInvalid) {
		return nil, exitError{exitUnavailable, fmt.Errorf("%w\nis a cluster running? start one with: raftmq dev --data ./data", err)}
	}
	return c, err
}
