package client

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"raftmq/message"
	"raftmq/remoting"
)

var (
	// ErrDecided: the transaction was decided otherwise before, by an answer to a check
	// or by an operator. Nothing was changed.
	ErrDecided = errors.New("client: the transaction was decided otherwise")
	// ErrNoTransaction: the transaction was decided so long ago that it is forgotten, or
	// was never there. Nothing was done.
	ErrNoTransaction = errors.New("client: no such transaction")
)

// Verdict is what is to become of a transaction's message.
type Verdict int

const (
	// Undecided leaves it to the checks: the cluster asks a producer of the group, 6 s
	// after the message was prepared and then every 30 s, 15 times, unless the nodes are
	// set up otherwise; after that an operator must decide.
	Undecided Verdict = iota
	// Commit has the message delivered.
	Commit
	// Rollback has it dropped.
	Rollback
)

func (v Verdict) String() string {
	switch v {
	case Commit:
		return "committed"
	case Rollback:
		return "rolled back"
	}
	return "undecided"
}

// wire is v as EndTransaction has it.
func (v Verdict) wire() int32 {
	switch v {
	case Commit:
		return remoting.TransactionCommit
	case Rollback:
		return remoting.TransactionRollback
	}
	return remoting.TransactionUnknown
}

// Transaction is a message that is stored and waits for its verdict.
type Transaction struct {
	ID      string // of the message, as consumers will see it: what a local transaction writes beside its effect
	Name    string // of the transaction, as operators see it
	Message Message
}

// TransactionReceipt says what became of a transaction.
type TransactionReceipt struct {
	ID      string
	Name    string
	Verdict Verdict // the one that holds; Undecided: none is known yet
	Receipt Receipt // of the message, if Commit
}

// Local is a local transaction. It runs once the message is stored and before
// anybody sees it, and says what is to become of that. An error is a Rollback, unless
// the verdict is Undecided: then it is not known what the local transaction did.
type Local func(ctx context.Context, t Transaction) (Verdict, error)

// Checker answers what became of a local transaction of the group, of this program or
// of another one: Commit if its effect is there, Rollback if it is not and never will
// be, Undecided if it is still at work or cannot be told. It may run several times for
// one transaction, and after a decision.
type Checker func(ctx context.Context, t Transaction) Verdict

// Bounds of the checks that a client answers.
const (
	checksAtOnce = 16 // more are passed over: the cluster asks again
	checkTime    = 30 * time.Second
)

// TransactionProducer sends messages that are delivered if, and only if, a local
// transaction says so. Its methods may be called from any goroutine.
type TransactionProducer struct {
	p     *Producer
	check Checker
	slots chan struct{}
	sends budget // under way, until their verdicts are delivered
}

// NewTransactionProducer returns a producer of transactions. Programs of one group
// answer for each other's transactions: after a crash, or for one that is slow, any
// of them may be asked.
func (c *Client) NewTransactionProducer(group string, check Checker, opts ...ProducerOption) (*TransactionProducer, error) {
	if check == nil {
		return nil, fmt.Errorf("%w: a transaction producer needs a checker", ErrInvalid)
	}
	t := &TransactionProducer{check: check, slots: make(chan struct{}, checksAtOnce), sends: budget{maxMessages: math.MaxInt}}
	p, err := c.newProducer(group, t, opts...)
	if err != nil {
		return nil, err
	}
	t.p = p
	return t, nil
}

// Send stores m where nobody sees it, runs local, and has the message delivered or
// dropped as that says.
//
// If m could not be stored, local does not run, and the error is that of
// Producer.Send: after ErrUncertain m may be stored, and the checker will be asked.
// If local failed, its error comes with the receipt of the rollback. If the verdict
// could not be delivered, or its answer was lost, the error is ErrUncertain and the
// receipt Undecided: a check will settle it. ErrDecided, with the verdict that holds in
// the receipt: a check or an operator came first.
func (t *TransactionProducer) Send(ctx context.Context, m *Message, local Local) (TransactionReceipt, error) {
	if err := t.sends.take(ctx, 1, 0); err != nil {
		return TransactionReceipt{}, err
	}
	defer t.sends.give(1, 0)
	rs, err := t.p.sendUnit(ctx, single(m, -1))
	if err != nil {
		return TransactionReceipt{}, err
	}
	half := rs[0]
	tx := Transaction{ID: half.ID, Name: half.half.String(), Message: *m}
	out := TransactionReceipt{ID: half.ID, Name: tx.Name}
	v, failed := local(ctx, tx)
	if failed != nil && v != Undecided {
		v = Rollback
	}
	if v == Undecided {
		return out, failed
	}
	// The verdict is delivered also when ctx ended while local ran.
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), t.p.timeout)
	defer cancel()
	h := remoting.EndTransactionHeader{ProducerGroup: t.p.group, StateTableOffset: half.half.state, CommitLogOffset: half.half.offset,
		Decision: v.wire(), MsgID: half.ID, TransactionID: half.ID, Topic: m.Topic, BrokerName: half.Broker}
	var r Receipt
	out.Verdict, r, err = t.p.c.endTransaction(end, half.Broker, h)
	if out.Verdict == Commit {
		out.Receipt = Receipt{ID: half.ID, Topic: m.Topic, Queue: half.Queue, Offset: r.Offset, Broker: half.Broker, QueueID: r.QueueID, Duplicate: r.Duplicate}
	}
	return out, errors.Join(failed, err)
}

// Close refuses further sends and waits for those under way, their local transactions and
// verdicts included; what it does when ctx ends first is Producer.Close's, and verdicts are
// still delivered as long as the client is open. Checks that run go on. A local transaction
// must not call it.
func (t *TransactionProducer) Close(ctx context.Context) error { return t.p.Close(ctx) }

