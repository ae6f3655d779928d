package broker

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"raftmq/fsm"
	"raftmq/message"
	"raftmq/raftlog"
	"raftmq/remoting"
	"raftmq/store"
)

// Properties of halves that only the sender of a transaction gives.
const propCheckImmunity = "CHECK_IMMUNITY_TIME_IN_SECONDS" // until the first check

// errHalves: as many halves as a partition keeps have no decision; certainly not stored.
var errHalves = errors.New("broker: too many transactions of this partition have no decision yet")

// waitingHalves is how many requests of each kind wait per partition.
const waitingHalves = 1 << 12

var (
	halves = gathering[fsm.Half, fsm.HalfResult]{
		size:   func(h *fsm.Half) int { return fsm.HalfOverhead + len(h.Record) },
		encode: fsm.EncodeHalves,
		split: func(v any) ([]fsm.HalfResult, bool) {
			r, ok := v.(fsm.HalvesResult)
			return r.Items, ok
		},
		limit: waitingHalves,
	}
	decisions = gathering[fsm.Decide, fsm.DecideResult]{
		size:   func(d *fsm.Decide) int { return fsm.DecideOverhead + len(d.Record) },
		encode: fsm.EncodeDecides,
		split: func(v any) ([]fsm.DecideResult, bool) {
			r, ok := v.(fsm.DecidesResult)
			return r.Items, ok
		},
		limit: waitingHalves,
	}
)

// transactions are a partition's ways into entries for halves and decisions, made
// when they are first used: few partitions have any.
type transactions struct {
	room    *remoting.Budget
	propose func(cmd []byte, then func(result any, err error)) error
	now     func() time.Time

	mu      sync.Mutex
	closed  bool
	halves  *appender[fsm.Half, fsm.HalfResult]
	decides *appender[fsm.Decide, fsm.DecideResult]
}

// ways makes both; errNotHere if the partition is closed.
func (t *transactions) ways() (*appender[fsm.Half, fsm.HalfResult], *appender[fsm.Decide, fsm.DecideResult], error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil, nil, errNotHere
	}
	if t.halves == nil {
		t.halves, t.decides = newAppender(halves, t.room, t.propose, t.now), newAppender(decisions, t.room, t.propose, t.now)
	}
	return t.halves, t.decides, nil
}

// letGo answers those who wait; see partition.letGo.
func (t *transactions) letGo() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.halves != nil {
		close(t.halves.over)
		close(t.decides.over)
	}
}

// close is appender.close of both.
func (t *transactions) close() {
	t.mu.Lock()
	t.closed = true
	t.mu.Unlock()
	if t.halves != nil {
		t.halves.close()
		t.decides.close()
	}
}

// txCounts are what this node did, since its start.
type txCounts struct {
	halves, commits, rollbacks, conflicts, refused atomic.Uint64
	checks, unasked, relayed                       atomic.Uint64
}

// Clients of ours and stock ones name a half by two numbers that they send back:
// its physical offset, which is within the slot, and what stock clients call the
// state table offset, which has the slot and the half's number. The port that an
// answer comes in on does not tell the slot: a check is answered where it came from.
const stateSlotBits = 48

func stateOffset(slot int, number uint64) int64 { return int64(slot)<<stateSlotBits | int64(number) }

func splitStateOffset(v int64) (slot int, number uint64) {
	return int(v >> stateSlotBits), uint64(v & (1<<stateSlotBits - 1))
}

// isHalf reports whether a send is of a transactional message that is to be decided.
func isHalf(h *remoting.SendHeader) bool {
	for name, value := range message.Properties(h.Properties) {
		if name == message.PropTransaction {
			return strings.EqualFold(value, "true")
		}
	}
	return h.SysFlag&message.FlagTransactionMask == message.FlagPrepared
}

