package fsm

import (
	"slices"
	"strings"

	"raftmq/message"
)

// groupQueue is a consumer group's place in a queue.
type groupQueue struct {
	group string
	queue message.Queue
}

func (a groupQueue) compare(b groupQueue) int {
	if c := strings.Compare(a.group, b.group); c != 0 {
		return c
	}
	if c := strings.Compare(a.queue.Topic, b.queue.Topic); c != 0 {
		return c
	}
	return int(a.queue.ID) - int(b.queue.ID)
}

// size is what the key takes in an encoding.
func (a groupQueue) size() int { return textSize(a.group) + queueSize(a.queue) }

// maxName is the longest group or client id in bytes.
const maxName = 255

// legal: a longer name, or a negative queue, is no one's.
func (a groupQueue) legal() bool {
	return a.group != "" && len(a.group) <= maxName && a.queue.Topic != "" && len(a.queue.Topic) <= message.MaxTopic && a.queue.ID >= 0
}

// table is a map that is always sorted: a checkpoint of one at its bounds must not
// take the time to sort it.
type table[V any] struct {
	rows  []*row[V]
	byKey map[groupQueue]*row[V]
}

type row[V any] struct {
	key   groupQueue
	value V
}

func newTable[V any]() table[V] { return table[V]{byKey: make(map[groupQueue]*row[V])} }

func (t *table[V]) get(k groupQueue) (v V, there bool) {
	if r := t.byKey[k]; r != nil {
		return r.value, true
	}
	return v, false
}

func (t *table[V]) set(k groupQueue, v V) {
	if r := t.byKey[k]; r != nil {
		r.value = v
		return
	}
	r := &row[V]{k, v}
	t.byKey[k] = r
	i, _ := slices.BinarySearchFunc(t.rows, k, compareRow[V])
	t.rows = slices.Insert(t.rows, i, r)
}

func compareRow[V any](r *row[V], k groupQueue) int { return r.key.compare(k) }

// knows reports whether the group has a row.
func (t *table[V]) knows(group string) bool {
	i, _ := slices.BinarySearchFunc(t.rows, groupQueue{group: group}, compareRow[V])
	return i < len(t.rows) && t.rows[i].key.group == group
}

// follows reports whether k comes after all that is there.
func (t *table[V]) follows(k groupQueue) bool {
	return len(t.rows) == 0 || t.rows[len(t.rows)-1].key.compare(k) < 0
}

// drop removes the rows that f chooses, and says how many.
func (t *table[V]) drop(f func(k groupQueue, v V) bool) (dropped int) {
	t.rows = slices.DeleteFunc(t.rows, func(r *row[V]) bool {
		if !f(r.key, r.value) {
			return false
		}
		delete(t.byKey, r.key)
		dropped++
		return true
	})
	return dropped
}

func (t *table[V]) delete(k groupQueue) {
	if t.byKey[k] == nil {
		return
	}
	delete(t.byKey, k)
	i, _ := slices.BinarySearchFunc(t.rows, k, compareRow[V])
	t.rows = slices.Delete(t.rows, i, i+1)
}
