package broker

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
)

// The catalogue's replicas are compared like a partition's: its leader asks the others for
// the digest of their state at the entry that it has come to. No command marks that entry,
// since the catalogue seldom changes: a comparison that meets a change tells nothing, and
// the next does. A replica that differs from a majority takes the state that those have in
// place of its own, and has it kept by a snapshot. If no majority agrees, the leader
// refuses what would change the catalogue, until it does.

// catalogueCheck is what this node knows of the catalogue's soundness.
type catalogueCheck struct {
	compared, differed, replaced atomic.Uint64
	disputed                     atomic.Pointer[string] // of the leader: why it decides nothing; nil: it does
	verdicts                     chan verdict           // about the replica here
	pinned                       pin                    // a state that is being read by a peer, by its entry
}

// compareCatalogue compares the replicas of the catalogue, which is led here.
func (b *Broker) compareCatalogue(ctx context.Context) error {
	index, own := b.catalogue.Digest()
	conf, _ := b.catalogue.replica.Members()
	voters, answers := b.askVoters(ctx, conf, catalogueGroup, index, digestAnswer{Known: true, State: own})
	if len(answers) < 2 {
		return nil // the others have come further, or are away
	}
	b.checked.compared.Add(1)
	v, differ := tally(voters, answers)
	if !differ {
		if len(answers) > voters/2 && b.checked.disputed.Swap(nil) != nil {
			b.log.Info("the catalogue's replicas agree again", "entry", index)
		}
		return nil
	}
	b.checked.differed.Add(1)
	v.Index, v.Leader = index, b.id.Node
	var told []string
	for node, a := range answers {
		told = append(told, fmt.Sprintf("%s: %016x", node, a.State))
		if a.State == v.State {
			v.Sound = append(v.Sound, node)
		}
	}
	slices.Sort(told)
	slices.Sort(v.Sound)
	b.log.Error("replicas of the catalogue differ", "entry", index, "digests", strings.Join(told, ", "))
	if len(v.Sound) == 0 {
		why := fmt.Sprintf("the catalogue's replicas differ at entry %d and no majority of them agrees (%s)", index, strings.Join(told, ", "))
		if v.Disputed && b.checked.disputed.Swap(&why) == nil {
			b.event("catalogue disputed", catalogueGroup, "reason", why)
		}
		return errors.New(why)
	}
	b.checked.disputed.Store(nil)
	for node, a := range answers {
		if a.State == v.State {
			continue
		}
		if node == b.id.Node {
			b.mendCatalogue(ctx, v)
		} else if err := (copyPeer{b, node, catalogueGroup}).tell(ctx, v); err != nil {
			return err // it is told again
		}
	}
	return nil
}

// mendCatalogue takes the majority's state for the one here, if the verdict is about that.
func (b *Broker) mendCatalogue(ctx context.Context, v verdict) {
	index, own := b.catalogue.Digest()
	if index != v.Index || own == v.State {
		return
	}
	var errs []error
	for _, node := range v.Sound {
		state, err := copyPeer{b, node, catalogueGroup}.whole(ctx, copyState, v.Index)
		if err == nil {
			err = b.catalogue.Mend(state, v.Index, v.State)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("from %s: %w", node, err))
			continue
		}
		b.checked.replaced.Add(1)
		reason := fmt.Sprintf("%s, here %016x, says %s", v, own, v.Leader)
		b.log.Error("the catalogue here was not what the others have, and was replaced", "from", node, "reason", reason)
		b.event("catalogue replaced", catalogueGroup, "from", node, "reason", reason)
		if err := b.catalogue.replica.Snapshot(ctx); err != nil {
			b.log.Warn("keep the replaced catalogue", "error", err) // a restart may differ again, and is found again
		}
		return
	}
	b.log.Error("the catalogue here is not what the others have, and was not replaced", "error", errors.Join(errs...))
}

// catalogueCopies answers kindCopy about the catalogue.
func (b *Broker) catalogueCopies(what byte, rest []byte) ([]byte, error) {
	switch {
	case what == copyDigest && len(rest) == 8:
		asked := binary.BigEndian.Uint64(rest)
		if at, _ := b.catalogue.Catalogue.Applied(); at != asked {
			return encodeAnswer(digestAnswer{Applied: at})
		}
		index, digest := b.catalogue.Digest()
		return encodeAnswer(digestAnswer{Applied: index, Known: index == asked, State: digest})
	case what == copyVerdict:
		v, err := decodeVerdict(rest)
		if err != nil {
			return nil, err
		}
		select {
		case b.checked.verdicts <- v:
		default: // another is about the same
		}
		return nil, nil
	case what == copyState && len(rest) == 24:
		which, off, n := binary.BigEndian.Uint64(rest), binary.BigEndian.Uint64(rest[8:]), min(binary.BigEndian.Uint64(rest[16:]), copyPiece)
		if off == 0 {
			b.checked.pinned.keep(b.catalogue.State())
		}
		state, ok := b.checked.pinned.of(which)
		if !ok {
			return nil, fmt.Errorf("broker: the catalogue of %s is not at entry %d", b.id.Node, which)
		}
		return pieceOf(which, state, off, n)
	}
	return nil, fmt.Errorf("broker: request of kind %d about the catalogue", what)
}
