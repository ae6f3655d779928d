package remoting

import "strconv"

// Code says what a request asks, or how a reply ends.
type Code int32

// Request codes. The numbers are RocketMQ's.
const (
	SendMessage                Code = 10  // a message, header in long names
	PullMessage                Code = 11  // messages of a queue; may be held
	QueryMessage               Code = 12  // messages by key or unique id
	QueryConsumerOffset        Code = 14  // a group's place in a queue
	UpdateConsumerOffset       Code = 15  // commit a group's place; usually one-way
	UpdateAndCreateTopic       Code = 17  // create or change a topic
	UpdateAndCreateTopics      Code = 18  // create or change several
	GetAllTopicConfig          Code = 21  // every topic's settings
	UpdateBrokerConfig         Code = 25  // change settings of a node
	GetBrokerConfig            Code = 26  // settings of a node
	GetBrokerRuntimeInfo       Code = 28  // figures of a node
	SearchOffsetByTimestamp    Code = 29  // the offset at a time
	GetMaxOffset               Code = 30  // the next offset to be written
	GetMinOffset               Code = 31  // the first retained offset
	GetEarliestMessageTime     Code = 32  // store time of the first retained message
	ViewMessageByID            Code = 33  // a message by physical offset
	Heartbeat                  Code = 34  // who a client is and what it subscribes
	UnregisterClient           Code = 35  // a client leaves
	ConsumerSendMessageBack    Code = 36  // put a message back for later
	EndTransaction             Code = 37  // commit or roll back; one-way
	GetConsumerListByGroup     Code = 38  // client ids of a group
	CheckTransactionState      Code = 39  // server to client, one-way
	NotifyConsumerIDsChanged   Code = 40  // server to client, one-way: rebalance
	LockBatchMQ                Code = 41  // lock queues for a client
	UnlockBatchMQ              Code = 42  // give locks back
	CheckClientConfig          Code = 46  // is a subscription valid
	PutKVConfig                Code = 100 // name server: set a value
	GetKVConfig                Code = 101 // name server: get a value
	DeleteKVConfig             Code = 102 // name server: delete a value
	GetRouteByTopic            Code = 105 // name server: where a topic lives
	GetBrokerClusterInfo       Code = 106 // name server: every broker name and address
	UpdateSubscriptionGroup    Code = 200 // create or change a consumer group
	GetAllSubscriptionGroup    Code = 201 // every group's settings
	GetTopicStats              Code = 202 // bounds of a topic's queues
	GetConsumerConnectionList  Code = 203 // connections of a consumer group
	GetProducerConnectionList  Code = 204 // connections of a producer group
	WipeWritePermOfBroker      Code = 205
	GetAllTopicListFromNS      Code = 206 // name server: topic names
	DeleteSubscriptionGroup    Code = 207
	GetConsumeStats            Code = 208 // a group's offsets beside the queues' ends
	DeleteTopicInBroker        Code = 215
	DeleteTopicInNS            Code = 216
	GetKVListByNamespace       Code = 219
	ResetConsumerClientOffset  Code = 220 // server to client, one-way
	GetConsumerStatusOfClient  Code = 221 // server to client
	InvokeBrokerToResetOffset  Code = 222 // move a group's offsets
	InvokeBrokerConsumerStatus Code = 223
	GetTopicsByCluster         Code = 224
	UpdateSubscriptionGroups   Code = 225 // create or change several
	QueryTopicConsumeByWho     Code = 300 // groups that consume a topic
	QueryConsumeTimeSpan       Code = 303 // times of a topic's queues, and of a group in them
	GetSystemTopicListFromNS   Code = 304
	GetSystemTopicList         Code = 305
	GetConsumerRunningInfo     Code = 307 // relayed to a client
	ConsumeMessageDirectly     Code = 309 // relayed to a client
	SendMessageV2              Code = 310 // a message, header in letters
	ViewBrokerStats            Code = 315 // rates of a topic or group
	GetBrokerConsumeStats      Code = 317 // offsets of every group in a broker
	SendBatchMessage           Code = 320 // several messages of one queue, header in letters
	QueryConsumeQueue          Code = 321 // where a queue's messages lie
	SendReplyMessage           Code = 324
	SendReplyMessageV2         Code = 325
	PushReplyMessageToClient   Code = 326 // server to client
	AddWritePermOfBroker       Code = 327
	GetAllProducerInfo         Code = 328 // producers, by group
	QueryTopicsByConsumer      Code = 343 // topics of a group
	QuerySubscriptionOfGroup   Code = 345 // what a group's members want of a topic
	GetTopicConfig             Code = 351 // one topic's settings
	GetSubscriptionGroup       Code = 352 // one group's settings
	LitePullMessage            Code = 361 // PullMessage by another name

	// ListQuarantined is ours: 9001 and 9002 are between nodes.
	ListQuarantined Code = 9003
	// SettleDispute is ours: the replicas of a partition, and which of them counts.
	SettleDispute Code = 9004
	// ListLeaders is ours: who leads which partition; 9005 is between nodes.
	ListLeaders Code = 9006
	// MoveLeader is ours: a node is to lead a partition.
	MoveLeader Code = 9007
	// ListTransactions is ours: those of a topic that wait for a decision, or one.
	ListTransactions Code = 9014
	// ListTimers is ours: what waits for its time in a topic, or one of that.
	ListTimers Code = 9010
	// DeadLetters is ours: a group's are listed, handled again, or dropped.
	DeadLetters Code = 9018
	// ExplainMessage is ours: what became of a message.
	ExplainMessage  Code = 9030
	RecallMessage   Code = 370
	QueryAssignment Code = 400
)