// sendHalves stores halves at the leader, each by itself: clients of ours send several
// at once. If some are stored and others are not, nothing is said of any, and a client
// that sends them again finds the same.
func (b *Broker) sendHalves(ctx context.Context, r *request, h *remoting.SendHeader, p *partition, all fsm.Item, unique string) (*remoting.Command, error) {
	if all.Producer.Ordered {
		return r.refuse(remoting.InvalidParameter, "halves of transactions are not ordered; certainly not stored"), nil
	}
	items := make([]fsm.Half, 0, all.Count)
	for rest := all.Records; len(rest) > 0; {
		rec, err := message.ParseRecord(rest)
		if err != nil {
			return nil, err
		}
		half := fsm.Half{Producer: all.Producer, Group: h.ProducerGroup, CheckAfter: uint32(b.cfg.TransactionTimeout.Milliseconds()), Record: rec}
		half.Producer.Sequence += uint64(len(items))
		if group, ok := rec.Property(message.PropProducerGroup); ok {
			half.Group = group
		}
		if err := message.CheckGroup(half.Group); err != nil {
			return r.refuse(remoting.InvalidParameter, "%v; certainly not stored", err), nil
		}
		if v, ok := rec.Property(propCheckImmunity); ok {
			if s, err := strconv.ParseInt(v, 10, 32); err == nil && s >= 0 { // else the default, as RocketMQ does
				half.CheckAfter = uint32(min(s*1000, 1<<32-1))
			}
		}
		items, rest = append(items, half), rest[len(rec):]
	}
	way, _, err := p.txs.ways()
	if err != nil {
		return nil, err
	}
	results, err := way.appendAll(ctx, items)
	if err != nil {
		return nil, err
	}
	return b.preparedReply(r, h, p, results, unique)
}

// preparedReply answers a send of halves.
func (b *Broker) preparedReply(r *request, h *remoting.SendHeader, p *partition, results []fsm.HalfResult, unique string) (*remoting.Command, error) {
	var ids, numbers []string
	refused := fsm.Stored
	for _, res := range results {
		switch res.Status {
		case fsm.Stored:
			b.tx.halves.Add(1)
		case fsm.Duplicate:
		case fsm.TooManyHalves:
			b.tx.refused.Add(1)
			refused = res.Status
			continue
		default:
			refused = res.Status
			continue
		}
		ids = append(ids, message.OffsetID(b.storeHost(r.slot), p.machine.PhysicalOffset(res.Position)))
		numbers = append(numbers, itoa(stateOffset(p.desc.Slot, res.Number)))
	}
	switch {
	case refused != fsm.Stored && len(ids) > 0:
		return nil, fmt.Errorf("%w: of %d messages %d are stored", raftlog.ErrUnknownOutcome, len(results), len(ids))
	case refused == fsm.TooManyHalves:
		return r.failed(errHalves), nil
	case refused != fsm.Stored:
		return b.sent(r, h, fsm.ItemResult{Status: refused}, unique), nil
	}
	reply := r.ReplyWith(remoting.SendReply{Trace: true,
		MsgID: strings.Join(ids, ","), QueueID: h.QueueID, QueueOffset: stateOffset(p.desc.Slot, results[0].Number),
		TransactionID: unique, Duplicate: results[0].Status == fsm.Duplicate,
	}, nil)
	if r.ours() {
		reply.SetExt(extOffsets, strings.Join(numbers, ","))
	}
	return reply, nil
}

// endTransaction answers 37, which stock clients send one-way: a decision about a
// half, or that there is none yet.
func (b *Broker) endTransaction(ctx context.Context, r *request) *remoting.Command {
	var h remoting.EndTransactionHeader
	if err := h.Decode(r.Ext); err != nil {
		return r.failed(err)
	}
	if h.ProducerGroup != "" || !h.Operator { // it goes into an entry with others' decisions, which may not be too large
		if err := message.CheckGroup(h.ProducerGroup); err != nil {
			return r.failed(err)
		}
	}
	slot, number := splitStateOffset(h.StateTableOffset)
	part, refusal := b.partitionOf(ctx, r, slot, h.CommitLogOffset)
	if refusal != nil {
		return refusal
	}
	if h.Decision == remoting.TransactionUnknown {
		return r.ReplyWith(nil, nil) // it is asked again
	}
	return b.atPartition(ctx, r, part, forwardWait, true, func(ctx context.Context, p *partition) (*remoting.Command, error) {
		res, err := b.resolve(ctx, p, &h, number)
		if err != nil {
			return nil, err
		}
		return b.decided(r, p, res), nil
	})
}

