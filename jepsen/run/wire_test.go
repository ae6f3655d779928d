package run

import (
	"testing"

	"github.com/stretchr/testify/require"

	"raftmq/jepsen/history"
	"raftmq/remoting"
)

// What a node could not decide, or may have done before it failed, is not known;
// everything else that is no success was certainly not done.
func TestRepliesAreWhatTheProtocolPromises(t *testing.T) {
	for code, want := range map[remoting.Code]history.Type{
		remoting.OK: history.OK, remoting.OutcomeUnknown: history.Info, remoting.SystemError: history.Info,
		remoting.ServiceNotAvailable: history.Fail, remoting.SystemBusy: history.Fail, remoting.TopicNotExist: history.Fail,
		remoting.UnknownProducer: history.Fail, remoting.IllegalOperation: history.Fail, remoting.InvalidParameter: history.Fail,
	} {
		require.Equal(t, want, wireOutcome(code), "%d", code)
	}
}

func TestQueuesHaveOneNumberInBothWorlds(t *testing.T) {
	topic := Topic{Name: "t", Partitions: 3, Queues: 2}
	seen := make(map[wireQueue]bool)
	for n := range topic.count() {
		q := topic.wireQueue(n)
		require.False(t, seen[q])
		seen[q] = true
		require.Equal(t, n, topic.number(q.broker, int(q.id)))
	}
	for _, x := range []wireQueue{{broker: "raftmq-3"}, {broker: "other"}, {broker: "raftmq-0", id: 2}} {
		require.Equal(t, -1, topic.number(x.broker, int(x.id)))
	}
}

func TestWorkloadsAreChosenByName(t *testing.T) {
	one, err := choose([]string{"fresh", "log"})
	require.NoError(t, err)
	require.Equal(t, "fresh", one[0].Name)
	require.Len(t, one, 2)
	mixed, err := choose([]string{"mixed"})
	require.NoError(t, err)
	for _, w := range mixed {
		require.False(t, w.Apart, w.Name)
	}
	for _, bad := range [][]string{nil, {"nonsense"}, {"log", "log"}, {"log", "mixed"}} {
		_, err := choose(bad)
		require.Error(t, err, "%q", bad)
	}
	groups := make(map[string]string)
	for _, w := range all {
		require.NotEmpty(t, w.Does)
		for g := range w.Groups {
			require.Empty(t, groups[g], "group %s is also of %s", g, groups[g])
			groups[g] = w.Name
		}
	}
}
