package message

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"net/netip"
)

// Fixed places of a record, in bytes from its start.
const (
	magicV1 = 0xDAA320A7

	atSize        = 0
	atMagic       = 4
	atBodyCRC     = 8
	atQueueID     = 12
	atFlag        = 16
	atQueueOffset = 20
	atPhysical    = 28
	atSysFlag     = 36
	atBorn        = 40
	atBornHost    = 48
	atStored      = 56
	atStoreHost   = 64
	atReconsume   = 72
	atPrepared    = 76
	atBodyLen     = 84
	atBody        = 88

	// overhead is the size of a record without topic, body and properties.
	overhead = atBody + 1 + 2
)

// MinRecord is the size in bytes of the smallest record.
const MinRecord = overhead

var (
	// ErrCorrupt: the bytes are not a whole, well-formed record.
	ErrCorrupt = errors.New("message: corrupt record")
	// ErrTooLarge: a field does not fit its place in the record.
	ErrTooLarge = errors.New("message: too large")
)

// Record is a view of one stored record. Its accessors never panic on a Record
// that ParseRecord returned.
type Record []byte

// RecordSize is the length in bytes of m's record.
func (m *Message) RecordSize() int {
	return overhead + len(m.Body) + len(m.Topic) + len(m.Properties)
}

// AppendRecord appends m's record to dst. Hosts that are not IPv4 are stored as
// 0.0.0.0, because stock clients cannot read others; the port is kept. It
// returns ErrTooLarge when topic or properties do not fit their lengths.
func (m *Message) AppendRecord(dst []byte) ([]byte, error) {
	if len(m.Topic) > MaxTopic {
		return dst, fmt.Errorf("%w: topic of %d bytes", ErrTooLarge, len(m.Topic))
	}
	if len(m.Properties) > MaxProperties {
		return dst, fmt.Errorf("%w: properties of %d bytes", ErrTooLarge, len(m.Properties))
	}
	be := binary.BigEndian
	dst = be.AppendUint32(dst, uint32(m.RecordSize()))
	dst = be.AppendUint32(dst, magicV1)
	dst = be.AppendUint32(dst, bodyCRC(m.Body))
	dst = be.AppendUint32(dst, uint32(m.QueueID))
	dst = be.AppendUint32(dst, uint32(m.Flag))
	dst = be.AppendUint64(dst, uint64(m.QueueOffset))
	dst = be.AppendUint64(dst, uint64(m.PhysicalOffset))
	dst = be.AppendUint32(dst, uint32(m.SysFlag)&^(FlagBornHostV6|FlagStoreHostV6))
	dst = be.AppendUint64(dst, uint64(m.BornTimestamp))
	dst = appendHost(dst, m.BornHost)
	dst = be.AppendUint64(dst, uint64(m.StoreTimestamp))
	dst = appendHost(dst, m.StoreHost)
	dst = be.AppendUint32(dst, uint32(m.ReconsumeTimes))
	dst = be.AppendUint64(dst, uint64(m.PreparedTransactionOffset))
	dst = be.AppendUint32(dst, uint32(len(m.Body)))
	dst = append(dst, m.Body...)
	dst = append(dst, byte(len(m.Topic)))
	dst = append(dst, m.Topic...)
	dst = be.AppendUint16(dst, uint16(len(m.Properties)))
	return append(dst, m.Properties...), nil
}

// ParseRecord returns the first record in b, checked for its magic and for
// lengths that agree with each other. It does not check the body's CRC: see
// Verify. The Record aliases b.
func ParseRecord(b []byte) (Record, error) {
	if len(b) < overhead {
		return nil, fmt.Errorf("%w: %d bytes", ErrCorrupt, len(b))
	}
	be := binary.BigEndian
	size := int64(be.Uint32(b[atSize:]))
	if size < overhead || size > int64(len(b)) {
		return nil, fmt.Errorf("%w: size %d of %d bytes", ErrCorrupt, size, len(b))
	}
	r := Record(b[:size:size])
	if m := be.Uint32(r[atMagic:]); m != magicV1 {
		return nil, fmt.Errorf("%w: magic %#x", ErrCorrupt, m)
	}
	if be.Uint32(r[atSysFlag:])&(FlagBornHostV6|FlagStoreHostV6) != 0 {
		return nil, fmt.Errorf("%w: IPv6 hosts", ErrCorrupt)
	}
	body := int64(be.Uint32(r[atBodyLen:]))
	topicAt := atBody + body
	if topicAt+3 > size {
		return nil, fmt.Errorf("%w: body of %d bytes in a record of %d", ErrCorrupt, body, size)
	}
	propsAt := topicAt + 1 + int64(r[topicAt])
	if propsAt+2 > size {
		return nil, fmt.Errorf("%w: topic of %d bytes", ErrCorrupt, r[topicAt])
	}
	if props := int64(be.Uint16(r[propsAt:])); propsAt+2+props != size {
		return nil, fmt.Errorf("%w: properties of %d bytes", ErrCorrupt, props)
	}
	return r, nil
}

