package broker

import (
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"raftmq/message"
)

// Config is how a node is set up. The zero value of every field but Node and
// Data works; check fills in what is documented as the default.
type Config struct {
	Cluster string // name of the cluster; default "raftmq"
	Node    string // this node's name, unique in the cluster; required
	Data    string // directory of everything the node keeps; required
	WALDir  string // write-ahead log; default Data/wal; another disk is faster

	Host      string // address to listen on; default 127.0.0.1
	Advertise string // address that others are told; default Host

	// Ports; -1 picks a free one. Zero takes the default.
	NameServer int // 9876
	Listen     int // 10911: slot s listens on Listen + 10*s
	Raft       int // 10800
	Gossip     int // 10700
	HTTP       int // 10600

	// InitialNodes are the members of a new cluster, this node among them. The same
	// list is given to each of them; it is not looked at again once there is data.
	InitialNodes []string
	Join         []string // gossip addresses of other nodes, host:port
	Slots        int      // fixed shares of a new cluster; default 3

	AutoCreateTopics bool // create a topic when it is first sent to
	DefaultQueues    int  // queues per partition of such a topic; default 2
	MaxBody          int  // largest message body in bytes; default 4 MiB
	NoPropertyFilter bool // refuse subscriptions by SQL92 expression

	MaxDelay time.Duration // messages may wait for so long; default 0: as long as they like

	MaxConnections  int   // of clients, on all listeners; further ones are closed; default 16384
	MaxRequestBytes int64 // of requests in flight, each with 4 KiB for itself; default 256 MiB; see ClientMemory
	MaxReplyBytes   int64 // of replies that clients have not read yet; default 256 MiB

	SegmentBytes    int64         // commit log segment; default 256 MiB
	WALSegmentBytes int64         // write-ahead log segment; default 64 MiB
	WALSegments     int           // of the write-ahead log, at most; default 8
	CheckpointBytes int64         // of a partition's entries in the write-ahead log, from which on it makes a checkpoint; default 64 MiB
	Retention       time.Duration // how long messages are kept, at least; default 72 h; below 0: for ever
	RetentionDead   time.Duration // how long dead letters are kept that no group has consumed, at least; default 720 h; below 0: for ever
	RetentionBytes  int64         // of a partition's log that are kept, at least, and not much more; 0: no limit
	DeleteWhen      string        // hours of the day, local, at which expired messages are deleted: "04", "04;16", or "any"; default "04"
	RetainEvery     time.Duration // how often it is looked for what is to be deleted; default 10 s
	GroupExpiry     time.Duration // after how long a group that nobody uses is deleted, a minute at least; 0: never
	GroupsEvery     time.Duration // how often it is looked for such groups; default a tenth of GroupExpiry, at most 1 min

	TransactionTimeout       time.Duration // until a half without a decision is asked about; default 6 s
	TransactionCheckInterval time.Duration // between two checks of it; default 30 s
	TransactionChecks        int           // made before it is parked; default 15

	// Percent of the data folder's disk in use; 0 takes the default, 100 switches off.
	DiskCleanAt  int // from here on expired messages are deleted at any hour; default 75
	DiskForceAt  int // from here on the oldest messages are deleted, expired or not; default 85
	DiskRefuseAt int // from here on this node takes no messages; default 90

	// DiskReserve is kept for offsets, decisions and deletes when the disk fills up, in
	// bytes; default 1 GiB, and an eighth of the disk at most; below 0: nothing.
	DiskReserve int64

	WriteDeadline time.Duration // a disk write that takes longer has failed; default 5 s
	Heartbeat     time.Duration // Raft's; default 2 s

	ScrubRate      int64         // bytes a second of disk that are read again against their checksums; default 16 MiB, -1: none
	ScrubEvery     time.Duration // pause between two passes over everything; default 1 h
	DigestInterval time.Duration // between comparisons of a partition's replicas; default 1 min, -1: none

	GossipKey []byte      // 16, 24 or 32 bytes: encrypts gossip
	PeerTLS   *tls.Config // of traffic between nodes, both ends with a certificate for the node's name; nil: plain
}

// ErrConfig: a setting is missing or wrong. Nothing was started.
var ErrConfig = errors.New("broker: configuration")

// slotStep leaves room for the port two below a listener, which old clients may
// call (their "VIP channel").
const (
	slotStep = 10
	vipBelow = 2
)

// maxCheckTime fits the 32 bits of milliseconds that entries have for it.
const maxCheckTime = 30 * 24 * time.Hour

// maxSlots is as many listeners as a node opens at most.
const maxSlots = 64

