package message

import (
	"errors"
	"fmt"
	"strconv"
	"time"
)

// Properties that say when a message is to come.
const (
	PropTimerDeliver = "TIMER_DELIVER_MS" // at, Unix ms
	PropTimerSeconds = "TIMER_DELAY_SEC"  // after, s
	PropTimerMillis  = "TIMER_DELAY_MS"   // after, ms
	PropTimerDelete  = "TIMER_DEL_UNIQKEY"
	PropTimerOut     = "TIMER_OUT_MS"     // set by the broker: when it is to come, Unix ms
	PropTimerEnqueue = "TIMER_ENQUEUE_MS" // set by the broker: when it was stored to wait, Unix ms
	PropTimerDequeue = "TIMER_DEQUEUE_MS"
	PropTimerRolls   = "TIMER_ROLL_TIMES"
)

// delayLevels are RocketMQ's.
var delayLevels = [...]time.Duration{1: time.Second, 5 * time.Second, 10 * time.Second, 30 * time.Second, time.Minute, 2 * time.Minute,
	3 * time.Minute, 4 * time.Minute, 5 * time.Minute, 6 * time.Minute, 7 * time.Minute, 8 * time.Minute, 9 * time.Minute,
	10 * time.Minute, 20 * time.Minute, 30 * time.Minute, time.Hour, 2 * time.Hour}

// MaxDelayLevel is the highest delay level.
const MaxDelayLevel = len(delayLevels) - 1

// LevelDelay is the delay of a level; above the highest it is that of the highest, and
// below 1 none.
func LevelDelay(level int) time.Duration {
	return delayLevels[min(max(level, 0), MaxDelayLevel)]
}

// ErrDelay: a property that says when a message is to come cannot be read, or says
// what is not possible.
var ErrDelay = errors.New("message: delay")

// Due returns when a message with these properties, stored at now (Unix ms), is to
// come; false if it says nothing of it. A level counts before anything else, then
// seconds, milliseconds, and the time. What is past is no error.
func Due(properties string, now int64) (dueMs int64, delayed bool, err error) {
	var found [4]string
	for k, v := range Properties(properties) {
		switch k {
		case PropDelayLevel:
			found[0] = v
		case PropTimerSeconds:
			found[1] = v
		case PropTimerMillis:
			found[2] = v
		case PropTimerDeliver:
			found[3] = v
		case PropTimerDelete:
			return 0, false, fmt.Errorf("%w: %s: messages that wait are taken back by a recall", ErrDelay, k)
		}
	}
	if v := found[0]; v != "" {
		level, err := strconv.Atoi(v)
		if err != nil {
			return 0, false, fmt.Errorf("%w: level %q is not a number", ErrDelay, v)
		}
		if level > 0 {
			return now + LevelDelay(level).Milliseconds(), true, nil
		}
	}
	for i, name := range []string{1: PropTimerSeconds, 2: PropTimerMillis, 3: PropTimerDeliver} {
		if i == 0 || found[i] == "" {
			continue
		}
		n, err := strconv.ParseInt(found[i], 10, 64)
		const most = 1 << 53 // in ms: some 285,000 years
		if i == 1 && n <= most/1000 && n >= -most/1000 {
			n *= 1000
		}
		if err != nil || n > most || n < -most {
			return 0, false, fmt.Errorf("%w: %s %q", ErrDelay, name, found[i])
		}
		if i < 3 {
			n += now
		}
		return max(n, 0), true, nil
	}
	return 0, false, nil
}

// Waiting returns the properties of a message that waits, as consumers are to see them
// when it comes at due; it was stored at now. A message with a level has none of what
// said so.
func Waiting(properties string, dueMs, now int64) string {
	level := false
	for k, v := range Properties(properties) {
		n, err := strconv.Atoi(v)
		level = level || k == PropDelayLevel && err == nil && n > 0
	}
	out := make([]byte, 0, len(properties)+64)
	for k, v := range Properties(properties) {
		switch k {
		case PropRealTopic, PropRealQueue, PropTimerOut, PropTimerEnqueue, PropTimerDequeue, PropTimerRolls, PropDelayLevel:
			continue
		case PropTimerDeliver, PropTimerSeconds, PropTimerMillis:
			if level {
				continue
			}
		}
		out = AppendProperty(out, k, v)
	}
	if !level {
		out = AppendProperty(out, PropTimerOut, strconv.FormatInt(dueMs, 10))
		out = AppendProperty(out, PropTimerEnqueue, strconv.FormatInt(now, 10))
	}
	return string(out)
}
