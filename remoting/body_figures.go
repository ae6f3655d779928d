package remoting

import (
	"maps"
	"slices"
	"strconv"
)

// BrokerStats is the body of a reply to ViewBrokerStats: what was counted in the last
// minute, hour and day.
type BrokerStats struct {
	Minute BrokerStatsItem `json:"statsMinute"`
	Hour   BrokerStatsItem `json:"statsHour"`
	Day    BrokerStatsItem `json:"statsDay"`
}

// BrokerStatsItem is what was counted in a time.
type BrokerStatsItem struct {
	AvgPT float64 `json:"avgpt"`
	Sum   int64   `json:"sum"`
	TPS   float64 `json:"tps"`
}

// ConsumeStatsList is the body of a reply to GetBrokerConsumeStats.
type ConsumeStatsList struct {
	BrokerAddr        string
	ConsumeStatsList  []map[string][]ConsumeStats // by group: one of each topic
	TotalDiff         int64
	TotalInflightDiff int64
}

// encodeBody writes the offset tables as RocketMQ does: with queues for keys.
func (l ConsumeStatsList) encodeBody() []byte {
	b := append([]byte(`{"brokerAddr":`), EncodeBody(l.BrokerAddr)...)
	b = append(b, `,"consumeStatsList":[`...)
	for i, groups := range l.ConsumeStatsList {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, '{')
		for j, group := range slices.Sorted(maps.Keys(groups)) {
			if j > 0 {
				b = append(b, ',')
			}
			b = append(append(b, EncodeBody(group)...), ':', '[')
			for k, s := range groups[group] {
				if k > 0 {
					b = append(b, ',')
				}
				b = append(b, s.encodeBody()...)
			}
			b = append(b, ']')
		}
		b = append(b, '}')
	}
	b = strconv.AppendInt(append(b, `],"totalDiff":`...), l.TotalDiff, 10)
	return append(strconv.AppendInt(append(b, `,"totalInflightDiff":`...), l.TotalInflightDiff, 10), '}')
}

// TimeSpans is the body of a reply to QueryConsumeTimeSpan.
type TimeSpans struct {
	ConsumeTimeSpanSet list[TimeSpan] `json:"consumeTimeSpanSet"`
}

// TimeSpan has when messages of a queue were stored, Unix ms.
type TimeSpan struct {
	ConsumeTimestamp int64        `json:"consumeTimeStamp"` // the last that the group has consumed
	DelayTime        int64        `json:"delayTime"`        // ms since the next was stored
	MaxTimestamp     int64        `json:"maxTimeStamp"`     // the last
	MessageQueue     MessageQueue `json:"messageQueue"`
	MinTimestamp     int64        `json:"minTimeStamp"` // the first that is kept; -1: there is none
}

// ConsumeQueue is the body of a reply to QueryConsumeQueue.
type ConsumeQueue struct {
	FilterData       string             `json:"filterData,omitempty"`
	MaxQueueIndex    int64              `json:"maxQueueIndex"`
	MinQueueIndex    int64              `json:"minQueueIndex"`
	QueueData        list[ConsumeEntry] `json:"queueData"`
	SubscriptionData *SubscriptionData  `json:"subscriptionData,omitempty"`
}

// ConsumeEntry says where a message of a queue lies.
type ConsumeEntry struct {
	BitMap         string `json:"bitMap,omitempty"`
	Eval           bool   `json:"eval"` // by the group's filter
	ExtendDataJSON string `json:"extendDataJson,omitempty"`
	Msg            string `json:"msg,omitempty"`
	PhysicOffset   int64  `json:"physicOffset"`
	PhysicSize     int32  `json:"physicSize"`
	TagsCode       int64  `json:"tagsCode"`
}

// ProducerTable is the body of a reply to GetAllProducerInfo.
type ProducerTable struct {
	Data dict[string, list[ProducerInfo]] `json:"data"` // by group
}

// ProducerInfo is a producer of a group.
type ProducerInfo struct {
	ClientID            string `json:"clientId"`
	Language            string `json:"language"`
	LastUpdateTimestamp int64  `json:"lastUpdateTimestamp"` // unix ms
	RemoteIP            string `json:"remoteIP"`
	Version             int32  `json:"version"`
}

// GroupSubscription is the body of a reply to QuerySubscriptionOfGroup.
type GroupSubscription struct {
	Group            string            `json:"group"`
	SubscriptionData *SubscriptionData `json:"subscriptionData,omitempty"`
	Topic            string            `json:"topic"`
}

// Add appends a producer to a group.
func (t *ProducerTable) Add(group string, p ProducerInfo) {
	if t.Data == nil {
		t.Data = make(dict[string, list[ProducerInfo]])
	}
	t.Data[group] = append(t.Data[group], p)
}