// settled waits until no send is under way.
func (t *TransactionProducer) settled(ctx context.Context) error {
	if err := t.sends.idle(ctx); err != nil {
		return fmt.Errorf("wait for local transactions: %w", err)
	}
	return nil
}

// halfName is how a half is named to the cluster.
type halfName struct {
	state  int64 // has the slot in its upper bits
	offset int64 // physical, in the slot
}

const stateSlotBits = 48

// String is the name that operators use.
func (n halfName) String() string { return fmt.Sprintf("%d-%d", n.state>>stateSlotBits, n.offset) }

// namesOf are the n halves of a send's reply.
func namesOf(h *remoting.SendReply, r *remoting.Command, n int) ([]halfName, error) {
	ids, states := strings.Split(h.MsgID, ","), []string{strconv.FormatInt(h.QueueOffset, 10)}
	if n > 1 {
		states = strings.Split(r.Ext["offsets"], ",")
	}
	if len(ids) != n || len(states) != n {
		return nil, fmt.Errorf("%d ids and %d offsets of %d transactions", len(ids), len(states), n)
	}
	names := make([]halfName, n)
	for i := range names {
		var err error
		if _, names[i].offset, err = message.ParseOffsetID(ids[i]); err != nil {
			return nil, err
		}
		if names[i].state, err = strconv.ParseInt(states[i], 10, 64); err != nil {
			return nil, err
		}
	}
	return names, nil
}

// endTransaction delivers a verdict, and returns the one that holds. The error is
// ErrUncertain if that is not known: it may be repeated.
func (c *Client) endTransaction(ctx context.Context, broker string, h remoting.EndTransactionHeader) (Verdict, Receipt, error) {
	const op = "end transaction"
	r, addr, err := c.askBroker(ctx, op, broker, remoting.NewRequest(remoting.EndTransaction, h))
	if err != nil {
		return Undecided, Receipt{}, fmt.Errorf("%w: %w", ErrUncertain, err)
	}
	refused := refusal(op, h.Topic, h.ProducerGroup, addr, r)
	var reply remoting.EndTransactionReply
	switch r.Code {
	case remoting.OK, remoting.IllegalOperation:
		if h.Decision == remoting.TransactionUnknown {
			return Undecided, Receipt{}, nil
		}
		if err := reply.Decode(r.Ext); err != nil {
			return Undecided, Receipt{}, fmt.Errorf("%s: %w: %s: %w", op, ErrUncertain, addr, err)
		}
	case remoting.NoTransaction:
		return Undecided, Receipt{}, fmt.Errorf("%w: %w", ErrNoTransaction, refused)
	case remoting.SystemError: // what a panic after the proposal is answered with, too
		return Undecided, Receipt{}, fmt.Errorf("%w: %w", ErrUncertain, refused)
	default:
		return Undecided, Receipt{}, refused
	}
	v := Commit
	if reply.Decision == remoting.TransactionRollback {
		v = Rollback
	}
	at := Receipt{Offset: reply.QueueOffset, QueueID: int(reply.QueueID), Broker: broker, Duplicate: reply.Before}
	if r.Code == remoting.IllegalOperation {
		return v, at, fmt.Errorf("%w: %w", ErrDecided, refused)
	}
	return v, at, nil
}

// asked answers a check, in the background.
func (c *Client) asked(req *remoting.Command) {
	var h remoting.CheckTransactionHeader
	if h.Decode(req.Ext) != nil {
		return
	}
	rec, err := message.ParseRecord(req.Body)
	if err != nil {
		return
	}
	group, _ := rec.Property(message.PropProducerGroup)
	var t *TransactionProducer
	c.mu.Lock()
	for p := range c.producers {
		if p.group == group && p.transactions != nil {
			t = p.transactions
		}
	}
	c.mu.Unlock()
	if t == nil {
		return
	}
	select {
	case t.slots <- struct{}{}:
	default:
		return
	}
	body := append([]byte(nil), req.Body...)
	if !c.spawn(func() {
		defer func() { <-t.slots }()
		t.answer(c, group, h, body)
	}) {
		<-t.slots
	}
}

func (t *TransactionProducer) answer(c *Client, group string, h remoting.CheckTransactionHeader, body []byte) {
	d, _, err := decodeRecord(body, &c.codecs)
	if err == nil {
		err = d.BodyErr
	}
	if err != nil {
		c.log.Warn("a transaction is asked about whose message cannot be read", "group", group, "error", err)
		return
	}
	for _, name := range []string{message.PropTransaction, message.PropProducerGroup, message.PropCheckTimes} {
		delete(d.Properties, name)
	}
	name := halfName{h.StateTableOffset, h.CommitLogOffset}
	ctx, cancel := context.WithTimeout(c.ctx, checkTime)
	defer cancel()
	v := t.check(ctx, Transaction{ID: d.ID, Name: name.String(), Message: d.Message})
	if v == Undecided {
		return // it is asked again
	}
	end := remoting.EndTransactionHeader{ProducerGroup: group, StateTableOffset: h.StateTableOffset, CommitLogOffset: h.CommitLogOffset, Decision: v.wire(),
		FromCheck: true, MsgID: h.MsgID, TransactionID: h.TransactionID, Topic: d.Topic, BrokerName: h.BrokerName}
	if _, _, err := c.endTransaction(ctx, h.BrokerName, end); err != nil {
		c.log.Info("answer to a check was not taken", "group", group, "transaction", name.String(), "answer", v.String(), "error", err)
	}
}
