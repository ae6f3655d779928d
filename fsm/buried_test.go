package fsm

import (
	"testing"

	"github.com/stretchr/testify/require"

	"raftmq/message"
)

// A dead letter is taken out once, whatever is asked and how often, also after a
// restart; what was dropped cannot be handled again.
func TestADeadLetterIsTakenOutOnce(t *testing.T) {
	r := newReplica(t)
	dead, retry := message.Queue{Topic: "%DLQ%g"}, message.Queue{Topic: "%RETRY%g"}
	r.send(1, item(t, dead, 6, Producer{}))
	rec := records(t, retry, 1, 10)
	unearth := func(us ...Unearth) []UnearthStatus {
		return r.do(EncodeUnearth(nil, 2, "g", dead, us)).(UnearthResult).Items
	}
	require.Equal(t, []UnearthStatus{TakenOut, GoneBefore, NoDeadLetter, BadUnearth, BadUnearth},
		unearth(Unearth{2, 3, rec}, Unearth{2, 3, rec}, Unearth{6, 7, rec}, Unearth{3, 5, rec}, Unearth{3, 4, rec[1:]}))
	r = r.restart()
	require.Equal(t, []UnearthStatus{GoneBefore, TakenOut, GoneBefore, TakenOut}, unearth(Unearth{2, 3, rec}, Unearth{From: 3, To: 5}, Unearth{4, 5, rec}, Unearth{0, 1, rec}))
	require.EqualValues(t, 2, r.end(retry))
	for off, there := range []bool{false, true, false, false, false, true} {
		require.Equal(t, there, r.Buried("g", dead, message.Offset(off)), off)
	}
	require.Equal(t, []UnearthStatus{TakenOut}, unearth(Unearth{From: 0, To: 6}), "the rest is dropped")
	require.Equal(t, gapSize+4+groupQueue{"g", dead}.size(), r.buried.size)

	// Gaps are bounded.
	r.buried.budget = r.buried.size + gapSize
	r.send(3, item(t, dead, 9, Producer{}))
	require.Equal(t, []UnearthStatus{TakenOut, NoGap, TakenOut}, unearth(Unearth{8, 9, rec}, Unearth{10, 11, rec}, Unearth{9, 10, rec}))
	require.True(t, r.Knows("g"), "else it would not be dropped")
	r.do(EncodeDropGroup(nil, 4, "g"))
	require.Zero(t, r.buried.size)
	require.False(t, r.Knows("g"))
}
