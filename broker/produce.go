package broker

import (
	"context"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"raftmq/fsm"
	"raftmq/message"
	"raftmq/raftlog"
	"raftmq/remoting"
	"raftmq/store"
)

// send answers 10, 310 and 320.
func (b *Broker) send(ctx context.Context, r *request) *remoting.Command {
	var h remoting.SendHeader
	if err := h.Decode(r.Ext); err != nil {
		return r.failed(err)
	}
	r.slot = r.slotOf(h.BrokerName)
	if err := message.CheckTopic(h.Topic); err != nil {
		return r.failed(err)
	}
	if refusal := r.longProperties(&h); refusal != nil {
		return refusal
	}
	group, retry := message.RetryGroup(h.Topic) // a client puts back what it could not have put back
	if b.ownTopic(h.Topic) && !retry {
		return r.refuse(remoting.NoPermission, "the topic %s belongs to the broker", h.Topic)
	}
	topic, part, refusal := b.locate(ctx, r, h.Topic, h.QueueID)
	if refusal != nil && refusal.Code == remoting.TopicNotExist && retry {
		return r.refuse(remoting.SubscriptionGroupNotExist, "group %s does not exist, or consumes nothing in %s; certainly not stored", group, brokerName(r.slot))
	}
	if refusal != nil && refusal.Code == remoting.TopicNotExist && !r.forwarded && b.cfg.AutoCreateTopics && h.DefaultTopic == message.DefaultTopic {
		if refusal := b.autoCreate(ctx, r, h.Topic); refusal != nil {
			return refusal
		}
		topic, part, refusal = b.locate(ctx, r, h.Topic, h.QueueID)
	}
	switch {
	case refusal != nil:
		return refusal
	case part.ID == 0 && retry:
		return r.refuse(remoting.InvalidParameter, "queue %d of topic %s belonged to a topic that was deleted; certainly not stored", h.QueueID, h.Topic)
	case topic.Perm&permWrite == 0:
		return r.refuse(remoting.NoPermission, "topic %s may not be written", h.Topic)
	case h.QueueID < 0 && topic.WriteQueues > 0:
		h.QueueID = rand.Int32N(topic.WriteQueues)
	case topic.WriteQueues == 0:
		return r.refuse(remoting.NoPermission, "topic %s has no queue to write", h.Topic)
	}
	if retry && b.toDeadLetters(&h, group) {
		h.Topic = message.DLQTopic(group)
		h.Properties = message.Buried(message.Undelayed(h.Properties), "", b.atMs())
	}
	producer, err := producerOf(r)
	if err != nil {
		return r.failed(err)
	}
	if !retry {
		if part, refusal = b.place(r, &h, topic, part, r.ours()); refusal != nil {
			return refusal
		}
	}
	if retry { // one that was committed is no transaction once more, though Java's clients before 4.6.1 mark it as one
		h.Properties = message.WithoutHalf(h.Properties)
		h.SysFlag &^= message.FlagTransactionMask
	}
	batch := r.Code == remoting.SendBatchMessage || h.Batch
	half := isHalf(&h)
	if half && batch && !r.ours() {
		return r.refuse(remoting.MessageIllegal, "a batch cannot be a transaction; certainly not stored")
	}
	return b.atPartition(ctx, r, part, forwardWait, producer.ID != [16]byte{}, func(ctx context.Context, p *partition) (*remoting.Command, error) {
		item := fsm.Item{Queue: message.Queue{Topic: h.Topic, ID: h.QueueID}, Producer: producer}
		held := 0 // of the room for records
		defer func() { b.admission.records.Give(held) }()
		unique, wait, refusal := b.records(r, &h, &item, batch, &held)
		if refusal != nil {
			return refusal, nil
		}
		if p.refuses.Load() {
			return r.failed(errNoDisk), nil
		}
		if half {
			return b.sendHalves(ctx, r, &h, p, item, unique)
		}
		if wait != nil {
			return b.sendDelayed(ctx, r, &h, p, item, wait)
		}
		res, err := p.append.append(ctx, item)
		if err != nil {
			return nil, err
		}
		switch res.Status {
		case fsm.Stored:
			b.rates.put(p, item.Count, len(item.Records))
		case fsm.Duplicate:
			if unique, err = firstReceipt(p, item.Queue, &res); err != nil {
				return nil, unknownReceipt(err)
			}
		}
		return b.sent(r, &h, res, unique), nil
	})
}

// longProperties refuses properties that could not be stored, before they are read: that takes many times as much
// memory as their text.
func (r *request) longProperties(h *remoting.SendHeader) *remoting.Command {
	if n := len(h.Properties); n > message.MaxProperties {
		return r.refuse(remoting.MessageIllegal, "properties of %d bytes, at most %d; certainly not stored", n, message.MaxProperties)
	}
	return nil
}

