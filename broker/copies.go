package broker

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"raftmq/raftlog"
	"raftmq/store"
)

// kindCopy asks a node about, and for the bytes of, its replica of a partition, or of the
// catalogue, which is partition 0: that has copyDigest, copyVerdict and copyState, whose
// which is the entry that the state is of.
// Big-endian: what uint8, partition uint64; then for pieces three numbers of 8 bytes:
// which, from byte, how many at most; the answer: which, total bytes, then the piece.
// For the others JSON.
const kindCopy = 18

const (
	copyLook    = iota + 1 // the answer: copyLooks
	copyRaw                // a piece of the segment at position which
	copyFloor              // of the floor's file at position which
	copyState              // of a checkpoint; which 0: a new one
	copyDigest             // an index -> copyDigests
	copyVerdict            // verdict -> nothing
	copySettle             // the node whose replica counts -> nothing
)

const (
	copyPiece = 64 << 10 // pings of the same connection wait behind it
	copyWait  = 5 * time.Second
	lookWait  = time.Second
	// maxCopyState is more than a partition's state can be.
	maxCopyState = 64 << 20
)

// copyLooks is what a replica says of itself.
type copyLooks struct {
	Starts     []store.Mark
	Applied    uint64
	Quarantine *quarantine
	End        store.Mark // as of now
	Digest     uint64     // of the log through End
}

// pin keeps a state that is being read by a peer, and lets go of it when its pieces are not asked
// for any more.
type pin struct{ now atomic.Pointer[pinned] }

type pinned struct {
	id   uint64
	b    []byte
	over *time.Timer
}

// pinStays is how long a state is kept after its last piece was asked for: longer than a peer waits
// for one.
const pinStays = 4 * copyWait

// keep keeps b, in place of what was kept before.
func (p *pin) keep(id uint64, b []byte) {
	x := &pinned{id: id, b: b}
	x.over = time.AfterFunc(pinStays, func() { p.now.CompareAndSwap(x, nil) })
	if before := p.now.Swap(x); before != nil {
		before.over.Stop()
	}
}

// of is what is kept under that number; ok is false if it is not.
func (p *pin) of(id uint64) (b []byte, ok bool) {
	x := p.now.Load()
	if x == nil || x.id != id {
		return nil, false
	}
	x.over.Reset(pinStays)
	return x.b, true
}

var errNoReplica = errors.New("broker: no such replica is open here")

// copies answers kindCopy.
func (b *Broker) copies(ctx context.Context, from string, req []byte) ([]byte, error) {
	if len(req) < 9 || !b.begun.Load() {
		return nil, errNoReplica
	}
	id := binary.BigEndian.Uint64(req[1:])
	if id == catalogueGroup {
		return b.catalogueCopies(req[0], req[9:])
	}
	p, ok := b.partition(id)
	if !ok {
		return nil, errNoReplica
	}
	what, rest := req[0], req[9:]
	switch what {
	case copyLook:
		looks := copyLooks{Starts: p.store().Segments(), Applied: p.replica.Applied()}
		looks.End, looks.Digest = p.store().Digest()
		if q, ok := b.sick.of(p.desc.ID); ok {
			looks.Quarantine = &q
		}
		return json.Marshal(looks)
	case copyDigest:
		if q, ok := b.sick.of(p.desc.ID); ok && q.Whole && !q.Disputed {
			return nil, errors.New("broker: the replica is to be copied whole")
		}
		return p.digestFor(rest)
	case copyVerdict:
		v, err := decodeVerdict(rest)
		if err != nil {
			return nil, err
		}
		b.judge(p, v)
		return nil, b.note(p.desc.ID) // an idle partition is not compared again
	case copySettle:
		return nil, b.agree(p.desc.ID, string(rest))
	}
	if len(rest) != 24 {
		return nil, fmt.Errorf("broker: request of %d bytes", len(req))
	}
	if p.withheld.Load() {
		return nil, fmt.Errorf("broker: the replica of %s is in quarantine", b.id.Node)
	}
	which, off, n := binary.BigEndian.Uint64(rest), binary.BigEndian.Uint64(rest[8:]), min(binary.BigEndian.Uint64(rest[16:]), copyPiece)
	if what == copyRaw {
		piece := make([]byte, 16+n)
		return piece, p.store().Raw(store.Position(which), int64(off), piece[16:])
	}
	var all []byte
	var err error
	switch what {
	case copyFloor:
		all, err = p.store().FloorFile(store.Position(which))
	case copyState:
		which, all, err = p.pin(which)
	default:
		err = fmt.Errorf("broker: request of kind %d", what)
	}
	if err != nil {
		return nil, err
	}
	return pieceOf(which, all, off, n)
}

