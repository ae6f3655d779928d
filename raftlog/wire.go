package raftlog

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"time"

	"github.com/hashicorp/raft"
)

// Frames on a control or data connection, after the hello. All integers are little endian or uvarint.
//
//	offset  size  field
//	0       4     length of the payload in bytes, 1 to the transport's frame limit
//	4       4     CRC32C of the payload
//	8       1     kind
//	9       ...   fields of the kind, nothing after them
//
// Fields by kind ("header" is below, "entries" further down; all integers uvarint unless a size is given):
//
//	ping, pong   sequence
//	append       call, group, target incarnation, header, term, prev index, prev term, commit index, entries
//	vote         call, group, target incarnation, header, term, last index, last term, transfer (1 byte, 0 or 1)
//	prevote      call, group, target incarnation, header, term, last index, last term
//	timeoutNow   call, group, target incarnation, header
//	heartbeats   count, then per heartbeat: call, group, target incarnation, header, term
//	call         call, kind (1 byte), milliseconds left (0: no limit), request to the end
//	notify       kind (1 byte), message to the end
//	reply        call, status (1 byte), then for a status other than ok a text to the end, else the answer:
//	             append: term, last index, flags (1 byte: 1 success, 2 no back-off);
//	             vote, prevote: term, granted (1 byte); timeoutNow: nothing; call: response to the end
//	beats        count, then per answer: call, status (1 byte), for ok the answer of append, else a text (length, bytes)
//	install, chunk, end, working: see streams.go
//
//	header       protocol version (1 byte), length and bytes of the sender's id, length and bytes of its address; both
//	             empty when they are the node.incarnation of the connection's hello
//	entries      count (at most 1024), then per entry: term, type (1 byte), appended-at (8 bytes, unix ns, 0: none), length of
//	             the extensions, length of the data; then the extensions and data of each entry in turn. Indexes are not
//	             sent: entry i has index prev+1+i.
const (
	wirePing byte = 1 + iota
	wirePong
	wireAppend
	wireVote
	wirePreVote
	wireTimeoutNow
	wireHeartbeats
	wireCall
	wireNotify
	wireReply
	wireBeats
	wireInstall
	wireChunk
	wireEnd
	wireWorking
)

// Status of a reply.
const (
	wireOK      byte = iota
	wireFailed       // whoever handles it said no: a text
	wireRefused      // it never reached a handler: a text
)

const (
	wireHeadBytes  = 8
	wireMaxEntries = 1024 // hashicorp/raft refuses a larger MaxAppendEntries
	wireMaxBeats   = 4096 // heartbeats in one frame
	wireMaxName    = 512  // bytes of an id or address
	wireSlack      = 64 << 10
)

var (
	wireTable    = crc32.MakeTable(crc32.Castagnoli)
	errWireShort = errors.New("raftlog: malformed frame")
)

// outFrame is a frame on its way out: head holds the 8 bytes of framing and the first part of the payload, parts the rest.
// Parts are not copied; they must not change.
type outFrame struct {
	head  []byte
	parts [][]byte
	size  int
	taken bool // the writer has begun with it; guarded by the outbox
}

// newPayload starts a payload of a kind, leaving room for the framing.
func newPayload(kind byte, room int) []byte {
	b := make([]byte, wireHeadBytes+1, wireHeadBytes+1+room)
	b[wireHeadBytes] = kind
	return b
}

// seal fills the framing in.
func seal(head []byte, parts ...[]byte) *outFrame {
	n := len(head) - wireHeadBytes
	sum := crc32.Update(0, wireTable, head[wireHeadBytes:])
	for _, p := range parts {
		sum = crc32.Update(sum, wireTable, p)
		n += len(p)
	}
	binary.LittleEndian.PutUint32(head, uint32(n))
	binary.LittleEndian.PutUint32(head[4:], sum)
	return &outFrame{head: head, parts: parts, size: n + wireHeadBytes}
}

func (f *outFrame) writeTo(w io.Writer) error {
	if _, err := w.Write(f.head); err != nil {
		return err
	}
	for _, p := range f.parts {
		if _, err := w.Write(p); err != nil {
			return err
		}
	}
	return nil
}

