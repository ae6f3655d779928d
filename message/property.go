package message

import (
	"bytes"
	"iter"
	"strings"
)

// Names of properties that broker or client give a meaning.
const (
	PropKeys           = "KEYS"
	PropTags           = "TAGS"
	PropUniqueKey      = "UNIQ_KEY"
	PropWait           = "WAIT"
	PropDelayLevel     = "DELAY"
	PropRealTopic      = "REAL_TOPIC"
	PropRealQueue      = "REAL_QID"
	PropTransaction    = "TRAN_MSG"
	PropProducerGroup  = "PGROUP"
	PropCheckTimes     = "TRANSACTION_CHECK_TIMES" // of a check: which one it is
	PropRetryTopic     = "RETRY_TOPIC"
	PropOriginID       = "ORIGIN_MESSAGE_ID"
	PropReconsumeTimes = "RECONSUME_TIME"
	PropMaxReconsume   = "MAX_RECONSUME_TIMES"
	PropRegion         = "MSG_REGION"
	PropTraceOn        = "TRACE_ON"
	PropCluster        = "CLUSTER"
	PropShardingKey    = "__SHARDINGKEY"
)

const (
	nameEnd  = 0x01
	valueEnd = 0x02
)

// ValidProperty reports whether name and value can be stored: not empty, and
// free of the two separator bytes.
func ValidProperty(name, value string) bool {
	return name != "" && value != "" && !Separated(name) && !Separated(value)
}

// Separated says that s holds one of the two separator bytes.
func Separated(s string) bool {
	return strings.IndexByte(s, nameEnd) >= 0 || strings.IndexByte(s, valueEnd) >= 0
}

// AppendProperty appends name 0x01 value 0x02 to a property string.
func AppendProperty[V string | []byte](dst []byte, name string, value V) []byte {
	dst = append(dst, name...)
	dst = append(dst, nameEnd)
	dst = append(dst, value...)
	return append(dst, valueEnd)
}

// Properties yields the properties in s in their order. Pairs without a name, a
// separator or a value are passed over, as RocketMQ does.
func Properties(s string) iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		for len(s) > 0 {
			var pair string
			pair, s, _ = strings.Cut(s, "\x02")
			name, value, ok := strings.Cut(pair, "\x01")
			if ok && name != "" && value != "" && !yield(name, value) {
				return
			}
		}
	}
}

// ParseProperties collects the properties of s; of a repeated name the last
// counts.
func ParseProperties(s string) map[string]string {
	m := make(map[string]string)
	for k, v := range Properties(s) {
		m[k] = v
	}
	return m
}

func property(s, name string) (string, bool) {
	for k, v := range Properties(s) {
		if k == name {
			return v, true
		}
	}
	return "", false
}

// propertyBytes is property without a copy.
func propertyBytes(b []byte, name string) ([]byte, bool) {
	for len(b) > 0 {
		pair := b
		if i := bytes.IndexByte(b, valueEnd); i >= 0 {
			pair, b = b[:i], b[i+1:]
		} else {
			b = nil
		}
		i := bytes.IndexByte(pair, nameEnd)
		if i > 0 && i+1 < len(pair) && string(pair[:i]) == name {
			return pair[i+1:], true
		}
	}
	return nil, false
}

// TagHash is Java's String.hashCode of the tag, by which RocketMQ filters; 0 for
// the empty tag.
func TagHash(tag string) int32 {
	var h int32
	for _, r := range tag {
		if r >= 0x10000 { // two UTF-16 units
			r -= 0x10000
			h = 31*h + (0xD800 + r>>10)
			r = 0xDC00 + r&0x3ff
		}
		h = 31*h + r
	}
	return h
}