// maxCluster is what gossip and the catalogue take for a cluster's name, in bytes.
const maxCluster = 255

// trimmed are the texts of a list that is joined by commas and, perhaps, spaces.
func trimmed(list []string) (out []string) {
	for _, s := range list {
		if s = strings.TrimSpace(s); s != "" {
			out = append(out, s)
		}
	}
	return out
}

// isNodeName reports whether a node may have that name: it comes before a dot in the names of
// replicas, and between commas in settings.
func isNodeName(s string) bool { return s != "" && len(s) <= 64 && !strings.ContainsAny(s, ". \t\n/,") }

// checkPorts refuses ports that are none, and two of the same number; 0: a free one.
func (c *Config) checkPorts() error {
	taken := make(map[int]string)
	take := func(name string, port int) error {
		if port < 0 || port > 65535 {
			return fmt.Errorf("%w: %s %d: 1 to 65535, or -1 for a free one", ErrConfig, name, port)
		}
		if other := taken[port]; port > 0 && other != "" {
			return fmt.Errorf("%w: %s and %s are both %d", ErrConfig, other, name, port)
		}
		taken[port] = name
		return nil
	}
	err := errors.Join(take("nameserver-port", c.NameServer), take("raft-port", c.Raft), take("gossip-port", c.Gossip), take("http-port", c.HTTP))
	for s := range c.Slots {
		if c.Listen > 0 {
			err = errors.Join(err, take(fmt.Sprintf("listen-port of slot %d", s), c.Listen+slotStep*s))
		}
	}
	return err
}

// Check refuses what cannot work, as Open would. It opens nothing.
func (c Config) Check() error { return c.check() }

// Filled is c as Open takes it, with its defaults. Ports that are -1 stay so.
func (c Config) Filled() (Config, error) {
	set := c
	if err := c.check(); err != nil {
		return set, err
	}
	for _, p := range []struct {
		is  *int
		was int
	}{{&c.NameServer, set.NameServer}, {&c.Raft, set.Raft}, {&c.Gossip, set.Gossip}, {&c.HTTP, set.HTTP}} {
		if p.was == -1 {
			*p.is = -1
		}
	}
	c.WALDir = cmp.Or(c.WALDir, filepath.Join(c.Data, "wal"))
	c.WALSegmentBytes, c.WALSegments, c.WriteDeadline = cmp.Or(c.WALSegmentBytes, 64<<20), cmp.Or(c.WALSegments, 8), cmp.Or(c.WriteDeadline, 5*time.Second)
	return c, nil
}

