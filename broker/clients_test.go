package broker

import (
	"fmt"
	"strings"
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

// What is kept of members that leave is bounded: a group that no member can be in is not.
func TestALeaveOfNoGroupIsNotKept(t *testing.T) {
	g := &registry{b: &Broker{now: time.Now}, conns: make(map[*remoting.ServerConn]clientInfo), lists: make(map[string]clientList), away: make(map[string]clientInfo)}
	leave := func(group string) *remoting.Command {
		return g.unregister(&request{Command: remoting.NewRequest(remoting.UnregisterClient, remoting.UnregisterHeader{ClientID: "c", ConsumerGroup: group, Joined: 1})})
	}
	require.Equal(t, remoting.OK, leave(strings.Repeat("g", 1<<20)).Code)
	require.Empty(t, g.leftGroups)
	require.Equal(t, remoting.OK, leave("g").Code)
	require.Len(t, g.leftGroups, 1)
}

// A pull that names no subscription asks for its group's: that makes no list of all clients, of which
// there may be thousands.
func TestAGroupsSubscriptionIsFoundAmongManyClients(t *testing.T) {
	b := &Broker{now: time.Now}
	g := &registry{b: b, conns: make(map[*remoting.ServerConn]clientInfo), lists: make(map[string]clientList), away: make(map[string]clientInfo)}
	client := func(i int, group string, version int64, expression string) clientInfo {
		return clientInfo{ID: fmt.Sprint("c", i), Consumer: map[string]remoting.ConsumerData{group: {
			SubscriptionDataSet: []remoting.SubscriptionData{{Topic: "t", SubString: expression, SubVersion: version}},
		}}}
	}
	var others clientList
	for i := range 1000 {
		g.conns[&remoting.ServerConn{}] = client(i, "many", 1, "*")
		others.Clients = append(others.Clients, client(i, "many", 1, "*"), client(1000+i, "others", 1, "*"))
	}
	others.Clients = append(others.Clients, client(5000, "g", 7, "a"))
	g.lists["n2"] = others
	g.away["x"] = client(5001, "g", 3, "b")
	gone := client(5002, "g", 9, "c")
	gone.Until = 1
	g.away["y"] = gone
	var s remoting.SubscriptionData
	var code remoting.Code
	made := testing.AllocsPerRun(5, func() { s, code = g.subscription("g", "t", 7) })
	require.Zero(t, code)
	require.Equal(t, "a", s.SubString)
	require.Less(t, made, 100.0)
	_, code = g.subscription("g", "t", 8)
	require.Equal(t, remoting.SubscriptionNotLatest, code)
	_, code = g.subscription("g", "u", 0)
	require.Equal(t, remoting.SubscriptionNotExist, code)
}