// Verify checks the body against its CRC.
func (r Record) Verify() error {
	if want, got := r.u32(atBodyCRC), bodyCRC(r.Body()); want != got {
		return fmt.Errorf("%w: body CRC %#x, stored %#x", ErrCorrupt, got, want)
	}
	return nil
}

// Message returns r's fields. Body aliases r; strings are copies.
func (r Record) Message() Message {
	return Message{
		Topic: r.Topic(), QueueID: r.QueueID(), Flag: r.Flag(), SysFlag: r.SysFlag(),
		QueueOffset: r.QueueOffset(), PhysicalOffset: r.PhysicalOffset(),
		BornTimestamp: r.BornTimestamp(), StoreTimestamp: r.StoreTimestamp(),
		BornHost: r.host(atBornHost), StoreHost: r.StoreHost(),
		ReconsumeTimes: r.ReconsumeTimes(), PreparedTransactionOffset: int64(r.u64(atPrepared)),
		Body: r.Body(), Properties: r.Properties(),
	}
}

func (r Record) QueueID() int32            { return int32(r.u32(atQueueID)) }
func (r Record) Flag() int32               { return int32(r.u32(atFlag)) }
func (r Record) QueueOffset() Offset       { return Offset(r.u64(atQueueOffset)) }
func (r Record) PhysicalOffset() int64     { return int64(r.u64(atPhysical)) }
func (r Record) SysFlag() int32            { return int32(r.u32(atSysFlag)) }
func (r Record) BornTimestamp() int64      { return int64(r.u64(atBorn)) }
func (r Record) StoreTimestamp() int64     { return int64(r.u64(atStored)) }
func (r Record) StoreHost() netip.AddrPort { return r.host(atStoreHost) }
func (r Record) ReconsumeTimes() int32     { return int32(r.u32(atReconsume)) }

// Body returns the body; it aliases r.
func (r Record) Body() []byte {
	n := int(r.u32(atBodyLen))
	return r[atBody : atBody+n : atBody+n]
}

// Topic returns a copy of the topic.
func (r Record) Topic() string { return string(r.TopicBytes()) }

// TopicBytes returns the topic; it aliases r.
func (r Record) TopicBytes() []byte {
	at := atBody + int(r.u32(atBodyLen))
	return r[at+1 : at+1+int(r[at])]
}

// Properties returns a copy of the raw property string.
func (r Record) Properties() string { return string(r.PropertyBytes()) }

// PropertyBytes returns the raw property string; it aliases r.
func (r Record) PropertyBytes() []byte {
	at := atBody + int(r.u32(atBodyLen))
	at += 1 + int(r[at])
	return r[at+2:]
}

// Property returns the value of a property.
func (r Record) Property(name string) (string, bool) {
	v, ok := propertyBytes(r.PropertyBytes(), name)
	return string(v), ok
}

// Tag returns the record's tag, empty if it has none; it aliases r.
func (r Record) Tag() []byte {
	tag, _ := propertyBytes(r.PropertyBytes(), PropTags)
	return tag
}

// TagHash is TagHash of the record's tag, without a copy of it.
func (r Record) TagHash() int32 { return TagHash(string(r.Tag())) }

// Stamp writes into r what is decided when its entry is applied: its offset,
// physical offset and store time (Unix ms).
func Stamp(r Record, off Offset, physical, storedMs int64) {
	be := binary.BigEndian
	be.PutUint64(r[atQueueOffset:], uint64(off))
	be.PutUint64(r[atPhysical:], uint64(physical))
	be.PutUint64(r[atStored:], uint64(storedMs))
}

// SetStoreHost writes the address that clients dial for this record's id.
func SetStoreHost(r Record, a netip.AddrPort) {
	copy(r[atStoreHost:atStoreHost+8], appendHost(make([]byte, 0, 8), a))
}

func (r Record) u32(at int) uint32 { return binary.BigEndian.Uint32(r[at:]) }
func (r Record) u64(at int) uint64 { return binary.BigEndian.Uint64(r[at:]) }

func (r Record) host(at int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte(r[at:at+4])), uint16(r.u32(at+4)))
}

func appendHost(dst []byte, a netip.AddrPort) []byte {
	var ip [4]byte
	if u := a.Addr().Unmap(); u.Is4() {
		ip = u.As4()
	}
	dst = append(dst, ip[:]...)
	return binary.BigEndian.AppendUint32(dst, uint32(a.Port()))
}

// bodyCRC is masked to 31 bits, as RocketMQ computes it.
func bodyCRC(body []byte) uint32 { return crc32.ChecksumIEEE(body) & 0x7fffffff }
