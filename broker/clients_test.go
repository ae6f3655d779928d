package broker

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftmq/remoting"
)

// Who names groups and sends no heartbeat any more is a member for 120 s, and no longer; who
// names none needs none.
func TestAMemberWithoutHeartbeatsIsHungUpOn(t *testing.T) {
	beats, stops, names := &remoting.ServerConn{}, &remoting.ServerConn{}, &remoting.ServerConn{}
	began := time.Now()
	group := map[string]remoting.ConsumerData{"g": {}}
	g := &registry{
		conns: map[*remoting.ServerConn]clientInfo{beats: {ID: "a", Consumer: group}, stops: {ID: "b", Consumer: group}, names: {ID: "c"}},
		beats: map[*remoting.ServerConn]time.Time{beats: began.Add(time.Minute), stops: began, names: began},
	}
	require.Empty(t, g.silent(began.Add(silentAfter)))
	require.Equal(t, []*remoting.ServerConn{stops}, g.silent(began.Add(silentAfter+time.Second)))
}

// For how long the clients of a node's earlier life stay in the lists is a matter of the
// cluster's time: a node whose clock is hours ahead keeps them no longer than the others, and
// one whose clock is behind no shorter.
func TestAWrongClockKeepsNoClientThatIsAway(t *testing.T) {
	for _, off := range []time.Duration{-2 * time.Hour, 2 * time.Hour} {
		now := time.Now()
		b := &Broker{now: func() time.Time { return time.Now().Add(off) }}
		b.clock.ms, b.clock.at, b.clock.sound = now.UnixMilli(), now, true
		g := &registry{b: b, away: make(map[string]clientInfo)}
		g.keepLocked([]clientInfo{{ID: "a", Consumer: map[string]remoting.ConsumerData{"g": {}}}})
		require.Len(t, g.all(), 1)
		require.InDelta(t, now.Add(clientsReturn).UnixMilli(), g.all()[0].Until, float64(time.Minute.Milliseconds()))
		g.expire()
		require.Len(t, g.all(), 1)
		// As another node, whose clock is right, has told.
		g.away = map[string]clientInfo{"x": {ID: "x", Until: now.Add(time.Minute).UnixMilli()}, "y": {ID: "y", Until: now.Add(-time.Minute).UnixMilli()}}
		require.Len(t, g.all(), 1)
		g.expire()
		require.Len(t, g.away, 1)
	}
}
