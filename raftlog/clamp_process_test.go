package raftlog

import (
	"bufio"
	"context"
	"encoding/json"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"
)

// realNode is what dev says of a process, and the process of its partition.
type realNode struct {
	Name, Raft, HTTP, Data string
	PID                    int

	State                 string
	Group, Term           uint64
	Last, Commit, Applied uint64
}

func (n *realNode) look(t *testing.T) {
	t.Helper()
	resp, err := http.Get("http://" + n.HTTP + "/debug/partitions")
	require.NoError(t, err)
	defer resp.Body.Close()
	var all []struct {
		ID                          uint64
		State                       string
		Term, Last, Commit, Applied uint64
	}
	require.NoError(t, json.NewDecoder(resp.Body).Decode(&all))
	require.Len(t, all, 1)
	n.Group, n.State, n.Term, n.Last, n.Commit, n.Applied = all[0].ID, all[0].State, all[0].Term, all[0].Last, all[0].Commit, all[0].Applied
}

// startReal starts three processes with one partition that is sent to without end.
func startReal(t *testing.T, program string) (nodes []*realNode) {
	t.Helper()
	dir := t.TempDir()
	dev := exec.Command(program, "dev", "--data", dir, "--", "--wal-segment-bytes", "16777216", "--wal-segments", "5", "--max-body", "1048576")
	out, err := dev.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, dev.Start())
	t.Cleanup(func() {
		dev.Process.Signal(syscall.SIGTERM)
		dev.Wait()
	})
	lines := bufio.NewScanner(out)
	for lines.Scan() && !strings.HasPrefix(lines.Text(), "ready") {
	}
	go func() {
		for lines.Scan() {
		}
	}()
	b, err := os.ReadFile(filepath.Join(dir, "cluster.json"))
	require.NoError(t, err)
	var c struct {
		Nodes []struct {
			Name, Nameserver, Raft, HTTP, Data string
			PID                                int
		}
	}
	require.NoError(t, json.Unmarshal(b, &c))
	var endpoint []string
	for _, n := range c.Nodes {
		nodes = append(nodes, &realNode{Name: n.Name, Raft: n.Raft, HTTP: n.HTTP, Data: n.Data, PID: n.PID})
		endpoint = append(endpoint, n.Nameserver)
	}
	client := func(ctx context.Context, args ...string) *exec.Cmd {
		return exec.CommandContext(ctx, program, append(args, "--endpoint", strings.Join(endpoint, ","))...)
	}
	said, err := client(t.Context(), "topic", "create", "t", "--partitions", "1", "--queues", "1").CombinedOutput()
	require.NoError(t, err, "%s", said)
	ctx, cancel := context.WithCancel(context.Background())
	sender := client(ctx, "send", "t", "-")
	in, err := sender.StdinPipe()
	require.NoError(t, err)
	require.NoError(t, sender.Start())
	t.Cleanup(func() {
		cancel()
		sender.Wait()
	})
	go func() {
		for line := []byte("line\n"); err == nil; time.Sleep(time.Millisecond) {
			_, err = in.Write(line)
		}
	}()
	return nodes
}

// A leader that is left alone keeps entries that nobody else has. Then a leader of a later term says how far it has committed, by a
// request that verifies none of them: a real process does not take that for leave to apply them.
func TestARealProcessAppliesOnlyWhatIsVerified(t *testing.T) {
	program := os.Getenv("RAFTMQ_PROGRAM")
	if program == "" {
		t.Skip("starts real processes of RAFTMQ_PROGRAM: make rows")
	}
	nodes := startReal(t, program)
	var left, other *realNode
	for left == nil {
		for _, n := range nodes {
			if n.look(t); n.State == "Leader" && n.Commit > 100 {
				left = n
			}
		}
	}
	for _, n := range nodes {
		if n != left {
			other = n
			require.NoError(t, syscall.Kill(n.PID, syscall.SIGKILL))
		}
	}
	for left.look(t); left.State == "Leader"; left.look(t) {
		time.Sleep(50 * time.Millisecond)
	}
	require.Greater(t, left.Last, left.Commit, "it has entries of its own")
	require.Equal(t, left.Commit, left.Applied)

	var id struct {
		Cluster, Node              string
		Incarnation, Folder, Level uint64
	}
	b, err := os.ReadFile(filepath.Join(other.Data, "node.json"))
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(b, &id))
	conn, err := net.Dial("tcp", left.Raft)
	require.NoError(t, err)
	defer conn.Close()
	_, err = conn.Write(netHello{cluster: id.Cluster, node: id.Node, class: classData, target: left.Name, incarnation: id.Incarnation, folder: id.Folder, level: id.Level}.encode())
	require.NoError(t, err)
	_, body, err := readHelloBody(conn)
	require.NoError(t, err)
	answer, err := decodeHelloAnswer(body)
	require.NoError(t, err)
	require.Empty(t, answer.reason)

	self := nodeAddress(id.Node, id.Incarnation)
	_, err = conn.Write(bytesOf(encodeAppend(wireTarget{1, left.Group, answer.incarnation}, &raft.AppendEntriesRequest{
		RPCHeader: raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: []byte(self), Addr: []byte(self)},
		Term:      left.Term + 1, Leader: []byte(self), PrevLogEntry: left.Commit, PrevLogTerm: left.Term, LeaderCommitIndex: left.Last + 100,
	}, self)))
	require.NoError(t, err)
	reply, err := readPayload(bufio.NewReader(conn), 1<<20, nil)
	require.NoError(t, err)
	r := &wireReader{b: reply[1:]}
	require.EqualValues(t, 1, r.uint())
	require.EqualValues(t, wireOK, r.byte())
	var resp raft.AppendEntriesResponse
	r.appendAnswer(&resp, raft.RPCHeader{})
	require.NoError(t, r.err)
	require.True(t, resp.Success, "it follows: %+v", resp)

	before := *left
	for range 20 { // what is applied is applied soon
		left.look(t)
		require.Equal(t, before.Commit, left.Commit, "entries were committed that no majority has")
		require.Equal(t, before.Applied, left.Applied)
		time.Sleep(50 * time.Millisecond)
	}
	t.Logf("%s kept its entries %d to %d unapplied", left.Name, left.Commit+1, left.Last)
}
