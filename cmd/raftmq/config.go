package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

func configCommand(g *globals) *cobra.Command {
	c := &cobra.Command{Use: "config", Short: "Check, show and explain the settings of a server"}
	check := configVerb("check", "Say whether a server would take these settings", func(s *settings, _ *pflag.FlagSet, _ map[string]setting) error {
		if err := s.check(); err != nil {
			return err
		}
		fmt.Fprintln(os.Stderr, "the settings are valid")
		return nil
	})
	var origin bool
	show := configVerb("show", "Show every setting as a server would take it", func(s *settings, f *pflag.FlagSet, from map[string]setting) error {
		if err := g.checkOutput(); err != nil {
			return err
		}
		if filled, err := s.Config.Filled(); err == nil { // else as they are: config check says what is wrong
			s.Config = filled // of which f shows the fields
		}
		t := table{header: []string{"SETTING", "VALUE"}}
		if origin {
			t.header = append(t.header, "FROM")
		}
		f.VisitAll(func(x *pflag.Flag) {
			value, where := settingValue(x), originOf(x, from)
			row := map[string]any{"setting": x.Name, "value": value}
			if !origin {
				t.add(row, x.Name, value)
				return
			}
			row["origin"] = where
			t.add(row, x.Name, value, where)
		})
		return t.print(g.output)
	})
	show.Flags().BoolVar(&origin, "origin", false, "say where each value comes from: default, file:line:column, environment or flag")
	c.AddCommand(check, show, &cobra.Command{Use: "reference", Short: "Print the reference of all settings as Markdown", Args: cobra.NoArgs, RunE: func(*cobra.Command, []string) error {
		_, err := fmt.Print(configReference())
		return err
	}})
	return c
}

// configVerb is a command that takes a server's settings from where a server does.
func configVerb(use, short string, do func(*settings, *pflag.FlagSet, map[string]setting) error) *cobra.Command {
	var s settings
	var file string
	own := pflag.NewFlagSet(use, pflag.ContinueOnError)
	c := &cobra.Command{Use: use, Short: short, Args: cobra.NoArgs, RunE: func(*cobra.Command, []string) error {
		from, err := fill(own, file)
		if err != nil {
			return err
		}
		return do(&s, own, from)
	}}
	s.flags(own)
	c.Flags().AddFlagSet(own)
	addConfigFlag(c.Flags(), &file)
	return c
}

func addConfigFlag(f *pflag.FlagSet, file *string) {
	f.StringVar(file, "config", os.Getenv(envPrefix+"CONFIG"), "YAML file of these settings (RAFTMQ_CONFIG)")
}

// check refuses what a server would refuse before it opens anything.
func (s *settings) check() error {
	if _, err := s.logger(); err != nil {
		return err
	}
	if _, err := readKey(s.gossipKeyFile); err != nil {
		return err
	}
	if _, err := s.peerTLS(); err != nil {
		return err
	}
	return s.Config.Check()
}

func settingValue(x *pflag.Flag) string {
	if l, ok := x.Value.(pflag.SliceValue); ok {
		return strings.Join(l.GetSlice(), ",")
	}
	return x.Value.String()
}

func originOf(x *pflag.Flag, from map[string]setting) string {
	if v, ok := from[x.Name]; ok {
		return v.where
	}
	if x.Changed {
		return "--" + x.Name
	}
	return "default"
}

// envName is the variable that sets the flag.
func envName(flag string) string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// configReference is docs/configuration.md.
func configReference() string {
	var b strings.Builder
	b.WriteString(`# Settings of a server

Written by ` + "`raftmq config reference`" + `; a test keeps it true. Each setting is a key of the YAML file (` + "`--config`" + `), a variable of
the environment and a flag, in rising precedence. An unknown key, a key given twice and a value of the wrong type are errors with
their line. 0 stands for the default where nothing else is said. ` + "`raftmq config check`" + ` says whether a server would take them (it looks at no data folder, and opens
no port), ` + "`raftmq config show --origin`" + ` where each value comes from.

| setting | default | environment | meaning |
|---|---|---|---|
`)
	var s settings
	f := pflag.NewFlagSet("reference", pflag.ContinueOnError)
	s.flags(f)
	f.VisitAll(func(x *pflag.Flag) {
		def := settingValue(x)
		if def != "" {
			def = "`" + def + "`"
		}
		fmt.Fprintf(&b, "| `%s` | %s | `%s` | %s |\n", x.Name, def, envName(x.Name), x.Usage)
	})
	fmt.Fprintf(&b, "\n%s\n", strings.TrimSpace(`
A node's ports are `+"`nameserver-port`"+`, `+"`listen-port`"+` + 10 × slot, `+"`raft-port`"+`, `+"`gossip-port`"+` (TCP and UDP) and `+"`http-port`"+`, and, if it is free,
the port two below each listener, for old clients. It listens on loopback unless `+"`host`"+` says otherwise. `+"`initial-nodes`"+` says who founds a new cluster. A node that
has data takes no members from it, but knows those that it names for nodes of its cluster, and must be among them itself, if it is set.`))
	return b.String()
}
