package raftlog

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"net"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"
)

func bytesOf(f *outFrame) []byte {
	var b bytes.Buffer
	f.writeTo(&b)
	return b.Bytes()
}

func payloadOf(f *outFrame) []byte { return bytesOf(f)[wireHeadBytes:] }

func sampleAppend() *raft.AppendEntriesRequest {
	return &raft.AppendEntriesRequest{
		RPCHeader: raft.RPCHeader{ProtocolVersion: 3, ID: []byte("n1.1"), Addr: []byte("n1.1")},
		Leader:    []byte("n1.1"), Term: 5, PrevLogEntry: 300, PrevLogTerm: 4, LeaderCommitIndex: 299,
		Entries: []*raft.Log{
			{Index: 301, Term: 4, Type: raft.LogCommand, Data: []byte("abc"), Extensions: []byte("x"), AppendedAt: time.Unix(1, 2)},
			{Index: 302, Term: 5, Type: raft.LogNoop},
		},
	}
}

func TestWireGoldenBytes(t *testing.T) {
	target := wireTarget{call: 1, group: 7, incarnation: 2}
	vote := &raft.RequestVoteRequest{RPCHeader: raft.RPCHeader{ProtocolVersion: 3, ID: []byte("i"), Addr: []byte("a")}, Term: 5, LastLogIndex: 9, LastLogTerm: 4, LeadershipTransfer: true}
	for _, c := range []struct {
		name, want string
		got        []byte
	}{
		{"append", "2a00000061ee09a30301070203000005ac0204ab0202040002ca9a3b00000000010305010000000000000000000078616263", bytesOf(encodeAppend(target, sampleAppend(), "n1.1"))},
		{"vote", "0d0000009e675c7a04010702030169016105090401", bytesOf(encodeVote(target, vote, "n1.1"))},
		{"append answer", "07000000999b80750a010005ac0201", bytesOf(encodeReply(1, &raft.AppendEntriesResponse{Term: 5, LastLog: 300, Success: true}, nil, false))},
		{"refusal", "190000000fc416e00a0102746f6f206d616e792072657175657374732077616974", bytesOf(encodeReply(1, nil, errBusy, true))},
		{"hello", "726d715401001500fe411a140163026e3109726166742d64617461026e3203ac02", netHello{cluster: "c", node: "n1", class: classData, target: "n2", incarnation: 3, folder: 300}.encode()},
		{"hello answer", "726d715401000a00d4c41a23026e6f0163026e320405", helloAnswer{reason: "no", cluster: "c", node: "n2", incarnation: 4, folder: 5}.encode()},
	} {
		require.Equal(t, c.want, hex.EncodeToString(c.got), c.name)
	}
}

// Large data goes out as it is, small data is gathered; the bytes are the same either way.
func TestAppendOfMixedSizesIsReadBack(t *testing.T) {
	a := sampleAppend()
	a.Entries = nil
	for i, size := range []int{0, 5, smallData + 1, 10, 0, smallData, 3 * smallData, smallData + 1, 1} {
		l := &raft.Log{Index: 301 + uint64(i), Term: 4, Data: bytes.Repeat([]byte{byte(i + 1)}, size), Extensions: bytes.Repeat([]byte{'e'}, i%3)}
		if size == 0 {
			l.Data = nil
		}
		if i%3 == 0 {
			l.Extensions = nil
		}
		a.Entries = append(a.Entries, l)
	}
	f := encodeAppend(wireTarget{1, 2, 3}, a, "n1.1")
	b, err := readPayload(bufio.NewReader(bytes.NewReader(bytesOf(f))), 1<<20, nil)
	require.NoError(t, err)
	require.Len(t, b, f.size-wireHeadBytes)
	r := &wireReader{b: b[1:]}
	require.Equal(t, wireTarget{1, 2, 3}, r.target())
	got, clamped, err := decodeAppend(r, []byte("n1.1"))
	require.NoError(t, err)
	require.False(t, clamped)
	require.Equal(t, a, got)
}

// What another sender has not clamped is clamped on arrival.
func TestReceivedCommitIndexIsClamped(t *testing.T) {
	a := sampleAppend()
	a.LeaderCommitIndex = 1 << 40
	r := &wireReader{b: payloadOf(encodeAppend(wireTarget{1, 2, 3}, a, "n1.1"))[1:]}
	r.target()
	got, clamped, err := decodeAppend(r, []byte("n1.1"))
	require.NoError(t, err)
	require.True(t, clamped)
	require.Equal(t, uint64(302), got.LeaderCommitIndex)
}

// A flipped bit anywhere in a frame is noticed.
func TestFlippedBitIsNoticed(t *testing.T) {
	whole := bytesOf(encodeAppend(wireTarget{1, 2, 3}, sampleAppend(), "n1.1"))
	for i := range len(whole) * 8 {
		b := bytes.Clone(whole)
		b[i/8] ^= 1 << (i % 8)
		_, err := readPayload(bufio.NewReader(bytes.NewReader(b)), 1<<20, nil)
		require.Error(t, err, "bit %d", i)
	}
}

// fuzzTransport is a transport that talks to nobody.
func fuzzTransport(t testing.TB) *Transport {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	tr, err := NewTransport(TransportConfig{Cluster: "c", Node: "n1", Incarnation: 1, Listener: l, MaxBytes: 64 << 10,
		Dial: func(ctx context.Context, _ string) (net.Conn, error) { <-ctx.Done(); return nil, ctx.Err() }})
	require.NoError(t, err)
	t.Cleanup(func() { tr.Close() })
	return tr
}

