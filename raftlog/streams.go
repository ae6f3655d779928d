package raftlog

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// Listener accepts the connections that other nodes Dial for a class, behind the transport's hello and TLS. Until there is a listener for
// a class its connections are refused. Accepted connections belong to the caller. Close refuses further ones.
func (t *Transport) Listener(class string) net.Listener {
	t.mu.Lock()
	defer t.mu.Unlock()
	if l := t.listeners[class]; l != nil {
		return l
	}
	l := &classListener{t: t, class: class, conns: make(chan net.Conn, maxBacklog), done: make(chan struct{})}
	t.listeners[class] = l
	if t.closed {
		close(l.done)
	}
	return l
}

// Dial connects to a node's listener of a class. The connection is the caller's; Close of the transport closes it. ErrUnreachable says
// that there is none.
func (t *Transport) Dial(ctx context.Context, node, class string) (net.Conn, error) {
	conn, _, err := t.dialClass(ctx, ctx.Done(), node, class)
	if err != nil {
		return nil, unreachable(node, err)
	}
	return conn, nil
}

// serves says whether connections of a class are taken.
func (t *Transport) serves(class string) bool {
	switch class {
	case classControl, classData, classSnapshot:
		return true
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.listeners[class] != nil
}

// hand gives an accepted connection to its listener.
func (t *Transport) hand(conn, raw net.Conn, h netHello) {
	t.mu.Lock()
	l := t.listeners[h.class]
	t.mu.Unlock()
	if l == nil {
		t.drop(raw)
		return
	}
	select {
	case <-l.done:
		t.drop(raw)
	default:
		select {
		case l.conns <- &heldConn{Conn: conn, t: t, raw: raw, peer: h.peer()}:
		default:
			t.drop(raw)
		}
	}
}

// classListener is the net.Listener of a class.
type classListener struct {
	t     *Transport
	class string
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

// Accept waits for a connection.
func (l *classListener) Accept() (net.Conn, error) {
	select {
	case <-l.done:
		return nil, net.ErrClosed
	default:
	}
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

// Addr is the address of the transport's listener.
func (l *classListener) Addr() net.Addr { return l.t.cfg.Listener.Addr() }

// Close ends Accept and refuses what was not accepted.
func (l *classListener) Close() error {
	l.once.Do(func() {
		l.t.mu.Lock()
		if l.t.listeners[l.class] == l && !l.t.closed {
			delete(l.t.listeners, l.class)
		}
		l.t.mu.Unlock()
		close(l.done)
		for {
			select {
			case c := <-l.conns:
				c.Close()
			default:
				return
			}
		}
	})
	return nil
}

// A snapshot has a connection of its own. The sender's frames (as in wire.go):
//
//	install  group, target incarnation, header, snapshot version (1 byte), term, last index, last term, configuration index, size,
//	         configuration (length, bytes), peers (length, bytes)
//	chunk    at most 256 KiB of the state, to the end of the frame
//	end      nothing
//
// The receiver's:
//
//	working  nothing; once a second until it answers
//	reply    as the answer of a vote: call 0, status, term, success (1 byte)
const (
	snapshotChunk = 256 << 10
	streamLinger  = 2 * time.Second
)

func encodeInstall(t wireTarget, a *raft.InstallSnapshotRequest, self string) *outFrame {
	b := newPayload(wireInstall, 128+len(a.Configuration)+len(a.Peers))
	b = binary.AppendUvarint(b, t.group)
	b = binary.AppendUvarint(b, t.incarnation)
	b = appendRPCHeader(b, a.RPCHeader, self)
	b = append(b, byte(a.SnapshotVersion))
	for _, v := range []uint64{a.Term, a.LastLogIndex, a.LastLogTerm, a.ConfigurationIndex, uint64(a.Size)} {
		b = binary.AppendUvarint(b, v)
	}
	b = appendText(b, string(a.Configuration))
	return seal(appendText(b, string(a.Peers)))
}

func decodeInstall(b, peer []byte) (t wireTarget, a *raft.InstallSnapshotRequest, err error) {
	if b[0] != wireInstall {
		return t, nil, errWireShort
	}
	r := &wireReader{b: b[1:]}
	t.group, t.incarnation = r.uint(), r.uint()
	a = &raft.InstallSnapshotRequest{RPCHeader: r.rpcHeader(peer)}
	a.Leader = a.Addr
	a.SnapshotVersion = raft.SnapshotVersion(r.byte())
	a.Term, a.LastLogIndex, a.LastLogTerm, a.ConfigurationIndex = r.uint(), r.uint(), r.uint(), r.uint()
	a.Size = int64(r.uint())
	a.Configuration = r.take(r.uint())
	a.Peers = r.take(r.uint())
	if a.Size < 0 {
		r.fail()
	}
	if err := r.end(); err != nil {
		return t, nil, err
	}
	// DecodeConfiguration of the library panics on bytes that it cannot read.
	if a.SnapshotVersion > 0 && !decodable(a.Configuration) {
		return t, nil, errWireShort
	}
	return t, a, nil
}

func decodable(configuration []byte) (ok bool) {
	defer func() { ok = recover() == nil }()
	raft.DecodeConfiguration(configuration)
	return true
}

// InstallSnapshot streams data on a connection of its own; it fails when the receiver shows no sign of life for half a minute.
func (g *GroupTransport) InstallSnapshot(_ raft.ServerID, target raft.ServerAddress, args *raft.InstallSnapshotRequest, resp *raft.InstallSnapshotResponse, data io.Reader) error {
	node, incarnation := NodeOf(target)
	conn, answer, err := g.t.dialClass(g.t.ctx, g.done, node, classSnapshot)
	if err != nil {
		return unreachable(node, err)
	}
	defer conn.Close()
	// An answer may come before everything is sent: a refusal. A failure to send ends the wait for the answer.
	var sending sync.WaitGroup
	var broken error
	over := make(chan struct{})
	sending.Go(func() {
		if broken = g.stream(conn, wireTarget{group: g.id, incarnation: incarnation}, args, data); broken != nil {
			g.t.after(streamLinger, conn.hangUp) // the receiver may have said why
		}
	})
	sending.Go(func() {
		select {
		case <-g.done:
			conn.hangUp()
		case <-over:
		}
	})
	err = readInstalled(conn, node, resp)
	close(over)
	conn.hangUp()
	sending.Wait()
	if broken != nil && (err == nil || errors.Is(err, ErrLinkLost)) {
		err = broken
	}
	if err != nil {
		return fmt.Errorf("send snapshot to %s: %w", node, err)
	}
	peer := []byte(nodeAddress(node, answer.incarnation))
	resp.RPCHeader = raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: peer, Addr: peer}
	return nil
}

func (g *GroupTransport) stream(conn net.Conn, t wireTarget, args *raft.InstallSnapshotRequest, data io.Reader) error {
	put := func(f *outFrame) error {
		conn.SetWriteDeadline(time.Now().Add(streamIdle))
		g.t.stats.framesOut.Add(1)
		g.t.stats.bytesOut.Add(uint64(f.size))
		return f.writeTo(conn)
	}
	if err := put(encodeInstall(t, args, string(g.t.self))); err != nil {
		return err
	}
	buf := make([]byte, wireHeadBytes+1+snapshotChunk)
	for left := args.Size; left > 0; {
		b := buf[:wireHeadBytes+1+min(left, snapshotChunk)]
		b[wireHeadBytes] = wireChunk
		if _, err := io.ReadFull(data, b[wireHeadBytes+1:]); err != nil {
			return fmt.Errorf("read snapshot: %w", err)
		}
		if err := put(seal(b)); err != nil {
			return err
		}
		left -= int64(len(b) - wireHeadBytes - 1)
	}
	return put(seal(newPayload(wireEnd, 0)))
}

// readInstalled waits for the answer to a snapshot.
func readInstalled(conn net.Conn, node string, resp *raft.InstallSnapshotResponse) error {
	r := bufio.NewReader(conn)
	for {
		conn.SetReadDeadline(time.Now().Add(streamIdle))
		b, err := readPayload(r, 2*wireMaxName, nil)
		if err != nil {
			return fmt.Errorf("%w: %s: %w", ErrLinkLost, node, err)
		}
		if b[0] == wireWorking {
			continue
		}
		f := &wireReader{b: b[1:]}
		f.uint()
		status := f.byte()
		switch {
		case b[0] != wireReply || f.err != nil:
			return errWireShort
		case status == wireRefused:
			return fmt.Errorf("%w: %s: %s", ErrRefused, node, f.rest())
		case status == wireFailed:
			return &RemoteError{Node: node, Text: string(f.rest())}
		}
		resp.Term, resp.Success = f.uint(), f.byte() != 0
		return f.end()
	}
}

// receiveSnapshot takes one snapshot to its group and answers.
func (t *Transport) receiveSnapshot(conn net.Conn, h netHello) {
	conn.SetReadDeadline(time.Now().Add(streamIdle))
	r := bufio.NewReaderSize(conn, 64<<10)
	b, err := readPayload(r, t.frameLimit, nil)
	if err != nil {
		return
	}
	target, args, err := decodeInstall(b, []byte(nodeAddress(h.node, h.incarnation)))
	if err != nil {
		t.log.Warn("snapshot refused", "from", h.node, "error", err)
		return
	}
	chunks := &chunkReader{conn: conn, r: r, t: t, left: args.Size}
	type outcome struct {
		resp    any
		err     error
		refused bool
	}
	answered := make(chan outcome, 1)
	in := &inboundRPC{
		command: args, reader: chunks, size: snapshotChunk, resp: make(chan raft.RPCResponse, 1),
		respond: func(resp any, err error, refused bool) { answered <- outcome{resp, err, refused} },
	}
	if now := t.incarnation.Load(); target.incarnation != now {
		in.respond(nil, fmt.Errorf("this is incarnation %d, not %d", now, target.incarnation), true)
	} else {
		t.groups.deliver(target.group, in)
	}
	tick := time.NewTicker(streamWorking)
	defer tick.Stop()
	for {
		f := seal(newPayload(wireWorking, 0))
		var last bool
		select {
		case o := <-answered:
			f, last = encodeReply(0, o.resp, o.err, o.refused), true
		case <-tick.C:
		case <-t.done:
			return
		}
		conn.SetWriteDeadline(time.Now().Add(streamIdle))
		if err := f.writeTo(conn); err != nil {
			return
		}
		if last {
			// Hanging up on a sender that still writes could take the answer from it.
			conn.SetReadDeadline(time.Now().Add(streamLinger))
			io.Copy(io.Discard, conn)
			return
		}
	}
}

// chunkReader reads the state of a snapshot off its connection. It ends with io.EOF after exactly the promised bytes and the end
// frame, with an error after anything else.
type chunkReader struct {
	conn net.Conn
	r    *bufio.Reader
	t    *Transport
	left int64
	buf  []byte
	now  []byte
	err  error
}

func (c *chunkReader) Read(p []byte) (int, error) {
	for len(c.now) == 0 && c.err == nil {
		c.err = c.next()
	}
	if len(c.now) > 0 {
		n := copy(p, c.now)
		c.now = c.now[n:]
		return n, nil
	}
	return 0, c.err
}

func (c *chunkReader) next() error {
	c.conn.SetReadDeadline(time.Now().Add(streamIdle))
	if c.buf == nil {
		c.buf = make([]byte, snapshotChunk+1)
	}
	b, err := readPayload(c.r, snapshotChunk+1, c.buf)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return fmt.Errorf("receive snapshot: %w", err)
	}
	c.t.stats.framesIn.Add(1)
	c.t.stats.bytesIn.Add(uint64(len(b) + wireHeadBytes))
	switch {
	case b[0] == wireChunk && int64(len(b)-1) <= c.left:
		c.now = b[1:]
		c.left -= int64(len(b) - 1)
		return nil
	case b[0] == wireEnd && c.left == 0 && len(b) == 1:
		return io.EOF
	}
	return fmt.Errorf("receive snapshot: %w", errWireShort)
}
