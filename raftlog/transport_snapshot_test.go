package raftlog_test

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"

	"raftmq/raftlog"
)

func installOf(size int) (*raft.InstallSnapshotRequest, []byte) {
	id := []byte("n1.1")
	state := make([]byte, size)
	for i := range state {
		state[i] = byte(i * 7)
	}
	return &raft.InstallSnapshotRequest{
		RPCHeader: raft.RPCHeader{ProtocolVersion: 3, ID: id, Addr: id}, SnapshotVersion: 1, Term: 4, Leader: id,
		LastLogIndex: 100, LastLogTerm: 3, Configuration: raft.EncodeConfiguration(servers("n1", "n2")), ConfigurationIndex: 1,
		Size: int64(size),
	}, state
}

// A snapshot arrives whole, on a connection of its own, however long the receiver takes over it.
func TestSnapshotArrivesWhole(t *testing.T) {
	inBubble(t, func(t *testing.T, n *nodeNet) {
		g1, g2 := n.open(t, "n1", nil).Group(1), n.open(t, "n2", nil).Group(1)
		var got []byte
		var cmd any
		serveGroup(t, g2, func(c any, rpc raft.RPC) {
			cmd = c
			got, _ = io.ReadAll(rpc.Reader)
			time.Sleep(5 * time.Minute) // restores it
			rpc.Respond(&raft.InstallSnapshotResponse{Term: 4, Success: true}, nil)
		})
		for _, size := range []int{0, 1, 256 << 10, 3<<20 + 5} {
			req, state := installOf(size)
			var resp raft.InstallSnapshotResponse
			require.NoError(t, g1.InstallSnapshot("n2.1", "n2.1", req, &resp, bytes.NewReader(state)))
			require.Equal(t, req, cmd)
			require.True(t, bytes.Equal(state, got), "%d bytes", size)
			require.Equal(t, raft.InstallSnapshotResponse{
				RPCHeader: raft.RPCHeader{ProtocolVersion: 3, ID: []byte("n2.1"), Addr: []byte("n2.1")}, Term: 4, Success: true}, resp)
		}
	})
}

// A snapshot that breaks off is an error at both ends, never a short state.
func TestSnapshotThatBreaksOffIsNotTaken(t *testing.T) {
	for _, c := range []struct {
		name string
		data func(n *nodeNet, state []byte) io.Reader
	}{
		{"the source fails", func(_ *nodeNet, state []byte) io.Reader {
			return io.MultiReader(bytes.NewReader(state[:len(state)/2]), iotest.ErrReader(errors.New("a bad sector")))
		}},
		{"the source is short", func(_ *nodeNet, state []byte) io.Reader { return bytes.NewReader(state[:len(state)-1]) }},
		{"the link is cut", func(n *nodeNet, state []byte) io.Reader {
			return io.MultiReader(bytes.NewReader(state[:len(state)/2]), cutReader{n}, bytes.NewReader(state[len(state)/2:]))
		}},
		{"the link hangs", func(n *nodeNet, state []byte) io.Reader {
			return io.MultiReader(bytes.NewReader(state[:len(state)/2]), hangReader{n}, bytes.NewReader(state[len(state)/2:]))
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, n *nodeNet) {
				g1, g2 := n.open(t, "n1", nil).Group(1), n.open(t, "n2", nil).Group(1)
				received := make(chan error, 1)
				serveGroup(t, g2, func(_ any, rpc raft.RPC) {
					_, err := io.ReadAll(rpc.Reader)
					received <- err
					rpc.Respond(&raft.InstallSnapshotResponse{}, err)
				})
				req, state := installOf(2 << 20)
				require.Error(t, g1.InstallSnapshot("n2.1", "n2.1", req, new(raft.InstallSnapshotResponse), c.data(n, state)))
				require.Error(t, <-received)
			})
		})
	}
}

type cutReader struct{ n *nodeNet }

func (c cutReader) Read([]byte) (int, error) { c.n.cuts.Cut("n1", "n2"); return 0, io.EOF }

