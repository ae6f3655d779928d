package broker

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftmq/remoting"
)

func TestBudgetsMustFitEachOther(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"max-connections":   func(c *Config) { c.MaxConnections = -1 },
		"max-request-bytes": func(c *Config) { c.MaxRequestBytes = 1 << 20 },
		"max-reply-bytes":   func(c *Config) { c.MaxReplyBytes = 1 << 20 },
		"segment-bytes":     func(c *Config) { c.SegmentBytes = -1 },
		"1099511627776":     func(c *Config) { c.SegmentBytes = 1 << 50 }, // bytes of a segment, at most: a process has only so many addresses
		"scrub-every":       func(c *Config) { c.ScrubEvery = -time.Second },
		"write-deadline":    func(c *Config) { c.WriteDeadline = -1 },
		"wal-segments":      func(c *Config) { c.WALSegments = 4 },
		"wal-segment-bytes": func(c *Config) { c.WALSegmentBytes = 2 << 20 }, // no room for a message
	} {
		c := Config{Node: "n1", Data: "d", InitialNodes: []string{"n1"}}
		require.NoError(t, c.Check())
		change(&c)
		err := c.Check()
		require.ErrorIs(t, err, ErrConfig, name)
		require.ErrorContains(t, err, name)
	}
}

func TestClientMemoryFollowsFromTheSettings(t *testing.T) {
	c := Config{MaxConnections: 100, MaxRequestBytes: 50 << 20, MaxReplyBytes: 30 << 20}
	require.EqualValues(t, 50<<20+50<<20/remoting.AheadPart+2*50<<20+2*30<<20+100*connectionCost+readPlaces()*maxPullBytes+decisionBytes+bodyBytes+filterBytes+(2*membersAsked+wholesAtOnce)*remoting.MaxFrame+maxMeters*meterCost, c.ClientMemory())
	require.Greater(t, Config{}.ClientMemory(), int64(256<<20), "of the defaults")
}

// A list of initial nodes with what is no node's name waits for a node that never comes, or founds nothing.
func TestInitialNodesAreNames(t *testing.T) {
	with := func(nodes ...string) error {
		c := Config{Node: "n1", Data: "d", InitialNodes: nodes}
		return c.Check()
	}
	require.NoError(t, with())
	require.NoError(t, with("n1", "n2", "n3"))
	for _, nodes := range [][]string{{"n1", " n2"}, {"n1", "n2", ""}, {"n1", "n2.lan"}, {"n1", "n2", "n2"}, {"n1", "n1"}, {"n2", "n3"}} {
		require.ErrorIs(t, with(nodes...), ErrConfig, "%q", nodes)
	}
	require.ErrorIs(t, (Config{Cluster: strings.Repeat("c", 256), Node: "n1", Data: "d"}).Check(), ErrConfig)
}

// What is no port, or another listener's, is found before anything is opened.
func TestPortsAreChecked(t *testing.T) {
	fine := Config{Node: "n1", Data: "d"}
	require.NoError(t, fine.Check())
	for name, change := range map[string]func(*Config){
		"raft-port":             func(c *Config) { c.Raft = 70000 },
		"http-port":             func(c *Config) { c.HTTP = -2 },
		"gossip-port":           func(c *Config) { c.Gossip = 10800 },
		"listen-port of slot 2": func(c *Config) { c.NameServer = 10931 },
	} {
		c := fine
		change(&c)
		err := c.Check()
		require.ErrorIs(t, err, ErrConfig, name)
		require.ErrorContains(t, err, name)
	}
	c := fine
	c.NameServer, c.Listen, c.Raft, c.Gossip, c.HTTP = -1, -1, -1, -1, -1
	require.NoError(t, c.Check())
}
