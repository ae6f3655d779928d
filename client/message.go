package client

import (
	"fmt"
	"strconv"
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

	// When consumers get it; the zero values: at once. At most one of them is set. A
	// message that waits is stored like any other, but is in no queue until its time,
	// and cannot be sent in a batch.
	Delay      time.Duration // after the broker has taken it; at least 1 ms
	DelayLevel int           // RocketMQ's levels, 1 (1 s) to 18 (2 h)
	DeliverAt  time.Time     // a time that has passed is no mistake
}

// delayed reports whether m says when it is to come.
func (m *Message) delayed() bool { return m.Delay != 0 || m.DelayLevel != 0 || !m.DeliverAt.IsZero() }

// delay returns the property that says when m is to come; "": none.
func (m *Message) delay() (name, value string, err error) {
	n := 0
	if m.Delay != 0 {
		n++
		name, value = message.PropTimerMillis, strconv.FormatInt(m.Delay.Milliseconds(), 10)
	}
	if m.DelayLevel != 0 {
		n++
		name, value = message.PropDelayLevel, strconv.Itoa(m.DelayLevel)
	}
	if !m.DeliverAt.IsZero() {
		n++
		name, value = message.PropTimerDeliver, strconv.FormatInt(m.DeliverAt.UnixMilli(), 10)
	}
	switch {
	case n > 1:
		return "", "", fmt.Errorf("%w: more than one of Delay, DelayLevel and DeliverAt", ErrInvalid)
	case m.Delay != 0 && m.Delay < time.Millisecond:
		return "", "", fmt.Errorf("%w: delay of %v, at least 1ms", ErrInvalid, m.Delay)
	case m.DelayLevel < 0 || m.DelayLevel > message.MaxDelayLevel:
		return "", "", fmt.Errorf("%w: delay level %d, 1 to %d are possible", ErrInvalid, m.DelayLevel, message.MaxDelayLevel)
	}
	return name, value, nil
}

// Receipt says that a message is stored on a majority.
type Receipt struct {
	ID        string // unique id, as consumers see it
	Topic     string
	Queue     int   // number among the topic's queues
	Offset    int64 // place in the queue; -1 of a message that waits for its time
	Broker    string
	QueueID   int    // Broker and QueueID name the queue on the wire
	Duplicate bool   // an earlier try had stored it; still once
	Recall    string // of a message that waits: by it, Client.Recall takes it back
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

	physical int64 // what the broker knows it by
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
func (m *Message) properties(id []byte) (string, error) {
	var short [256]byte
	b := short[:0]
	add := func(k, v string) error {
		if k == "" || message.Separated(k) || message.Separated(v) {
			return fmt.Errorf("%w: property %q is empty or holds byte 1 or 2", ErrInvalid, k)
		}
		if v != "" {
			b = message.AppendProperty(b, k, v)
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
	delay, when, err := m.delay()
	if err != nil {
		return "", err
	}
	if delay != "" {
		if err := add(delay, when); err != nil {
			return "", err
		}
	}
	for _, p := range [...][2]string{{message.PropKeys, strings.Join(m.Keys, " ")}, {message.PropTags, m.Tag}, {propOrderKey, m.OrderKey}} {
		if p[1] == "" {
			continue
		}
		if err := add(p[0], p[1]); err != nil {
			return "", err
		}
	}
	b = message.AppendProperty(b, message.PropUniqueKey, id)
	if len(b) > MaxProperties {
		return "", fmt.Errorf("%w: properties of %d bytes above %d", ErrTooLarge, len(b), MaxProperties)
	}
	return string(b), nil
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
