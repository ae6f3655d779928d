package fsm

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"raftmq/message"
)

// filled is a replica with ten messages in queue 0.
func filled(t *testing.T) *replica {
	t.Helper()
	r := newReplica(t)
	require.Equal(t, Stored, r.send(1000, item(t, queue(0), 10, Producer{})).Status)
	return r
}

func (r *replica) commit(atMs int64, o CommitOffset) CommitStatus {
	r.t.Helper()
	if o.Group == "" {
		o.Group = "g"
	}
	if o.Queue == (message.Queue{}) {
		o.Queue = queue(0)
	}
	res := r.do(EncodeCommit(nil, atMs, []CommitOffset{o})).(CommitResult)
	require.Len(r.t, res.Items, 1)
	require.Equal(r.t, res.Items[0] == Raised, res.Raised == 1)
	return res.Items[0]
}

func (r *replica) at(group string, q message.Queue) message.Offset {
	off, ok := r.Committed(group, q)
	if !ok {
		return -1
	}
	return off
}

func TestCommitsOnlyRaiseAndNeverPassTheEnd(t *testing.T) {
	r := filled(t)
	require.EqualValues(t, -1, r.at("g", queue(0)))
	require.Equal(t, Raised, r.commit(1, CommitOffset{Offset: 0}))
	require.EqualValues(t, 0, r.at("g", queue(0)))
	require.Equal(t, Raised, r.commit(1, CommitOffset{Offset: 5}))
	require.Equal(t, NotHigher, r.commit(1, CommitOffset{Offset: 5}))
	require.Equal(t, NotHigher, r.commit(1, CommitOffset{Offset: 4}))
	require.Equal(t, PastEnd, r.commit(1, CommitOffset{Offset: 11}))
	require.Equal(t, BadCommit, r.commit(1, CommitOffset{Offset: -1}))
	require.Equal(t, Raised, r.commit(1, CommitOffset{Offset: 10}))
	require.Equal(t, PastEnd, r.commit(1, CommitOffset{Queue: queue(1), Offset: 1}))
	require.Equal(t, Raised, r.commit(1, CommitOffset{Queue: queue(1), Offset: 0}))
	require.Equal(t, BadCommit, r.commit(1, CommitOffset{Group: strings.Repeat("g", 256)}))
	require.Equal(t, Raised, r.commit(1, CommitOffset{Group: "a"}))
	r = r.restart()
	require.EqualValues(t, 10, r.at("g", queue(0)))
	require.Equal(t, []string{"a", "g"}, r.Groups())
	require.Equal(t, 2, r.do(EncodeDropGroup(nil, 1, "g")))
	require.Equal(t, []string{"a"}, r.Groups())
}

func TestAResetHoldsUntilItWasTold(t *testing.T) {
	r := filled(t)
	q := queue(0)
	require.Equal(t, Raised, r.commit(1, CommitOffset{Offset: 8}))
	require.EqualValues(t, 3, r.do(EncodeReset(nil, 1, "g", q, 3)))
	off, pending := r.PendingReset("g", q)
	require.True(t, pending)
	require.EqualValues(t, 3, off)
	require.Equal(t, ResetPending, r.commit(1, CommitOffset{Offset: 9}))
	r = r.restart()
	require.Equal(t, ResetPending, r.commit(1, CommitOffset{Offset: 9}))
	// A second reset before the first was told: telling the first changes nothing.
	require.EqualValues(t, 2, r.do(EncodeReset(nil, 1, "g", q, 2)))
	r.do(EncodeResetTold(nil, 1, "g", q, 3))
	require.Equal(t, ResetPending, r.commit(1, CommitOffset{Offset: 9}))
	r.do(EncodeResetTold(nil, 1, "g", q, 2))
	_, pending = r.PendingReset("g", q)
	require.False(t, pending)
	require.EqualValues(t, 2, r.at("g", q))
	require.Equal(t, Raised, r.commit(1, CommitOffset{Offset: 4}))
	// Into the queue: not past its end, not below 0.
	require.EqualValues(t, 10, r.do(EncodeReset(nil, 1, "g", q, 99)))
	require.EqualValues(t, 0, r.do(EncodeReset(nil, 1, "g", q, -5)))
	require.EqualValues(t, -1, r.do(EncodeReset(nil, 1, strings.Repeat("g", 256), q, 1)))
}

func (r *replica) lockAt(atMs int64, client string, ttl int64, qs ...message.Queue) LockResult {
	r.t.Helper()
	res := r.do(EncodeLock(nil, atMs, "g", client, qs, ttl)).(LockResult)
	require.Len(r.t, res.Epochs, len(res.Granted))
	return res
}

