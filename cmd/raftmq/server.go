package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"

	"raftmq/broker"
	"raftmq/raftlog"
)

// settings are the names by which a server is configured: in the YAML file, in
// the environment (RAFTMQ_ and upper case, - as _) and as flags, in rising
// precedence.
type settings struct {
	broker.Config
	logLevel, logFormat, gossipKeyFile string
	tlsCert, tlsKey, tlsCA             string
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
	f.BoolVar(&c.NoPropertyFilter, "no-property-filter", false, "refuse subscriptions by SQL92 expression; they cost the node a look into each message")
	f.IntVar(&c.DefaultQueues, "default-queues", 2, "queues per partition of such a topic")
	f.IntVar(&c.MaxBody, "max-body", 4<<20, "largest message body in bytes")
	f.IntVar(&c.MaxConnections, "max-connections", 16384, "connections of clients; further ones are closed")
	f.Int64Var(&c.MaxRequestBytes, "max-request-bytes", 256<<20, "bytes of clients' requests in flight, each with 4 KiB for itself; beyond they are refused, certainly not done")
	f.Int64Var(&c.MaxReplyBytes, "max-reply-bytes", 256<<20, "bytes of replies that clients have not read; beyond those who do not read are closed")
	f.Int64Var(&c.SegmentBytes, "segment-bytes", 256<<20, "length of a commit log segment; the same on all nodes, and for as long as a data folder is used")
	f.Int64Var(&c.WALSegmentBytes, "wal-segment-bytes", 64<<20, "length of a segment of the write-ahead log; a quarter of it is the room for a partition's state, which may come to 6 MiB and more")
	f.IntVar(&c.WALSegments, "wal-segments", 8, "segments of the write-ahead log, at most")
	f.DurationVar(&c.MaxDelay, "max-delay", 0, "how long messages may wait for their time; 0: as long as they like")
	f.DurationVar(&c.Retention, "retention", 72*time.Hour, "how long messages are kept, at least; below 0: for ever. A topic may say otherwise")
	f.DurationVar(&c.GroupExpiry, "group-expiry", 0, "delete a consumer group that nobody has used for so long, but for one with retries or dead letters, or with settings of its own; 0: never")
	f.DurationVar(&c.RetentionDead, "retention-dead", 720*time.Hour, "how long dead letters are kept that no group has consumed, at least; below 0: for ever")
	f.Int64Var(&c.RetentionBytes, "retention-bytes", 0, "bytes of a partition's log that are kept, at least, and not much more; 0: no limit. A topic may say otherwise")
	f.StringVar(&c.DeleteWhen, "delete-when", "04", "hours of the day, local time, at which expired messages are deleted: 04, 04;16, or any")
	f.DurationVar(&c.TransactionTimeout, "transaction-timeout", 6*time.Second, "until the producers of a transaction without a decision are asked about it")
	f.DurationVar(&c.TransactionCheckInterval, "transaction-check-interval", 30*time.Second, "between two such checks")
	f.IntVar(&c.TransactionChecks, "transaction-checks", 15, "checks of a transaction before it is parked: kept, not delivered, and not asked about")
	f.IntVar(&c.DiskCleanAt, "disk-clean-at", 75, "percent of the data folder's disk in use at which expired messages are deleted at any hour; 100: never, here and below")
	f.IntVar(&c.DiskForceAt, "disk-force-at", 85, "percent at which the oldest messages are deleted, expired or not")
	f.IntVar(&c.DiskRefuseAt, "disk-refuse-at", 90, "percent at which this node takes no messages")
	f.Int64Var(&c.DiskReserve, "disk-reserve", 1<<30, "bytes of the data folder's disk kept for offsets, decisions and deletes, an eighth of it at most; below 0: none")
	f.DurationVar(&c.WriteDeadline, "write-deadline", 5*time.Second, "a disk write that takes longer has failed")
	f.DurationVar(&c.Heartbeat, "heartbeat", 2*time.Second, "Raft's heartbeat timeout")
	f.Int64Var(&c.ScrubRate, "scrub-rate", 16<<20, "bytes a second of disk that are read again against their checksums; -1: none")
	f.DurationVar(&c.ScrubEvery, "scrub-every", time.Hour, "pause between two passes over everything")
	f.DurationVar(&c.DigestInterval, "digest-interval", time.Minute, "between comparisons of a partition's replicas; -1s: none")
	f.StringVar(&s.gossipKeyFile, "gossip-key-file", "", "file with a key of 16, 24 or 32 bytes in base64: encrypts gossip")
	f.StringVar(&s.tlsCert, "peer-tls-cert-file", "", "PEM certificate of this node, with its name among the DNS names: encrypts traffic between nodes, which both prove who they are")
	f.StringVar(&s.tlsKey, "peer-tls-key-file", "", "PEM key of that certificate")
	f.StringVar(&s.tlsCA, "peer-tls-ca-file", "", "PEM certificates of the authority that signs the nodes'")
	f.StringVar(&s.logLevel, "log-level", "info", "trace, debug, info, warn or error")
	f.StringVar(&s.logFormat, "log-format", "text", "text or json")
}

