package broker

import (
	"bytes"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"raftmq/internal/vfs"
	"raftmq/remoting"
)

// Lists of clients come from other nodes.
func FuzzClientList(f *testing.F) {
	good, err := json.Marshal(clientList{Clients: []clientInfo{{ID: "c"}}, Left: []string{"d"}})
	if err != nil {
		f.Fatal(err)
	}
	for _, s := range []string{string(good), "", "{}", "null", `{"Clients":null,"Left":[""]}`, `{"Life":1,"Since":-1,"Clients":[{"ID":"a","Consumer":{"g":{}}}]}`, `[]`} {
		f.Add([]byte(s), []byte(good))
	}
	f.Fuzz(func(t *testing.T, one, two []byte) {
		b := &Broker{log: hclog.NewNullLogger(), now: time.Now}
		g := &registry{
			b: b, began: time.Now(), changed: make(chan struct{}, 1), conns: make(map[*remoting.ServerConn]clientInfo),
			lists: make(map[string]clientList), away: make(map[string]clientInfo), left: make(map[string]time.Time),
			gone: make(map[string]time.Time), heard: make(chan struct{}),
		}
		for _, msg := range [][]byte{one, two, one} {
			if g.take("n2", msg) != nil && len(g.lists) > 1 {
				t.Fatal("what cannot be read was taken")
			}
		}
		if len(g.lists) > 1 {
			t.Fatalf("%d lists of one node", len(g.lists))
		}
	})
}

// node.json, peers.json and the write-ahead log's folder.json.
func FuzzFolderFiles(f *testing.F) {
	for _, s := range []string{"", "{}", "null", `{"Version":1,"Folders":{"n2":7}}`, `{"Version":2,"Nodes":{"n2":{"Folder":7,"Incarnation":1}}}`, `{"Version":99}`,
		`{"Cluster":"raftmq","Node":"n1","Incarnation":1,"Folder":5,"Member":true,"Version":1}`, `{"folder":5}`, `{"Version":2,"Nodes":null}`,
		string(appendSeal([]byte(`{"version":3,"cluster":"raftmq","node":"n1","incarnation":1,"folder":5,"member":true`))), `{"version":3,"crc32c":"00000000"}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, name := range []string{"node.json", peersFile, "folder.json"} {
			disk := vfs.NewMem(1)
			if err := errors.Join(vfs.MakeDir(disk, "d"), vfs.WriteFile(disk, "d/"+name, b)); err != nil {
				t.Fatal(err)
			}
			switch name {
			case "node.json":
				openIdentity(disk, Config{Cluster: "raftmq", Node: "n1", Data: "d"})
			case peersFile:
				if p, err := openPeerLives(disk, "d", identity{}, nil); err == nil {
					p.set("n3", life{1, 2})
					p.missing([]string{"n1", "n2"}, "n1")
				}
			default:
				ownWAL(disk, "d", identity{})
			}
			if got, err := vfs.ReadFile(disk, "d/"+name, 1<<20); name == "node.json" && len(b) > 0 && (err != nil || !bytes.Equal(got, b)) {
				t.Fatalf("%s was written: %q, %v", name, got, err)
			}
		}
	})
}
