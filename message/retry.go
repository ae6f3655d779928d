package message

import "strconv"

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
// what said when it was to come, with the topic and the id that it had first.
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
	if !hasTopic {
		out = AppendProperty(out, PropRetryTopic, topic)
	}
	if !hasID {
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
// Retried gives them, with where it is from, why it is there, and since when (Unix ms).
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
	for _, p := range [...][2]string{{PropDLQTopic, topic}, {PropDLQID, id}, {PropDLQReason, string(clean)}, {PropDLQTime, strconv.FormatInt(now, 10)}} {
		if ValidProperty(p[0], p[1]) {
			out = AppendProperty(out, p[0], p[1])
		}
	}
	return string(out)
}

// Unburied undoes Buried.
func Unburied(props string) string {
	out := make([]byte, 0, len(props))
	for k, v := range Properties(props) {
		switch k {
		case PropDLQTopic, PropDLQID, PropDLQReason, PropDLQTime:
			continue
		}
		out = AppendProperty(out, k, v)
	}
	return string(out)
}