const envPrefix = "RAFTMQ_"

// setting is a value that is not from a flag, and where it was found.
type setting struct{ value, where string }

// fill sets what no flag set, from the environment and then from the file, and
// returns what it set.
func fill(f *pflag.FlagSet, file string) (map[string]setting, error) {
	from := make(map[string]setting)
	if file != "" {
		b, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", broker.ErrConfig, err)
		}
		if from, err = readYAML(f, file, b); err != nil {
			return nil, err
		}
	}
	errs := misspelt(f, os.Environ())
	f.VisitAll(func(x *pflag.Flag) {
		if v, ok := os.LookupEnv(envName(x.Name)); ok && !ofService(x.Name, v) {
			from[x.Name] = setting{v, envName(x.Name)}
		}
		v, ok := from[x.Name]
		switch {
		case x.Changed:
			delete(from, x.Name)
		case ok:
			if err := f.Set(x.Name, v.value); err != nil {
				errs = append(errs, fmt.Errorf("%w: %s: %w", broker.ErrConfig, v.where, err))
			}
		}
	})
	return from, errors.Join(errs...)
}

// ofService reports whether a variable is no setting, but what Kubernetes makes for a service that is named
// raftmq-http, raftmq-raft or the like: "tcp://10.0.0.1:80".
func ofService(setting, value string) bool {
	return strings.HasSuffix(setting, "-port") && (strings.HasPrefix(value, "tcp://") || strings.HasPrefix(value, "udp://"))
}

// misspelt refuses variables that nearly are settings. Others that begin alike are
// nobody's business: Kubernetes makes some for a service of that name.
func misspelt(f *pflag.FlagSet, environ []string) (errs []error) {
	for _, v := range environ {
		v, _, _ = strings.Cut(v, "=")
		rest, ours := strings.CutPrefix(v, envPrefix)
		name := strings.ToLower(strings.ReplaceAll(rest, "_", "-"))
		if !ours || len(name) < 6 || f.Lookup(name) != nil || name == "config" || name == "endpoint" {
			continue
		}
		if near := nearest(f, name); near != "" && edits(name, near) <= 2 {
			errs = append(errs, fmt.Errorf("%w: %s is no setting; did you mean %s?", broker.ErrConfig, v, envName(near)))
		}
	}
	return errs
}

// readYAML reads a mapping of the names in f to values or lists of values. A null
// leaves the default.
func readYAML(f *pflag.FlagSet, file string, b []byte) (map[string]setting, error) {
	into := make(map[string]setting)
	var doc, more yaml.Node
	dec := yaml.NewDecoder(bytes.NewReader(b))
	switch err := dec.Decode(&doc); {
	case err == io.EOF: // nothing, or only comments
		return into, nil
	case err != nil:
		return nil, fmt.Errorf("%w: %s: %w", broker.ErrConfig, file, err)
	case len(doc.Content) != 1 || doc.Content[0].Kind != yaml.MappingNode:
		return nil, fmt.Errorf("%w: %s: not a mapping of names to values", broker.ErrConfig, file)
	case dec.Decode(&more) != io.EOF:
		return nil, fmt.Errorf("%w: %s: more than one document", broker.ErrConfig, file)
	}
	kv := doc.Content[0].Content
	for i := 0; i+1 < len(kv); i += 2 {
		name, v := kv[i].Value, kv[i+1]
		where := fmt.Sprintf("%s:%d:%d", file, kv[i].Line, kv[i].Column)
		if f.Lookup(name) == nil {
			hint := ""
			if near := nearest(f, name); near != "" {
				hint = fmt.Sprintf("; did you mean %s?", near)
			}
			return nil, fmt.Errorf("%w: %s: unknown key %q%s", broker.ErrConfig, where, name, hint)
		}
		if _, twice := into[name]; twice {
			return nil, fmt.Errorf("%w: %s: %s is set twice", broker.ErrConfig, where, name)
		}
		value, err := yamlValue(v)
		if err != nil {
			return nil, fmt.Errorf("%w: %s: %s: %w", broker.ErrConfig, where, name, err)
		}
		if v.Tag != "!!null" {
			into[name] = setting{value, where}
		}
	}
	return into, nil
}