// Nothing that a peer sends makes a session panic, wait, or take more memory than a frame may have.
func FuzzSession(f *testing.F) {
	target := wireTarget{1, 7, 1}
	h := raft.RPCHeader{ProtocolVersion: 3}
	f.Add(payloadOf(encodeAppend(target, sampleAppend(), "n1.1")))
	f.Add(payloadOf(encodeVote(target, &raft.RequestVoteRequest{RPCHeader: h, Term: 3}, "")))
	f.Add(payloadOf(encodePreVote(target, &raft.RequestPreVoteRequest{RPCHeader: h}, "")))
	f.Add(payloadOf(encodeTimeoutNow(target, &raft.TimeoutNowRequest{RPCHeader: h}, "")))
	f.Add([]byte{wirePing, 5})
	f.Add([]byte{wireHeartbeats, 1, 1, 7, 1, 3, 0, 0, 9})
	f.Add([]byte{wireCall, 1, 5, 0, 'x'})
	f.Add([]byte{wireNotify, 5, 'x'})
	f.Add([]byte{wireHeartbeats, 0xff, 0xff, 0xff, 0xff, 0x0f})
	tr := fuzzTransport(f)
	tr.Handle(5, func(context.Context, string, []byte) ([]byte, error) { return nil, nil })
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) == 0 || len(b) > tr.frameLimit {
			return
		}
		s := &netSession{t: tr, from: netHello{node: "n2"}, peer: []byte("n2.1"), out: newOutbox(replyOutbox),
			calls: make(chan struct{}, maxCalls), notices: make(chan wireNotice, 1)}
		var wg sync.WaitGroup
		s.take(t.Context(), b, &wg)
		wg.Wait()
		tr.Group(7).Close()
	})
}

// Nothing that a peer answers makes a link panic or call an answer twice.
func FuzzLink(f *testing.F) {
	f.Add(payloadOf(encodeReply(1, &raft.AppendEntriesResponse{Term: 5, LastLog: 300, Success: true}, nil, false)))
	f.Add(payloadOf(encodeReply(2, &raft.RequestVoteResponse{Term: 5}, nil, false)))
	f.Add(payloadOf(encodeReply(1, nil, errBusy, true)))
	f.Add([]byte{wireBeats, 2, 1, 0, 5, 9, 1, 2, 1, 2, 'n', 'o'})
	f.Add([]byte{wirePong, 1})
	tr := fuzzTransport(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) == 0 {
			return
		}
		near, far := net.Pipe()
		defer far.Close()
		l := newLink(newPeer(tr, "n2"), &heldConn{Conn: near, t: tr, raw: near}, 1)
		var answered [3]int
		for i := range answered {
			var resp raft.AppendEntriesResponse
			read := l.readAppend(&resp)
			l.add(&linkCall{answer: func(r *wireReader, err error) {
				answered[i]++
				if err == nil {
					read(r)
				}
			}})
		}
		err := l.take(b)
		if err == nil {
			err = net.ErrClosed
		}
		l.fail(err)
		require.Equal(t, [3]int{1, 1, 1}, answered)
	})
}

func FuzzHello(f *testing.F) {
	f.Add(netHello{cluster: "c", node: "n1", class: classData, target: "n2", incarnation: 3}.encode())
	f.Add(helloAnswer{reason: "no", cluster: "c", node: "n2", incarnation: 4}.encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		version, body, err := readHelloBody(bytes.NewReader(b))
		if err != nil || body == nil {
			return
		}
		require.EqualValues(t, helloVersion, version)
		if h, err := decodeHello(body); err == nil {
			again, err := decodeHello(h.encode()[helloHeadBytes:])
			require.NoError(t, err)
			require.Equal(t, h, again)
		}
		decodeHelloAnswer(body)
	})
}

func FuzzInstall(f *testing.F) {
	req := &raft.InstallSnapshotRequest{SnapshotVersion: 1, Term: 4, LastLogIndex: 9, LastLogTerm: 3, Size: 5, Configuration: raft.EncodeConfiguration(raft.Configuration{})}
	f.Add(payloadOf(encodeInstall(wireTarget{0, 1, 1}, req, "n1.1")))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 0 {
			decodeInstall(b, []byte("n1.1"))
		}
	})
}

// A frame that claims to be large, or to hold many entries, makes nothing be allocated for the claim.
func TestClaimsAllocateNothing(t *testing.T) {
	allocated := func(f func()) uint64 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		f()
		runtime.ReadMemStats(&after)
		return after.TotalAlloc - before.TotalAlloc
	}
	head := []byte{0xff, 0xff, 0xff, 0x7f, 1, 2, 3, 4, wireAppend}
	require.Less(t, allocated(func() {
		_, err := readPayload(bufio.NewReader(bytes.NewReader(head)), 8<<20, nil)
		require.Error(t, err)
	}), uint64(64<<10))
	many := []byte{0, 0, 0, 5, 1, 1, 1, 0xff, 0xff, 0xff, 0xff, 0x0f}
	require.Less(t, allocated(func() {
		_, _, err := decodeAppend(&wireReader{b: many}, nil)
		require.Error(t, err)
	}), uint64(64<<10))
}

func BenchmarkEncodeAppend64KiB(b *testing.B) {
	a := sampleAppend()
	a.Entries[0].Data = make([]byte, 64<<10)
	b.SetBytes(64 << 10)
	b.ReportAllocs()
	for b.Loop() {
		encodeAppend(wireTarget{1, 2, 3}, a, "n1.1")
	}
}
