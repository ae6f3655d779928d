package fsm

import (
	"encoding/binary"

	"raftmq/message"
	"raftmq/store"
)

// Producer is who sends, so that a message sent twice is stored once.
type Producer struct {
	ID    [16]byte // zero: no identity, nothing is recognised
	Epoch uint32   // a producer that starts over in a queue raises it
	// Sequence is of the item's first message, counted per queue from 0; the others
	// follow it.
	Sequence uint64
	Ordered  bool // refuse a message whose predecessors are missing
}

// Item is what one request stores: whole records of one queue, all or none.
type Item struct {
	Queue    message.Queue // that of every record; the records say it, it is not encoded
	Producer Producer
	Records  []byte
	Count    int // records
}

// Status says what became of an item.
type Status uint8

const (
	Stored             Status = iota
	Duplicate                 // stored before; Offset is the first receipt's
	UnknownBelowWindow        // too old to tell, or only a part was stored before; not stored as new
	UnknownProducer           // the identity is not known, and this is not its first message; not stored as new
	SequenceGap               // ordered, and out of order; certainly not stored
	StaleEpoch                // a later epoch of the producer is known; certainly not stored
	Malformed                 // the records are not whole ones of one queue, or not Count; certainly not stored
	TooManyHalves             // of a half: as many as are kept have no decision; certainly not stored
)

// ItemResult answers an Item.
type ItemResult struct {
	Status Status
	Offset message.Offset // of the first record; if Stored or Duplicate
	Count  int            // records
	// Physical is of each record, if Stored. It shares an array with those of the
	// entry's other items.
	Physical  []int64
	StoreTime int64 // T, Unix ms; if Stored
}

// AppendResult answers an append, item by item.
type AppendResult struct{ Items []ItemResult }

const (
	flagProducer = 1
	flagOrdered  = 2

	// itemHead and producerHead are what an item adds to its records.
	itemHead     = 1 + 4 + 4
	producerHead = 16 + 4 + 8
	// appendHead is a command without items.
	appendHead = commandHead + 4

	// MaxItem is the most bytes of records that an entry of one item has room for.
	// A larger entry stops every replica: whoever proposes makes sure.
	MaxItem = store.MaxEntry - appendHead - itemHead - producerHead
)

// AppendBuilder makes an append command item by item, copying records once. The
// zero value is ready. Not safe for concurrent use.
type AppendBuilder struct {
	b     []byte
	items int
}

// Start begins a command in the room of buf; nil is fine.
func (a *AppendBuilder) Start(buf []byte) {
	a.items = 0
	a.b = append(buf[:0], make([]byte, appendHead)...)
	a.b[0], a.b[1] = byte(kindAppend), commandVersion
}

// Add adds an item after the others. It copies the records, and does not look
// at them.
func (a *AppendBuilder) Add(it *Item) {
	if a.b == nil {
		a.Start(nil)
	}
	a.items++
	a.b = appendItem(a.b, it)
}

func appendItem(b []byte, it *Item) []byte {
	be := binary.BigEndian
	if it.Producer.ID == [16]byte{} {
		b = append(b, 0)
	} else {
		flags := byte(flagProducer)
		if it.Producer.Ordered {
			flags |= flagOrdered
		}
		b = append(b, flags)
		b = append(b, it.Producer.ID[:]...)
		b = be.AppendUint32(b, it.Producer.Epoch)
		b = be.AppendUint64(b, it.Producer.Sequence)
	}
	b = be.AppendUint32(b, uint32(it.Count))
	b = be.AppendUint32(b, uint32(len(it.Records)))
	return append(b, it.Records...)
}

// Items is how many were added.
func (a *AppendBuilder) Items() int { return a.items }

// Size is the command's length in bytes so far; no entry may exceed
// store.MaxEntry.
func (a *AppendBuilder) Size() int { return len(a.b) }

// Finish returns the command, proposed at atMs, and forgets it: the caller owns
// the bytes.
func (a *AppendBuilder) Finish(atMs int64) []byte {
	if a.b == nil {
		a.Start(nil)
	}
	b := a.b
	binary.BigEndian.PutUint64(b[2:], uint64(atMs))
	binary.BigEndian.PutUint32(b[commandHead:], uint32(a.items))
	a.b, a.items = nil, 0
	return b
}

// EncodeAppend appends to dst the command that stores items, proposed at atMs.
func EncodeAppend(dst []byte, atMs int64, items []Item) []byte {
	size := appendHead
	for i := range items {
		size += itemHead + producerHead + len(items[i].Records)
	}
	var a AppendBuilder
	if cap(dst)-len(dst) < size {
		dst = append(make([]byte, 0, len(dst)+size), dst...)
	}
	a.Start(dst[len(dst):])
	for i := range items {
		a.Add(&items[i])
	}
	return dst[:len(dst)+len(a.Finish(atMs))]
}

// parsedItem is an item of an entry, its records at records[from:to] of parsed.
type parsedItem struct {
	producer Producer
	queue    message.Queue
	count    int // announced
	from, to int // in parsed.places
	bad      bool
}

// parseAppend reads an append's items into m.items and their records' places into
// m.places. Lengths that do not add up are ErrCommand; records that are not whole
// ones of one queue make their item bad.
func (m *PartitionMachine) parseAppend(data []byte) error {
	m.items, m.places = m.items[:0], m.places[:0]
	r := reader{b: data[commandHead:]}
	for range r.count(itemHead) {
		if m.parseItem(&r, len(data)); r.err != nil {
			return r.err
		}
	}
	return r.end()
}

// parseItem reads an item of an entry with so much data.
func (m *PartitionMachine) parseItem(r *reader, size int) {
	it := parsedItem{from: len(m.places)}
	flags := r.u8()
	if flags&flagProducer != 0 {
		copy(it.producer.ID[:], r.take(16))
		it.producer.Epoch, it.producer.Sequence = r.u32(), r.u64()
		it.producer.Ordered = flags&flagOrdered != 0
	}
	it.count = int(r.u32())
	n := uint64(r.u32())
	at := size - len(r.b)
	records := r.take(n)
	if flags&^(flagProducer|flagOrdered) != 0 {
		r.fail("item %d: flags %#x", len(m.items), flags)
	}
	if r.err != nil {
		return
	}
	if it.bad = !m.parseRecords(&it, records, at); it.bad {
		m.places = m.places[:it.from]
	}
	it.to = len(m.places)
	m.items = append(m.items, it)
}
