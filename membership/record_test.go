package membership

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"
)

// A node of a later program is passed over, with one line in the log, and nothing
// else that came with its record is.
func TestALaterFormatIsPassedOver(t *testing.T) {
	var log bytes.Buffer
	m, err := Open(Config{Self: Node{Name: "a"}, Bind: "127.0.0.1:0", Cluster: "c", Logger: hclog.New(&hclog.LoggerOptions{Output: &log, Level: hclog.Warn})})
	require.NoError(t, err)
	d := delegate{m}
	known := `{"v":1,"Seq":1,"Node":{"Name":"b","Raft":"b:1"},"Leads":[{"Partition":7,"Term":2}]}`
	later := `{"v":2,"Seq":9,"Node":{"Name":"c","Raft":["c:1"]},"Leads":{"7":9}}`
	d.MergeRemoteState([]byte("["+later+","+known+",{\"Seq\":\"x\"}]"), false)
	d.NotifyMsg([]byte(later))
	n, ok := m.Node("b")
	require.True(t, ok)
	require.Equal(t, "b:1", n.Raft)
	_, ok = m.Node("c")
	require.False(t, ok)
	leader, _, _ := m.Leader(7, nil)
	require.Equal(t, "b", leader)
	require.Contains(t, string(d.LocalState(false)), `{"v":1,"Seq":`)
	require.NoError(t, m.Close()) // nothing is written to log any more
	require.Equal(t, 1, strings.Count(log.String(), "passed over"), log.String())
	require.Contains(t, log.String(), "version 2, this program knows 1")
}

// A node's later life counts whatever its clock says, for others and against an
// earlier life that goes on: that one does not shout it down.
func TestALaterIncarnationCounts(t *testing.T) {
	m := open(t, "a", "", 0)
	d := delegate{m}
	self := func() (r record) {
		var all []record
		require.NoError(t, json.Unmarshal(d.LocalState(false), &all))
		for _, r = range all {
			if r.Node.Name == "a" {
				break
			}
		}
		return r
	}
	hear := func(r record) {
		r.V = recordVersion
		b, err := json.Marshal(r)
		require.NoError(t, err)
		d.NotifyMsg(b)
	}
	hear(record{Seq: 9, Node: Node{Name: "b", Incarnation: 1, Raft: "old"}})
	hear(record{Seq: 5, Node: Node{Name: "b", Incarnation: 2, Raft: "new"}})
	hear(record{Seq: 20, Node: Node{Name: "b", Incarnation: 1, Raft: "old"}})
	hear(record{Seq: 4, Node: Node{Name: "b", Incarnation: 2, Raft: "older"}})
	n, _ := m.Node("b")
	require.Equal(t, "new", n.Raft)

	m.Update(func(n *Node) { n.Incarnation = 2 })
	mine := self().Seq
	hear(record{Seq: mine + 100, Node: Node{Name: "a", Incarnation: 3, Raft: "next"}})
	require.Equal(t, mine, self().Seq)
	hear(record{Seq: mine + 100, Node: Node{Name: "a", Incarnation: 2}})
	require.Greater(t, self().Seq, mine+100)
}

func TestCloseByManyAndLeaveWithoutTime(t *testing.T) {
	a, b := open(t, "a", "", 0), open(t, "b", "", 0)
	join(t, b, a)
	untilSize(t, 2, a, b)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := a.Leave(ctx); err != nil { // it may have been heard at once
		require.ErrorIs(t, err, context.Canceled)
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if err := a.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	require.ErrorIs(t, a.Leave(context.Background()), errClosed)
}

// Whatever a peer sends, it is a record, of a later format, or an error.
func FuzzRecord(f *testing.F) {
	f.Add([]byte(`{"v":1,"Seq":1,"Node":{"Name":"b","Raft":"b:1"},"Leads":[{"Partition":7,"Term":2}]}`))
	f.Add([]byte(`{"v":2,"Node":7}`))
	f.Add([]byte(`{"V":1,"v":3}`))
	f.Add([]byte(`[]`))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := decodeRecord(b)
		if err != nil {
			return
		}
		require.LessOrEqual(t, r.V, recordVersion)
		b, err = json.Marshal(r)
		require.NoError(t, err)
		_, err = decodeRecord(b)
		require.NoError(t, err)
	})
}

// What nodes, or strangers, say of themselves is kept as long as it can be passed on in one piece: a
// node that is to join must be able to take it.
func TestRecordsThatAreTooLargeToBePassedOnAreNotKept(t *testing.T) {
	m := open(t, "a", "", 0)
	d := delegate{m}
	hear := func(name string, seq uint64, leads int) {
		t.Helper()
		b, err := json.Marshal(record{V: recordVersion, Seq: seq, Node: Node{Name: name}, Leads: make([]Lead, leads)})
		require.NoError(t, err)
		d.NotifyMsg(b)
	}
	hear("b", 1, 10)
	const large = 1 << 17
	for i := range 12 {
		hear(fmt.Sprint("x", i), 1, large)
	}
	require.Less(t, len(d.LocalState(false)), 20<<20)
	_, ok := m.Node("x0")
	require.True(t, ok)
	_, ok = m.Node("x11")
	require.False(t, ok)
	hear("x0", 2, 1) // room again
	hear("x11", 1, large/2)
	_, ok = m.Node("x11")
	require.True(t, ok)
	hear("b", 2, 20)
	require.Len(t, m.records["b"].Leads, 20)
}

// What a member says of itself and of as many others as it keeps is taken by others.
func TestAsManyRecordsAsAreKeptAreTaken(t *testing.T) {
	a, b := open(t, "a", "", 0), open(t, "b", "", 0)
	for i := range maxRecords {
		r, err := json.Marshal(record{V: recordVersion, Seq: 1, Node: Node{Name: fmt.Sprint("x", i)}})
		require.NoError(t, err)
		delegate{a}.NotifyMsg(r)
	}
	delegate{b}.MergeRemoteState(delegate{a}.LocalState(true), true)
	_, ok := b.Node("a")
	require.True(t, ok)
	require.Len(t, b.records, maxRecords)
}