func TestALockHasOneHolderUntilItExpires(t *testing.T) {
	r := filled(t)
	q0, q1 := queue(0), queue(1)
	got := r.lockAt(2000, "a", 100, q0)
	require.Equal(t, []message.Queue{q0}, got.Granted)
	epoch := got.Epochs[0]
	require.Equal(t, []message.Queue{q1}, r.lockAt(2010, "b", 100, q0, q1).Granted)
	require.Equal(t, []uint64{epoch}, r.lockAt(2050, "a", 100, q0).Epochs, "prolonged")
	r = r.restart()
	require.Empty(t, r.lockAt(2149, "b", 100, q0).Granted)
	later := r.lockAt(2150, "b", 100, q0)
	require.Equal(t, []message.Queue{q0}, later.Granted, "expired by the asking entry's time")
	require.Greater(t, later.Epochs[0], epoch)
	// A clock that is behind neither extends nor shortens it.
	require.Empty(t, r.lockAt(1, "a", 100, q0).Granted)
	r.do(EncodeUnlock(nil, 2160, "g", "a", []message.Queue{q0}))
	client, _, expires, ok := r.LockOwner("g", q0)
	require.True(t, ok)
	require.Equal(t, "b", client)
	require.EqualValues(t, 2250, expires)
	r.do(EncodeUnlock(nil, 2160, "g", "b", []message.Queue{q0}))
	_, _, _, ok = r.LockOwner("g", q0)
	require.False(t, ok)
	require.Equal(t, []message.Queue{q0}, r.lockAt(2161, "a", 100, q0).Granted)
	// One who lost the lock and got it back is another holder.
	require.Greater(t, r.lockAt(2162, "a", 100, q0).Epochs[0], later.Epochs[0])
	require.Empty(t, r.lockAt(1, strings.Repeat("c", 256), 100, q1).Granted)
}

func TestOnLockedQueuesOnlyTheHolderCommits(t *testing.T) {
	r := filled(t)
	q := queue(0)
	first := r.lockAt(2000, "a", 100, q).Epochs[0]
	require.Equal(t, NotOwner, r.commit(2001, CommitOffset{Offset: 1, Owner: "b"}))
	require.Equal(t, NotOwner, r.commit(2001, CommitOffset{Offset: 1}))
	require.Equal(t, Raised, r.commit(2001, CommitOffset{Offset: 1, Owner: "a"}))
	require.Equal(t, Raised, r.commit(2001, CommitOffset{Offset: 2, Owner: "a", Epoch: first}))
	require.Equal(t, NotOwner, r.commit(2001, CommitOffset{Offset: 3, Owner: "a", Epoch: first + 1}))
	require.Equal(t, Raised, r.commit(2001, CommitOffset{Group: "other", Offset: 1, Owner: "b"}))
	// Expired, and nobody else took it: the epoch still is the last.
	require.Equal(t, Raised, r.commit(2200, CommitOffset{Offset: 3, Owner: "a", Epoch: first}))
	require.Equal(t, Raised, r.commit(2200, CommitOffset{Offset: 4, Owner: "stock"}))
	second := r.lockAt(2201, "b", 100, q).Epochs[0]
	require.Equal(t, NotOwner, r.commit(2202, CommitOffset{Offset: 5, Owner: "a", Epoch: first}))
	require.Equal(t, Raised, r.commit(2202, CommitOffset{Offset: 5, Owner: "b", Epoch: second}))
	r.do(EncodeUnlock(nil, 2203, "g", "b", []message.Queue{q}))
	require.Equal(t, NotOwner, r.commit(2204, CommitOffset{Offset: 6, Owner: "b", Epoch: second}))
	require.Equal(t, Raised, r.commit(2204, CommitOffset{Offset: 6}))
}

// Budgets are in bytes: what does not fit is refused, what is there may change,
// and locks make room when they have expired.
func TestOffsetsAndLocksStayInTheirBudgets(t *testing.T) {
	r := filled(t)
	r.offsets.budget, r.locks.budget = 1000, 1000
	n := 0
	for ; r.commit(1, CommitOffset{Group: name("group", n)}) == Raised; n++ {
	}
	require.Less(t, n, 100)
	require.Equal(t, NoRoom, r.commit(1, CommitOffset{Group: "one more"}))
	require.EqualValues(t, -1, r.do(EncodeReset(nil, 1, "one more", queue(0), 1)))
	require.Equal(t, Raised, r.commit(1, CommitOffset{Group: "group0", Offset: 1}))
	require.Equal(t, len(r.offsets.encode(nil))-4, r.offsets.size)
	var qs []message.Queue
	for i := range int32(100) {
		qs = append(qs, queue(i))
	}
	some := r.lockAt(2000, "a", 100, qs...).Granted
	require.Less(t, len(some), 100)
	require.Equal(t, some, r.lockAt(2001, "a", 100, qs...).Granted)
	require.Equal(t, len(r.locks.encode(nil))-4, r.locks.size)
	require.NotEmpty(t, r.lockAt(2200, "b", 100, qs[90:]...).Granted)
	require.Equal(t, len(r.locks.encode(nil))-4, r.locks.size)
}

// The three bounds together leave a checkpoint's bounded state under 4 MiB.
func TestTheBoundedStateIsUnderFourMiB(t *testing.T) {
	require.LessOrEqual(t, dedupBytes+offsetBytes+lockBytes+stateHead+8+4*4, 4<<20)
}