// partitionOf finds the partition of a physical offset in a slot.
func (b *Broker) partitionOf(ctx context.Context, r *request, slot int, physical int64) (fsm.Partition, *remoting.Command) {
	number, _ := message.SplitPhysicalOffset(physical)
	find := func() (fsm.Partition, bool) {
		for _, part := range b.catalogue.Partitions() {
			if part.Number == number && part.Slot == slot {
				return part, true
			}
		}
		return fsm.Partition{}, false
	}
	part, ok := find()
	if !ok {
		if err := b.catchUp(ctx); err != nil {
			return part, r.refuse(remoting.ServiceNotAvailable, "partition %d of slot %d is not known here and the catalogue has no leader; certainly not done", number, slot)
		}
		if part, ok = find(); !ok {
			return part, r.refuse(remoting.NoTransaction, "no partition %d in slot %d; nothing was done", number, slot)
		}
	}
	return part, nil
}

// resolve has a decision made, unless there is one, which it returns. A half that is
// not pending here is asked about only when all is applied that was acknowledged.
func (b *Broker) resolve(ctx context.Context, p *partition, h *remoting.EndTransactionHeader, number uint64) (fsm.DecideResult, error) {
	d := fsm.Decide{Verdict: fsm.Commit, By: fsm.ByProducer, Group: h.ProducerGroup}
	if h.Decision == remoting.TransactionRollback {
		d.Verdict = fsm.Rollback
	}
	switch {
	case h.Operator:
		d.By = fsm.ByOperator
	case h.FromCheck:
		d.By = fsm.ByCheck
	}
	for checked := false; ; checked = true {
		d.Position = p.halfOf(h.CommitLogOffset)
		half, pending := p.machine.Half(d.Position)
		switch {
		case pending && half.Number != number:
			return fsm.DecideResult{Status: fsm.UnknownTransaction}, nil
		case pending:
			res, err := b.decideHalf(ctx, p, half, d)
			if errors.Is(err, store.ErrNotFound) && !checked { // carried, or decided, meanwhile
				continue
			}
			return res, err
		case checked:
			return standing(p, d), nil
		}
		if err := p.replica.ReadIndex(ctx); err != nil {
			return fsm.DecideResult{}, errNotHere
		}
	}
}

// standing is what a decision finds about a half that is not pending.
func standing(p *partition, d fsm.Decide) fsm.DecideResult {
	made, ok := p.machine.DecisionOf(d.Position)
	switch {
	case !ok:
		return fsm.DecideResult{Status: fsm.UnknownTransaction}
	case made.Verdict != d.Verdict:
		return fsm.DecideResult{Status: fsm.DecidedOtherwise, Decision: made}
	}
	return fsm.DecideResult{Status: fsm.DecidedBefore, Decision: made}
}

// decideHalf proposes a decision about a half that is pending here.
func (b *Broker) decideHalf(ctx context.Context, p *partition, half fsm.HalfInfo, d fsm.Decide) (fsm.DecideResult, error) {
	var none fsm.DecideResult
	if d.Verdict == fsm.Commit {
		ctx, cancel := context.WithTimeout(ctx, forwardWait)
		leave, err := b.admission.commits.enter(ctx, int(half.Bytes))
		cancel()
		if err != nil {
			return none, err
		}
		defer leave()
		rec, err := p.machine.HalfRecord(half)
		if errors.Is(err, store.ErrDamaged) {
			return none, errNotHere // this replica is in quarantine now, and another will lead
		}
		if err == nil {
			d.Record, err = committed(rec, p.machine.PhysicalOffset(half.Position))
		}
		if err != nil {
			return none, err
		}
	}
	_, way, err := p.txs.ways()
	if err != nil {
		return none, err
	}
	res, err := way.append(ctx, d)
	if err != nil || res.Status != fsm.Decided {
		return res, err
	}
	if d.Verdict == fsm.Commit {
		b.tx.commits.Add(1)
		b.rates.put(p, 1, len(d.Record))
	} else {
		b.tx.rollbacks.Add(1)
	}
	return res, nil
}

