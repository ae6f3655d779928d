package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"

	"raftmq/broker"
)

// settings are the names by which a server is configured: in the YAML file, in
// the environment (RAFTMQ_ and upper case, - as _) and as flags, in rising
// precedence.
type settings struct {
	broker.Config
	logLevel, logFormat string
}

func (s *settings) flags(f *pflag.FlagSet) {
	c := &s.Config
	f.StringVar(&c.Cluster, "cluster", "raftmq", "name of the cluster")
	f.StringVar(&c.Node, "node", "", "name of this node, unique in the cluster (required)")
	f.StringVar(&c.Data, "data", "", "directory of everything the node keeps (required)")
	f.StringVar(&c.WALDir, "wal-dir", "", "write-ahead log; another disk is faster (default DATA/wal)")
	f.StringVar(&c.Host, "host", "127.0.0.1", "address to listen on")
	f.StringVar(&c.Advertise, "advertise", "", "address that others are told (default: host)")
	f.IntVar(&c.NameServer, "nameserver-port", 9876, "RocketMQ name server; -1 picks a free port, here and below")
	f.IntVar(&c.Listen, "listen-port", 10911, "first slot's listener; slot s is at + 10*s")
	f.IntVar(&c.Raft, "raft-port", 10800, "traffic between nodes")
	f.IntVar(&c.Gossip, "gossip-port", 10700, "gossip, TCP and UDP")
	f.IntVar(&c.HTTP, "http-port", 10600, "health and metrics")
	f.StringSliceVar(&c.InitialNodes, "initial-nodes", nil, "all members of a new cluster, the same list on each")
	f.StringSliceVar(&c.Join, "join", nil, "gossip addresses of other nodes")
	f.IntVar(&c.Slots, "slots", 3, "slots of a new cluster")
	f.BoolVar(&c.AutoCreateTopics, "auto-create-topics", false, "create a topic when it is first sent to")
	f.IntVar(&c.DefaultQueues, "default-queues", 2, "queues per partition of such a topic")
	f.IntVar(&c.MaxBody, "max-body", 4<<20, "largest message body in bytes")
	f.Int64Var(&c.SegmentBytes, "segment-bytes", 256<<20, "length of a commit log segment")
	f.Int64Var(&c.WALSegmentBytes, "wal-segment-bytes", 64<<20, "length of a segment of the write-ahead log")
	f.IntVar(&c.WALSegments, "wal-segments", 8, "segments of the write-ahead log, at most")
	f.DurationVar(&c.WriteDeadline, "write-deadline", 5*time.Second, "a disk write that takes longer has failed")
	f.DurationVar(&c.Heartbeat, "heartbeat", 2*time.Second, "Raft's heartbeat timeout")
	f.StringVar(&s.logLevel, "log-level", "info", "trace, debug, info, warn or error")
	f.StringVar(&s.logFormat, "log-format", "text", "text or json")
}

const envPrefix = "RAFTMQ_"

// fill sets what no flag set, from the environment and then from the file.
func fill(f *pflag.FlagSet, file string) error {
	from := make(map[string]string)
	if file != "" {
		b, err := os.ReadFile(file)
		if err != nil {
			return fmt.Errorf("%w: %w", broker.ErrConfig, err)
		}
		if err := readYAML(f, file, b, from); err != nil {
			return err
		}
	}
	f.VisitAll(func(x *pflag.Flag) {
		if v, ok := os.LookupEnv(envPrefix + strings.ToUpper(strings.ReplaceAll(x.Name, "-", "_"))); ok {
			from[x.Name] = v
		}
	})
	var errs []error
	f.VisitAll(func(x *pflag.Flag) {
		if v, ok := from[x.Name]; ok && !x.Changed {
			if err := f.Set(x.Name, v); err != nil {
				errs = append(errs, fmt.Errorf("%w: %s: %w", broker.ErrConfig, x.Name, err))
			}
		}
	})
	return errors.Join(errs...)
}

