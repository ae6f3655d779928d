package remoting

import (
	"bytes"
	"cmp"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
)

// Bodies whose maps have queues for keys are not JSON: RocketMQ writes the key
// as an object, {{"brokerName":"b","queueId":0,"topic":"t"}:value,...}, and its
// tools read nothing else. They are written in order, compact.

// TopicStats is the body of a reply to GetTopicStats.
type TopicStats struct {
	OffsetTable map[MessageQueue]TopicOffset
	TopicPutTps float64
}

// TopicOffset is a queue's bounds.
type TopicOffset struct {
	LastUpdateTimestamp int64 `json:"lastUpdateTimestamp"` // unix ms
	MaxOffset           int64 `json:"maxOffset"`
	MinOffset           int64 `json:"minOffset"`
}

// ConsumeStats is the body of a reply to GetConsumeStats.
type ConsumeStats struct {
	ConsumeTps  float64
	OffsetTable map[MessageQueue]OffsetWrapper
}

// OffsetWrapper is a group's place in a queue.
type OffsetWrapper struct {
	BrokerOffset   int64 `json:"brokerOffset"`
	ConsumerOffset int64 `json:"consumerOffset"`
	LastTimestamp  int64 `json:"lastTimestamp"` // unix ms
	PullOffset     int64 `json:"pullOffset"`
}

// ResetOffsetBody is the body of a reply to InvokeBrokerToResetOffset and of
// ResetConsumerClientOffset.
type ResetOffsetBody struct {
	OffsetTable map[MessageQueue]int64
}

func (s TopicStats) encodeBody() []byte {
	b := appendTable([]byte(`{"offsetTable":`), s.OffsetTable)
	b = append(b, `,"topicPutTps":`...)
	return append(strconv.AppendFloat(b, s.TopicPutTps, 'f', -1, 64), '}')
}

func (s ConsumeStats) encodeBody() []byte {
	b := append([]byte(`{"consumeTps":`), strconv.AppendFloat(nil, s.ConsumeTps, 'f', -1, 64)...)
	return append(appendTable(append(b, `,"offsetTable":`...), s.OffsetTable), '}')
}

func (s ResetOffsetBody) encodeBody() []byte {
	return append(appendTable([]byte(`{"offsetTable":`), s.OffsetTable), '}')
}

func (s *TopicStats) decodeBody(b []byte) (err error) {
	return decodeTable(b, &s.OffsetTable, "topicPutTps", &s.TopicPutTps)
}

func (s *ConsumeStats) decodeBody(b []byte) error {
	return decodeTable(b, &s.OffsetTable, "consumeTps", &s.ConsumeTps)
}

func (s *ResetOffsetBody) decodeBody(b []byte) error {
	return decodeTable(b, &s.OffsetTable, "", nil)
}

func compareQueues(a, b MessageQueue) int {
	return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.BrokerName, b.BrokerName), cmp.Compare(a.QueueID, b.QueueID))
}

func appendTable[V any](b []byte, m map[MessageQueue]V) []byte {
	b = append(b, '{')
	for i, q := range slices.SortedFunc(maps.Keys(m), compareQueues) {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, EncodeBody(q)...)
		b = append(b, ':')
		b = append(b, EncodeBody(m[q])...)
	}
	return append(b, '}')
}

// decodeTable reads an object with an offsetTable and one number.
func decodeTable[V any](b []byte, m *map[MessageQueue]V, number string, n *float64) error {
	*m = make(map[MessageQueue]V)
	t := &jsonText{s: string(bytes.TrimSpace(b))}
	value := func(v any) error {
		from := t.at
		if err := t.skip(0); err != nil {
			return err
		}
		return json.Unmarshal([]byte(t.s[from:t.at]), v)
	}
	err := t.object(func(key string) error {
		switch {
		case key == number && n != nil:
			return value(n)
		case key != "offsetTable":
			return t.skip(0)
		}
		if err := t.take('{'); err != nil {
			return err
		}
		for t.space(); t.peek() != '}'; t.space() {
			if len(*m) > 0 {
				if err := t.take(','); err != nil {
					return err
				}
				t.space()
			}
			var q MessageQueue
			var v V
			if err := value(&q); err != nil {
				return err
			}
			if err := t.take(':'); err != nil {
				return err
			}
			t.space()
			if err := value(&v); err != nil {
				return err
			}
			(*m)[q] = v
		}
		t.at++
		return nil
	})
	if err == nil && t.at != len(t.s) {
		return t.fail("bytes after the object")
	}
	return err
}
