package run

import (
	"bytes"
	"fmt"
	"strings"

	"raftmq/client"
	"raftmq/message"
)

// A dressed message says in its tag, its key and a property what its body says: what
// is read shows whether a broker, or a client, gave it those of another, or lost them.

const propOf = "of"

// tagOf is the tag of a value's message: one of ten.
func tagOf(value string) string { return "t" + value[len(value)-1:] }

// dressed is a value's message, with a body of at least size bytes.
func dressed(topic, value string, size int) *client.Message {
	return &client.Message{Topic: topic, Body: wornBody(value, size), Tag: tagOf(value), Keys: []string{value}, Properties: map[string]string{propOf: value}}
}

func wornBody(value string, size int) []byte {
	return encodeWith(value, append([]byte{worn}, bytes.Repeat([]byte{plain}, max(0, size-len(value)-minBody-1))...))
}

// dress is what the message of such a body has as properties on the wire.
func dress(value string) string {
	b := message.AppendProperty(nil, message.PropKeys, value)
	b = message.AppendProperty(b, message.PropTags, tagOf(value))
	return string(message.AppendProperty(b, propOf, value))
}

// valueOf is that of a message's body; "!" and what is wrong if it is none, or the
// message has what another's has.
func valueOf(m *client.Message) string {
	return looked(m.Body, m.Tag, strings.Join(m.Keys, " "), m.Properties[propOf])
}

// valueIn is valueOf of a record.
func valueIn(r message.Record) string {
	keys, _ := r.Property(message.PropKeys)
	of, _ := r.Property(propOf)
	return looked(r.Body(), string(r.Tag()), keys, of)
}

func looked(body []byte, tag, keys, of string) string {
	value, worn := undo(body)
	if worn && (tag != tagOf(value) || keys != value || of != value) {
		return fmt.Sprintf("!%s with the tag %.32q, the keys %.64q, and a property %.64q", value, tag, keys, of)
	}
	return value
}