func readYAML(f *pflag.FlagSet, file string, b []byte, into map[string]string) error {
	var doc yaml.Node
	if err := yaml.NewDecoder(bytes.NewReader(b)).Decode(&doc); err != nil {
		return fmt.Errorf("%w: %s: %w", broker.ErrConfig, file, err)
	}
	if len(doc.Content) != 1 || doc.Content[0].Kind != yaml.MappingNode {
		return fmt.Errorf("%w: %s: not a mapping of names to values", broker.ErrConfig, file)
	}
	kv := doc.Content[0].Content
	for i := 0; i+1 < len(kv); i += 2 {
		name, v := kv[i].Value, kv[i+1]
		if f.Lookup(name) == nil || name == "config" {
			hint := ""
			if near := nearest(f, name); near != "" {
				hint = fmt.Sprintf("; did you mean %s?", near)
			}
			return fmt.Errorf("%w: %s:%d:%d: unknown key %q%s", broker.ErrConfig, file, kv[i].Line, kv[i].Column, name, hint)
		}
		switch v.Kind {
		case yaml.ScalarNode:
			into[name] = v.Value
		case yaml.SequenceNode:
			var parts []string
			for _, x := range v.Content {
				parts = append(parts, x.Value)
			}
			into[name] = strings.Join(parts, ",")
		default:
			return fmt.Errorf("%w: %s:%d: %s: neither a value nor a list", broker.ErrConfig, file, v.Line, name)
		}
	}
	return nil
}

// nearest is the known name with the fewest edits, if there are few.
func nearest(f *pflag.FlagSet, name string) string {
	best, most := "", 4
	f.VisitAll(func(x *pflag.Flag) {
		if d := edits(name, x.Name); d < most {
			best, most = x.Name, d
		}
	})
	return best
}

func edits(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range a {
		diag := row[0]
		row[0] = i + 1
		for j := range b {
			cost := diag
			if a[i] != b[j] {
				cost = 1 + min(diag, row[j], row[j+1])
			}
			diag, row[j+1] = row[j+1], cost
		}
	}
	return row[len(b)]
}

func serverCommand() *cobra.Command {
	var s settings
	var file string
	c := &cobra.Command{
		Use: "server", Short: "Run one node", Args: cobra.NoArgs,
		Long:    "Run one node. Settings come from defaults, the YAML file (--config), the environment (RAFTMQ_ and the flag's name in upper case, - as _) and flags, in rising precedence.",
		Example: "  raftmq server --config node1.yaml\n  RAFTMQ_LOG_LEVEL=debug raftmq server --node n1 --data /var/lib/raftmq --initial-nodes n1,n2,n3 --join 10.0.0.2:10700",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := fill(cmd.Flags(), file); err != nil {
				return err
			}
			return serve(cmd.Context(), s)
		},
	}
	s.flags(c.Flags())
	c.Flags().StringVar(&file, "config", os.Getenv(envPrefix+"CONFIG"), "YAML file of these settings (RAFTMQ_CONFIG)")
	return c
}

// drain bounds a graceful stop.
const drain = 10 * time.Second

func serve(ctx context.Context, s settings) error {
	level := hclog.LevelFromString(s.logLevel)
	if level == hclog.NoLevel {
		return fmt.Errorf("%w: log level %q", broker.ErrConfig, s.logLevel)
	}
	log := hclog.New(&hclog.LoggerOptions{Name: s.Node, Level: level, JSONFormat: s.logFormat == "json", Output: os.Stderr})
	b, err := broker.Open(ctx, s.Config, broker.Deps{Logger: log})
	if err != nil {
		return err
	}
	a := b.Addresses()
	log.Info("listening", "nameserver", a.NameServer, "listeners", a.Listeners, "raft", a.Raft, "gossip", a.Gossip, "http", a.HTTP)
	var failed error
	select {
	case <-ctx.Done():
		log.Info("stopping")
	case failed = <-b.Failed():
	}
	stop, cancel := context.WithTimeout(context.Background(), drain)
	defer cancel()
	err = b.Shutdown(stop)
	if failed != nil {
		return exitError{exitDisk, failed}
	}
	if err != nil {
		log.Warn("stopped uncleanly", "error", err)
	}
	return nil
}
