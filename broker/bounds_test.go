package broker

import (
	"testing"

	"github.com/stretchr/testify/require"

	"raftmq/remoting"
)

func TestBudgetsMustFitEachOther(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"max-connections":   func(c *Config) { c.MaxConnections = -1 },
		"max-request-bytes": func(c *Config) { c.MaxRequestBytes = 1 << 20 },
		"max-reply-bytes":   func(c *Config) { c.MaxReplyBytes = 1 << 20 },
		"segment-bytes":     func(c *Config) { c.SegmentBytes = -1 },
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
	require.EqualValues(t, 50<<20+2*50<<20+2*30<<20+100*connectionCost+readPlaces()*maxPullBytes+decisionBytes+bodyBytes+filterBytes+membersAsked*remoting.MaxFrame+maxMeters*meterCost, c.ClientMemory())
	require.Greater(t, Config{}.ClientMemory(), int64(256<<20), "of the defaults")
}
