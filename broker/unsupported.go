package broker

import "raftmq/remoting"

// unsupported answers a request that nobody here serves, with the reason if there is one.
func (r *request) unsupported() *remoting.Command {
	if why := whyNot(r.Code); why != "" {
		return r.refuse(remoting.RequestCodeNotSupported, "request code %d is not supported: %s", r.Code, why)
	}
	return r.refuse(remoting.RequestCodeNotSupported, "request code %d is not supported", r.Code)
}

// whyNot is for operators of RocketMQ who use its tools: what there is instead, or why nothing is
// needed.
func whyNot(code remoting.Code) string {
	switch c := int(code); {
	case code == remoting.UpdateBrokerConfig, c == 318:
		return "settings are given when a node starts; see raftmq config reference"
	case c == 319:
		return "there is no name server by itself; see getBrokerConfig"
	case c == 306, c == 316, c == 329:
		return "what has expired, and what is left of deleted topics, goes by itself; see retention and delete-when"
	case code == remoting.WipeWritePermOfBroker, code == remoting.AddWritePermOfBroker:
		return "a broker name is no machine here: a node that stops hands over what it leads, and updateTopicPerm closes a topic to writes"
	case c == 401, c == 402, c >= 200050 && c <= 200151:
		return "queues are shared out by the clients; there is no POP mode"
	case c >= 906 && c <= 908, c == 1007:
		return "replication is Raft's; see raftmq cluster"
	case c >= 901 && c <= 905, c > 1000 && c <= 1018:
		return "there is no controller and no container; each partition elects its leader; see raftmq cluster"
	case c >= 2001 && c <= 2004:
		return "reads of old messages are bounded by themselves"
	case c == 354, c == 355:
		return "there is no RocksDB"
	case c == 513:
		return "there are no static topics: a topic's queues are where its partitions are, and move with them"
	case c >= 50 && c <= 54, c >= 3001 && c <= 3010:
		return "clients have no users and no permissions"
	}
	return ""
}
