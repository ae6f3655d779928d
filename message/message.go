package message

import (
	"net/netip"
)

// Offset is a place in a queue, counted in messages from 0.
type Offset int64

// Queue names one FIFO stream of a partition: a topic and RocketMQ's queueId.
type Queue struct {
	Topic string
	ID    int32
}

// Limits of a message. They are RocketMQ's defaults, which its clients check
// as well.
const (
	// MaxBody is the largest body in bytes, unless the node is configured lower.
	MaxBody = 4 << 20
	// MaxProperties is the largest encoded property string in bytes (an int16 on
	// the wire).
	MaxProperties = 32767
	// MaxTopic is the longest topic name in bytes: clients read the stored length
	// as a signed byte.
	MaxTopic = 127
	// MaxGroup leaves room for the "%RETRY%" prefix within MaxTopic.
	MaxGroup = MaxTopic - len(retryPrefix)
)

// System flag bits of a message.
const (
	FlagCompressed      = 1 << 0
	FlagTransactionMask = 3 << 2
	FlagPrepared        = 1 << 2
	FlagCommitted       = 2 << 2
	FlagRolledBack      = 3 << 2
	FlagBornHostV6      = 1 << 4
	FlagStoreHostV6     = 1 << 5
	FlagCompressionMask = 7 << 8
	FlagLZ4             = 1 << 8
	FlagZstd            = 2 << 8
	FlagZlib            = 3 << 8
)

// Message is every field of a stored record.
type Message struct {
	Topic          string
	QueueID        int32
	Flag           int32
	SysFlag        int32
	QueueOffset    Offset
	PhysicalOffset int64
	BornTimestamp  int64 // Unix ms
	StoreTimestamp int64 // Unix ms
	BornHost       netip.AddrPort
	StoreHost      netip.AddrPort
	ReconsumeTimes int32
	// PreparedTransactionOffset is the physical offset of the half message that a
	// committed transactional message came from, else 0.
	PreparedTransactionOffset int64
	Body                      []byte
	// Properties is the raw property string; see AppendProperty.
	Properties string
}

// Property returns the value of a property.
func (m *Message) Property(name string) (string, bool) {
	return property(m.Properties, name)
}
