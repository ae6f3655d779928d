package membership

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// What strangers say of themselves takes no node's address from the file of peers.
func TestStrangersDoNotSpoilThePeersThatAreKept(t *testing.T) {
	m := open(t, "a", t.TempDir(), 0)
	hear := func(name, at string) {
		b, err := json.Marshal(record{V: recordVersion, Seq: 1, Node: Node{Name: name, Gossip: at}})
		require.NoError(t, err)
		delegate{m}.NotifyMsg(b)
	}
	hear(strings.Repeat("x", 2<<20), "127.0.0.1:1")
	hear("x", strings.Repeat("1", 2<<20))
	hear("y\nb 127.0.0.1:1\nz", "127.0.0.1:1")
	hear("b", "127.0.0.1:2")
	require.Eventually(t, func() bool { return m.readPeers()["b"] == "127.0.0.1:2" }, time.Minute, 10*time.Millisecond)
	require.Len(t, m.readPeers(), 1)
}