// readPayload reads one frame's payload, of at most limit bytes, into buf when it fits there and into a new slice otherwise.
func readPayload(r *bufio.Reader, limit int, buf []byte) ([]byte, error) {
	head, err := r.Peek(wireHeadBytes)
	if err != nil {
		return nil, err
	}
	n := int64(binary.LittleEndian.Uint32(head))
	sum := binary.LittleEndian.Uint32(head[4:])
	if n < 1 || n > int64(limit) {
		return nil, fmt.Errorf("%w: length %d of at most %d", errWireShort, n, limit)
	}
	r.Discard(wireHeadBytes)
	if int64(cap(buf)) < n {
		buf = make([]byte, n)
	}
	buf = buf[:n]
	if _, err := io.ReadFull(r, buf); err != nil {
		return nil, err
	}
	if crc32.Checksum(buf, wireTable) != sum {
		return nil, fmt.Errorf("%w: checksum", errWireShort)
	}
	return buf, nil
}

// wireReader takes fields off a payload. After a field that is not there every further one is zero and err says so.
type wireReader struct {
	b   []byte
	err error
}

func (r *wireReader) fail() {
	r.err, r.b = errWireShort, nil
}

func (r *wireReader) uint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.fail()
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *wireReader) byte() byte {
	if len(r.b) == 0 {
		r.fail()
		return 0
	}
	v := r.b[0]
	r.b = r.b[1:]
	return v
}

func (r *wireReader) int64() int64 {
	if len(r.b) < 8 {
		r.fail()
		return 0
	}
	v := int64(binary.LittleEndian.Uint64(r.b))
	r.b = r.b[8:]
	return v
}

// take returns the next n bytes, aliasing the payload; nil for none.
func (r *wireReader) take(n uint64) []byte {
	if n > uint64(len(r.b)) {
		r.fail()
		return nil
	}
	if n == 0 {
		return nil
	}
	v := r.b[:n:n]
	r.b = r.b[n:]
	return v
}

// text takes a length and that many bytes, at most limit.
func (r *wireReader) text(limit uint64) string {
	n := r.uint()
	if n > limit {
		r.fail()
		return ""
	}
	return string(r.take(n))
}

// rest takes everything left.
func (r *wireReader) rest() []byte {
	v := r.b
	r.b = nil
	return v
}

// end reports a field that was missing, or bytes left over.
func (r *wireReader) end() error {
	if r.err == nil && len(r.b) > 0 {
		r.err = errWireShort
	}
	return r.err
}

func appendText(b []byte, s string) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}

func appendBool(b []byte, v bool) []byte {
	if v {
		return append(b, 1)
	}
	return append(b, 0)
}

// wireTarget is what every request to a group begins with.
type wireTarget struct {
	call, group, incarnation uint64
}

func (t wireTarget) append(b []byte) []byte {
	b = binary.AppendUvarint(b, t.call)
	b = binary.AppendUvarint(b, t.group)
	return binary.AppendUvarint(b, t.incarnation)
}

func (r *wireReader) target() wireTarget {
	return wireTarget{call: r.uint(), group: r.uint(), incarnation: r.uint()}
}

// appendRPCHeader writes h; self is the node.incarnation that the connection stands for.
func appendRPCHeader(b []byte, h raft.RPCHeader, self string) []byte {
	b = append(b, byte(h.ProtocolVersion))
	if string(h.ID) == self && string(h.Addr) == self {
		return append(b, 0, 0)
	}
	b = appendText(b, string(h.ID))
	return appendText(b, string(h.Addr))
}

func (r *wireReader) rpcHeader(peer []byte) raft.RPCHeader {
	h := raft.RPCHeader{ProtocolVersion: raft.ProtocolVersion(r.byte())}
	id, addr := r.text(wireMaxName), r.text(wireMaxName)
	if id == "" && addr == "" {
		h.ID, h.Addr = peer, peer
		return h
	}
	h.ID, h.Addr = []byte(id), []byte(addr)
	return h
}

// entrySize is what an entry adds to a frame, at most.
func entrySize(l *raft.Log) int { return len(l.Data) + len(l.Extensions) + 40 }

