package main

import (
	"testing"

	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"

	"raftmq/broker"
)

func TestAVariableThatNearlyIsASettingIsRefused(t *testing.T) {
	var s settings
	f := pflag.NewFlagSet("server", pflag.ContinueOnError)
	s.flags(f)
	require.Empty(t, misspelt(f, []string{"RAFTMQ_MAX_CONNECTIONS=1", "RAFTMQ_CONFIG=x", "RAFTMQ_ENDPOINT=x", "HOME=/", "RAFTMQ_PORT=tcp://10.0.0.1:1",
		"RAFTMQ_SERVICE_HOST=10.0.0.1", "RAFTMQ_PORT_9876_TCP=tcp://10.0.0.1:9876", "RAFTMQ_TEST_LOG=debug", "RAFTMQ_KILLS=3"}))
	errs := misspelt(f, []string{"RAFTMQ_MAX_CONECTIONS=1", "RAFTMQ_WAL_SEGMENT=8"})
	require.Len(t, errs, 2)
	require.ErrorIs(t, errs[0], broker.ErrConfig)
	require.ErrorContains(t, errs[0], "RAFTMQ_MAX_CONNECTIONS")
}