// producerOf reads the identity that clients of ours send.
func producerOf(r *request) (fsm.Producer, error) {
	var p fsm.Producer
	id := r.Ext[extPID]
	if id == "" {
		return p, nil
	}
	b, err := hex.DecodeString(id)
	if err != nil || len(b) != len(p.ID) {
		return p, fmt.Errorf("%w: %s %q is not 32 hex digits", remoting.ErrHeader, extPID, id)
	}
	copy(p.ID[:], b)
	epoch, err := strconv.ParseUint(r.Ext[extEpoch], 10, 32)
	if err != nil {
		return p, fmt.Errorf("%w: %s %q", remoting.ErrHeader, extEpoch, r.Ext[extEpoch])
	}
	if p.Sequence, err = strconv.ParseUint(r.Ext[extSeq], 10, 63); err != nil {
		return p, fmt.Errorf("%w: %s %q", remoting.ErrHeader, extSeq, r.Ext[extSeq])
	}
	p.Epoch, p.Ordered = uint32(epoch), r.Ext[extOrder] == "1"
	return p, nil
}

// records builds the records of a send, once, as they are stored and served. wait has
// for each when it is to come; nil: all at once, as they would have been before. held is what it took of the room
// for records.
func (b *Broker) records(r *request, h *remoting.SendHeader, item *fsm.Item, batch bool, held *int) (unique string, wait []waiting, refusal *remoting.Command) {
	m := message.Message{
		Topic: h.Topic, QueueID: h.QueueID, SysFlag: h.SysFlag, BornTimestamp: h.BornTimestamp,
		BornHost: r.from, StoreHost: b.storeHost(r.slot), ReconsumeTimes: h.ReconsumeTimes,
	}
	t := h.SysFlag & message.FlagTransactionMask
	if t != 0 && t != message.FlagPrepared {
		return "", nil, r.refuse(remoting.MessageIllegal, "system flag %#x: only the broker decides transactions; certainly not stored", h.SysFlag)
	}
	all := []message.BatchMessage{{Flag: h.Flag, Body: r.Body, Properties: h.Properties}}
	if batch {
		var err error
		if all, err = message.DecodeBatch(r.Body); err != nil {
			return "", nil, r.refuse(remoting.MessageIllegal, "%v", err)
		}
		if !r.ours() {
			if _, delayed, err := message.Due(h.Properties, b.atMs()); delayed || err != nil {
				return "", nil, r.refuse(remoting.MessageIllegal, "messages of a batch cannot be delayed; certainly not stored")
			}
		}
	}
	size := 0
	for i, x := range all {
		x.Properties = message.InCluster(x.Properties, b.cfg.Cluster)
		if !batch && !r.ours() {
			x.Properties = message.Traceable(x.Properties)
		}
		all[i].Properties = x.Properties
		size += message.MinRecord + len(x.Body) + len(h.Topic) + len(x.Properties) + 48
	}
	if most := fsm.MaxItem - (store.MaxEntry - b.maxEntry()); size > most {
		return "", nil, r.refuse(remoting.MessageIllegal, "batch of %d messages takes %d bytes, at most %d; certainly not stored", len(all), size, most)
	}
	if !b.admission.records.Take(size) {
		return "", nil, r.failed(errBusy)
	}
	*held = size
	item.Records = make([]byte, 0, size)
	for i, x := range all {
		m.Flag, m.Body, m.Properties = x.Flag, x.Body, x.Properties
		if len(m.Body) > b.cfg.MaxBody {
			return "", nil, r.refuse(remoting.MessageIllegal, "message body of %d bytes, at most %d; certainly not stored", len(m.Body), b.cfg.MaxBody)
		}
		if _, ok := m.Property(message.PropTransaction); ok && batch && !isHalf(h) {
			return "", nil, r.refuse(remoting.MessageIllegal, "a message of a batch cannot be a transaction; certainly not stored")
		}
		due, delayed, refusal := b.delayOf(r, &m, batch && !r.ours())
		if refusal != nil {
			return "", nil, refusal
		}
		if due > 0 && isHalf(h) {
			return "", nil, r.refuse(remoting.MessageIllegal, "a transactional message cannot be delayed; certainly not stored")
		}
		id, ok := m.Property(message.PropUniqueKey)
		if !ok {
			id = b.keys.Next()
			if n := len(m.Properties); n > 0 && m.Properties[n-1] != 0x02 {
				m.Properties += "\x02"
			}
			m.Properties = string(message.AppendProperty([]byte(m.Properties), message.PropUniqueKey, id))
		}
		if i == 0 {
			unique = strings.Clone(id)
		}
		// Who has an identity may have sent it before, when it had to wait yet: that
		// is known of each message by itself.
		if wait == nil && (due > 0 || delayed && item.Producer.ID != [16]byte{}) {
			wait = b.waitingBefore(item.Records, len(all))
		}
		var err error
		from := len(item.Records)
		if item.Records, err = m.AppendRecord(item.Records); err != nil {
			return "", nil, r.refuse(remoting.MessageIllegal, "%v; certainly not stored", err)
		}
		if wait != nil {
			wait = append(wait, waiting{dueMs: due, unique: strings.Clone(id), size: len(item.Records) - from})
		}
	}
	item.Count = len(all)
	return unique, wait, nil
}