// cutEntries returns how many of the entries fit into maxBytes together, at least one if there is one.
func cutEntries(entries []*raft.Log, maxBytes int) int {
	size := 0
	for i, l := range entries {
		size += entrySize(l)
		if i > 0 && size > maxBytes || i == wireMaxEntries {
			return i
		}
	}
	return len(entries)
}

// clampCommit keeps a commit index from reaching past what the request itself verifies: the follower in hashicorp/raft
// commits up to its own last index otherwise, which may be an entry of a deposed leader. It says whether it had to.
func clampCommit(a *raft.AppendEntriesRequest) bool {
	verified := a.PrevLogEntry + uint64(len(a.Entries))
	if a.LeaderCommitIndex <= verified {
		return false
	}
	a.LeaderCommitIndex = verified
	return true
}

// smallData is what is cheaper to copy into a frame's head than to write by itself.
const smallData = 4 << 10

func encodeAppend(t wireTarget, a *raft.AppendEntriesRequest, self string) *outFrame {
	small := 0
	for _, l := range a.Entries {
		if len(l.Data) <= smallData {
			small += len(l.Data)
		}
		small += 40 + len(l.Extensions)
	}
	b := newPayload(wireAppend, 96+small)
	b = t.append(b)
	b = appendRPCHeader(b, a.RPCHeader, self)
	b = binary.AppendUvarint(b, a.Term)
	b = binary.AppendUvarint(b, a.PrevLogEntry)
	b = binary.AppendUvarint(b, a.PrevLogTerm)
	b = binary.AppendUvarint(b, a.LeaderCommitIndex)
	b = binary.AppendUvarint(b, uint64(len(a.Entries)))
	for _, l := range a.Entries {
		b = binary.AppendUvarint(b, l.Term)
		b = append(b, byte(l.Type))
		at := int64(0)
		if !l.AppendedAt.IsZero() {
			at = l.AppendedAt.UnixNano()
		}
		b = binary.LittleEndian.AppendUint64(b, uint64(at))
		b = binary.AppendUvarint(b, uint64(len(l.Extensions)))
		b = binary.AppendUvarint(b, uint64(len(l.Data)))
	}
	// Runs of small data are copied behind one another; a large one is a part of its own, and what follows it goes
	// into a fresh tail.
	var parts [][]byte
	tail := &b
	for _, l := range a.Entries {
		*tail = append(*tail, l.Extensions...)
		if len(l.Data) <= smallData {
			*tail = append(*tail, l.Data...)
			continue
		}
		if tail != &b && len(*tail) > 0 {
			parts = append(parts, *tail)
		}
		parts = append(parts, l.Data)
		tail = new([]byte)
	}
	if tail != &b && len(*tail) > 0 {
		parts = append(parts, *tail)
	}
	return seal(b, parts...)
}

// decodeAppend reads a request whose target has been taken already. The entries alias the payload.
func decodeAppend(r *wireReader, peer []byte) (a *raft.AppendEntriesRequest, clamped bool, err error) {
	a = &raft.AppendEntriesRequest{RPCHeader: r.rpcHeader(peer)}
	a.Leader = a.Addr
	a.Term = r.uint()
	a.PrevLogEntry = r.uint()
	a.PrevLogTerm = r.uint()
	a.LeaderCommitIndex = r.uint()
	n := r.uint()
	if r.err != nil || n > wireMaxEntries || n > uint64(len(r.b))/12 || a.PrevLogEntry > math.MaxUint64-n {
		return nil, false, errWireShort
	}
	if n > 0 {
		logs := make([]raft.Log, n)
		sizes := make([][2]uint64, n)
		a.Entries = make([]*raft.Log, n)
		for i := range logs {
			l := &logs[i]
			l.Index = a.PrevLogEntry + 1 + uint64(i)
			l.Term = r.uint()
			l.Type = raft.LogType(r.byte())
			if at := r.int64(); at != 0 {
				l.AppendedAt = time.Unix(0, at)
			}
			sizes[i] = [2]uint64{r.uint(), r.uint()}
			a.Entries[i] = l
		}
		for i := range logs {
			logs[i].Extensions = r.take(sizes[i][0])
			logs[i].Data = r.take(sizes[i][1])
		}
	}
	if err := r.end(); err != nil {
		return nil, false, err
	}
	return a, clampCommit(a), nil
}