// pieceOf answers with n bytes of all from off on.
func pieceOf(which uint64, all []byte, off, n uint64) ([]byte, error) {
	if off > uint64(len(all)) {
		return nil, fmt.Errorf("broker: byte %d of %d", off, len(all))
	}
	piece := binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, which), uint64(len(all)))
	return append(piece, all[off:min(off+n, uint64(len(all)))]...), nil
}

// pin returns the checkpoint of that number, or of 0 a new one.
func (p *partition) pin(id uint64) (uint64, []byte, error) {
	if id != 0 {
		if b, ok := p.pinned.of(id); ok {
			return id, b, nil
		}
		return 0, nil, errors.New("broker: another checkpoint has been asked for since, or this one not for long")
	}
	if err := p.replica.Checkpoint(); err != nil {
		return 0, nil, err
	}
	c, ok, err := p.log.Checkpoint()
	if err != nil || !ok {
		return 0, nil, errors.Join(errors.New("broker: no checkpoint"), err)
	}
	b, err := json.Marshal(c)
	if err != nil {
		return 0, nil, err
	}
	id = p.pins.Add(1)
	p.pinned.keep(id, b)
	return id, b, nil
}

// copyPeer is another node's replica, as a store.Peer.
type copyPeer struct {
	b    *Broker
	node string
	id   uint64
}

func (c copyPeer) ask(ctx context.Context, what byte, rest []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, copyWait)
	defer cancel()
	req := append(binary.BigEndian.AppendUint64([]byte{what}, c.id), rest...)
	b, err := c.b.transport.Call(ctx, c.node, kindCopy, req)
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", c.node, err)
	}
	return b, nil
}

func (c copyPeer) look(ctx context.Context) (looks copyLooks, err error) {
	ctx, cancel := context.WithTimeout(ctx, lookWait)
	defer cancel()
	b, err := c.ask(ctx, copyLook, nil)
	if err == nil {
		err = json.Unmarshal(b, &looks)
	}
	return looks, err
}

// piece asks for n bytes from byte off on.
func (c copyPeer) piece(ctx context.Context, what byte, which uint64, off, n int) (id uint64, total int, piece []byte, err error) {
	var rest []byte
	for _, v := range []uint64{which, uint64(off), uint64(n)} {
		rest = binary.BigEndian.AppendUint64(rest, v)
	}
	b, err := c.ask(ctx, what, rest)
	if err != nil {
		return 0, 0, nil, err
	}
	if len(b) < 16 {
		return 0, 0, nil, fmt.Errorf("answer of %d bytes from %s", len(b), c.node)
	}
	return binary.BigEndian.Uint64(b), int(binary.BigEndian.Uint64(b[8:])), b[16:], nil
}

// whole asks for all of what comes in pieces.
func (c copyPeer) whole(ctx context.Context, what byte, which uint64) (all []byte, err error) {
	for {
		id, total, piece, err := c.piece(ctx, what, which, len(all), copyPiece)
		if err != nil {
			return nil, err
		}
		if total > maxCopyState || len(piece) == 0 && len(all) < total || len(all)+len(piece) > total {
			return nil, fmt.Errorf("%d bytes after %d of %d from %s", len(piece), len(all), total, c.node)
		}
		if all = append(all, piece...); len(all) == total {
			return all, nil
		}
		which = id
	}
}

func (c copyPeer) Starts(ctx context.Context) ([]store.Mark, error) {
	looks, err := c.look(ctx)
	return looks.Starts, err
}

func (c copyPeer) Raw(ctx context.Context, start store.Position, off int64, b []byte) error {
	for len(b) > 0 {
		n := min(len(b), copyPiece)
		_, _, piece, err := c.piece(ctx, copyRaw, uint64(start), int(off), n)
		if err != nil {
			return err
		}
		if len(piece) != n {
			return fmt.Errorf("%d bytes of %d from %s", len(piece), n, c.node)
		}
		copy(b, piece)
		off, b = off+int64(n), b[n:]
	}
	return nil
}

func (c copyPeer) FloorFile(ctx context.Context, start store.Position) ([]byte, error) {
	return c.whole(ctx, copyFloor, uint64(start))
}

// checkpoint has the replica make one, and returns it.
func (c copyPeer) checkpoint(ctx context.Context) (cp raftlog.Checkpoint, err error) {
	b, err := c.whole(ctx, copyState, 0)
	if err == nil {
		err = json.Unmarshal(b, &cp)
	}
	return cp, err
}
