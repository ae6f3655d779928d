package broker

import (
	"cmp"
	"slices"
	"sync"

	"raftmq/fsm"
	"raftmq/message"
	"raftmq/remoting"
)

// attrPlacement is the attribute of a topic that holds its placement rules.
const attrPlacement = "placement"

// maxRead is how many texts of rules are kept as they were read.
const maxRead = 1024

// placements keeps rules by their text, so that they are read once.
type placements struct {
	mu   sync.RWMutex
	read map[string]*message.Placement // nil: it cannot be read, or has no rule
}

// of are a topic's rules; nil: it has none. They were checked when they were set.
func (s *placements) of(t fsm.Topic) *message.Placement {
	text := t.Attributes[attrPlacement]
	if text == "" {
		return nil
	}
	s.mu.RLock()
	p, known := s.read[text]
	s.mu.RUnlock()
	if known {
		return p
	}
	p, err := message.ParsePlacement(text)
	if err != nil || p.Rules() == 0 {
		p = nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.read == nil || len(s.read) >= maxRead { // rules that were replaced are among them
		s.read = make(map[string]*message.Placement)
	}
	s.read[text] = p
	return p
}

// checkPlacement refuses rules that cannot be read, or that name queues which the topic
// does not have.
func checkPlacement(attributes map[string]string, writeQueues int32, partitions int) error {
	text, ok := attributes[attrPlacement]
	if !ok {
		return nil
	}
	p, err := message.ParsePlacement(text)
	if err != nil {
		return err
	}
	return p.Check(int(writeQueues) * partitions)
}

// queueOf is the slot and the id of a queue by its number among those that can be
// written, as clients of ours number them.
func queueOf(t fsm.Topic, number int) (part fsm.Partition, id int32) {
	parts := slices.SortedFunc(slices.Values(t.Partitions), func(x, y fsm.Partition) int { return cmp.Compare(x.Slot, y.Slot) })
	return parts[number%len(parts)], int32(number / len(parts))
}

// place puts a send where the topic's rules say, and out of queues that are not written
// any more. A stock client's message goes there
// wherever it was sent to, and its request is changed, so that nodes that it is sent on
// to do the same. Clients of ours choose by the same rules; where they did otherwise, by
// rules that have changed, they are told: their identities hold per queue.
func (b *Broker) place(r *request, h *remoting.SendHeader, t fsm.Topic, part fsm.Partition, ours bool) (fsm.Partition, *remoting.Command) {
	if r.forwarded || len(t.Partitions) == 0 || t.WriteQueues == 0 {
		return part, nil
	}
	if h.QueueID >= t.WriteQueues { // it was taken away, and is only read until it is empty
		if ours {
			return part, r.refuse(remoting.WrongQueue, "queue %d of topic %s in %s is not written any more; certainly not stored", h.QueueID, h.Topic, brokerName(part.Slot))
		}
		h.QueueID %= t.WriteQueues
		remoting.PlaceSend(r.Ext, h.QueueID, brokerName(part.Slot))
	}
	rules := b.rules.of(t)
	if rules == nil {
		return part, nil
	}
	all := []string{h.Properties}
	if r.Code == remoting.SendBatchMessage || h.Batch {
		ms, err := message.DecodeBatch(r.Body)
		if err != nil {
			return part, r.refuse(remoting.MessageIllegal, "%v", err)
		}
		all = all[:0]
		for _, m := range ms {
			all = append(all, m.Properties)
		}
	}
	number, why := -1, 0
	for i, s := range all {
		props := message.ParseProperties(s)
		n, rule, ok := rules.Choose(func(name string) string { return props[name] }, int(t.WriteQueues)*len(t.Partitions))
		if ours && ok {
			if p, id := queueOf(t, n); p.ID != part.ID || id != h.QueueID {
				return part, r.refuse(remoting.WrongQueue, "by rule %d of topic %s the message goes to queue %d; certainly not stored", rule, h.Topic, n)
			}
		}
		if !ours && i > 0 && (ok != (number >= 0) || ok && n != number) {
			return part, r.refuse(remoting.MessageIllegal, "by the rules of topic %s the messages of the batch go to several queues; certainly not stored", h.Topic)
		}
		if ok {
			number, why = n, rule
		}
	}
	if ours || number < 0 {
		return part, nil
	}
	to, id := queueOf(t, number)
	if to.ID == part.ID && id == h.QueueID {
		return part, nil
	}
	b.placed.Add(1)
	b.log.Trace("placed by a rule", "topic", h.Topic, "rule", why, "queue", number)
	h.QueueID, h.BrokerName, r.slot = id, brokerName(to.Slot), to.Slot
	remoting.PlaceSend(r.Ext, id, h.BrokerName)
	return to, nil
}
