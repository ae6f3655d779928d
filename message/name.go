package message

import (
	"errors"
	"fmt"
	"strings"
)

const (
	retryPrefix = "%RETRY%"
	dlqPrefix   = "%DLQ%"

	// DefaultTopic is the template that automatically created topics follow.
	DefaultTopic = "TBW102"

	// TraceTopic is where clients write what they trace. To the broker it is a topic like
	// any, which is made when its route is first asked for.
	TraceTopic = "RMQ_SYS_TRACE_TOPIC"
)

// ErrName: a topic's or group's name is not legal.
var ErrName = errors.New("message: illegal name")

// RetryTopic is the topic in which group's failed messages come again.
func RetryTopic(group string) string { return retryPrefix + group }

// DLQTopic is the topic in which group's messages are buried.
func DLQTopic(group string) string { return dlqPrefix + group }

// RetryGroup returns the group of a retry topic.
func RetryGroup(topic string) (group string, ok bool) { return strings.CutPrefix(topic, retryPrefix) }

// DLQGroup returns the group of a dead-letter topic.
func DLQGroup(topic string) (group string, ok bool) { return strings.CutPrefix(topic, dlqPrefix) }

// CheckTopic returns ErrName, with the reason, unless name is one to MaxTopic
// bytes of letters, digits, '_', '-', '%' and '|'.
func CheckTopic(name string) error { return checkName("topic", name, MaxTopic) }

// CheckGroup is CheckTopic for a group, of at most MaxGroup bytes.
func CheckGroup(name string) error { return checkName("group", name, MaxGroup) }

func checkName(kind, name string, max int) error {
	if name == "" {
		return fmt.Errorf("%w: the %s is empty", ErrName, kind)
	}
	if len(name) > max {
		return fmt.Errorf("%w: %s of %d bytes, at most %d", ErrName, kind, len(name), max)
	}
	for i := range len(name) {
		switch c := name[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '_', c == '-', c == '%', c == '|':
		default:
			return fmt.Errorf("%w: %s %q: only letters, digits and _-%%| are allowed", ErrName, kind, name)
		}
	}
	return nil
}

// IsSystemTopic reports whether name belongs to the broker: users neither create
// nor delete it. RocketMQ's BenchmarkTest is not one of them: its benchmark programs
// send to it, so it is a topic like any.
func IsSystemTopic(name string) bool {
	switch name {
	case DefaultTopic, "SCHEDULE_TOPIC_XXXX", "RMQ_SYS_TRANS_HALF_TOPIC", "RMQ_SYS_TRANS_OP_HALF_TOPIC",
		"TRANS_CHECK_MAX_TIME_TOPIC", "SELF_TEST_TOPIC", "OFFSET_MOVED_EVENT", "CHECKPOINT_TOPIC":
		return true
	}
	return strings.HasPrefix(name, "rmq_sys_") || strings.HasPrefix(name, retryPrefix) || strings.HasPrefix(name, dlqPrefix)
}
