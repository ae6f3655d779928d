package client

import (
	"fmt"
	"strings"
	"time"

	"raftmq/message"
)

// Limits of a message, RocketMQ's.
const (
	MaxBody       = message.MaxBody
	MaxProperties = message.MaxProperties
)

// Message is what a producer sends. It must not be changed until its send has
// ended.
type Message struct {
	Topic      string
	Body       []byte // at most MaxBody, and what the cluster allows
	Tag        string // what consumers filter by; empty: none
	Keys       []string
	Properties map[string]string // names and values without bytes 1 and 2
	OrderKey   string            // messages of one key go to one queue, in the order of their sends; empty: any queue
}

// Receipt says that a message is stored on a majority.
type Receipt struct {
	ID        string // unique id, as consumers see it
	Topic     string
	Queue     int   // number among the topic's queues
	Offset    int64 // place in the queue
	Broker    string
	QueueID   int  // Broker and QueueID name the queue on the wire
	Duplicate bool // an earlier try had stored it; still once
	half      halfName
}

// Delivery is a message that was stored. It belongs to who receives it.
type Delivery struct {
	Message
	ID               string
	Queue            int
	Offset           int64
	Broker           string
	QueueID          int
	Attempt          int // from 1
	BornAt, StoredAt time.Time
	BornHost         string // who sent it; empty if not known
	BodyErr          error  // the body could not be decompressed: it is as stored
}

// The order key's property, as Java and this client write it, and as the stock
// Go client does.
const (
	propOrderKey = "__SHARDINGKEY"
	propOrderGo  = "SHARDING_KEY"
)

var reserved = map[string]bool{message.PropKeys: true, message.PropTags: true, message.PropUniqueKey: true, propOrderKey: true, propOrderGo: true, "WAIT": true, "DELAY": true,
	"TIMER_DELIVER_MS": true, "TIMER_DELAY_SEC": true, "TIMER_DELAY_MS": true, "REAL_TOPIC": true, "REAL_QID": true, "TRAN_MSG": true, "PGROUP": true,
	"RETRY_TOPIC": true, "ORIGIN_MESSAGE_ID": true, "RECONSUME_TIME": true, "MAX_RECONSUME_TIMES": true, "CLUSTER": true, "MSG_REGION": true, "TRACE_ON": true}

func invalid(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: %w", ErrInvalid, err)
}

// properties is m's property string.
func (m *Message) properties(id string) (string, error) {
	var b strings.Builder
	add := func(k, v string) error {
		if k == "" || strings.ContainsAny(k, "\x01\x02") || strings.ContainsAny(v, "\x01\x02") {
			return fmt.Errorf("%w: property %q is empty or holds byte 1 or 2", ErrInvalid, k)
		}
		if v != "" {
			b.WriteString(k)
			b.WriteByte(1)
			b.WriteString(v)
			b.WriteByte(2)
		}
		return nil
	}
	for k, v := range m.Properties {
		if reserved[k] {
			return "", fmt.Errorf("%w: property name %q is reserved", ErrInvalid, k)
		}
		if err := add(k, v); err != nil {
			return "", err
		}
	}
	for _, k := range m.Keys {
		if k == "" || strings.Contains(k, " ") {
			return "", fmt.Errorf("%w: key %q is empty or holds a space", ErrInvalid, k)
		}
	}
	if strings.Contains(m.Tag, "|") {
		return "", fmt.Errorf("%w: tag %q holds a bar", ErrInvalid, m.Tag)
	}
	for _, p := range [...][2]string{{message.PropKeys, strings.Join(m.Keys, " ")}, {message.PropTags, m.Tag}, {propOrderKey, m.OrderKey}, {message.PropUniqueKey, id}} {
		if err := add(p[0], p[1]); err != nil {
			return "", err
		}
	}
	if b.Len() > MaxProperties {
		return "", fmt.Errorf("%w: properties of %d bytes above %d", ErrTooLarge, b.Len(), MaxProperties)
	}
	return b.String(), nil
}

// Filter says which messages of a topic a consumer wants.
type Filter struct{ tags []string }

// All wants every message.
func All() Filter { return Filter{} }

// Tags wants messages with one of these tags.
func Tags(tags ...string) Filter { return Filter{tags} }

func (f Filter) expression() string {
	if len(f.tags) == 0 {
		return "*"
	}
	return strings.Join(f.tags, "||")
}

func (f Filter) match(tag string) bool {
	for _, t := range f.tags {
		if t == tag {
			return true
		}
	}
	return len(f.tags) == 0
}

// Position is where reading a queue starts; the zero Position is Earliest.
type Position struct {
	kind positionKind
	v    int64
}

type positionKind int

const (
	atEarliest positionKind = iota
	atLatest
	atOffset
	atTime
)

// Earliest is the oldest message kept.
func Earliest() Position { return Position{} }

// Latest is the end as of when it is resolved: only what is stored later.
func Latest() Position { return Position{kind: atLatest} }

// AtOffset is that place in the queue; outside of what is kept, the nearest.
func AtOffset(o int64) Position { return Position{atOffset, o} }

// AtTime is the first message stored at or after t.
func AtTime(t time.Time) Position { return Position{atTime, t.UnixMilli()} }
