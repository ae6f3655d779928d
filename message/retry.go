package message

import (
	"strconv"
	"strings"
)

// Properties of messages that were put back.
const (
	PropDLQTopic  = "DLQ_ORIGIN_TOPIC"
	PropDLQID     = "DLQ_ORIGIN_MESSAGE_ID"
	PropDLQReason = "DLQ_REASON" // ours: why it failed the last time
	PropDLQTime   = "DLQ_TIME"   // ours: since when it is there, Unix ms
)

// MaxReason is how many bytes of a reason are kept.
const MaxReason = 512

// Retried returns the properties of a message that a group puts back: props without
// what said when it was to come, with the topic and the id that it had first, each if there is room for it.
func Retried(props, topic, id string) string {
	out := make([]byte, 0, len(props)+len(topic)+len(id)+64)
	hasTopic, hasID := false, false
	for k, v := range Properties(props) {
		switch k {
		case PropDelayLevel, PropTimerDeliver, PropTimerSeconds, PropTimerMillis, PropTimerOut, PropTimerEnqueue, PropTimerDequeue, PropTimerRolls,
			PropRealTopic, PropRealQueue, PropTransaction, PropReconsumeTimes, PropMaxReconsume:
			continue
		case PropRetryTopic:
			hasTopic = true
		case PropOriginID:
			hasID = true
		}
		out = AppendProperty(out, k, v)
	}
	if !hasTopic && len(out)+propertySize(PropRetryTopic, topic) <= MaxProperties {
		out = AppendProperty(out, PropRetryTopic, topic)
	}
	if !hasID && len(out)+propertySize(PropOriginID, id) <= MaxProperties {
		out = AppendProperty(out, PropOriginID, id)
	}
	return string(out)
}

// Undelayed returns props without what says when the message is to come.
func Undelayed(props string) string {
	out := make([]byte, 0, len(props))
	for k, v := range Properties(props) {
		switch k {
		case PropDelayLevel, PropTimerDeliver, PropTimerSeconds, PropTimerMillis:
			continue
		}
		out = AppendProperty(out, k, v)
	}
	return string(out)
}

// Buried returns the properties of a message that goes to the dead letters: props, as
// Retried gives them, with where it is from, why it is there, and since when (Unix ms). What there is
// no room for is left out, of the reason its end: whatever is a message can be a dead letter.
func Buried(props, reason string, now int64) string {
	out := make([]byte, 0, len(props)+256)
	topic, id := "", ""
	for k, v := range Properties(props) {
		switch k {
		case PropDLQTopic, PropDLQID, PropDLQReason, PropDLQTime:
			continue
		case PropRetryTopic:
			topic = v
		case PropOriginID:
			id = v
		}
		out = AppendProperty(out, k, v)
	}
	clean := make([]byte, 0, min(len(reason), MaxReason))
	for i := 0; i < len(reason) && len(clean) < MaxReason; i++ {
		if c := reason[i]; c > 2 {
			clean = append(clean, c)
		}
	}
	add := [...][2]string{{PropDLQTopic, topic}, {PropDLQID, id}, {PropDLQReason, string(clean)}, {PropDLQTime, strconv.FormatInt(now, 10)}}
	room := MaxProperties - len(out)
	for _, i := range [...]int{3, 0, 1, 2} { // topic and id are in props, too
		name, value := add[i][0], add[i][1]
		if most := max(0, room-propertySize(name, "")); name == PropDLQReason && len(value) > most {
			value = strings.ToValidUTF8(value[:most], "")
		}
		if !ValidProperty(name, value) || propertySize(name, value) > room {
			value = ""
		} else {
			room -= propertySize(name, value)
		}
		add[i][1] = value
	}
	for _, p := range add {
		if p[1] != "" {
			out = AppendProperty(out, p[0], p[1])
		}
	}
	return string(out)
}

func propertySize(name, value string) int { return len(name) + len(value) + 2 }

// Unburied undoes Buried, for a message of topic: that is there, too. False: there is no
// room for it.
func Unburied(props, topic string) (string, bool) {
	out := make([]byte, 0, len(props))
	named := false
	for k, v := range Properties(props) {
		switch k {
		case PropDLQTopic, PropDLQID, PropDLQReason, PropDLQTime:
			continue
		case PropRetryTopic:
			named = true
		}
		out = AppendProperty(out, k, v)
	}
	if !named && len(out)+propertySize(PropRetryTopic, topic) > MaxProperties {
		return "", false
	}
	if !named {
		out = AppendProperty(out, PropRetryTopic, topic)
	}
	return string(out), true
}
