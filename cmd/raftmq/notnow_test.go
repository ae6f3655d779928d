package main

import (
	"testing"

	"github.com/stretchr/testify/require"

	"raftmq/remoting"
)

// A replica that cannot lead, or count, as it is now is no wrong usage: what was said may be right a minute later. One that
// there is not is.
func TestAReplicaThatIsNotInTheRightStateIsNoWrongUsage(t *testing.T) {
	at := answering(t, func(req *remoting.Command) *remoting.Command {
		node := ""
		switch req.Code {
		case remoting.MoveLeader:
			var h remoting.MoveLeaderHeader
			h.Decode(req.Ext)
			node = h.Node
		case remoting.SettleDispute:
			var h remoting.DisputeHeader
			h.Decode(req.Ext)
			node = h.Truth
		default:
			return nil
		}
		if node == "n9" {
			return req.Reply(remoting.InvalidParameter, "n9 has none")
		}
		return req.Reply(remoting.IllegalOperation, "that of "+node+" is in quarantine")
	})
	for node, want := range map[string]int{"n2": exitConflict, "n9": exitUsage} {
		for _, args := range [][]string{{"cluster", "move-leader", "7", node}, {"cluster", "repair", "7", "--truth", node, "--yes"}} {
			code, out, errs := raftmq(t, append(args, "--endpoint", at)...)
			require.Equal(t, want, code, "%v: %s", args, errs)
			require.Empty(t, out)
			require.Contains(t, errs, node)
		}
	}
}
