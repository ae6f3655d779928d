package fsm

import (
	"encoding/binary"
	"fmt"

	"raftmq/message"
	"raftmq/store"
)

// Producer is who sends, so that a message sent twice is stored once.
type Producer struct {
	ID       [16]byte // zero: no identity, nothing is recognised
	Epoch    uint32
	Sequence uint64 // of the item's first message, in its queue, from 0
	Ordered  bool   // refuse a message whose predecessors are missing
}

// Item is what one request stores: whole records of one queue, all or none.
type Item struct {
	Queue    message.Queue
	Producer Producer
	Records  []byte
	Count    int // records
}

// Status says what became of an item.
type Status uint8

const (
	Stored             Status = iota
	Duplicate                 // stored before; Offset is the first receipt's
	UnknownBelowWindow        // too old to tell; not stored as new
	UnknownProducer           // the identity is not known, and this is not its first message; not stored as new
	SequenceGap               // ordered, and earlier messages are missing; not stored
	StaleEpoch                // a later epoch of the producer is known; not stored
)

// ItemResult answers an Item.
type ItemResult struct {
	Status    Status
	Offset    message.Offset // of the first record
	Count     int
	Physical  []int64 // of each record; only if Stored
	StoreTime int64   // Unix ms
}

// AppendResult answers an append, item by item.
type AppendResult struct{ Items []ItemResult }

const (
	flagProducer = 1
	flagOrdered  = 2
)

// EncodeAppend appends the command that stores items, proposed at atMs.
func EncodeAppend(dst []byte, atMs int64, items []Item) []byte {
	be := binary.BigEndian
	dst = appendCommand(dst, kindAppend, atMs)
	dst = be.AppendUint32(dst, uint32(len(items)))
	for i := range items {
		it := &items[i]
		var flags byte
		if it.Producer.ID != [16]byte{} {
			flags = flagProducer
			if it.Producer.Ordered {
				flags |= flagOrdered
			}
		}
		dst = append(dst, flags)
		if flags&flagProducer != 0 {
			dst = append(dst, it.Producer.ID[:]...)
			dst = be.AppendUint32(dst, it.Producer.Epoch)
			dst = be.AppendUint64(dst, it.Producer.Sequence)
		}
		dst = be.AppendUint32(dst, uint32(it.Count))
		dst = be.AppendUint32(dst, uint32(len(it.Records)))
		dst = append(dst, it.Records...)
	}
	return dst
}

// parsedItem is an item of an entry, with its records' places in the entry.
type parsedItem struct {
	producer Producer
	queue    message.Queue
	places   []store.Place
}

// parseAppend reads an append's items; the version is checked.
func (m *PartitionMachine) parseAppend(data []byte) ([]parsedItem, error) {
	r := reader{b: data[10:]}
	n := r.count(9)
	items := make([]parsedItem, n)
	for i := range items {
		it := &items[i]
		flags := r.u8()
		if flags&flagProducer != 0 {
			copy(it.producer.ID[:], r.take(16))
			it.producer.Epoch, it.producer.Sequence, it.producer.Ordered = r.u32(), r.u64(), flags&flagOrdered != 0
		}
		count, size := int(r.u32()), r.u32()
		at := len(data) - len(r.b)
		records := r.take(uint64(size))
		if r.err != nil || count*message.MinRecord > len(records) {
			return nil, fmt.Errorf("%w: item %d", ErrCommand, i)
		}
		it.places = make([]store.Place, 0, count)
		for len(records) > 0 {
			rec, err := message.ParseRecord(records)
			if err != nil {
				return nil, fmt.Errorf("%w: item %d: %w", ErrCommand, i, err)
			}
			q := message.Queue{Topic: m.intern(rec.TopicBytes()), ID: rec.QueueID()}
			if len(it.places) == 0 {
				it.queue = q
			} else if q != it.queue {
				return nil, fmt.Errorf("%w: item %d: records of two queues", ErrCommand, i)
			}
			it.places = append(it.places, store.Place{Queue: q, Start: at, Size: len(rec), Tag: tagOf(rec)})
			at += len(rec)
			records = records[len(rec):]
		}
		if len(it.places) != count || count == 0 {
			return nil, fmt.Errorf("%w: item %d: %d records, %d announced", ErrCommand, i, len(it.places), count)
		}
	}
	return items, r.end()
}

func tagOf(r message.Record) int32 {
	tag, ok := r.Property(message.PropTags)
	if !ok {
		return 0
	}
	return message.TagHash(tag)
}

// intern saves an allocation per record.
func (m *PartitionMachine) intern(b []byte) string {
	if s, ok := m.topics[string(b)]; ok {
		return s
	}
	s := string(b)
	if len(m.topics) < 1024 {
		m.topics[s] = s
	}
	return s
}

// append applies an append command: an item that is new gets offsets, one that is
// known gets its first receipt.
func (m *PartitionMachine) append(e store.Entry, at int64) (AppendResult, error) {
	items, err := m.parseAppend(e.Data)
	if err != nil {
		return AppendResult{}, err
	}
	res := AppendResult{Items: make([]ItemResult, len(items))}
	next := make(map[message.Queue]message.Offset, 1)
	var places []store.Place
	base := m.store.Last().Position + store.FrameData // where the entry's data will lie
	for i := range items {
		it, out := &items[i], &res.Items[i]
		off, ok := next[it.queue]
		if !ok {
			_, off = m.store.Bounds(it.queue)
		}
		n := len(it.places)
		out.Count, out.StoreTime = n, at
		out.Status, out.Offset = m.dedup.check(it.producer, it.queue, n, off, at)
		if out.Status != Stored {
			continue
		}
		out.Offset = off
		next[it.queue] = off + message.Offset(n)
		out.Physical = make([]int64, n)
		for j, p := range it.places {
			out.Physical[j] = message.PhysicalOffset(m.number, int64(base)+int64(p.Start))
		}
		places = append(places, it.places...)
	}
	_, err = m.store.Append(e, at, places)
	return res, err
}
