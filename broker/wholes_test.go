package broker

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftmq/remoting"
)

// An answer that is put together of what several partitions say keeps what it has while it waits for the next: there are few
// at once, and the others wait with their requests only.
func TestAnswersOfSeveralPartitionsAreFewAtOnce(t *testing.T) {
	l := newLone(t)
	l.leader()
	asks := func(forwarded bool) *remoting.Command {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		return l.admin(ctx, &request{Command: remoting.NewRequest(remoting.GetTopicStats, remoting.TopicHeader{Topic: "t"}), forwarded: forwarded})
	}
	for range wholesAtOnce {
		require.NoError(t, l.admission.wholes.enter(t.Context()))
	}
	require.Equal(t, remoting.SystemBusy, asks(false).Code)
	eventually(t, func() bool { return asks(true).Code == remoting.OK }) // what another puts together waits for nobody here
	for range wholesAtOnce {
		l.admission.wholes.leave()
	}
	eventually(t, func() bool { return asks(false).Code == remoting.OK })
}

// A message that a member is to handle now is read when it is asked, and not while others are: it may be four megabytes.
func TestMessagesThatMembersAreToHandleAreFewAtOnce(t *testing.T) {
	l := newLone(t)
	asks := func() remoting.Code {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		return l.admin(ctx, &request{Command: remoting.NewRequest(remoting.ConsumeMessageDirectly, remoting.MemberHeader{ConsumerGroup: "g", ClientID: "c", MsgID: "none"})}).Code
	}
	require.Equal(t, remoting.InvalidParameter, asks(), "there is no such message")
	for range membersAsked {
		require.NoError(t, l.admission.handed.enter(t.Context()))
	}
	require.Equal(t, remoting.SystemBusy, asks())
	for range membersAsked {
		l.admission.handed.leave()
	}
	require.Equal(t, remoting.InvalidParameter, asks())
}
