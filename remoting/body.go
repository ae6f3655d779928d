package remoting

import (
	"encoding/json"
	"fmt"
)

// EncodeBody is v as compact JSON, as the official clients read it. It panics
// on a value of a type that is not one of this package's bodies and cannot be
// written.
func EncodeBody(v any) []byte {
	if e, ok := v.(interface{ encodeBody() []byte }); ok {
		return e.encodeBody()
	}
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("remoting: encode %T: %v", v, err))
	}
	return b
}

// DecodeBody reads a body into v, a pointer to one of this package's bodies.
// Errors wrap ErrHeader.
func DecodeBody(b []byte, v any) error {
	if d, ok := v.(interface{ decodeBody([]byte) error }); ok {
		if err := d.decodeBody(b); err != nil {
			return fmt.Errorf("%w: body: %v", ErrHeader, err)
		}
		return nil
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("%w: body: %v", ErrHeader, err)
	}
	return nil
}

// list is a JSON array that is never null.
type list[T any] []T

func (l list[T]) MarshalJSON() ([]byte, error) {
	if l == nil {
		return []byte("[]"), nil
	}
	return json.Marshal([]T(l))
}

// dict is a JSON object that is never null.
type dict[K comparable, V any] map[K]V

func (d dict[K, V]) MarshalJSON() ([]byte, error) {
	if d == nil {
		return []byte("{}"), nil
	}
	return json.Marshal(map[K]V(d))
}

// TopicRouteData is the body of a reply to GetRouteByTopic. Keep the order of
// QueueDatas stable: it decides hash selectors.
type TopicRouteData struct {
	OrderTopicConf    string               `json:"orderTopicConf,omitempty"`
	BrokerDatas       list[BrokerData]     `json:"brokerDatas"`
	FilterServerTable dict[string, string] `json:"filterServerTable"`
	QueueDatas        list[QueueData]      `json:"queueDatas"`
	Placement         string               `json:"placement,omitempty"` // ours: the topic's rules
}

// BrokerData is a broker name and its addresses by broker id.
type BrokerData struct {
	BrokerAddrs        dict[int64, string] `json:"brokerAddrs"`
	BrokerName         string              `json:"brokerName"`
	Cluster            string              `json:"cluster"`
	EnableActingMaster bool                `json:"enableActingMaster"`
}

// QueueData is how many queues of a topic a broker name has.
type QueueData struct {
	BrokerName     string `json:"brokerName"`
	Perm           int32  `json:"perm"`
	ReadQueueNums  int32  `json:"readQueueNums"`
	TopicSysFlag   int32  `json:"topicSysFlag"`
	WriteQueueNums int32  `json:"writeQueueNums"`
}

// ClusterNames is the ClusterAddrTable of one cluster.
func ClusterNames(cluster string, brokers []string) dict[string, list[string]] {
	return dict[string, list[string]]{cluster: brokers}
}

// ClusterInfo is the body of a reply to GetBrokerClusterInfo.
type ClusterInfo struct {
	BrokerAddrTable  dict[string, BrokerData]   `json:"brokerAddrTable"`
	ClusterAddrTable dict[string, list[string]] `json:"clusterAddrTable"`
}

// TopicList is the body of a reply to 206, 224 and 304.
type TopicList struct {
	BrokerAddr *string      `json:"brokerAddr"`
	TopicList  list[string] `json:"topicList"`
}

// ConsumerList is the body of a reply to GetConsumerListByGroup.
type ConsumerList struct {
	ConsumerIDList list[string] `json:"consumerIdList"`
}

// GroupList is the body of a reply to QueryTopicConsumeByWho.
type GroupList struct {
	GroupList list[string] `json:"groupList"`
}

// MessageQueue is a queue as clients name it.
type MessageQueue struct {
	BrokerName string `json:"brokerName"`
	QueueID    int32  `json:"queueId"`
	Topic      string `json:"topic"`
}

// LockBatch is the body of LockBatchMQ and UnlockBatchMQ.
type LockBatch struct {
	ConsumerGroup  string             `json:"consumerGroup"`
	ClientID       string             `json:"clientId"`
	OnlyThisBroker bool               `json:"onlyThisBroker"`
	MQSet          list[MessageQueue] `json:"mqSet"`
}

func (l *LockBatch) decodeBody(b []byte) error {
	*l = LockBatch{}
	if err := json.Unmarshal(b, l); err != nil {
		return err
	}
	switch {
	case l.ConsumerGroup == "":
		return fmt.Errorf("consumerGroup is missing")
	case l.ClientID == "":
		return fmt.Errorf("clientId is missing")
	}
	for _, q := range l.MQSet {
		if q.Topic == "" || q.QueueID < 0 {
			return fmt.Errorf("bad queue %+v", q)
		}
	}
	return nil
}

