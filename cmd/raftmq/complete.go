package main

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"raftmq/client"
)

// completeTimeout bounds what the shell's user waits for.
const completeTimeout = 2 * time.Second

// completer suggests values for a first argument or a flag.
type completer func(cmd *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective)

// anywhere is the completer of a flag: it does not look at arguments.
func (c completer) anywhere() completer {
	return func(cmd *cobra.Command, _ []string, toComplete string) ([]string, cobra.ShellCompDirective) {
		return c(cmd, nil, toComplete)
	}
}

// completeFrom asks a cluster; one that does not answer suggests nothing.
func (g *globals) completeFrom(ask func(context.Context, *client.Admin) ([]string, error)) completer {
	return func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		ctx, cancel := context.WithTimeout(context.Background(), completeTimeout)
		defer cancel()
		c, err := g.dial(ctx)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		defer c.Close(ctx)
		names, err := ask(ctx, c.Admin())
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}

func (g *globals) completeTopic() completer {
	return g.completeFrom(func(ctx context.Context, a *client.Admin) (names []string, err error) {
		for t, err := range a.Topics(ctx) {
			if err != nil {
				return nil, err
			}
			names = append(names, t.Name)
		}
		return names, nil
	})
}

func (g *globals) completeGroup() completer {
	return g.completeFrom(func(ctx context.Context, a *client.Admin) (names []string, err error) {
		for x, err := range a.Groups(ctx) {
			if err != nil {
				return nil, err
			}
			names = append(names, x.Name)
		}
		return names, nil
	})
}

// completeNode suggests the nodes of the dev cluster on the directory that dir
// points to once flags are parsed.
func completeNode(dir *string) completer {
	return func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		var d devCluster
		b, err := os.ReadFile(filepath.Join(*dir, "cluster.json"))
		if len(args) > 0 || err != nil || json.Unmarshal(b, &d) != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		var names []string
		for _, n := range d.Nodes {
			names = append(names, n.Name)
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}

// completeWith suggests fixed values.
func completeWith(values ...string) completer {
	return func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return values, cobra.ShellCompDirectiveNoFileComp
	}
}