// check fills defaults and refuses what cannot work.
func (c *Config) check() error {
	def := func(p *int, v int) {
		switch *p {
		case 0:
			*p = v
		case -1:
			*p = 0
		}
	}
	str := func(p *string, v string) {
		if *p == "" {
			*p = v
		}
	}
	str(&c.Cluster, "raftmq")
	str(&c.Host, "127.0.0.1")
	str(&c.Advertise, c.Host)
	c.Join = trimmed(c.Join)
	def(&c.NameServer, 9876)
	if c.Listen == 0 {
		c.Listen = 10911
	}
	def(&c.Raft, 10800)
	def(&c.Gossip, 10700)
	def(&c.HTTP, 10600)
	def(&c.Slots, 3)
	def(&c.DefaultQueues, 2)
	def(&c.MaxBody, message.MaxBody)
	if c.ScrubRate == 0 {
		c.ScrubRate = 16 << 20
	}
	if c.ScrubEvery == 0 {
		c.ScrubEvery = time.Hour
	}
	if c.DigestInterval == 0 {
		c.DigestInterval = time.Minute
	}
	def(&c.DiskCleanAt, 75)
	def(&c.DiskForceAt, 85)
	def(&c.DiskRefuseAt, 90)
	str(&c.DeleteWhen, "04")
	if c.Retention == 0 {
		c.Retention = 72 * time.Hour
	}
	if c.RetentionDead == 0 {
		c.RetentionDead = 720 * time.Hour
	}
	if c.RetainEvery == 0 {
		c.RetainEvery = 10 * time.Second
	}
	if c.GroupsEvery == 0 {
		c.GroupsEvery = time.Minute
		if c.GroupExpiry > 0 {
			c.GroupsEvery = min(c.GroupsEvery, c.GroupExpiry/10)
		}
	}
	if c.CheckpointBytes == 0 {
		c.CheckpointBytes = 64 << 20
	}
	if c.DiskReserve == 0 {
		c.DiskReserve = 1 << 30
	}
	if c.Heartbeat == 0 {
		c.Heartbeat = 2 * time.Second
	}
	if c.TransactionTimeout == 0 {
		c.TransactionTimeout = 6 * time.Second
	}
	if c.TransactionCheckInterval == 0 {
		c.TransactionCheckInterval = 30 * time.Second
	}
	if c.TransactionChecks == 0 {
		c.TransactionChecks = 15
	}
	if c.SegmentBytes == 0 {
		c.SegmentBytes = 256 << 20
	}
	c.fillBounds()
	if err := c.checkBounds(); err != nil {
		return err
	}
	switch {
	case !isNodeName(c.Node):
		return fmt.Errorf("%w: node name %q: 1 to 64 characters without dot, comma, slash or space", ErrConfig, c.Node)
	case len(c.Cluster) > maxCluster:
		return fmt.Errorf("%w: cluster name of %d bytes, at most %d", ErrConfig, len(c.Cluster), maxCluster)
	case c.Data == "":
		return fmt.Errorf("%w: no data directory", ErrConfig)
	case c.Slots < 1 || c.Slots > maxSlots:
		return fmt.Errorf("%w: %d slots, 1 to %d are possible", ErrConfig, c.Slots, maxSlots)
	case c.MaxBody < 1 || c.MaxBody > message.MaxBody:
		return fmt.Errorf("%w: largest body of %d bytes, at most %d", ErrConfig, c.MaxBody, message.MaxBody)
	case c.DefaultQueues < 1 || c.DefaultQueues > maxQueues:
		return fmt.Errorf("%w: %d queues per partition, 1 to %d are possible", ErrConfig, c.DefaultQueues, maxQueues)
	case c.Listen != -1 && (c.Listen < 1 || c.Listen+slotStep*c.Slots > 65535):
		return fmt.Errorf("%w: first listener port %d", ErrConfig, c.Listen)
	}
	if err := c.checkPorts(); err != nil {
		return err
	}
	for _, p := range []int{c.DiskCleanAt, c.DiskForceAt, c.DiskRefuseAt} {
		if p < 1 || p > 100 {
			return fmt.Errorf("%w: %d percent of a disk, 1 to 100 are possible", ErrConfig, p)
		}
	}
	if c.GroupExpiry != 0 && c.GroupExpiry < minGroupExpiry {
		return fmt.Errorf("%w: groups that nobody uses are deleted after %v: at least %v, or 0 for never", ErrConfig, c.GroupExpiry, minGroupExpiry)
	}
	if c.MaxDelay < 0 {
		return fmt.Errorf("%w: messages may wait for %v: 0 for no limit", ErrConfig, c.MaxDelay)
	}
	if c.TransactionTimeout < 0 || c.TransactionTimeout > maxCheckTime || c.TransactionCheckInterval < time.Millisecond || c.TransactionCheckInterval > maxCheckTime || c.TransactionChecks < 1 {
		return fmt.Errorf("%w: transactions are asked about after %v, every %v, %d times: at least once, and within %v", ErrConfig, c.TransactionTimeout, c.TransactionCheckInterval, c.TransactionChecks, maxCheckTime)
	}
	if c.RetentionBytes < 0 {
		return fmt.Errorf("%w: %d bytes of a partition are kept: 0 for no limit", ErrConfig, c.RetentionBytes)
	}
	if _, err := parseHours(c.DeleteWhen); err != nil {
		return fmt.Errorf("%w: %w", ErrConfig, err)
	}
	for _, x := range []struct{ name, addr string }{{"host", c.Host}, {"advertise", c.Advertise}} {
		if _, _, err := net.SplitHostPort(x.addr); err == nil {
			return fmt.Errorf("%w: %s is %s: an address without a port", ErrConfig, x.name, x.addr)
		}
	}
	if a := net.ParseIP(c.Advertise); a != nil && a.IsUnspecified() {
		return fmt.Errorf("%w: others cannot reach %s: set the address to advertise", ErrConfig, c.Advertise)
	}
	if len(c.InitialNodes) > 0 {
		for i, n := range c.InitialNodes {
			if !isNodeName(n) || slices.Contains(c.InitialNodes[:i], n) {
				return fmt.Errorf("%w: initial nodes %q: %q is no node's name, or there twice: 1 to 64 characters without dot, comma, slash or space", ErrConfig, c.InitialNodes, n)
			}
		}
		if !slices.Contains(c.InitialNodes, c.Node) {
			return fmt.Errorf("%w: node %q is not among the initial nodes %v", ErrConfig, c.Node, c.InitialNodes)
		}
	}
	return nil
}
