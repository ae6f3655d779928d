package broker

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftmq/remoting"
)

// Members ask for each other all the time: that makes no list of all clients, who may name thousands of groups.
func TestMembersAreFoundAmongManyClients(t *testing.T) {
	g := &registry{b: &Broker{now: time.Now}, conns: make(map[*remoting.ServerConn]clientInfo)}
	for i := range 1000 {
		g.conns[&remoting.ServerConn{}] = clientInfo{ID: fmt.Sprint("c", i), Producer: []string{"p", "q"}, Consumer: map[string]remoting.ConsumerData{"many": {}}}
	}
	member := clientInfo{ID: "m", Consumer: map[string]remoting.ConsumerData{"g": {Joined: 7, Strategy: "circle"}}}
	g.conns[&remoting.ServerConn{}], g.conns[&remoting.ServerConn{}] = member, member
	r := &request{Command: remoting.NewRequest(remoting.GetConsumerListByGroup, nil)}
	made := testing.AllocsPerRun(5, func() {
		require.EqualValues(t, 7, g.joined("m", "g"))
		require.NotNil(t, g.checkStrategy(r, "g", "other", "average", 8))
		require.Nil(t, g.checkStrategy(r, "g", "other", "average", 6))
	})
	require.Less(t, made, 200.0)
}
