package conformance

// Reasons that several differences have.
const (
	whyStrict   = "what cannot be meant is refused, and said to be the request's fault: stock producers try 1 again"
	whyLenient  = "RocketMQ takes it, to no use: what cannot be meant is refused"
	whyNoTopic  = "RocketMQ answers for topics and queues that it does not have as if they were empty"
	whyOwn      = "topics of the broker's own are not read, written, or changed by clients"
	whyHidden   = "raftmq keeps what waits elsewhere, and leaves no traces of that in the message"
	whyReceipt  = "the offset is one of RocketMQ's own queue of what waits; clients do not look at it"
	whyLetters  = "dead letters say where they are from and since when"
	whyTools    = "figures that only tools show"
	whyDecision = "decisions are sent one-way; who waits for an answer is told what holds"
)

// knownDifferences are what raftmq answers otherwise on purpose, or what is known to be open.
// Of answers whose codes differ only the code is compared.
var knownDifferences = []known{
	// Of any answer.
	{step: `.*`, fact: `ext\.leader`, real: "absent", why: "where the leader listens, for clients of ours", maybe: true},
	{step: `.*`, fact: `ext\.(topicSysFlag|groupSysFlag)`, real: "0", ours: "absent", why: "of the unit mode, which is not supported; no client reads them"},
	{step: `(refused|batch|send|recall).*`, fact: `ext\.(MSG_REGION|TRACE_ON)`, ours: "absent", why: "a refusal says nothing of tracing; clients look at the code"},
	{step: `.*`, fact: `ext\.forbiddenType`, ours: "absent", why: "clients look at the code"},
	{step: `heartbeat.*`, fact: `ext\.(IS_SUB_CHANGE|IS_SUPPORT_HEART_BEAT_V2)`, ours: "absent", why: "heartbeats of version 2 are taken, but clients are not told to leave their subscriptions out"},
	{step: `.*`, fact: `msg\d+\.prop\.CLUSTER`, real: "CLUSTER", why: "only a request for a reply needs it"},

	// Topics.
	{step: `cluster`, fact: `body\.clusterAddrTable\.CLUSTER\[[12]\]`, real: "absent", why: "raftmq has three slots"},
	{step: `route of orc-order`, fact: `body\.orderTopicConf`, real: "absent", why: "RocketMQ's tool puts the order into the name server by itself; here the topic has it"},
	{step: `route of TBW102`, fact: `body\.queueDatas\[0\]\.(read|write)QueueNums`, real: "8", ours: "2", why: "new topics have two queues per slot"},
	{step: `config of a topic that was made so`, fact: `body\.(read|write)QueueNums`, real: "4", ours: "2", why: "the node's settings say how many queues a new topic has, not its first sender"},
	{step: `(config|stats) of TBW102`, fact: `code`, real: "0", ours: "17", why: whyOwn},
	{step: `(lite )?pull of the template`, fact: `code`, real: "0", ours: "17", why: whyOwn, maybe: true},
	{step: `pull of a system topic`, fact: `code`, real: "19", ours: "17", why: whyOwn},
	{step: `all (topic configs|groups)`, fact: `body\.(dataVersion\.counter|mappingDataVersion\..*)`, why: "versions count otherwise"},
	{step: `(topics of the name server|topics of the cluster|topics of no cluster|system topics)`, fact: `body\.brokerAddr`, ours: "null", why: "no client reads null"},
	{step: `topic (of a group's|of letters)`, fact: `code`, real: "0", ours: "29", why: whyOwn},
	{step: `topic (without queues|with a wrong permission)`, fact: `code`, real: "0", ours: "29", why: whyLenient},
	{step: `topic with (a wrong filter|attributes that are none)`, fact: `code`, real: "1", ours: "29", why: whyStrict},
	{step: `topic with an unknown attribute`, fact: `code`, real: "1", ours: "0", why: "attributes that raftmq does not know are kept"},

	// Sends.
	{step: `send 310 of no bytes`, fact: `code`, real: "1", ours: "0", why: "a body may be empty; RocketMQ fails on it"},
	{step: `send 310 of magic`, fact: `code`, real: "13", ours: "0", why: "raftmq has no batches inside messages, and the property no meaning"},
	{step: `send 310, properties that are none, stored`, fact: `msg0\.prop\.k?`, why: "properties are kept as they were sent; those without name or value nobody sees"},
	{step: `batch 3.0.*`, fact: `ext\.transactionId`, why: "of a batch RocketMQ names none, or what was sent beside it; raftmq names its first message"},
	{step: `batch 320 without ids, stored`, fact: `msg\d\.(endsWithSeparator|prop\.UNIQ_KEY)`, why: "each message has an id"},
	{step: `batch 320 not marked(, stored)?`, fact: `.*`, why: "the code says that it is a batch; RocketMQ stores its frames as one message"},
	{step: `batch 320 with a delay inside`, fact: `code`, real: "0", ours: "13", why: "RocketMQ forgets the delay"},
	{step: `batch 320 (of nothing|of what is none|cut)`, fact: `code`, real: "1", ours: "13", why: whyStrict},
	{step: `refused 3?10 to no topic`, fact: `code`, real: "1", ours: "17", why: whyStrict},
	{step: `refused 3?10 to the template`, fact: `code`, real: "0", ours: "16", why: whyOwn},
	{step: `refused 3?10 to the retry topic of nobody`, fact: `code`, real: "0", ours: "26", why: "retries are in the partitions of what a group consumes; this one consumes nothing"},
	{step: `refused 3?10 where nobody may write`, fact: `code`, real: "0", ours: "16", why: "RocketMQ leaves a topic's permissions to clients"},
	{step: `refused 3?10 of a decided transaction`, fact: `code`, real: "0", ours: "13", why: "only the broker decides"},
	{step: `refused 3?10 of a delay that is no number`, fact: `code`, real: "1", ours: "13", why: whyStrict},
	{step: `refused 3?10 too late`, fact: `code`, real: "13", ours: "0", why: "messages may wait for years"},
	{step: `refused 3?10 prepared and delayed`, fact: `code`, real: "0", ours: "13", why: "RocketMQ forgets the delay; its client takes it away"},

	// Pulls.
	{step: `pull (none|less than none)`, fact: `body|ext\.nextBeginOffset|msg.*`, why: "no number is the default number; RocketMQ gives one message"},
	{step: `pull by bytes`, fact: `body|ext\.nextBeginOffset|msg.*`, why: "RocketMQ does not look at the limit"},
	{step: `pull by (what cannot be read|a kind that is none)`, fact: `code`, real: "0", ours: "23", why: "RocketMQ gives all messages, whatever the filter"},
	{step: `pull by an illegal group`, fact: `code`, real: "26", ours: "29", why: whyStrict},

	{step: `pull of (40|100)`, fact: `messages|next`, why: "RocketMQ gives 32 at most of what is in memory, whatever the request says"},

	// Filters.
	{step: `filter "(a \+ 1 = 2|a LIKE '1%'|a = 0x1)", may be read`, fact: `code`, real: "0", ours: "23", why: "RocketMQ reads the beginning and leaves the rest: it would filter by something else"},
	{step: `tags "(Aa|BB)"`, fact: `messages`, real: "G0 G1", why: "RocketMQ compares hashes, and leaves the rest to clients"},
	{step: `tags "\|\|"`, fact: `code`, real: "23", ours: "20", why: "no tag is named, and no message wanted; its own clients refuse it"},

	// Requests and replies.
	{step: `reply 32[45], pushed`, fact: `ext\.batch`, real: "absent", ours: "false", why: "the default is said"},
	{step: `reply 32[45], pushed`, fact: `prop\.(MSG_REGION|TRACE_ON)`, ours: "absent", why: "replies are not traced"},
	{step: `reply .*`, fact: `ext\.(msgId|queueId|queueOffset|MSG_REGION|TRACE_ON)`, why: "RocketMQ stores replies too, and none is said to be stored that is not", maybe: true},
	{step: `reply without a requester`, fact: `code`, real: "1", ours: "29", why: whyStrict},

	// Offsets.
	{step: `(max|max committed|min|earliest|search|search from 0|search to the end) of a queue (beyond|below)`, fact: `code`, real: "0", ours: "29", why: whyNoTopic},
	{step: `(max|max committed|min|earliest|search|search from 0|search to the end) of no topic`, fact: `code`, real: "0", ours: "17", why: whyNoTopic},
	{step: `search MIDDLE .*`, fact: `code`, real: "0", ours: "29", why: whyStrict},
	{step: `offset never(, zero)?`, fact: `code`, real: "0", ours: "22", why: "a new group begins where its members say, unless one was there before the first message; RocketMQ has it begin at the first while that is in memory"},
	{step: `offset (never, of a queue beyond|of a queue below)`, fact: `code`, real: "22", ours: "29", why: whyNoTopic},
	{step: `offset of no topic`, fact: `code`, real: "22", ours: "17", why: whyNoTopic},
	{step: `offset of an illegal group`, fact: `code`, real: "0", ours: "22", why: "as of a group that never committed"},
	{step: `commit (7, beyond the end|below zero|of a queue (beyond|below))`, fact: `code`, real: "0", ours: "29", why: whyLenient},
	{step: `commit of an illegal group`, fact: `code`, real: "26", ours: "29", why: whyStrict},
	{step: `offset after commit .*`, fact: `ext\.offset`, why: "a commit only raises: a late one of a member that has lost the queue takes nothing back; operators reset"},
	{step: `commit by nobody`, fact: `code`, real: "26", ours: "0", why: "a group is made by what it does"},

	// Messages.
	{step: `key .*`, fact: `ext\.(indexLastUpdatePhyoffset|indexLastUpdateTimestamp)`, why: "of the index, which no client reads"},
	{step: `key in no topic`, fact: `code`, real: "22", ours: "17", why: whyNoTopic},
	{step: `key at most none`, fact: `code`, real: "22", ours: "29", why: whyStrict},
	{step: `key at most less`, fact: `code`, real: "1", ours: "29", why: whyStrict},
	{step: `key that is a tag`, fact: `code`, real: "0", ours: "22", why: "tags are not indexed; this is of 5.4"},
	{step: `view below zero`, fact: `code`, real: "1", ours: "29", why: whyStrict},

	// Clients.
	{step: `members without a group`, fact: `code`, real: "1", ours: "29", why: whyStrict},
	{step: `heartbeat (of nothing|that is cut|that is a list|that is text)`, fact: `code`, real: "1", ours: "29", why: whyStrict},
	{step: `heartbeat (without a client|of an illegal group|of a long group)`, fact: `code`, real: "0", ours: "29", why: whyLenient},
	{step: `connections of v2`, fact: `body\.(consumeFromWhere|consumeType)`, real: "absent", why: "what a heartbeat leaves out stays"},
	{step: `check of nothing`, fact: `code`, real: "0", ours: "29", why: whyLenient},

	{step: `status of nobody`, fact: `code`, real: "1", ours: "3", why: "223 is not supported: no tool asks it any more"},

	// Locks.
	{step: `lock (of a queue beyond|in no topic)`, fact: `body\.lockOKMQSet`, ours: "[]", why: whyNoTopic},
	{step: `lock without a (client|group)`, fact: `code`, real: "0", ours: "29", why: whyLenient},
	{step: `(un)?lock of nobody|lock that is none`, fact: `code`, real: "1", ours: "29", why: whyStrict},

	// Retries.
	{step: `(back|sent to|key in).*`, fact: `msg\d\.prop\.(DELAY|REAL_TOPIC|REAL_QID|WAIT)`, ours: "absent", why: whyHidden},
	{step: `(back|sent to|key in).*`, fact: `msg\d\.prop\.DLQ_(ORIGIN_TOPIC|ORIGIN_MESSAGE_ID|TIME)`, real: "absent", why: whyLetters},
	{step: `back (of nothing|without an offset|without a level)`, fact: `code`, real: "1", ours: "-2", why: "the stock Go client takes any answer for success, so a refusal is silence"},
	{step: `sent to the retry topic( for the last time)?`, fact: `ext\.(queueOffset|recallHandle)`, why: whyReceipt},
	{step: `sent to the retry topic for the last time, in dead letters`, fact: `code`, real: "19", ours: "0", why: "as RocketMQ 4 counts; 5 has a message that its client puts back by itself come once more, unless the group holds a lock"},
	{step: `sent to dead letters`, fact: `code`, real: "0", ours: "16", why: whyOwn},
	{step: `(config of (a retry topic|dead letters)|stats of a retry topic)`, fact: `code`, real: "0", ours: "17", why: "a group's retries are inside the partitions of what it consumes, and no topic"},
	{step: `consume stats of retries`, fact: `body\.offsetTable\..*`, why: whyTools},

	// Delays.
	{step: `delay .*`, fact: `ext\.queueOffset`, why: whyReceipt},
	{step: `delay .*`, fact: `ext\.recallHandle`, why: "what waits for a level can be recalled too"},
	{step: `delay .*, come`, fact: `msg0\.prop\.(DELAY|REAL_TOPIC|REAL_QID|TIMER_DEQUEUE_MS|TIMER_ENQUEUE_MS|TIMER_OUT_MS)`, ours: "absent", why: whyHidden},

	// Transactions.
	{step: `view of a half`, fact: `code`, real: "0", ours: "1", why: "what is not committed is not shown; operators have raftmq tx"},
	{step: `half .*`, fact: `ext\.queueOffset`, why: "of the half, which the answer names it by", maybe: true},
	{step: `decision that is none`, fact: `code`, real: "1", ours: "29", why: whyStrict},
	{step: `decision not made yet`, fact: `code`, real: "-2", ours: "0", why: whyDecision},
	{step: `decision by another group`, fact: `code`, real: "1", ours: "16", why: whyDecision},
	{step: `decision (at another state|about nothing|about what is no half)`, fact: `code`, real: "1", ours: "2105", why: whyDecision},
	{step: `(commit|rollback|commit after a check)`, fact: `ext\.(before|by|commitOrRollback|msgId|queueId|queueOffset)`, real: "absent", why: whyDecision},
	{step: `commit.*, stored|key of a transaction`, fact: `msg\d\.preparedOffset`, why: "the half's physical offset: each its own"},
	{step: `commit.*, stored|key of a transaction`, fact: `msg\d\.prop\.__transactionId__`, ours: "absent", why: "of RocketMQ's bookkeeping; consumers take UNIQ_KEY"},

	{step: `check`, fact: `ext\.(commitLogOffset|tranStateTableOffset)`, why: "names of the half, each its own"},
	{step: `check`, fact: `ext\.topic`, ours: "orc-tx", why: "where the message is to go; RocketMQ says where it keeps halves"},
	{step: `check|commit after a check, stored|key of a transaction`, fact: `msg\d\.prop\.(REAL_TOPIC|REAL_QID|TRANSACTION_CHECK_TIMES|WAIT|__transactionId__)`, ours: "absent", why: whyHidden},
	{step: `check`, fact: `msg0\.(queueOffset|sysFlag)`, why: "of RocketMQ's copy"},
	{step: `commit after a check, stored|key of a transaction`, fact: `msg\d\.flag`, real: "0", ours: "7", why: "RocketMQ loses the flag when it checks"},

	// Groups.
	{step: `config of a group|all groups`, fact: `body\.(.*\.)?groupRetryPolicy\.type`, ours: "absent", why: "what is absent is RocketMQ's default"},
	{step: `config of (no group|a group deleted)`, fact: `code`, real: "0", ours: "26", why: "RocketMQ makes a group of whatever is asked for"},
	{step: `group of nothing`, fact: `code`, real: "0", ours: "29", why: whyLenient},
	{step: `group that is cut`, fact: `code`, real: "1", ours: "29", why: whyStrict},
	{step: `consume stats of another topic`, fact: `body\.offsetTable\..*`, real: "absent", why: "queues that the group has not committed in are shown with all that waits"},
	{step: `consume stats of no topic`, fact: `code`, real: "0", ours: "17", why: whyNoTopic},
	{step: `consume stats of nobody`, fact: `code`, real: "0", ours: "26", why: whyNoTopic},

	// Resets.
	{step: `reset of nobody`, fact: `code`, real: "26", ours: "0", why: "a group may be put somewhere before it begins"},
	{step: `reset one queue beyond the end`, fact: `code`, real: "1", ours: "0", why: "beyond the end is the end"},
	{step: `offset after reset one queue beyond the end`, fact: `ext\.offset`, real: "3", ours: "5", why: "beyond the end is the end"},
	{step: `reset of a queue beyond`, fact: `code`, real: "0", ours: "29", why: whyNoTopic},
	{step: `reset of an illegal group`, fact: `code`, real: "26", ours: "29", why: whyStrict},
	{step: `reset without a time`, fact: `code`, real: "0", ours: "29", why: "RocketMQ goes to the begin"},

	// Values.
	{step: `put without a value`, fact: `code`, real: "0", ours: "29", why: whyLenient},
	{step: `values deleted`, fact: `code`, real: "0", ours: "22", why: "a namespace is there while it has a value"},
	{step: `put without a (key|namespace)`, fact: `code`, real: "1", ours: "29", why: whyStrict},

	// More.
	{step: `send to orc-wide, queue [23]`, fact: `ext\.(queueId|queueOffset)`, why: "a queue that is not written any more gets nothing: it goes to one that is"},
	{step: `(end of|pull beyond|stats of) orc-wide.*`, fact: `.*(offset|maxOffset|nextBeginOffset)`, why: "so it is in another queue"},
	{step: `pull of it`, fact: `body|ext\.(maxOffset|nextBeginOffset)|msg1\..*`, why: "so it is in another queue"},
	{step: `stats of orc-wide`, fact: `body\.offsetTable\..* [23]\}\.lastUpdateTimestamp`, ours: "0", why: "so it is in another queue"},
	{step: `end of orc-(wide|narrow), queue 4`, fact: `code`, real: "0", ours: "29", why: whyNoTopic},
	{step: `offset in orc-(wide|narrow), queue 4`, fact: `code`, real: "22", ours: "29", why: whyNoTopic},
	{step: `pull of who broadcasts, with its filter`, fact: `code`, ours: "16", why: "RocketMQ looks at it only where it looks for the filter"},
	{step: `heartbeat with what cannot be read`, fact: `code`, real: "0", ours: "23", why: "such a member would get all messages, or none"},
	{step: `commit without the lock`, fact: `code`, real: "0", ours: "604", why: "a lock is a fence: only its holder moves the group"},

	// Fields.
	{step: `\d+ with(out| a) .*`, fact: `code`, real: "1", ours: "29", why: whyStrict},
	{step: `105 without topic`, fact: `code`, real: "17", ours: "29", why: whyStrict},
	{step: `send to a topic deleted`, fact: `code`, real: "1", ours: "17", why: whyStrict},
	{step: `(12|14|15|35|222|11) with(out| a) .*`, fact: `code`, ours: "29", why: whyLenient},
}
