package message

import "strings"

// Properties of requests and their replies.
const (
	PropCorrelation = "CORRELATION_ID"  // of a request; its reply has the same
	PropReplyTo     = "REPLY_TO_CLIENT" // the id of the client that asked
	PropTTL         = "TTL"             // how long the requester waits: Java says milliseconds, the stock Go client seconds
	PropType        = "MSG_TYPE"        // TypeReply, of a reply
	PropPushTime    = "PUSH_REPLY_TIME" // when a node handed the reply on, Unix ms
)

// TypeReply is the PropType of a reply.
const TypeReply = "reply"

// ReplyTopic is the topic that replies in a cluster are addressed to. Nothing is
// stored in it.
func ReplyTopic(cluster string) string { return cluster + "_REPLY_TOPIC" }

// InCluster returns the properties of a message that was sent to a cluster: those of a
// request say which, so that who replies knows where to.
func InCluster(props, cluster string) string {
	if !strings.Contains(props, PropReplyTo) || cluster == "" {
		return props
	}
	out := make([]byte, 0, len(props)+len(PropCluster)+len(cluster)+2)
	request := false
	for k, v := range Properties(props) {
		request = request || k == PropReplyTo
		if k != PropCluster {
			out = AppendProperty(out, k, v)
		}
	}
	if !request {
		return props
	}
	return string(AppendProperty(out, PropCluster, cluster))
}
