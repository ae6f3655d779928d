package remoting

// RunningInfo is the body of a consumer's reply to GetConsumerRunningInfo: how it fares.
type RunningInfo struct {
	Properties      map[string]string
	SubscriptionSet []SubscriptionData
	Queues          map[MessageQueue]ProcessQueue
}

// Properties of a RunningInfo that tools read.
const (
	PropConsumeType = "PROP_CONSUME_TYPE"
	PropOrderly     = "PROP_CONSUMEORDERLY"
	PropStarted     = "PROP_CONSUMER_START_TIMESTAMP" // Unix ms
	PropVersion     = "PROP_CLIENT_VERSION"
	PropNameServers = "PROP_NAMESERVER_ADDR"
	PropConcurrency = "PROP_THREADPOOL_CORE_SIZE"
)

// ProcessQueue is what a consumer holds of a queue.
type ProcessQueue struct {
	CachedMsgCount       int32 `json:"cachedMsgCount"`
	CachedMsgMaxOffset   int64 `json:"cachedMsgMaxOffset"`
	CachedMsgMinOffset   int64 `json:"cachedMsgMinOffset"`
	CachedMsgSizeInMiB   int32 `json:"cachedMsgSizeInMiB"`
	CommitOffset         int64 `json:"commitOffset"`
	Dropped              bool  `json:"droped"`
	LastConsumeTimestamp int64 `json:"lastConsumeTimestamp"` // Unix ms
	LastLockTimestamp    int64 `json:"lastLockTimestamp"`
	LastPullTimestamp    int64 `json:"lastPullTimestamp"`
	Locked               bool  `json:"locked"`
}

func (r RunningInfo) encodeBody() []byte {
	b := appendTable([]byte(`{"mqTable":`), r.Queues)
	b = append(append(b, `,"properties":`...), EncodeBody(dict[string, string](r.Properties))...)
	b = append(append(b, `,"statusTable":{},"subscriptionSet":`...), EncodeBody(list[SubscriptionData](r.SubscriptionSet))...)
	return append(b, '}')
}
