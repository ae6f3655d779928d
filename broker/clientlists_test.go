package broker

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"

	"raftmq/remoting"
)

// A list of clients is sent, whoever has left this node or was connected to another's earlier life: else the others would
// go by an old one.
func TestAListOfClientsIsSentHoweverManyAreAway(t *testing.T) {
	b := &Broker{now: time.Now, log: hclog.NewNullLogger()}
	b.id.Node = "n1"
	g := &registry{b: b, conns: make(map[*remoting.ServerConn]clientInfo), away: make(map[string]clientInfo), left: make(map[string]time.Time)}
	here := clientInfo{ID: "here", Consumer: map[string]remoting.ConsumerData{"g": {}}}
	here.bytes = listed(here)
	g.conns[&remoting.ServerConn{}], g.bytes = here, here.bytes
	long := strings.Repeat("\x01", maxClientID-8) // six bytes each
	for i := range 10_000 {
		id := fmt.Sprintf("%s%08d", long, i)
		g.left[id] = time.Now()
		g.keepLocked([]clientInfo{{ID: id, Consumer: map[string]remoting.ConsumerData{"g": {}}}})
	}
	msg := g.own()
	require.NotNil(t, msg)
	require.LessOrEqual(t, len(msg), maxClients)
	var list clientList
	require.NoError(t, json.Unmarshal(msg, &list))
	require.Equal(t, "here", list.Clients[0].ID)
	require.NotEmpty(t, list.Left)
}
