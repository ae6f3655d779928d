package broker

import (
	"testing"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"
)

// A node that cannot begin with what it was given says so in its log.
func TestANodeThatWaitsSaysSo(t *testing.T) {
	var log logBuffer
	_, err := openAlone(t, func(c *Config) { c.InitialNodes = nil }, hclog.New(&hclog.LoggerOptions{Level: hclog.Warn, Output: &log}))
	require.NoError(t, err)
	eventually(t, func() bool { return log.count("no initial nodes are set") == 1 })
}