func yamlValue(v *yaml.Node) (string, error) {
	switch v.Kind {
	case yaml.ScalarNode:
		return v.Value, nil
	case yaml.SequenceNode:
		var parts []string
		for _, x := range v.Content {
			if x.Kind != yaml.ScalarNode {
				return "", errors.New("a list of other than values")
			}
			parts = append(parts, x.Value)
		}
		return strings.Join(parts, ","), nil
	}
	return "", errors.New("neither a value nor a list")
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
	own := pflag.NewFlagSet("server", pflag.ContinueOnError) // what file and environment may set
	c := &cobra.Command{
		Use: "server", Short: "Run one node", Args: cobra.NoArgs,
		Long:    "Run one node. Settings come from defaults, the YAML file (--config), the environment (RAFTMQ_ and the flag's name in upper case, - as _) and flags, in rising precedence.",
		Example: "  raftmq server --config node1.yaml\n  RAFTMQ_LOG_LEVEL=debug raftmq server --node n1 --data /var/lib/raftmq --initial-nodes n1,n2,n3 --join 10.0.0.2:10700",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if _, err := fill(own, file); err != nil {
				return err
			}
			return serve(cmd.Context(), s)
		},
	}
	s.flags(own)
	c.Flags().AddFlagSet(own)
	addConfigFlag(c.Flags(), &file)
	return c
}

// readKey reads a key of gossip; no file: nil.
func readKey(file string) ([]byte, error) {
	if file == "" {
		return nil, nil
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("%w: gossip key: %w", broker.ErrConfig, err)
	}
	key, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(b)))
	if err != nil || len(key) != 16 && len(key) != 24 && len(key) != 32 {
		return nil, fmt.Errorf("%w: %s: not a key of 16, 24 or 32 bytes in base64", broker.ErrConfig, file)
	}
	return key, nil
}

// logger is where a server with these settings logs to.
func (s *settings) logger() (hclog.Logger, error) {
	level := hclog.LevelFromString(s.logLevel)
	if level == hclog.NoLevel {
		return nil, fmt.Errorf("%w: log level %q: trace, debug, info, warn or error", broker.ErrConfig, s.logLevel)
	}
	if s.logFormat != "text" && s.logFormat != "json" {
		return nil, fmt.Errorf("%w: log format %q: text or json", broker.ErrConfig, s.logFormat)
	}
	return hclog.New(&hclog.LoggerOptions{Name: s.Node, Level: level, IndependentLevels: true, JSONFormat: s.logFormat == "json", Output: os.Stderr}), nil
}

// damaged gives an error of a node's own files its exit code.
func damaged(err error) error {
	if errors.Is(err, raftlog.ErrWALDamaged) || errors.Is(err, broker.ErrCatalogueDamaged) || errors.Is(err, broker.ErrFolderDamaged) {
		return exitError{exitDamaged, fmt.Errorf("%w: nothing of it was cut; see \"A node stopped with exit code 71\" in the runbook", err)}
	}
	return err
}

// drain bounds a graceful stop.
const drain = 10 * time.Second

func serve(ctx context.Context, s settings) error {
	log, err := s.logger()
	if err != nil {
		return err
	}
	if s.GossipKey, err = readKey(s.gossipKeyFile); err != nil {
		return err
	}
	if s.PeerTLS, err = s.peerTLS(); err != nil {
		return err
	}
	heedLimits(&s.Config, log)
	deps, end, err := world(&s.Config)
	if err != nil {
		return err
	}
	defer end()
	deps.Logger = log
	go keepSlack(ctx, log)
	b, err := broker.Open(ctx, s.Config, deps)
	if err != nil {
		return damaged(err)
	}
	a := b.Addresses()
	log.Info("listening", "nameserver", a.NameServer, "listeners", a.Listeners, "raft", a.Raft, "gossip", a.Gossip, "http", a.HTTP)
	var failed error
	select {
	case <-ctx.Done():
		log.Info("stopping")
	case failed = <-b.Failed():
	}
	failed, err = shutDown(b.Shutdown, b.Failed(), failed)
	if failed != nil {
		return stopped(failed)
	}
	if err != nil {
		log.Warn("stopped uncleanly", "error", err)
	}
	return nil
}

// stopped gives the reason for which a node ended by itself its exit code.
func stopped(why error) error {
	if errors.Is(why, broker.ErrTooOld) {
		return why
	}
	if err := damaged(why); err != why {
		return err
	}
	return exitError{exitDisk, why}
}

// shutDown gives a stop the time that it has, and tells why the node failed, before or
// meanwhile. Of a node whose disk failed parts may wait for what hangs, one after the other:
// it ends when the time is over.
func shutDown(stop func(context.Context) error, fails <-chan error, failed error) (why, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), drain)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- stop(ctx) }() // ends with the process
	for {
		var over <-chan struct{}
		if failed != nil {
			over, fails = ctx.Done(), nil
		}
		select {
		case failed = <-fails:
		case <-over:
			return failed, ctx.Err()
		case err := <-done:
			select {
			case failed = <-fails:
			default:
			}
			return failed, err
		}
	}
}