// Reply codes. 2101 and above are ours: they go only to clients that showed
// (ext rmq=1 or pid) that they know them.
const (
	OK                        Code = 0
	SystemError               Code = 1 // stock producers retry it
	SystemBusy                Code = 2 // stock producers of 4.x and Go do not retry it
	RequestCodeNotSupported   Code = 3
	TransactionFailed         Code = 4
	FlushDiskTimeout          Code = 10 // never sent: clients take it for stored
	SlaveNotAvailable         Code = 11 // never sent
	FlushSlaveTimeout         Code = 12 // never sent
	MessageIllegal            Code = 13
	ServiceNotAvailable       Code = 14 // certainly not done; every client retries
	VersionNotSupported       Code = 15
	NoPermission              Code = 16
	TopicNotExist             Code = 17
	TopicExistAlready         Code = 18
	PullNotFound              Code = 19
	PullRetryImmediately      Code = 20
	PullOffsetMoved           Code = 21 // clients persist the offset that comes with it
	QueryNotFound             Code = 22
	SubscriptionParseFailed   Code = 23
	SubscriptionNotExist      Code = 24
	SubscriptionNotLatest     Code = 25
	SubscriptionGroupNotExist Code = 26
	FilterDataNotExist        Code = 27
	FilterDataNotLatest       Code = 28
	InvalidParameter          Code = 29
	TransactionShouldCommit   Code = 200
	TransactionShouldRollback Code = 201
	TransactionStateUnknown   Code = 202
	TransactionStateGroup     Code = 203
	NoBuyerID                 Code = 204
	NotInCurrentUnit          Code = 205
	ConsumerNotOnline         Code = 206
	ConsumeMessageTimeout     Code = 207
	NoMessage                 Code = 208
	PollingFull               Code = 209
	PollingTimeout            Code = 210
	BrokerNotExist            Code = 211
	FlowControl               Code = 215
	NotLeaderForQueue         Code = 501
	IllegalOperation          Code = 604
	GoAway                    Code = 1500 // only to clients above version 475

	OutcomeUnknown  Code = 2101 // it may have been stored
	UnknownProducer Code = 2102 // not stored as new; the identity is not known
	SequenceGap     Code = 2103 // certainly not stored
	StaleEpoch      Code = 2104 // certainly not stored
	WrongQueue      Code = 2106 // certainly not stored: by the topic's rules it goes to another queue
	NoTransaction   Code = 2105 // decided so long ago that it is forgotten, or never there; certainly nothing was done
)

func (c Code) String() string { return strconv.Itoa(int(c)) }

// Languages of a command's sender.
const (
	Java byte = iota
	CPP
	DotNet
	Python
	Delphi
	Erlang
	Ruby
	Other
	HTTP
	Go
	PHP
	OMS
	Rust
	NodeJS
)

var languages = [...]string{"JAVA", "CPP", "DOTNET", "PYTHON", "DELPHI", "ERLANG", "RUBY", "OTHER", "HTTP", "GO", "PHP", "OMS", "RUST", "NODE_JS"}

// LanguageName is the name a JSON header carries; OTHER for one not known.
func LanguageName(l byte) string {
	if int(l) < len(languages) {
		return languages[l]
	}
	return languages[Other]
}

func languageOf(name string) byte {
	for i, n := range languages {
		if n == name {
			return byte(i)
		}
	}
	return Other
}

// Versions are ordinals of RocketMQ's MQVersion. Replies carry Version: Java
// clients refuse SQL subscriptions below 232. From VersionStandardJSON on they
// are sent standard JSON by a stock name server; above VersionGoAway they
// understand GoAway.
const (
	Version             int32 = 477 // V5_3_2
	VersionStandardJSON int32 = 401
	VersionGoAway       int32 = 475
)