func appendAppendAnswer(b []byte, a *raft.AppendEntriesResponse) []byte {
	b = binary.AppendUvarint(b, a.Term)
	b = binary.AppendUvarint(b, a.LastLog)
	var flags byte
	if a.Success {
		flags |= 1
	}
	if a.NoRetryBackoff {
		flags |= 2
	}
	return append(b, flags)
}

func (r *wireReader) appendAnswer(out *raft.AppendEntriesResponse, h raft.RPCHeader) {
	out.RPCHeader = h
	out.Term = r.uint()
	out.LastLog = r.uint()
	flags := r.byte()
	out.Success = flags&1 != 0
	out.NoRetryBackoff = flags&2 != 0
}

func encodeVote(t wireTarget, v *raft.RequestVoteRequest, self string) *outFrame {
	b := t.append(newPayload(wireVote, 96))
	b = appendRPCHeader(b, v.RPCHeader, self)
	b = binary.AppendUvarint(b, v.Term)
	b = binary.AppendUvarint(b, v.LastLogIndex)
	b = binary.AppendUvarint(b, v.LastLogTerm)
	return seal(appendBool(b, v.LeadershipTransfer))
}

func decodeVote(r *wireReader, peer []byte) (*raft.RequestVoteRequest, error) {
	v := &raft.RequestVoteRequest{RPCHeader: r.rpcHeader(peer)}
	v.Candidate = v.Addr
	v.Term, v.LastLogIndex, v.LastLogTerm = r.uint(), r.uint(), r.uint()
	v.LeadershipTransfer = r.byte() != 0
	return v, r.end()
}

func encodePreVote(t wireTarget, v *raft.RequestPreVoteRequest, self string) *outFrame {
	b := t.append(newPayload(wirePreVote, 96))
	b = appendRPCHeader(b, v.RPCHeader, self)
	b = binary.AppendUvarint(b, v.Term)
	b = binary.AppendUvarint(b, v.LastLogIndex)
	return seal(binary.AppendUvarint(b, v.LastLogTerm))
}

func decodePreVote(r *wireReader, peer []byte) (*raft.RequestPreVoteRequest, error) {
	v := &raft.RequestPreVoteRequest{RPCHeader: r.rpcHeader(peer)}
	v.Term, v.LastLogIndex, v.LastLogTerm = r.uint(), r.uint(), r.uint()
	return v, r.end()
}

func encodeTimeoutNow(t wireTarget, v *raft.TimeoutNowRequest, self string) *outFrame {
	return seal(appendRPCHeader(t.append(newPayload(wireTimeoutNow, 48)), v.RPCHeader, self))
}

func decodeTimeoutNow(r *wireReader, peer []byte) (*raft.TimeoutNowRequest, error) {
	v := &raft.TimeoutNowRequest{RPCHeader: r.rpcHeader(peer)}
	return v, r.end()
}

// encodeReply encodes the answer of a group to one request other than a batched heartbeat.
func encodeReply(call uint64, resp any, err error, refused bool) *outFrame {
	b := newPayload(wireReply, 48)
	b = binary.AppendUvarint(b, call)
	if err != nil {
		return seal(append(append(b, failStatus(refused)), shortText(err.Error())...))
	}
	b = append(b, wireOK)
	switch v := resp.(type) {
	case *raft.AppendEntriesResponse:
		b = appendAppendAnswer(b, v)
	case *raft.RequestVoteResponse:
		b = appendBool(binary.AppendUvarint(b, v.Term), v.Granted)
	case *raft.RequestPreVoteResponse:
		b = appendBool(binary.AppendUvarint(b, v.Term), v.Granted)
	case *raft.InstallSnapshotResponse:
		b = appendBool(binary.AppendUvarint(b, v.Term), v.Success)
	case []byte:
		return seal(b, v)
	}
	return seal(b)
}

func failStatus(refused bool) byte {
	if refused {
		return wireRefused
	}
	return wireFailed
}

// shortText bounds what a reason may take on the wire.
func shortText(s string) string {
	if len(s) > wireMaxName {
		return s[:wireMaxName]
	}
	return s
}
