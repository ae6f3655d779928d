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
