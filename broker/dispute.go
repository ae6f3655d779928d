package broker

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"raftmq/fsm"
	"raftmq/internal/vfs"
	"raftmq/remoting"
)

// A disputed partition is settled by an operator, who has seen what the replicas say of
// themselves and names the one that counts. That one's quarantine ends first, durably;
// then the others are told to copy themselves whole, as if a majority had found them to
// differ. Whatever comes between, it may be said again, and only the same.

// disputeWait bounds how long the replica that counts may take to end its quarantine.
const disputeWait = 10 * time.Second

// settleDispute answers 9004.
func (b *Broker) settleDispute(ctx context.Context, r *request) *remoting.Command {
	var h remoting.DisputeHeader
	if err := h.Decode(r.Ext); err != nil {
		return r.failed(err)
	}
	b.catchUp(ctx)
	desc, ok := b.catalogue.Partition(uint64(h.Partition))
	if !ok {
		return r.refuse(remoting.InvalidParameter, "there is no partition %d", h.Partition)
	}
	if h.Truth != "" && !slices.ContainsFunc(desc.Voters, func(n fsm.Node) bool { return n.Name == h.Truth }) {
		return r.refuse(remoting.InvalidParameter, "%s has no replica of partition %d; nothing was changed", h.Truth, desc.ID)
	}
	looks := b.lookAround(ctx, desc)
	if h.Truth != "" {
		if why := mayCount(looks, h.Truth); why != "" {
			return r.refuse(remoting.IllegalOperation, "partition %d of %s: %s; nothing was changed", desc.ID, desc.Topic, why)
		}
		if err := b.settleAll(ctx, desc, looks, h.Truth); err != nil {
			return r.refuse(remoting.SystemError, "partition %d of %s: %v: say it again", desc.ID, desc.Topic, err)
		}
		looks = b.lookAround(ctx, desc)
	}
	return r.ReplyWith(nil, remoting.EncodeBody(remoting.ReplicaLooks{Partition: desc.ID, Topic: desc.Topic, Slot: desc.Slot, Replicas: looks}))
}

// askReplica is ask that asks this node too.
func (b *Broker) askReplica(ctx context.Context, of copyPeer, what byte, rest []byte) ([]byte, error) {
	if of.node == b.id.Node {
		return b.copies(ctx, of.node, append(binary.BigEndian.AppendUint64([]byte{what}, of.id), rest...))
	}
	return of.ask(ctx, what, rest)
}

// lookAround asks all voters, in order of their names.
func (b *Broker) lookAround(ctx context.Context, desc fsm.Partition) (looks []remoting.ReplicaLook) {
	for _, n := range desc.Voters {
		looks = append(looks, b.lookAt(ctx, copyPeer{b, n.Name, desc.ID}))
	}
	slices.SortFunc(looks, func(x, y remoting.ReplicaLook) int { return strings.Compare(x.Node, y.Node) })
	return looks
}

func (b *Broker) lookAt(ctx context.Context, of copyPeer) remoting.ReplicaLook {
	ctx, cancel := context.WithTimeout(ctx, lookWait)
	defer cancel()
	var l copyLooks
	raw, err := b.askReplica(ctx, of, copyLook, nil)
	if err == nil {
		err = json.Unmarshal(raw, &l)
	}
	if err != nil {
		return remoting.ReplicaLook{Node: of.node, Silent: true}
	}
	look := remoting.ReplicaLook{Node: of.node, Applied: l.End.Index, Position: int64(l.End.Position), Digest: fmt.Sprintf("%016x", l.Digest)}
	if len(l.Starts) > 0 {
		look.First = int64(l.Starts[0].Position)
	}
	if q := l.Quarantine; q != nil {
		look.Disputed, look.Whole, look.Reason = q.Disputed, q.Whole && !q.Disputed, q.String()
	}
	return look
}

// mayCount says why a node's replica cannot be declared the one that counts; "": it can. One that
// was declared before is sound, as those are that have copied it since: who was not there then is told now.
func mayCount(looks []remoting.ReplicaLook, truth string) string {
	disputed, found, again := false, false, false
	for _, l := range looks {
		disputed = disputed || l.Disputed
		again = again || l.Node == truth && !l.Silent && l.Reason == ""
	}
	again = again && disputed
	for _, l := range looks {
		switch {
		case l.Node == truth && l.Silent:
			return fmt.Sprintf("%s does not answer for its replica", truth)
		case l.Node == truth && l.Reason != "" && !l.Disputed:
			return fmt.Sprintf("the replica of %s is not sound either: %s", truth, l.Reason)
		case l.Node == truth:
			found = true
		case !l.Silent && l.Reason == "" && !again:
			return fmt.Sprintf("the replica of %s is sound, and counts", l.Node)
		}
	}
	switch {
	case !found:
		return fmt.Sprintf("%s has no replica", truth)
	case !disputed:
		return "it is not disputed"
	}
	return ""
}

// settleAll tells every replica that is disputed, and answers, which one counts, that one first.
func (b *Broker) settleAll(ctx context.Context, desc fsm.Partition, looks []remoting.ReplicaLook, truth string) error {
	of := copyPeer{b, truth, desc.ID}
	if _, err := b.askReplica(ctx, of, copySettle, []byte(truth)); err != nil {
		return err
	}
	for deadline := time.Now().Add(disputeWait); ; {
		if l := b.lookAt(ctx, of); !l.Silent && !l.Disputed { // what is damaged of it may be so still
			break
		}
		if time.Now().After(deadline) || ctx.Err() != nil {
			return fmt.Errorf("%s has not ended its quarantine yet", truth)
		}
		select {
		case <-time.After(repairPoll):
		case <-ctx.Done():
		}
	}
	for _, l := range looks {
		if l.Node == truth || !l.Disputed {
			continue
		}
		if _, err := b.askReplica(ctx, copyPeer{b, l.Node, desc.ID}, copySettle, []byte(truth)); err != nil {
			return err
		}
	}
	return nil
}

// agree has the disputed replica here go on as the one that counts, or be copied.
func (b *Broker) agree(id uint64, truth string) error {
	q, ok := b.sick.of(id)
	switch {
	case truth == b.id.Node && !ok, truth != b.id.Node && ok && !q.Disputed && q.Whole:
		return nil // said before
	case !ok || !q.Disputed:
		return fmt.Errorf("broker: the replica of %s is not disputed", b.id.Node)
	}
	b.log.Warn("an operator has settled which replica counts", "partition", id, "counts", truth)
	b.event("settled", id, "counts", truth)
	b.sick.change(id, func(w *ward) {
		if truth == b.id.Node {
			w.cleared = true
		} else {
			w.Disputed, w.Whole, w.saved = false, true, false
			w.Reason = "the replica of " + truth + " counts, says an operator; " + w.Reason
		}
		w.stuck, w.failed, w.next = "", 0, time.Time{}
	})
	b.sick.rouse()
	return nil
}

// clear ends the quarantine of a replica that counts; false: it is none.
func (b *Broker) clear(id uint64) bool {
	cleared := false
	b.sick.change(id, func(w *ward) { cleared = w.cleared })
	if !cleared {
		return false
	}
	switch err := b.release(id, quarantine{Disputed: true}); {
	case errors.Is(err, vfs.ErrNoSpace): // it is tried again
		b.log.Error("end the quarantine of a replica that counts", "partition", id, "error", err)
		return true
	case err != nil:
		b.fail(fmt.Errorf("end the quarantine of partition %d: %w", id, err))
		return true
	}
	b.withhold(id)
	b.event("repaired", id, "was", "disputed")
	return true
}
