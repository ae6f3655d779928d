package membership

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
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

// Known peers that do not answer, however many, do not keep a node from one that does.
func TestPeersThatDoNotAnswerHoldNobodyUp(t *testing.T) {
	b := open(t, "b", "", 0)
	silent := ""
	for silent == "" || silent > b.Addr() { // it is called before b
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		t.Cleanup(func() { ln.Close() })
		silent = ln.Addr().String()
	}
	lines := "b " + b.Addr() + "\n"
	for i := range 60 {
		lines += fmt.Sprintf("s%d %s\n", i, silent)
	}
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, peersFile), []byte(lines), 0o600))
	a := open(t, "a", dir, 0)
	until(t, a, "b is found", func() bool { return len(a.Nodes()) == 2 })
}

// A node that closes as soon as it has heard of another finds it in its next life.
func TestAPeerHeardOfJustBeforeTheCloseIsKept(t *testing.T) {
	for range 20 { // a close may come before or after the file is written
		dir := t.TempDir()
		m := open(t, "a", dir, 0)
		m.hear(record{V: recordVersion, Seq: 1, Node: Node{Name: "b", Gossip: "127.0.0.1:2"}})
		require.NoError(t, m.Close())
		require.Equal(t, map[string]string{"b": "127.0.0.1:2"}, m.readPeers())
	}
}
