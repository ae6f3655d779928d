package fsm

import (
	"raftmq/message"
	"raftmq/store"
)

// parseRecords notes the places of an item's records, which begin at in the
// entry. False: they are not whole records of one legal queue, or not as many as
// announced.
func (m *PartitionMachine) parseRecords(it *parsedItem, records []byte, at int) bool {
	for len(records) > 0 {
		rec, err := message.ParseRecord(records)
		if err != nil {
			return false
		}
		topic := rec.TopicBytes()
		if n := len(m.places) - it.from; n == 0 {
			name, ok := m.intern(topic)
			if it.queue = (message.Queue{Topic: name, ID: rec.QueueID()}); !ok || it.queue.ID < 0 {
				return false
			}
		} else if string(topic) != it.queue.Topic || rec.QueueID() != it.queue.ID {
			return false
		}
		m.places = append(m.places, store.Place{Queue: it.queue, Start: at, Size: len(rec), Tag: rec.TagHash()})
		at += len(rec)
		records = records[len(rec):]
	}
	n := len(m.places) - it.from
	return n > 0 && n == it.count
}

// maxTopics bounds the interned names; it is a cache and nothing depends on it.
const maxTopics = 1024

// intern returns a topic's name without an allocation once it was seen; false if
// it is not legal.
func (m *PartitionMachine) intern(b []byte) (string, bool) {
	if s, ok := m.topics[string(b)]; ok {
		return s, true
	}
	s := string(b)
	if message.CheckTopic(s) != nil {
		return "", false
	}
	if len(m.topics) >= maxTopics {
		clear(m.topics)
	}
	m.topics[s] = s
	return s, true
}

// append applies an append command: an item that is new gets offsets, one that is
// known gets its first receipt.
func (m *PartitionMachine) append(e store.Entry) (AppendResult, error) {
	if err := m.parseAppend(e.Data); err != nil {
		return AppendResult{}, err
	}
	m.dedup.expire(m.now)
	clear(m.ends)
	res := AppendResult{Items: make([]ItemResult, len(m.items))}
	physical := make([]int64, 0, len(m.places))
	base := m.store.Last().Position + store.FrameData // where the entry's data will lie
	stored := m.places[:0]
	for i := range m.items {
		it, out := &m.items[i], &res.Items[i]
		out.Count = it.count
		if it.bad {
			out.Status = Malformed
			continue
		}
		end, ok := m.ends[it.queue]
		if !ok {
			_, end = m.store.Bounds(it.queue)
		}
		places := m.places[it.from:it.to]
		out.Status, out.Offset = m.dedup.check(&it.producer, it.queue, len(places), end, m.now)
		if out.Status != Stored {
			continue
		}
		m.ends[it.queue] = end + message.Offset(len(places))
		from := len(physical)
		for _, p := range places {
			physical = append(physical, message.PhysicalOffset(m.number, int64(base)+int64(p.Start)))
		}
		out.Physical, out.StoreTime = physical[from:len(physical):len(physical)], m.now
		stored = append(stored, places...) // over places of items before, never ahead
	}
	first, err := m.store.Append(e, m.now, stored)
	if err == nil {
		err = m.checkOffsets(first, res.Items)
	}
	if cap(m.places) > keptPlaces {
		m.items, m.places = nil, nil
	}
	return res, err
}

// keptPlaces is how much room an idle partition keeps: that of a full entry of
// small messages.
const keptPlaces = 4096

// checkOffsets makes sure that the store counts as the dedup table does, on whose
// word a resend is answered later.
func (m *PartitionMachine) checkOffsets(first []message.Offset, items []ItemResult) error {
	at := 0
	for i := range items {
		if items[i].Status == Stored {
			if err := sameOffset(i, items[i].Offset, first[at]); err != nil {
				return err
			}
			at += items[i].Count
		}
	}
	return nil
}
