package broker

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"raftmq/fsm"
	"raftmq/message"
	"raftmq/remoting"
	"raftmq/store"
)

// listedHalves is how many transactions a list has if it is not said.
const listedHalves = 1000

// listTransactions answers operators: the pending halves of a topic, the oldest first, or one
// transaction, pending or decided.
func (b *Broker) listTransactions(ctx context.Context, r *request) *remoting.Command {
	var h remoting.ListTransactionsHeader
	if err := h.Decode(r.Ext); err != nil {
		return r.failed(err)
	}
	if h.Slot >= 0 {
		part, refusal := b.partitionOf(ctx, r, int(h.Slot), h.Offset)
		if refusal != nil {
			return refusal
		}
		return b.atEnd(ctx, r, part, func(_ context.Context, p *partition) (*remoting.Command, error) {
			return b.showTransaction(r, p, h.Offset)
		})
	}
	limit := int(h.Max)
	if limit == 0 {
		limit = listedHalves
	}
	all := remoting.TransactionList{Transactions: []remoting.Transaction{}}
	err := b.eachPartition(ctx, r, h.Topic, func(_ context.Context, _ fsm.Topic, p *partition) (*remoting.Command, error) {
		var part remoting.TransactionList
		part.Pending, part.Parked, part.Bytes = p.machine.HalfCounts()
		for _, x := range p.machine.Halves(limit, func(x *fsm.HalfInfo) bool { return x.Parked || !h.Parked }) {
			part.Transactions = append(part.Transactions, pendingTransaction(p, x))
		}
		return r.ReplyWith(nil, remoting.EncodeBody(part)), nil
	}, func(body []byte) error {
		var part remoting.TransactionList
		if err := remoting.DecodeBody(body, &part); err != nil {
			return err
		}
		all.Pending, all.Parked, all.Bytes = all.Pending+part.Pending, all.Parked+part.Parked, all.Bytes+part.Bytes
		all.Transactions = append(all.Transactions, part.Transactions...)
		slices.SortStableFunc(all.Transactions, func(x, y remoting.Transaction) int { return cmp.Compare(x.Born, y.Born) })
		all.Transactions = all.Transactions[:min(len(all.Transactions), limit)]
		return nil
	})
	return r.orReply(err, all)
}

func pendingTransaction(p *partition, h fsm.HalfInfo) remoting.Transaction {
	t := remoting.Transaction{
		Topic: p.desc.Topic, Slot: p.desc.Slot, Offset: p.machine.PhysicalOffset(h.Position), StateOffset: stateOffset(p.desc.Slot, h.Number),
		State: "pending", Group: h.Group, Born: h.Born, NextCheck: h.NextCheck, Checks: int(h.Checks), Bytes: int(h.Bytes), QueueID: -1,
	}
	if h.Parked {
		t.State, t.NextCheck = "parked", 0
	}
	return t
}

// showTransaction answers with one transaction, the message with it if it is pending.
func (b *Broker) showTransaction(r *request, p *partition, physical int64) (*remoting.Command, error) {
	pos := p.halfOf(physical)
	var t remoting.Transaction
	if h, ok := p.machine.Half(pos); ok {
		t = pendingTransaction(p, h)
		rec, err := p.machine.HalfRecord(h)
		if errors.Is(err, store.ErrNotFound) {
			return nil, errNotHere // decided this moment: look again
		}
		if err != nil {
			return nil, err
		}
		t.QueueID, t.Record = rec.QueueID(), rec
		t.MsgID, _ = rec.Property(message.PropUniqueKey)
	} else if d, ok := p.machine.DecisionOf(pos); ok {
		t = remoting.Transaction{
			Topic: p.desc.Topic, Slot: p.desc.Slot, Offset: physical, State: verdictNames[d.Verdict],
			DecidedBy: deciderNames[d.By], DecidedAt: d.Time, QueueID: d.Queue, QueueOffset: int64(d.Offset),
		}
		if d.Queue >= 0 {
			t.CommittedID = message.OffsetID(b.storeHost(p.desc.Slot), p.machine.PhysicalOffset(d.Stored))
		}
	} else {
		return r.refuse(remoting.NoTransaction, "no such transaction: it was decided so long ago that it is forgotten, or never there"), nil
	}
	return r.ReplyWith(nil, remoting.EncodeBody(remoting.TransactionList{Transactions: []remoting.Transaction{t}})), nil
}
