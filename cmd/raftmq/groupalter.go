package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"

	"github.com/spf13/cobra"

	"raftmq/client"
)

// groupSettings are a group's settings as flags.
type groupSettings struct {
	retries            int
	consume, broadcast bool
}

func (s *groupSettings) flags(c *cobra.Command) {
	c.Flags().IntVar(&s.retries, "retry-max-times", 16, "how often a message that failed comes again before it is a dead letter; 0: it is one at once")
	c.Flags().BoolVar(&s.consume, "consume", true, "whether members may consume; --consume=false pauses the group")
	c.Flags().BoolVar(&s.broadcast, "broadcast", true, "whether members may consume broadcasting")
}

func (s *groupSettings) check() error {
	if s.retries < 0 || s.retries > math.MaxInt32 {
		return exitError{exitUsage, fmt.Errorf("--retry-max-times %d: 0 to %d", s.retries, math.MaxInt32)}
	}
	return nil
}

// config is a whole group of these settings.
func (s *groupSettings) config(name string) client.GroupConfig {
	x := client.GroupConfig{Name: name, Disabled: !s.consume, NoBroadcast: !s.broadcast, RetryMaxTimes: s.retries}
	if s.retries == 0 {
		x.RetryMaxTimes = -1
	}
	return x
}

// groupFields is a group for -o json.
func groupFields(x client.GroupConfig) map[string]any {
	return map[string]any{"group": x.Name, "retry_max_times": max(x.RetryMaxTimes, 0), "consume": !x.Disabled, "broadcast": !x.NoBroadcast}
}

func groupCreate(g *globals) *cobra.Command {
	var s groupSettings
	c := &cobra.Command{
		Use: "create GROUP", Short: "Create a group before anyone consumes; one that is there with these settings is left as it is", Args: cobra.ExactArgs(1),
		Long:    "Create a group before anyone consumes. There is no need to: who consumes first creates it. One that is there with these settings is left as it is.",
		Example: "  raftmq group create billing --retry-max-times 3",
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := s.check(); err != nil {
				return err
			}
			cl, err := g.dial(cmd.Context())
			if err != nil {
				return err
			}
			defer cl.Close(cmd.Context())
			want := s.config(args[0])
			switch have, err := cl.Admin().Group(cmd.Context(), args[0]); {
			case errors.Is(err, client.ErrGroupNotFound):
			case err != nil:
				return err
			case have != want:
				return fmt.Errorf("%w: group %s, with retry-max-times %d, consume %t, broadcast %t; change it by group alter", client.ErrExists, args[0],
					max(have.RetryMaxTimes, 0), !have.Disabled, !have.NoBroadcast)
			default:
				fmt.Fprintf(os.Stderr, "group %s is there already, with these settings\n", args[0])
				return nil
			}
			if err := cl.Admin().CreateGroup(cmd.Context(), want); err != nil {
				return err
			}
			fmt.Fprintf(os.Stderr, "group %s created\n", args[0])
			return nil
		},
	}
	s.flags(c)
	return c
}

func groupAlter(g *globals) *cobra.Command {
	var s groupSettings
	c := &cobra.Command{
		Use: "alter GROUP", Short: "Change a group's settings", Args: cobra.ExactArgs(1), ValidArgsFunction: g.completeGroup(),
		Long: "Change a group's settings; what is not named stays. A group that may not consume keeps its offsets and its members, who are " +
			"refused until it may. A member that names its own number of retries goes by that.",
		Example: "  raftmq group alter billing --retry-max-times 3\n  raftmq group alter billing --consume=false; raftmq group alter billing --consume",
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := s.check(); err != nil {
				return err
			}
			var to client.GroupChange
			if cmd.Flags().Changed("retry-max-times") {
				to.RetryMaxTimes = &s.retries
			}
			if cmd.Flags().Changed("consume") {
				to.Disabled = new(!s.consume)
			}
			if cmd.Flags().Changed("broadcast") {
				to.NoBroadcast = new(!s.broadcast)
			}
			if to == (client.GroupChange{}) {
				return exitError{exitUsage, errors.New("nothing to change: --retry-max-times, --consume or --broadcast")}
			}
			cl, err := g.dial(cmd.Context())
			if err != nil {
				return err
			}
			defer cl.Close(cmd.Context())
			if err := cl.Admin().AlterGroup(cmd.Context(), args[0], to); err != nil {
				return err
			}
			fmt.Fprintf(os.Stderr, "group %s altered\n", args[0])
			return nil
		},
	}
	s.flags(c)
	return c
}

func groupDelete(g *globals) *cobra.Command {
	var force bool
	c := &cobra.Command{
		Use: "delete GROUP", Short: "Delete a group, its offsets and its dead letters", Args: cobra.ExactArgs(1), ValidArgsFunction: g.completeGroup(),
		Long: "Delete a group: its offsets, what is to come again to its members, and its dead letters. Refused while it has members or dead letters. " +
			"The messages of the topics stay; a group that is made anew begins where its first member says.",
		RunE: func(cmd *cobra.Command, args []string) error {
			cl, err := g.dial(cmd.Context())
			if err != nil {
				return err
			}
			defer cl.Close(cmd.Context())
			if _, err := cl.Admin().Group(cmd.Context(), args[0]); err != nil {
				return err
			}
			if !force {
				if err := unused(cmd.Context(), cl, args[0]); err != nil {
					return err
				}
			}
			if err := cl.Admin().DeleteGroup(cmd.Context(), args[0]); err != nil {
				return err
			}
			fmt.Fprintf(os.Stderr, "group %s deleted\n", args[0])
			return nil
		},
	}
	c.Flags().BoolVar(&force, "force", false, "also one that has members, who create it anew, or dead letters, which are lost")
	return c
}

// errInUse: a group would be deleted that somebody needs.
var errInUse = errors.New("in use")

// unused refuses a group that has members or dead letters.
func unused(ctx context.Context, cl *client.Client, group string) error {
	ms, err := cl.Admin().Members(ctx, group)
	if err != nil {
		return err
	}
	if len(ms) > 0 {
		return fmt.Errorf("%w: group %s has %d members, %s at %s among them; stop them first, or --force", errInUse, group, len(ms), ms[0].ID, ms[0].Addr)
	}
	letters, err := cl.Admin().DeadLetters(ctx, group, 1)
	if err != nil {
		return err
	}
	if len(letters) > 0 {
		return fmt.Errorf("%w: group %s has dead letters; redrive or purge them first (dlq list %s), or --force", errInUse, group, group)
	}
	return nil
}
