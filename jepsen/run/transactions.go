package run

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"raftmq/client"
	"raftmq/jepsen/history"
)

var transactionsTopic = Topic{Name: "jepsen-transactions", Partitions: partitions, Queues: 1}

// Checks of transactions in a run.
const (
	transactionTimeout = 2 * time.Second
	checkInterval      = 2 * time.Second
	checkLimit         = 1000
	owedWithin         = 30 * time.Second // after the last fault
	unaskedFor         = 5 * time.Second  // when none waits: more than two questions are apart
	decidedAgain       = 8                // one of so many transactions
)

// transactionsLoad sends transactions, of which local transactions say at once what is
// to become, or nothing, and then whoever is asked. Of some that have their decision an
// operator says it again, or the other, which is not to count.
var transactionsLoad = Workload{
	Name: "transactions", Does: "transactions that are committed, rolled back, or decided when a producer is asked; some are decided again, and otherwise",
	Proves: []string{"P10"}, Topics: []Topic{transactionsTopic}, Sends: 1,
	Args: []string{"--transaction-timeout", transactionTimeout.String(), "--transaction-check-interval", checkInterval.String(), "--transaction-checks", strconv.Itoa(checkLimit)},
	start: func(r *run, p *part) error {
		const clients, lanes = 3, 2
		l := &ledger{r: r, rng: r.o.Seed.Stream("transactions/fates"), entries: make(map[string]*entry)}
		r.ledger = l
		for i := range clients {
			opts := []client.ProducerOption{client.WithSendTimeout(impatient)}
			cl, replies := r.clients[i], (*lossy)(nil)
			if i == 1 { // patient, so that what is lost is said again, also to the next leader
				cl, replies = r.lossy[i], r.replies[i]
				opts = []client.ProducerOption{client.WithSendTimeout(patient)}
			}
			tp, err := cl.NewTransactionProducer("jepsen-transactions", l.check, opts...)
			if err != nil {
				return err
			}
			for j := range lanes {
				t := &transactor{l: l, rng: r.o.Seed.Stream(fmt.Sprintf("transactions-%d-%d", i, j)), producer: tp, replies: replies, process: r.nextProcess()}
				p.load(func(ctx context.Context) { t.run(ctx, newPace(p.rate, i*lanes+j, clients*lanes)) })
			}
		}
		p.load(func(ctx context.Context) { l.again(ctx, r.lossy[2].Admin(), newPace(p.rate/decidedAgain, 0, 1)) })
		p.watch(func(ctx context.Context) error { r.readEach(ctx, "transactions-reader", transactionsTopic); return nil })
		return nil
	},
	settle: func(ctx context.Context, r *run) error { return r.ledger.settle(ctx) },
}

// ledger is what the local transactions have come to, of all producers: each of them may
// be asked about each.
type ledger struct {
	r *run
	// between is what a fault does, once, between a half, whose slot it is told, and its
	// decision.
	between atomic.Pointer[func(slot int)]
	// deciding is what one does, once, before a decision whose answer can be kept back is sent.
	deciding atomic.Pointer[func(d *deciding)]

	mu      sync.Mutex
	rng     *rand.Rand
	entries map[string]*entry // by value
	decided []string          // values of those whose decisions were answered, and that are not decided again yet
	asked   time.Time         // when somebody was last
}

// entry is one local transaction.
type entry struct {
	fate  client.Verdict // what it comes to
	quiet bool           // its program did not say so, and has to be asked
	name  string
	holds client.Verdict // what its program was answered that it is
	asked int
}

// deciding is a decision that is about to be sent.
type deciding struct {
	name     string // of the transaction
	slot     int
	replies  *lossy
	answered chan struct{} // closes when its producer has its answer, or gives up
}

// open draws what becomes of a transaction.
func (l *ledger) open(value string) *entry {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := &entry{fate: client.Commit, quiet: l.rng.IntN(5) == 0}
	if l.rng.IntN(3) == 0 {
		e.fate = client.Rollback
	}
	l.entries[value] = e
	return e
}

// holds notes what was answered of a transaction.
func (l *ledger) holds(value, name string, v client.Verdict) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.entries[value]
	e.name, e.holds = name, v
	l.decided = append(l.decided, value)
}

// again decides what is decided, each once: half of it alike, which changes nothing, and
// half otherwise, which is refused.
func (l *ledger) again(ctx context.Context, admin *client.Admin, pace *pace) {
	for pace.next(ctx) {
		l.mu.Lock()
		if len(l.decided) == 0 {
			l.mu.Unlock()
			continue
		}
		i, last := l.rng.IntN(len(l.decided)), len(l.decided)-1
		value := l.decided[i]
		l.decided[i], l.decided = l.decided[last], l.decided[:last]
		name, v := l.entries[value].name, l.entries[value].holds
		if l.rng.IntN(2) == 0 {
			v = other(v)
		}
		l.mu.Unlock()
		op := history.Op{Process: "operator-" + l.r.nextProcess(), Type: history.Invoke, F: history.Decide, Values: []string{value}, Fate: fateOf(v)}
		l.r.history.Add(op)
		within, cancel := context.WithTimeout(context.WithoutCancel(ctx), patient)
		holds, err := admin.DecideTransaction(within, name, v)
		cancel()
		op.Type, op.Values = history.Info, nil
		switch {
		case errors.Is(err, client.ErrDecided):
			op.Type = history.Fail
		case err == nil && holds == v:
			op.Type = history.OK
		case err != nil:
			op.Error = err.Error()
		}
		l.r.history.Add(op)
	}
}

