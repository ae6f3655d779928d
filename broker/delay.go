package broker

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"raftmq/fsm"
	"raftmq/message"
	"raftmq/raftlog"
	"raftmq/remoting"
	"raftmq/store"
)

// delayOf reads when m is to come from its properties, and makes those what consumers
// are to see then. 0: at once; delayed, it may have had to wait when it was sent before.
func (b *Broker) delayOf(r *request, m *message.Message, batch bool) (due int64, delayed bool, refusal *remoting.Command) {
	now := b.atMs()
	due, delayed, err := message.Due(m.Properties, now)
	switch {
	case err != nil:
		return 0, false, r.refuse(remoting.MessageIllegal, "%v; certainly not stored", err)
	case !delayed:
		return 0, false, nil
	case batch:
		return 0, false, r.refuse(remoting.MessageIllegal, "messages of a batch cannot be delayed; certainly not stored")
	case b.cfg.MaxDelay > 0 && due-now > b.cfg.MaxDelay.Milliseconds():
		return 0, false, r.refuse(remoting.MessageIllegal, "timer message illegal, the delay time should not be bigger than %v; certainly not stored", b.cfg.MaxDelay)
	case due <= now:
		return 0, true, nil
	}
	m.Properties = message.Waiting(m.Properties, due, now)
	return due, true, nil
}

// waiting is a message of a request of which one is to come later, or may have had to
// when it was sent before.
type waiting struct {
	dueMs  int64 // 0: at once
	unique string
	size   int // of its record
}

// waitingBefore is of the records before the first that is delayed.
func (b *Broker) waitingBefore(records []byte, room int) []waiting {
	ws := make([]waiting, 0, room)
	for len(records) > 0 {
		rec, err := message.ParseRecord(records)
		if err != nil {
			panic(err) // it was made here
		}
		unique, _ := rec.Property(message.PropUniqueKey)
		ws = append(ws, waiting{unique: unique, size: len(rec)})
		records = records[len(rec):]
	}
	return ws
}

// sendDelayed stores messages of which at least one is delayed, each by itself:
// clients of ours send several at once. If some are stored and others are not, nothing
// is said of any, and a client that sends them again finds the same.
func (b *Broker) sendDelayed(ctx context.Context, r *request, h *remoting.SendHeader, p *partition, all fsm.Item, wait []waiting) (*remoting.Command, error) {
	items := make([]fsm.Delayed, len(wait))
	records, now := all.Records, b.atMs()
	for i, w := range wait {
		it := fsm.Item{Queue: all.Queue, Producer: all.Producer, Records: records[:w.size:w.size], Count: 1}
		it.Producer.Sequence += uint64(i)
		items[i] = fsm.Delayed{Item: it, DueMs: p.dueBy(now, w.dueMs)}
		records = records[w.size:]
	}
	results, err := p.delays.appendAll(ctx, items)
	if err != nil {
		return nil, err
	}
	one := results[0]
	var ids, handles, offsets []string
	for i, res := range results {
		if res.Status != fsm.Stored && res.Status != fsm.Duplicate {
			if i > 0 {
				return nil, fmt.Errorf("%w: of %d messages %d are stored", raftlog.ErrUnknownOutcome, len(results), i)
			}
			return b.sent(r, h, res.ItemResult, wait[i].unique), nil
		}
		if res.Status == fsm.Stored {
			b.rates.put(p, 1, wait[i].size)
			if x := b.rates.slot(p.desc.Slot); x != nil && res.Waits {
				x.timersIn.Add(1)
			}
		}
		handle, off := "", int64(-1)
		if res.Waits {
			key := store.TimerKey{DueMs: items[i].DueMs, ID: p.positionOf(res.Physical[0])}
			if res.Status == fsm.Duplicate { // what counts is when it was to come the first time
				if key.DueMs, err = p.machine.DueOf(key.ID); err != nil {
					return nil, unknownReceipt(err)
				}
			}
			handle = recallHandle{h.Topic, brokerName(r.slot), key, wait[i].unique}.encode()
		} else {
			off = int64(res.Offset)
			if res.Status == fsm.Duplicate {
				if _, err := firstReceipt(p, all.Queue, &res.ItemResult); err != nil {
					return nil, unknownReceipt(err)
				}
			}
		}
		ids = append(ids, message.OffsetID(b.storeHost(r.slot), res.Physical[0]))
		handles, offsets = append(handles, handle), append(offsets, itoa(off))
	}
	reply := r.ReplyWith(remoting.SendReply{Trace: true, MsgID: strings.Join(ids, ","), QueueID: h.QueueID, QueueOffset: int64(one.Offset), TransactionID: wait[0].unique, Duplicate: one.Status == fsm.Duplicate}, nil)
	reply.SetExt("recallHandle", strings.Join(handles, ","))
	if r.ours() {
		reply.SetExt(extOffsets, strings.Join(offsets, ","))
	}
	return reply, nil
}