type hangReader struct{ n *nodeNet }

func (c hangReader) Read([]byte) (int, error) { c.n.cuts.Hang("n1", "n2"); return 0, io.EOF }

// A snapshot for a group that is not here, or a former self, is refused; one that waits ends when its group closes.
func TestSnapshotRefusals(t *testing.T) {
	inBubble(t, func(t *testing.T, n *nodeNet) {
		g1, n2 := n.open(t, "n1", nil).Group(1), n.open(t, "n2", nil)
		req, state := installOf(100)
		var resp raft.InstallSnapshotResponse
		require.ErrorIs(t, g1.InstallSnapshot("n2.1", "n2.1", req, &resp, bytes.NewReader(state)), raftlog.ErrRefused)
		require.ErrorIs(t, g1.InstallSnapshot("n2.7", "n2.7", req, &resp, bytes.NewReader(state)), raftlog.ErrRefused)
		n2.Group(1) // nobody consumes
		ended := make(chan error, 1)
		go func() { ended <- g1.InstallSnapshot("n2.1", "n2.1", req, &resp, bytes.NewReader(state)) }()
		synctest.Wait()
		require.NoError(t, g1.Close())
		require.Error(t, <-ended)
	})
}

// Close ends everything that the transport started, whatever state it is in: the bubble would not burst otherwise, and only
// connections lost to Close can end these waits.
func TestCloseEndsEverything(t *testing.T) {
	inBubble(t, func(t *testing.T, n *nodeNet) {
		n1, n2 := n.open(t, "n1", nil), n.open(t, "n2", nil)
		n1.SetPeers([]string{"n2", "n3"})
		n2.SetPeers([]string{"n1", "n3"})
		n2.Handle(1, echo)
		blocked := make(chan error, 20)
		n2.Group(1) // nobody consumes
		g1 := n1.Group(1)
		p, err := g1.AppendEntriesPipeline("n2.1", "n2.1")
		require.NoError(t, err)
		_, err = p.AppendEntries(appendOf(1, 1, 1), new(raft.AppendEntriesResponse))
		require.NoError(t, err)
		for _, target := range []raft.ServerAddress{"n2.1", "n3.1"} {
			for _, a := range []*raft.AppendEntriesRequest{appendOf(1, 1, 1), appendOf(0, 0, 0)} {
				go func() {
					blocked <- g1.AppendEntries(raft.ServerID(target), target, a, new(raft.AppendEntriesResponse))
				}()
			}
			go func() {
				req, state := installOf(1 << 20)
				blocked <- g1.InstallSnapshot(raft.ServerID(target), target, req, new(raft.InstallSnapshotResponse), bytes.NewReader(state))
			}()
		}
		go func() { _, err := n1.Listener("x").Accept(); blocked <- err }()
		n2.Listener("y")
		conn, err := n1.Dial(t.Context(), "n2", "y")
		require.NoError(t, err)
		go func() { _, err := conn.Read(make([]byte, 1)); blocked <- err }()
		n.cuts.Hang("n1", "n2")
		go func() { _, err := n1.Call(t.Context(), "n2", 1, nil); blocked <- err }()
		synctest.Wait()

		began := time.Now()
		require.NoError(t, n1.Close())
		require.Zero(t, time.Since(began))
		for range 9 {
			require.Error(t, <-blocked)
		}
		require.Zero(t, n1.Stats().Connections)
		require.NoError(t, n1.Close())
		require.Error(t, n1.Group(2).AppendEntries("n2.1", "n2.1", appendOf(1, 1, 1), new(raft.AppendEntriesResponse)))
		_, err = n1.Call(t.Context(), "n2", 1, nil)
		require.ErrorIs(t, err, raftlog.ErrUnreachable)
		_, err = n1.Dial(t.Context(), "n2", "y")
		require.ErrorIs(t, err, raftlog.ErrUnreachable)
		n1.SetPeers([]string{"n4"})
		require.NoError(t, p.Close())
		require.NoError(t, n2.Close())
	})
}
