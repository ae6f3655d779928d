package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"raftmq/broker"
	"raftmq/client"
	"raftmq/raftlog"
)

func TestExitCodesAreThoseThatAreDocumented(t *testing.T) {
	for _, c := range []struct {
		err  error
		want int
	}{
		{nil, 0},
		{errors.New("other"), 1},
		{fmt.Errorf("x: %w", client.ErrInvalid), 2},
		{fmt.Errorf("x: %w", broker.ErrConfig), 2},
		{fmt.Errorf("x: %w", client.ErrTopicNotFound), 3},
		{fmt.Errorf("x: %w", client.ErrGroupNotFound), 3},
		{fmt.Errorf("x: %w", client.ErrUnavailable), 5},
		{fmt.Errorf("x: %w", client.ErrUncertain), 6},
		{errors.Join(client.ErrUnavailable, client.ErrUncertain), 6},
		{fmt.Errorf("x: %w", client.ErrExists), 7},
		{fmt.Errorf("x: %w", client.ErrDecided), 7},
		{fmt.Errorf("x: %w: %w", client.ErrNotNow, client.ErrInvalid), 7},
		{fmt.Errorf("x: %w", client.ErrNoTransaction), 3},
		{damaged(fmt.Errorf("x: %w", raftlog.ErrWALDamaged)), 71},
		{damaged(fmt.Errorf("x: %w", broker.ErrCatalogueDamaged)), 71},
		{damaged(fmt.Errorf("x: %w", broker.ErrFolderDamaged)), 71},
		{fmt.Errorf("x: %w", broker.ErrTooOld), 72},
		{fmt.Errorf("x: %w", exitError{exitDisk, errors.New("disk")}), 70},
	} {
		require.Equal(t, c.want, exitCode(t.Context(), c.err), "%v", c.err)
		require.Contains(t, exitCodes, fmt.Sprintf("%3d  ", c.want))
	}
	interrupted, cancel := context.WithCancel(t.Context())
	cancel()
	require.Equal(t, 130, exitCode(interrupted, context.Canceled))
	require.Equal(t, 6, exitCode(interrupted, client.ErrUncertain), "an interrupted send may have been done")
}

func TestWrongUsageIsCode2(t *testing.T) {
	for args, says := range map[string]string{
		"nosuch":                                 "unknown command",
		"topic crate x":                          "did you mean create?",
		"topic create":                           "accepts 1 arg",
		"topic create x --qeues 2":               "unknown flag",
		"consume t":                              `"group" not set`,
		"consume t --group g --from x":           "not earliest",
		"consume t --group g --filter a=b=":      "line 1, column 5",
		"consume t --group g --filter a --tag b": "[tags filter]",
		"send t":                                 "nothing to send",
		"send t x --property p":                  "not name=value",
		"topic list -o xml":                      "table, json or jsonl",
		"config show -o xml":                     "table, json or jsonl",
		"topic list --endpoint foo":              "is not host:port",
		"version -o xml":                         "table, json or jsonl",
		"consume t --group g --count -1":         "are positive",
		"consume t --group g --timeout -1s":      "are positive",
		"reply t --echo --count -1":              "are positive",
		"send t x --file y":                      "not both",
		"topic alter t --endpoint 127.0.0.1:1":   "nothing to change",
		"topic alter t --force":                  "nothing to change",
		"topic alter t --queues 0":               "at least one",
		"group reset g --topic t":                `"to" not set`,
		"tx decide 1-64":                         "at least one of the flags",
		"dev kil n1":                             "unknown command",
		"dev kill":                               "which node",
		"dev --nodes 0":                          "at least one",
		"bench send --producers 0":               "at least one",
		"bench send --in-flight -1":              "at least one",
		"bench send --size -1":                   "not negative",
		"server --log-level loud":                "log level",
		"server":                                 "node name",
		"server extra":                           "unknown command",
	} {
		code, out, errs := raftmq(t, strings.Fields(args)...)
		require.Equal(t, exitUsage, code, "%s: %s", args, errs)
		require.Contains(t, errs, says, args)
		require.Empty(t, out, args)
	}
	if !testing.Short() { // it tries for a while
		code, _, errs := raftmq(t, "topic", "list", "--endpoint", "127.0.0.1:1")
		require.Equal(t, exitUnavailable, code, errs)
	}
	for _, args := range []string{"version", "version -o json", "topic", "exit-codes", "completion bash", "topic create --help"} {
		code, out, errs := raftmq(t, strings.Fields(args)...)
		require.Zero(t, code, args)
		require.NotEmpty(t, out, args)
		require.Empty(t, errs, args)
	}
}