// unknownReceipt: a message was stored before, and its receipt cannot be read.
func unknownReceipt(err error) error {
	return fmt.Errorf("%w: stored before, but: %w", raftlog.ErrUnknownOutcome, err)
}

// firstReceipt completes the receipt of a message that was stored before, from
// its records.
func firstReceipt(p *partition, q message.Queue, res *fsm.ItemResult) (unique string, err error) {
	for off := res.Offset; len(res.Physical) < res.Count; {
		batch, err := p.store().Read(q, off, res.Count-len(res.Physical), maxPullBytes, nil)
		if err != nil {
			return "", err
		}
		for rest := batch.Records; len(rest) > 0; {
			rec, err := message.ParseRecord(rest)
			if err != nil {
				return "", err
			}
			if len(res.Physical) == 0 {
				unique, _ = rec.Property(message.PropUniqueKey)
			}
			res.Physical = append(res.Physical, rec.PhysicalOffset())
			rest = rest[len(rec):]
		}
		off = batch.Next
	}
	return unique, nil
}

// sent answers a send that was applied.
func (b *Broker) sent(r *request, h *remoting.SendHeader, res fsm.ItemResult, unique string) *remoting.Command {
	switch res.Status {
	case fsm.Stored, fsm.Duplicate:
	case fsm.SequenceGap:
		return r.refuse(remoting.SequenceGap, "an earlier message of this producer is missing; certainly not stored")
	case fsm.StaleEpoch:
		return r.refuse(remoting.StaleEpoch, "a later epoch of this producer is known; certainly not stored")
	case fsm.Malformed:
		return r.refuse(remoting.MessageIllegal, "the records are not whole ones of a queue; certainly not stored")
	case fsm.UnknownProducer:
		return r.refuse(remoting.UnknownProducer, "the producer is not known and this is not its first message; not stored as new")
	case fsm.UnknownBelowWindow:
		return r.refuse(remoting.OutcomeUnknown, "too old to tell whether it was stored; not stored as new")
	default:
		return r.refuse(remoting.SystemError, "status %d", res.Status)
	}
	ids := make([]string, len(res.Physical))
	host := b.storeHost(r.slot)
	for i, p := range res.Physical {
		ids[i] = message.OffsetID(host, p)
	}
	return r.ReplyWith(remoting.SendReply{Trace: true,
		MsgID: strings.Join(ids, ","), QueueID: h.QueueID, QueueOffset: int64(res.Offset), TransactionID: unique,
		Duplicate: res.Status == fsm.Duplicate,
	}, nil)
}

// storeHost is the slot's listener here, which clients dial to look a message up.
func (b *Broker) storeHost(slot int) netip.AddrPort {
	if slot < 0 || slot >= len(b.addrs.Listeners) {
		return netip.AddrPort{}
	}
	a, err := netip.ParseAddrPort(b.addrs.Listeners[slot])
	if err != nil {
		return netip.AddrPort{} // a host name: stock lookups by id then fail
	}
	return a
}

// autoCreate makes the topic as TBW102 says, and waits until its partitions can
// be sent to: this must fit into a stock client's first send.
func (b *Broker) autoCreate(ctx context.Context, r *request, topic string) (refusal *remoting.Command) {
	n := int32(b.cfg.DefaultQueues)
	req := &request{Command: remoting.NewRequest(remoting.UpdateAndCreateTopic, remoting.CreateTopicHeader{
		Topic: topic, DefaultTopic: message.DefaultTopic, ReadQueueNums: n, WriteQueueNums: n, Perm: permRead | permWrite, TopicFilterType: "SINGLE_TAG",
	}), slot: 0}
	req.SetExt(extIfNone, "1")
	switch reply := b.admin(ctx, req); reply.Code {
	case remoting.OK:
		return nil
	case remoting.InvalidParameter:
		return r.refuse(reply.Code, "create topic %s: %s; certainly not stored", topic, reply.Remark)
	default: // it may pass
		return r.refuse(remoting.ServiceNotAvailable, "create topic %s: %s; certainly not stored", topic, reply.Remark)
	}
}

// awaitTopic waits until this node knows the topic and a leader of each of its
// partitions.
func (b *Broker) awaitTopic(ctx context.Context, topic string) error {
	ctx, cancel := context.WithTimeout(ctx, forwardWait)
	defer cancel()
	for {
		changed := b.catalogue.Changed()
		if t, ok := b.catalogue.Topic(topic); ok {
			led := 0
			for _, p := range t.Partitions {
				if b.led(p.ID) {
					led++
				}
			}
			if led == len(t.Partitions) {
				return nil
			}
		}
		select {
		case <-changed:
		case <-time.After(5 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("topic %s is made, but not all of its partitions have a leader yet", topic)
		}
	}
}
