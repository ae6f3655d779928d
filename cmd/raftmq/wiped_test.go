package main

import (
	"encoding/json"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

// Leaders are killed with -9 under load and their folders deleted: each comes back,
// votes, and holds what the others hold. A folder that was replaced ends its process
// with the reason.
func TestWipedProcessesComeBack(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes")
	}
	d := startTestDev(t)
	code, out, errs := raftmq(t, "bench", "failover", "--data", d.dir, "--kills", "2", "--fault", "wipe")
	require.Equal(t, exitOK, code, errs)
	var r failoverResult
	require.NoError(t, json.Unmarshal([]byte(out), &r))
	require.Positive(t, r.Sent)
	require.Zero(t, r.Lost+r.Duplicates+r.Disorder)
	require.True(t, r.Digests)

	do := func(want int, verb string) string {
		t.Helper()
		code, _, errs := raftmq(t, "dev", verb, "n3", "--data", d.dir)
		require.Equal(t, want, code, "dev %s: %s", verb, errs)
		return errs
	}
	data := d.nodes(t)[2].Data
	do(exitOK, "stop")
	require.NoError(t, os.Rename(data, data+".old"))
	do(exitOK, "restart")
	do(exitOK, "stop")
	require.NoError(t, os.Rename(data, data+".present"))
	require.NoError(t, os.Rename(data+".old", data))
	require.Contains(t, do(exitConflict, "restart"), "its data folder was replaced")
	require.NoError(t, os.Rename(data, data+".old"))
	require.NoError(t, os.Rename(data+".present", data))
	do(exitOK, "restart")
}
