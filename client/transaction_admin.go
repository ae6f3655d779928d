package client

import (
	"context"
	"errors"
	"fmt"
	"time"

	"raftmq/remoting"
)

// TransactionInfo is a transaction as operators see it.
type TransactionInfo struct {
	Name      string // of its slot and place; see Admin.Transaction
	Topic     string
	State     string // pending, parked (asked about no more), committed or rolled back
	Group     string // of its producers; of one without a verdict, here and below
	Prepared  time.Time
	NextCheck time.Time // zero: it is parked
	Checks    int       // made
	Bytes     int
	Message   *Delivery // only where one is asked for
	DecidedBy string    // producer, check or operator
	DecidedAt time.Time
	Broker    string // Broker, QueueID and Offset are where a committed message is
	QueueID   int
	Offset    int64
	state     int64
}

func (a *Admin) transactionInfo(t remoting.Transaction) TransactionInfo {
	broker := fmt.Sprintf("raftmq-%d", t.Slot)
	i := TransactionInfo{Name: halfName{int64(t.Slot) << stateSlotBits, t.Offset}.String(), Topic: t.Topic, State: t.State, Group: t.Group,
		Prepared: unixMilli(t.Born), NextCheck: unixMilli(t.NextCheck), Checks: t.Checks, Bytes: t.Bytes, DecidedBy: t.DecidedBy, DecidedAt: unixMilli(t.DecidedAt),
		Broker: broker, QueueID: int(t.QueueID), Offset: t.QueueOffset, state: t.StateOffset}
	if len(t.Record) > 0 {
		if d, _, err := decodeRecord(t.Record, &a.c.codecs); err == nil {
			i.Message = d
		}
	}
	return i
}

// Transactions are a topic's transactions without a verdict, the oldest first, at most max;
// 0: 1000, and at most 16,384. With parked, only those that wait for an operator.
func (a *Admin) Transactions(ctx context.Context, topic string, parked bool, max int) ([]TransactionInfo, error) {
	if max < 0 || max > remoting.MaxTransactions {
		return nil, fmt.Errorf("%w: at most %d transactions, not 0 to %d", ErrInvalid, max, remoting.MaxTransactions)
	}
	l, err := a.transactions(ctx, topic, remoting.ListTransactionsHeader{Topic: topic, Parked: parked, Max: int32(max), Slot: -1})
	if err != nil {
		return nil, err
	}
	var out []TransactionInfo
	for _, t := range l.Transactions {
		out = append(out, a.transactionInfo(t))
	}
	return out, nil
}

func (a *Admin) transactions(ctx context.Context, topic string, h remoting.ListTransactionsHeader) (l remoting.TransactionList, err error) {
	const op = "transactions"
	r, addr, err := a.c.askBroker(ctx, op, "", remoting.NewRequest(remoting.ListTransactions, h))
	if err != nil {
		return l, err
	}
	switch r.Code {
	case remoting.OK:
	case remoting.NoTransaction:
		return l, fmt.Errorf("%w: %w", ErrNoTransaction, refusal(op, topic, "", addr, r))
	default:
		return l, refusal(op, topic, "", addr, r)
	}
	if err := remoting.DecodeBody(r.Body, &l); err != nil {
		return l, fmt.Errorf("%s from %s: %w", op, addr, err)
	}
	return l, nil
}

// Transaction is one of that name, as receipts and lists give it; with its message if it
// has no verdict. ErrNoTransaction if it was decided so long ago that it is forgotten, or
// was never there.
func (a *Admin) Transaction(ctx context.Context, name string) (TransactionInfo, error) {
	slot, offset, err := parseTransaction(name)
	if err != nil {
		return TransactionInfo{}, err
	}
	l, err := a.transactions(ctx, "", remoting.ListTransactionsHeader{Slot: slot, Offset: offset})
	if err == nil && len(l.Transactions) != 1 {
		err = fmt.Errorf("transaction %s: %d answers", name, len(l.Transactions))
	}
	if err != nil {
		return TransactionInfo{}, err
	}
	return a.transactionInfo(l.Transactions[0]), nil
}

func parseTransaction(name string) (slot int32, offset int64, err error) {
	n, err := fmt.Sscanf(name, "%d-%d", &slot, &offset)
	if err != nil || n != 2 || slot < 0 || offset < 0 || fmt.Sprintf("%d-%d", slot, offset) != name {
		return 0, 0, fmt.Errorf("%w: transaction %q is not a slot and an offset, like 1-64", ErrInvalid, name)
	}
	return slot, offset, nil
}

// DecideTransaction decides a transaction in its producers' place, and returns the
// verdict that holds. ErrDecided if there was another before; ErrNoTransaction;
// ErrUncertain: ask again.
func (a *Admin) DecideTransaction(ctx context.Context, name string, v Verdict) (Verdict, error) {
	if v != Commit && v != Rollback {
		return Undecided, fmt.Errorf("%w: a decision is Commit or Rollback", ErrInvalid)
	}
	slot, offset, err := parseTransaction(name)
	if err != nil {
		return Undecided, err
	}
	h := remoting.EndTransactionHeader{StateTableOffset: int64(slot) << stateSlotBits, CommitLogOffset: offset, Decision: v.wire(), Operator: true}
	switch t, err := a.Transaction(ctx, name); {
	case err == nil && t.state != 0:
		h.StateTableOffset = t.state
	case err != nil && !errors.Is(err, ErrNoTransaction):
		return Undecided, err
	}
	holds, _, err := a.c.endTransaction(ctx, "", h)
	return holds, err
}
