package run

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"raftmq/jepsen/cluster"
	"raftmq/jepsen/history"
	"raftmq/message"
	"raftmq/remoting"
)

// At the end a list of dead letters is read in several answers, of which few are needed for a long one.
func TestLettersAreListedInSeveralAnswers(t *testing.T) {
	const there = 20_000
	var mu sync.Mutex
	var had []int // letters, by answer
	r, w := toyRun(t, func(int) []cluster.Replica { return nil })
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	at := netip.MustParseAddrPort("127.0.0.1:1")
	s := &remoting.Server{Handler: remoting.HandlerFunc(func(_ context.Context, _ *remoting.ServerConn, req *remoting.Command) *remoting.Command {
		var h remoting.DeadLettersHeader
		if err := h.Decode(req.Ext); err != nil {
			return req.ReplyWith(nil, nil)
		}
		var list remoting.DeadLetterList
		for off := h.From.Offset; off < there; off++ {
			if len(list.Letters) == int(h.Max) {
				list.Next = &remoting.LetterPlace{Slot: h.Slot, Offset: off}
				break
			}
			rec, err := (&message.Message{Topic: "t", Body: fmt.Append(nil, off), BornHost: at, StoreHost: at}).AppendRecord(nil)
			if err != nil {
				return req.ReplyWith(nil, nil)
			}
			list.Letters = append(list.Letters, remoting.DeadLetter{Slot: int(h.Slot), Offset: off, Record: rec})
		}
		mu.Lock()
		had = append(had, len(list.Letters))
		mu.Unlock()
		return req.ReplyWith(nil, remoting.EncodeBody(list))
	})}
	go s.Serve(ln) // ends with Close
	t.Cleanup(func() { s.Close() })
	w.serves = ln.Addr().String()
	r.listLetters(t.Context(), retryGroup)
	require.NoError(t, r.history.Close())
	ops, err := history.Load(filepath.Join(r.o.Store, "history.jsonl"))
	require.NoError(t, err)
	require.Len(t, ops, nodes)
	for _, op := range ops {
		require.Equal(t, history.OK, op.Type, op.Error)
		require.Len(t, op.Messages, partitions*there)
	}
	require.Equal(t, []int{16, 32, 64, 128}, had[:4])
	require.Len(t, had, nodes*partitions*11)
}
