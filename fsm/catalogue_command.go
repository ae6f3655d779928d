package fsm

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
)

const (
	kindBootstrap kind = iota + 64
	kindCreateTopic
	kindUpdateTopic
	kindDeleteTopic
	kindPutGroup
	kindDeleteGroup
	kindSubscribe
	kindPutKV
	kindDeleteKV
	kindPutNode
	kindPutSlot
	kindFeatureLevel
	kindReplaceNode
	kindSettleNode
)

type bootstrap struct {
	Cluster string
	Slots   []Slot
	Nodes   []Node
}

type subscribe struct {
	Group  string
	Topics []string
}

type kv struct{ Namespace, Key, Value string }

type named struct{ Name string }

// replacement is of a node whose data folder is gone.
type replacement struct {
	Node   Node
	Folder uint64
}

type level struct{ Level uint64 }

// encodeJSON makes a catalogue command: there are few of them, and they are read
// in event files.
func encodeJSON(dst []byte, k kind, v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("fsm: encode kind %d: %v", k, err)) // structs of texts and numbers
	}
	return append(append(dst, byte(k), commandVersion), b...)
}

// decodeJSON reads a command's fields. One that this program does not know is of
// a later one, which should have raised the version: ErrCommand.
func decodeJSON(b []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return fmt.Errorf("%w: %w", ErrCommand, err)
	}
	if _, err := d.Token(); err != io.EOF {
		return fmt.Errorf("%w: more after the fields", ErrCommand)
	}
	return nil
}

// EncodeBootstrap founds the cluster, once.
func EncodeBootstrap(dst []byte, cluster string, slots []Slot, nodes []Node) []byte {
	return encodeJSON(dst, kindBootstrap, bootstrap{cluster, slots, nodes})
}

// EncodeCreateTopic makes a topic and its partitions. One that exists and is the
// same is answered as made; ErrExists if it differs.
func EncodeCreateTopic(dst []byte, t TopicSpec) []byte { return encodeJSON(dst, kindCreateTopic, t) }

// EncodeUpdateTopic changes a topic's settings.
func EncodeUpdateTopic(dst []byte, t TopicSpec) []byte { return encodeJSON(dst, kindUpdateTopic, t) }

// EncodeDeleteTopic removes a topic and its partitions.
func EncodeDeleteTopic(dst []byte, name string) []byte {
	return encodeJSON(dst, kindDeleteTopic, named{name})
}

// EncodePutGroup makes a group, or changes its settings.
func EncodePutGroup(dst []byte, g GroupSpec) []byte { return encodeJSON(dst, kindPutGroup, g) }

// EncodeDeleteGroup removes a group's settings and subscriptions.
func EncodeDeleteGroup(dst []byte, name string) []byte {
	return encodeJSON(dst, kindDeleteGroup, named{name})
}

// EncodeSubscribe makes the group if need be, and numbers its retry queues in the
// topics' partitions. Topics that do not exist are passed over.
func EncodeSubscribe(dst []byte, group string, topics []string) []byte {
	return encodeJSON(dst, kindSubscribe, subscribe{group, topics})
}

// EncodePutNode makes a member known, or its next life.
func EncodePutNode(dst []byte, n Node) []byte { return encodeJSON(dst, kindPutNode, n) }

// EncodeReplaceNode begins a node's next life, n, on another data folder. ErrConflict
// if its incarnation does not follow the present one, or while another node is being
// replaced; the same again changes nothing.
func EncodeReplaceNode(dst []byte, n Node, folder uint64) []byte {
	return encodeJSON(dst, kindReplaceNode, replacement{n, folder})
}

// EncodeSettleNode says that a node that was replaced votes wherever it did before.
func EncodeSettleNode(dst []byte, n Node) []byte { return encodeJSON(dst, kindSettleNode, n) }

// EncodePutSlot changes a slot's replica set, if its Version still is that of s,
// or makes the next slot, with Version 0.
func EncodePutSlot(dst []byte, s Slot) []byte { return encodeJSON(dst, kindPutSlot, s) }

// EncodeFeatureLevel raises the level; a lower one changes nothing.
func EncodeFeatureLevel(dst []byte, to uint64) []byte {
	return encodeJSON(dst, kindFeatureLevel, level{to})
}

// EncodePutKV keeps a value. Bytes that are not UTF-8 become U+FFFD.
func EncodePutKV(dst []byte, namespace, key, value string) []byte {
	return encodeJSON(dst, kindPutKV, kv{namespace, key, value})
}

// EncodeDeleteKV removes a value.
func EncodeDeleteKV(dst []byte, namespace, key string) []byte {
	return encodeJSON(dst, kindDeleteKV, kv{Namespace: namespace, Key: key})
}