// LockReply is the body of a reply to LockBatchMQ: the queues granted, equal
// field by field to those asked for.
type LockReply struct {
	LockOKMQSet list[MessageQueue] `json:"lockOKMQSet"`
	// Epochs of the holds, of each queue; for clients of ours. No two holders share one.
	Epochs []uint64 `json:"epochs,omitempty"`
}

// TopicConfig is the body of a reply to GetTopicConfig.
type TopicConfig struct {
	Attributes      dict[string, string] `json:"attributes"`
	Order           bool                 `json:"order"`
	Perm            int32                `json:"perm"`
	ReadQueueNums   int32                `json:"readQueueNums"`
	TopicFilterType string               `json:"topicFilterType"` // SINGLE_TAG
	TopicName       string               `json:"topicName"`
	TopicSysFlag    int32                `json:"topicSysFlag"`
	WriteQueueNums  int32                `json:"writeQueueNums"`
}

// DataVersion orders versions of settings.
type DataVersion struct {
	Counter      int64 `json:"counter"`
	StateVersion int64 `json:"stateVersion"`
	Timestamp    int64 `json:"timestamp"` // unix ms
}

// TopicConfigTable is the body of a reply to GetAllTopicConfig.
type TopicConfigTable struct {
	DataVersion      DataVersion               `json:"dataVersion"`
	TopicConfigTable dict[string, TopicConfig] `json:"topicConfigTable"`
}

// SubscriptionGroupConfig is the body of UpdateSubscriptionGroup.
type SubscriptionGroupConfig struct {
	Attributes                     dict[string, string] `json:"attributes"`
	BrokerID                       int64                `json:"brokerId"`
	ConsumeBroadcastEnable         bool                 `json:"consumeBroadcastEnable"`
	ConsumeEnable                  bool                 `json:"consumeEnable"`
	ConsumeFromMinEnable           bool                 `json:"consumeFromMinEnable"`
	ConsumeMessageOrderly          bool                 `json:"consumeMessageOrderly"`
	ConsumeTimeoutMinute           int32                `json:"consumeTimeoutMinute"`
	GroupName                      string               `json:"groupName"`
	GroupSysFlag                   int32                `json:"groupSysFlag"`
	NotifyConsumerIDsChangedEnable bool                 `json:"notifyConsumerIdsChangedEnable"`
	RetryMaxTimes                  int32                `json:"retryMaxTimes"`
	RetryQueueNums                 int32                `json:"retryQueueNums"`
	WhichBrokerWhenConsumeSlowly   int64                `json:"whichBrokerWhenConsumeSlowly"`
}

// DefaultGroup is a group's settings before anyone changes them.
func DefaultGroup(name string) SubscriptionGroupConfig {
	return SubscriptionGroupConfig{GroupName: name, ConsumeEnable: true, ConsumeFromMinEnable: true, ConsumeBroadcastEnable: true,
		RetryQueueNums: 1, RetryMaxTimes: 16, WhichBrokerWhenConsumeSlowly: 1, NotifyConsumerIDsChangedEnable: true, ConsumeTimeoutMinute: 15}
}

// decodeBody lays the body over the defaults: what it does not name keeps them.
func (c *SubscriptionGroupConfig) decodeBody(b []byte) error {
	*c = DefaultGroup("")
	if err := json.Unmarshal(b, c); err != nil {
		return err
	}
	if c.GroupName == "" {
		return fmt.Errorf("groupName is missing")
	}
	return nil
}

// SubscriptionGroupTable is the body of a reply to GetAllSubscriptionGroup.
type SubscriptionGroupTable struct {
	DataVersion            DataVersion                           `json:"dataVersion"`
	ForbiddenTable         dict[string, dict[string, int32]]     `json:"forbiddenTable"`
	SubscriptionGroupTable dict[string, SubscriptionGroupConfig] `json:"subscriptionGroupTable"`
}

// Connection is a client of a group.
type Connection struct {
	ClientAddr string `json:"clientAddr"`
	ClientID   string `json:"clientId"`
	Language   string `json:"language"`
	Version    int32  `json:"version"`
}

// ConsumerConnection is the body of a reply to GetConsumerConnectionList.
type ConsumerConnection struct {
	ConnectionSet     list[Connection]               `json:"connectionSet"`
	ConsumeFromWhere  string                         `json:"consumeFromWhere"`
	ConsumeType       string                         `json:"consumeType"`
	MessageModel      string                         `json:"messageModel"`
	SubscriptionTable dict[string, SubscriptionData] `json:"subscriptionTable"`
}

// ProducerConnection is the body of a reply to GetProducerConnectionList.
type ProducerConnection struct {
	ConnectionSet list[Connection] `json:"connectionSet"`
}

// KVTable is the body of a reply to 28 and 219.
type KVTable struct {
	Table dict[string, string] `json:"table"`
}