func other(v client.Verdict) client.Verdict {
	if v == client.Commit {
		return client.Rollback
	}
	return client.Commit
}

// check answers a node's question. About what is decided, as its program was told, only one
// that was long on its way comes: the answer is the other decision, which is not to count.
func (l *ledger) check(_ context.Context, t client.Transaction) client.Verdict {
	value := valueOf(&t.Message)
	process := "checker-" + l.r.nextProcess()
	l.r.history.Add(history.Op{Process: process, Type: history.Info, F: history.Asked, Values: []string{value}})
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asked = time.Now()
	e := l.entries[value]
	if e == nil {
		return client.Undecided // the checker calls it a phantom
	}
	if e.asked++; e.asked == 1 && e.quiet && len(value)%2 == 0 {
		return client.Undecided // it is still at work
	}
	v := e.fate
	if e.holds != client.Undecided {
		v = other(e.holds)
	}
	op := history.Op{Process: process, Type: history.Invoke, F: history.Decide, Values: []string{value}, Fate: fateOf(v)}
	l.r.history.Add(op)
	op.Type, op.Values = history.Info, nil // no answer comes back
	l.r.history.Add(op)
	return v
}

func fateOf(v client.Verdict) string {
	if v == client.Commit {
		return history.Committing
	}
	return history.RollingBack
}

// settle waits until no transaction waits for a decision, and nobody has been asked about one for a while: nothing more becomes of
// any then, and the history says so. If some wait for too long, what is missing is for the checker to say.
func (l *ledger) settle(ctx context.Context) error {
	var since time.Time // when none waited
	for end := time.Now().Add(owedWithin); time.Now().Before(end); {
		wait, err := l.r.clients[0].Admin().Transactions(ctx, transactionsTopic.Name, false, 1)
		switch now := time.Now(); {
		case err != nil || len(wait) > 0:
			since = time.Time{}
		case since.IsZero():
			since = now
		case now.Sub(since) > unaskedFor && now.Sub(l.lastAsked()) > unaskedFor:
			l.r.history.Add(history.Op{Process: "run", Type: history.OK, F: history.Settled, Topic: transactionsTopic.Name})
			return nil
		}
		if !sleep(ctx, settleEvery) {
			return ctx.Err()
		}
	}
	return nil
}

func (l *ledger) lastAsked() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.asked
}

// transactor is one program after the other that sends transactions.
type transactor struct {
	l        *ledger
	rng      *rand.Rand
	producer *client.TransactionProducer
	replies  *lossy // to it; nil: they cannot be kept back
	process  string
	count    int
}

func (t *transactor) run(ctx context.Context, pace *pace) {
	for pace.next(ctx) {
		value := t.process + "-" + strconv.Itoa(t.count)
		t.count++
		if t.send(context.WithoutCancel(ctx), value) == history.Info {
			t.process, t.count = t.l.r.nextProcess(), 0
		}
	}
}

// send makes one transaction. Its message is a send: acknowledged when it is committed,
// certainly not stored when it is rolled back.
func (t *transactor) send(ctx context.Context, value string) history.Type {
	h := t.l.r.history
	e := t.l.open(value)
	op := history.Op{Process: t.process, Type: history.Invoke, F: history.Send, Values: []string{value}}
	h.Add(op)
	op.Values = nil
	decide := history.Op{Process: t.process + "/local", F: history.Decide, Fate: fateOf(e.fate)}
	ran, answered := false, make(chan struct{})
	rec, err := t.producer.Send(ctx, dressed(transactionsTopic.Name, value, smallest+t.rng.IntN(1<<10)),
		func(_ context.Context, tx client.Transaction) (client.Verdict, error) {
			ran = true
			h.Add(history.Op{Process: "local-" + t.process, Type: history.Info, F: history.Prepared, Values: []string{value}})
			first, _, _ := strings.Cut(tx.Name, "-") // SLOT-POSITION
			slot, _ := strconv.Atoi(first)
			if f := t.l.between.Swap(nil); f != nil {
				(*f)(slot)
			}
			if e.quiet {
				return client.Undecided, nil
			}
			decide.Type, decide.Values = history.Invoke, []string{value}
			h.Add(decide)
			if t.replies != nil {
				if f := t.l.deciding.Swap(nil); f != nil {
					(*f)(&deciding{tx.Name, slot, t.replies, answered})
				}
			}
			return e.fate, nil
		})
	close(answered)
	if decide.Type == history.Invoke {
		decide.Type, decide.Values = history.Info, nil
		switch {
		case errors.Is(err, client.ErrDecided):
			decide.Type = history.Fail
		case err == nil && rec.Verdict == e.fate:
			decide.Type = history.OK
		}
		h.Add(decide)
		if decide.Type != history.Info {
			t.l.holds(value, rec.Name, rec.Verdict)
		}
	}
	op.Type = history.Info
	switch {
	case !ran:
		op.Type, op.Error = outcome(err)
	case err == nil && rec.Verdict == client.Commit:
		op.Type, op.Places = history.OK, []history.Place{{Queue: transactionsTopic.Queue(rec.Receipt.Queue), Offset: rec.Receipt.Offset}}
	case (err == nil || errors.Is(err, client.ErrDecided)) && rec.Verdict == client.Rollback:
		op.Type, op.Error = history.Fail, "rolled back"
	case err != nil:
		op.Error = err.Error()
	default:
		op.Error = "undecided"
	}
	h.Add(op)
	return op.Type
}