// committed is the record of a committed message, made of its half's: as RocketMQ
// stores it, with the half's offset. The property that made it a half stays: by it stock
// consumers tell the message's transaction.
func committed(half message.Record, physical int64) ([]byte, error) {
	m := half.Message()
	m.SysFlag = m.SysFlag&^message.FlagTransactionMask | message.FlagCommitted
	m.PreparedTransactionOffset = physical
	m.QueueOffset, m.PhysicalOffset, m.StoreTimestamp = 0, 0, 0
	return m.AppendRecord(nil)
}

// decided answers what became of a decision.
func (b *Broker) decided(r *request, p *partition, res fsm.DecideResult) *remoting.Command {
	reply := remoting.EndTransactionReply{Decision: remoting.TransactionCommit, By: deciderNames[res.Decision.By], Before: res.Status != fsm.Decided, QueueID: -1}
	if res.Decision.Verdict == fsm.Rollback {
		reply.Decision = remoting.TransactionRollback
	} else if res.Decision.Queue >= 0 {
		reply.QueueID, reply.QueueOffset = res.Decision.Queue, int64(res.Decision.Offset)
		reply.MsgID = message.OffsetID(b.storeHost(p.desc.Slot), p.machine.PhysicalOffset(res.Decision.Stored))
	}
	switch res.Status {
	case fsm.Decided, fsm.DecidedBefore:
		return r.ReplyWith(reply, nil)
	case fsm.DecidedOtherwise:
		b.tx.conflicts.Add(1)
		return r.refuse(remoting.IllegalOperation, "the transaction was %s by %s at %s; nothing was changed", verdictNames[res.Decision.Verdict], deciderNames[res.Decision.By],
			time.UnixMilli(res.Decision.Time).UTC().Format(time.RFC3339)).With(reply)
	case fsm.UnknownTransaction:
		return r.refuse(remoting.NoTransaction, "no such transaction: it was decided so long ago that it is forgotten, or never there; nothing was done")
	case fsm.NotItsGroup:
		return r.refuse(remoting.NoPermission, "the transaction is another producer group's; nothing was done")
	}
	return r.refuse(remoting.SystemError, "decision status %d; nothing was done", res.Status)
}

var (
	verdictNames = map[fsm.Verdict]string{fsm.Commit: "committed", fsm.Rollback: "rolled back"}
	deciderNames = map[fsm.Decider]string{fsm.ByProducer: "producer", fsm.ByCheck: "check", fsm.ByOperator: "operator"}
)

// carryBytes is how much of halves' records one entry carries on.
const carryBytes = 256 << 10

// halvesBelow returns how many bytes of records carryHalves would store again.
func (p *partition) halvesBelow(before store.Position) (bytes int64) {
	for _, h := range p.machine.HalvesBelow(before, math.MaxInt) {
		bytes += int64(h.Bytes)
	}
	return bytes
}

// carryHalves stores again what is pending below before, so that it may be trimmed:
// a trim stops before the rest.
func (b *Broker) carryHalves(ctx context.Context, p *partition, before store.Position) error {
	for {
		below := p.machine.HalvesBelow(before, 1024)
		if len(below) == 0 {
			return nil
		}
		var carries []fsm.Carry
		bytes := 0
		for _, h := range below {
			if bytes > 0 && bytes+int(h.Bytes) > carryBytes {
				break
			}
			rec, err := p.machine.HalfRecord(h)
			if errors.Is(err, store.ErrNotFound) {
				continue // decided meanwhile
			}
			if err != nil {
				return fmt.Errorf("carry the half at %d: %w", h.Position, err)
			}
			carries = append(carries, fsm.Carry{Position: h.Position, Record: rec})
			bytes += int(h.Bytes)
		}
		v, err := p.propose(ctx, fsm.EncodeCarry(nil, b.atMs(), carries))
		if err != nil {
			return err
		}
		if n, _ := v.(int); n == 0 {
			return nil // all were decided meanwhile; the next round looks again
		}
	}
}

// transactionID is how operators name a transaction: the slot, and the half's offset
// in it.
func transactionID(p *partition, pos store.Position) string {
	return strconv.Itoa(p.desc.Slot) + "-" + strconv.FormatInt(p.machine.PhysicalOffset(pos), 10)
}