// recallHandle names a message that waits. It is the URL-safe base64 of
//
//	v1 topic broker-name due-ms unique-key position
//
// of which RocketMQ's own have no position, and the due time plus one.
type recallHandle struct {
	topic, broker string
	key           store.TimerKey
	unique        string
}

func (h recallHandle) encode() string {
	return base64.URLEncoding.EncodeToString(fmt.Appendf(nil, "v1 %s %s %d %s %d", h.topic, h.broker, h.key.DueMs+1, h.unique, h.key.ID))
}

// errHandle: it is not one of ours.
var errHandle = errors.New("recall handle is invalid")

func decodeRecallHandle(s string) (h recallHandle, err error) {
	if len(s) > 2048 {
		return h, errHandle
	}
	b, err := base64.URLEncoding.DecodeString(s)
	if err != nil {
		b, err = base64.RawURLEncoding.DecodeString(s)
	}
	parts := strings.Split(string(b), " ")
	if err != nil || len(parts) != 6 || parts[0] != "v1" {
		return h, errHandle
	}
	due, err1 := strconv.ParseInt(parts[3], 10, 64)
	pos, err2 := strconv.ParseInt(parts[5], 10, 64)
	if err1 != nil || err2 != nil || due < 1 || pos < 1 || message.CheckTopic(parts[1]) != nil {
		return h, errHandle
	}
	return recallHandle{parts[1], parts[2], store.TimerKey{DueMs: due - 1, ID: store.Position(pos)}, parts[4]}, nil
}

// recall answers 370: it takes back a message that waits.
func (b *Broker) recallMessage(ctx context.Context, r *request) *remoting.Command {
	topic := r.Ext["topic"]
	h, err := decodeRecallHandle(r.Ext["recallHandle"])
	if err != nil {
		return r.refuse(remoting.IllegalOperation, "recall failed, %v", err)
	}
	if topic != "" && topic != h.topic {
		return r.refuse(remoting.IllegalOperation, "recall failed, topic not match")
	}
	slot, ok := parseBrokerName(h.broker)
	if !ok {
		return r.refuse(remoting.IllegalOperation, "recall failed, broker service not available")
	}
	r.slot = slot
	_, part, refusal := b.locate(ctx, r, h.topic, 0)
	if refusal != nil {
		return refusal
	}
	return b.atPartition(ctx, r, part, forwardWait, true, func(ctx context.Context, p *partition) (*remoting.Command, error) {
		switch what, err := p.takeBack(ctx, b, h.key); {
		case err != nil:
			return nil, err
		case what == nothingWaits:
			return r.refuse(remoting.QueryNotFound, "recall failed, no such message waits"), nil
		case what == tooLate:
			return r.refuse(remoting.SystemError, "recall failed, the message is due or has come"), nil
		case what == forgotten:
			return r.refuse(remoting.SystemError, "recall failed, the time of the message is over, and the log no longer tells whether it was taken back before"), nil
		}
		reply := r.ReplyWith(nil, nil)
		reply.SetExt("msgId", h.unique)
		return reply, nil
	})
}

// recalled is what became of a message that was to be taken back.
type recalled int

const (
	takenBack    recalled = iota // now or before: it does not come
	nothingWaits                 // and its time is still to come
	tooLate                      // it comes, or has come
	forgotten                    // its time is over, and what says whether it was taken back is trimmed
)

// takeBack recalls what waits under a key.
func (p *partition) takeBack(ctx context.Context, b *Broker, k store.TimerKey) (recalled, error) {
	p.timers.keeping.RLock()
	defer p.timers.keeping.RUnlock()
	ctx, cancel := context.WithTimeout(ctx, forwardWait)
	defer cancel()
	if err := p.replica.ReadIndex(ctx); err != nil {
		return 0, errNotHere
	}
	switch t, err := p.store().TimerOf(k); {
	case errors.Is(err, store.ErrNotFound):
		if _, now := p.machine.Timers(); k.DueMs > now {
			return nothingWaits, nil
		}
		return p.afterItsTime(k)
	case err != nil:
		return 0, err
	case t.Size == 0:
		return takenBack, nil
	}
	v, err := p.propose(ctx, fsm.EncodeRecall(nil, b.atMs(), []store.TimerKey{k}))
	if err != nil {
		return 0, err
	}
	if v.(fsm.RecallResult).Items[0] {
		return takenBack, nil
	}
	return p.afterItsTime(k) // one before, whose outcome nobody knew, may have come in between
}

// afterItsTime says what became of a key whose time is over, from what is applied here.
func (p *partition) afterItsTime(k store.TimerKey) (recalled, error) {
	at := k.ID
	switch t, err := p.store().TimerOf(k); {
	case err == nil && t.Size == 0:
		return takenBack, nil
	case err == nil:
		at = t.At
	case !errors.Is(err, store.ErrNotFound):
		return 0, err
	}
	if at > p.store().First().Position {
		return tooLate, nil // what would have taken it back lies behind it
	}
	return forgotten, nil
}
