package client

import (
	"errors"
	"fmt"
	"strings"

	"raftmq/remoting"
)

var (
	// ErrUncertain: the message may or may not be stored. Every other error
	// of a send says that it certainly is not. Of a change of a topic or a group: it may
	// or may not be made.
	ErrUncertain = errors.New("client: outcome unknown")

	ErrClosed        = errors.New("client: closed")
	ErrTopicNotFound = errors.New("client: topic not found")
	ErrGroupNotFound = errors.New("client: group not found")
	ErrExists        = errors.New("client: already exists")
	ErrBusy          = errors.New("client: broker busy")
	ErrUnavailable   = errors.New("client: no leader or no majority") // or no node answers
	ErrForbidden     = errors.New("client: forbidden")
	ErrTooLarge      = errors.New("client: message too large")
	ErrInvalid       = errors.New("client: invalid argument")
	ErrBufferFull    = errors.New("client: send buffer full")

	// ErrNotNow: what it is about is not in the state that is needed. Nothing was changed.
	ErrNotNow = errors.New("client: not in the right state")
)

// BrokerError is a node's refusal. It matches the sentinels of this package
// that its code means.
type BrokerError struct {
	Op           string // what was asked
	Topic, Group string // empty: not about one
	Broker       string // address that answered
	Code         int    // RocketMQ's reply code
	Remark       string // the node's words
	kind         error
	notKept      bool // the message that was named by its place is not there any more
}

func (e *BrokerError) Error() string {
	var b strings.Builder
	b.WriteString("client: " + e.Op)
	for _, s := range []string{e.Topic, e.Group} {
		if s != "" {
			b.WriteString(" " + s)
		}
	}
	fmt.Fprintf(&b, ": %s answered %d: %s", e.Broker, e.Code, e.Remark)
	return b.String()
}

func (e *BrokerError) Is(target error) bool {
	return target != nil && target == e.kind
}

func refusal(op, topic, group, addr string, r *remoting.Command) *BrokerError {
	e := &BrokerError{Op: op, Topic: topic, Group: group, Broker: addr, Code: int(r.Code), Remark: strings.Clone(r.Remark), notKept: r.Ext[remoting.ExtNotKept] == "1"}
	switch r.Code {
	case remoting.TopicNotExist:
		e.kind = ErrTopicNotFound
	case remoting.SubscriptionGroupNotExist:
		e.kind = ErrGroupNotFound
	case remoting.TopicExistAlready:
		e.kind = ErrExists
	case remoting.SystemBusy, remoting.FlowControl:
		e.kind = ErrBusy
	case remoting.ServiceNotAvailable, remoting.SystemError, remoting.OutcomeUnknown, remoting.NotLeaderForQueue:
		e.kind = ErrUnavailable
	case remoting.NoPermission:
		e.kind = ErrForbidden
	case remoting.MessageIllegal:
		e.kind = ErrTooLarge
	case remoting.InvalidParameter, remoting.SubscriptionParseFailed, remoting.RequestCodeNotSupported, remoting.IllegalOperation, remoting.WrongQueue:
		e.kind = ErrInvalid
	}
	return e
}

// notNow is e, which is ErrNotNow if that is what the node's code says.
func (e *BrokerError) notNow() error {
	if e.Code == int(remoting.IllegalOperation) {
		return fmt.Errorf("%w: %w", ErrNotNow, e)
	}
	return e
}

// BatchError has an error, or nil, for each message of a SendBatch.
type BatchError struct{ Errs []error }

func (e *BatchError) Error() string {
	n, first := 0, error(nil)
	for _, err := range e.Errs {
		if err != nil {
			n++
			if first == nil {
				first = err
			}
		}
	}
	return fmt.Sprintf("client: %d of %d messages: %v", n, len(e.Errs), first)
}

func (e *BatchError) Unwrap() []error {
	var out []error
	for _, err := range e.Errs {
		if err != nil {
			out = append(out, err)
		}
	}
	return out
}
