package broker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"raftmq/fsm"
	"raftmq/message"
	"raftmq/raftlog"
	"raftmq/remoting"
)

// Codes between nodes only.
const (
	codeSubscribe remoting.Code = 9001 // a group and topics, to the catalogue
	codeDropGroup remoting.Code = 9002 // a group and a partition, to its leader
	codeGroupUse  remoting.Code = 9020 // the same: where the group is there, and whether it is needed
)

// change is something the catalogue is asked to decide.
type change struct {
	// next is asked on the catalogue's leader, by what it knows then, and again when
	// that changed meanwhile.
	next func() (cmd []byte, refusal *remoting.Command)
	// adds is about how many bytes a command of next's adds to the catalogue; nil: it takes some away.
	adds func(cmd []byte) int
	// about, if not "", is the topic or group that it is about: next reads what another change of it sets.
	about string
	// then, if not nil, completes it at the node that was asked.
	then func(context.Context) *remoting.Command
}

// change runs a catalogue command at the catalogue's leader, and answers when
// this node has applied it too: whoever asks it next is not told what was before.
// OutcomeUnknown: also if it is decided, and this node does not hear of it in time.
func (b *Broker) change(ctx context.Context, r *request) *remoting.Command {
	if r.slot == noSlot {
		r.slot = 0
	}
	c, refusal := b.changeOf(ctx, r)
	if refusal != nil {
		return refusal
	}
	begun := time.Now()
	reply := b.atLeader(ctx, r, catalogueGroup, forwardWait, true, func(ctx context.Context) (*remoting.Command, error) {
		ctx, cancel := context.WithTimeout(ctx, forwardWait)
		defer cancel()
		return b.decideChange(ctx, r, c)
	})
	if reply.Code != remoting.OK || r.forwarded {
		return reply
	}
	if err := b.hear(ctx, max(freshWait, forwardWait-time.Since(begun))); err != nil {
		return r.failed(fmt.Errorf("%w: it is decided, and this node has not heard of it yet: %w", raftlog.ErrUnknownOutcome, err))
	}
	if c.then != nil {
		if refusal := c.then(ctx); refusal != nil {
			return refusal
		}
	}
	return reply
}

// altering lets the changes of one topic or group through one after the other, so that none is
// decided by what another is about to replace. They share gates by the hashes of their names.
type altering struct {
	seed  maphash.Seed
	gates [64]*gate
}

func newAltering() *altering {
	a := &altering{seed: maphash.MakeSeed()}
	for i := range a.gates {
		a.gates[i] = newGate(1, gateWaiting)
	}
	return a
}

func (a *altering) of(name string) *gate {
	return a.gates[maphash.String(a.seed, name)%uint64(len(a.gates))]
}

// changeRaces is how often a change is decided anew because another came between.
const changeRaces = 16

func (b *Broker) decideChange(ctx context.Context, r *request, c change) (*remoting.Command, error) {
	if why := b.checked.disputed.Load(); why != nil {
		return r.refuse(remoting.ServiceNotAvailable, "%s: nothing is decided until one is settled; certainly not done", *why), nil
	}
	if c.about != "" {
		turn := b.altering.of(c.about)
		if err := turn.enter(ctx); err != nil {
			return nil, err
		}
		defer turn.leave()
	}
	var why error
	for range changeRaces {
		cmd, refusal := c.next()
		if cmd == nil { // no entry tells whether this is the leader still
			if err := b.catalogue.replica.ReadIndex(ctx); err != nil {
				return nil, errNotHere
			}
		}
		if refusal != nil {
			return refusal, nil
		}
		if cmd == nil { // there is nothing to do
			return r.ReplyWith(nil, nil), nil
		}
		leave, ok := b.enterCatalogue(c, cmd)
		if !ok {
			return r.refuse(remoting.SystemBusy, "[CATALOGUE FULL] topics, groups and values take %d MiB; certainly not done", maxCatalogue>>20), nil
		}
		v, err := b.decide(ctx, cmd)
		res, _ := v.(fsm.CatalogueResult)
		leave(err != nil || res.Changed)
		if err != nil {
			return nil, err
		}
		if why = res.Err; why == nil {
			return r.ReplyWith(nil, nil), nil
		}
		if !errors.Is(why, fsm.ErrExists) && !errors.Is(why, fsm.ErrNotFound) {
			break
		}
		if deletes(r.Code) {
			return r.ReplyWith(nil, nil), nil
		}
	}
	return r.refuse(remoting.InvalidParameter, "%v", why), nil
}

// deletes says that a request is done when there is nothing to do it to.
func deletes(code remoting.Code) bool {
	switch code {
	case remoting.DeleteTopicInBroker, remoting.DeleteTopicInNS, remoting.DeleteSubscriptionGroup, remoting.DeleteKVConfig:
		return true
	}
	return false
}

// changeOf decodes a change.
func (b *Broker) changeOf(ctx context.Context, r *request) (change, *remoting.Command) {
	one := func(cmd []byte) change {
		return change{next: func() ([]byte, *remoting.Command) { return cmd, nil }}
	}
	switch r.Code {
	case remoting.UpdateAndCreateTopic:
		return b.topicChange(r)
	case remoting.DeleteTopicInBroker, remoting.DeleteTopicInNS:
		var h remoting.TopicHeader
		if err := h.Decode(r.Ext); err != nil {
			return change{}, r.failed(err)
		}
		if group, letters := lettersOf(h.Topic); letters { // they went with the group: stock tools delete them after it
			return change{next: func() ([]byte, *remoting.Command) {
				if _, ok := b.catalogue.Group(group); ok {
					return nil, r.refuse(remoting.InvalidParameter, "the topic %s belongs to the group %s: delete that", h.Topic, group)
				}
				return nil, nil
			}}, nil
		}
		if b.ownTopic(h.Topic) {
			return change{}, r.refuse(remoting.InvalidParameter, "the topic %s belongs to the broker", h.Topic)
		}
		return one(fsm.EncodeDeleteTopic(nil, h.Topic)), nil
	case remoting.UpdateSubscriptionGroup:
		var c remoting.SubscriptionGroupConfig
		leave, err := b.decode(ctx, r, &c)
		if err != nil {
			return change{}, r.failed(err)
		}
		defer leave()
		if err := message.CheckGroup(c.GroupName); err != nil {
			return change{}, r.failed(err)
		}
		return b.groupChange(r, c), nil
	case remoting.DeleteSubscriptionGroup:
		var h remoting.DeleteGroupHeader
		if err := h.Decode(r.Ext); err != nil {
			return change{}, r.failed(err)
		}
		c := one(fsm.EncodeDeleteGroup(nil, h.GroupName))
		c.about = h.GroupName
		c.then = func(ctx context.Context) *remoting.Command { return b.dropGroups(ctx, r, h.GroupName) }
		return c, nil
	case remoting.PutKVConfig, remoting.DeleteKVConfig:
		var h remoting.KVHeader
		if err := h.Decode(r.Ext); err != nil {
			return change{}, r.failed(err)
		}
		if h.Namespace == idleGroups {
			return change{}, r.refuse(remoting.InvalidParameter, "the namespace %s belongs to the broker", idleGroups)
		}
		if r.Code == remoting.DeleteKVConfig {
			return one(fsm.EncodeDeleteKV(nil, h.Namespace, h.Key)), nil
		}
		if _, ok := r.Ext["value"]; !ok {
			return change{}, r.refuse(remoting.InvalidParameter, "field value is missing")
		}
		put := one(fsm.EncodePutKV(nil, h.Namespace, h.Key, h.Value))
		put.adds = func(cmd []byte) int { return b.kvAdds(cmd, h.Namespace, h.Key) }
		return put, nil
	case codeSubscribe:
		group, topics := r.Ext["group"], strings.Split(r.Ext["topics"], ",")
		if err := message.CheckGroup(group); err != nil {
			return change{}, r.failed(err)
		}
		c := one(fsm.EncodeSubscribe(nil, group, topics))
		c.adds = func([]byte) int { return b.subscribeAdds(group, topics) }
		return c, nil
	}
	return change{}, r.refuse(remoting.RequestCodeNotSupported, "request code %d", r.Code)
}

// groupChange creates a group or changes it, so the same request again does nothing.
func (b *Broker) groupChange(r *request, c remoting.SubscriptionGroupConfig) change {
	spec := fsm.GroupSpec{
		Name: c.GroupName, ConsumeEnable: c.ConsumeEnable, ConsumeFromMinEnable: c.ConsumeFromMinEnable, ConsumeBroadcastEnable: c.ConsumeBroadcastEnable,
		ConsumeMessageOrderly: c.ConsumeMessageOrderly, RetryMaxTimes: c.RetryMaxTimes, ConsumeTimeoutMinute: c.ConsumeTimeoutMinute, Attributes: c.Attributes,
	}
	return change{
		about: c.GroupName,
		adds:  func(cmd []byte) int { return b.groupAdds(cmd, c.GroupName) },
		next: func() ([]byte, *remoting.Command) {
			alters, alter := r.Ext[extAlters]
			if !alter {
				return fsm.EncodePutGroup(nil, spec), nil
			}
			g, ok := b.catalogue.Group(c.GroupName)
			if !ok {
				return nil, r.refuse(remoting.SubscriptionGroupNotExist, "group %s does not exist", c.GroupName)
			}
			return fsm.EncodePutGroup(nil, groupAltered(g.GroupSpec, spec, alters)), nil
		},
	}
}

// groupAltered is what a group's settings become where of want only what alters names counts.
func groupAltered(now, want fsm.GroupSpec, alters string) fsm.GroupSpec {
	for what := range strings.SplitSeq(alters, ",") {
		switch what {
		case "consume":
			now.ConsumeEnable = want.ConsumeEnable
		case "broadcast":
			now.ConsumeBroadcastEnable = want.ConsumeBroadcastEnable
		case "retries":
			now.RetryMaxTimes = want.RetryMaxTimes
		}
	}
	return now
}

// topicChange creates a topic or changes it, so the same request again does
// nothing. How many partitions it has is decided once.
func (b *Broker) topicChange(r *request) (change, *remoting.Command) {
	var h remoting.CreateTopicHeader
	if err := h.Decode(r.Ext); err != nil {
		return change{}, r.failed(err)
	}
	if err := message.CheckTopic(h.Topic); err != nil {
		return change{}, r.failed(err)
	}
	if b.ownTopic(h.Topic) {
		return change{}, r.refuse(remoting.InvalidParameter, "the topic %s belongs to the broker", h.Topic)
	}
	if h.ReadQueueNums > maxQueues || h.WriteQueueNums > maxQueues {
		return change{}, r.refuse(remoting.InvalidParameter, "%d queues per partition, at most %d", max(h.ReadQueueNums, h.WriteQueueNums), maxQueues)
	}
	set, unset, err := attributes(h.Attributes)
	if err == nil {
		err = checkRetention(set)
	}
	if err != nil {
		return change{}, r.refuse(remoting.InvalidParameter, "topic %s: %v", h.Topic, err)
	}
	spec := fsm.TopicSpec{Name: h.Topic, ReadQueues: h.ReadQueueNums, WriteQueues: h.WriteQueueNums, Perm: h.Perm, Order: h.Order, SysFlag: h.TopicSysFlag}
	return change{
		about: h.Topic,
		adds:  func(cmd []byte) int { return b.topicAdds(cmd, h.Topic) },
		next: func() ([]byte, *remoting.Command) {
			if slots := len(b.catalogue.Slots()); int(h.Partitions) > slots {
				return nil, r.refuse(remoting.InvalidParameter, "%d partitions: the cluster has %d slots", h.Partitions, slots)
			}
			alters, alter := r.Ext[extAlters]
			switch t, ok := b.catalogue.Topic(h.Topic); {
			case !ok && alter:
				return nil, r.refuse(remoting.TopicNotExist, "topic %s does not exist", h.Topic)
			case !ok:
				spec.Slots = b.chooseSlots(int(h.Partitions))
				spec.Attributes = set
				if err := checkPlacement(set, h.WriteQueueNums, len(spec.Slots)); err != nil {
					return nil, r.refuse(remoting.InvalidParameter, "topic %s: %v", h.Topic, err)
				}
				return fsm.EncodeCreateTopic(nil, spec), nil
			case r.Ext[extIfNone] == "1":
				return nil, nil
			case h.Partitions != 0 && int(h.Partitions) != len(t.Partitions):
				return nil, r.refuse(remoting.TopicExistAlready, "topic %s exists, with %d partitions", h.Topic, len(t.Partitions))
			}
			t, _ := b.catalogue.Topic(h.Topic)
			spec := spec
			if alter { // the rest is as it was when the client looked, and may have been changed since
				spec = queuesAltered(t, spec, alters)
				if spec.ReadQueues < spec.WriteQueues && spec.ReadQueues != t.ReadQueues {
					return nil, r.refuse(remoting.InvalidParameter, "topic %s: %d queues to read, and %d to write: nobody would read the others", h.Topic, spec.ReadQueues, spec.WriteQueues)
				}
			}
			spec.Attributes = altered(t.Attributes, set, unset)
			now := spec.Attributes
			if now == nil {
				now = t.Attributes
			}
			if err := checkPlacement(now, spec.WriteQueues, len(t.Partitions)); err != nil {
				return nil, r.refuse(remoting.InvalidParameter, "topic %s: %v", h.Topic, err)
			}
			return fsm.EncodeUpdateTopic(nil, spec), nil
		},
		then: func(ctx context.Context) *remoting.Command {
			if err := b.awaitTopic(ctx, h.Topic); err != nil {
				return r.failed(err)
			}
			return nil
		},
	}, nil
}

// queuesAltered is what a topic's settings become where of want only what alters names counts. Queues
// that are not written any more are read.
func queuesAltered(t fsm.Topic, want fsm.TopicSpec, alters string) fsm.TopicSpec {
	spec := settingsOf(t)
	spec.Attributes = nil
	for what := range strings.SplitSeq(alters, ",") {
		switch what {
		case "write":
			spec.WriteQueues = want.WriteQueues
			spec.ReadQueues = max(spec.ReadQueues, spec.WriteQueues)
		case "read":
			spec.ReadQueues = want.ReadQueues
		}
	}
	return spec
}

// settingsOf is what an update may change of a topic, as it is.
func settingsOf(t fsm.Topic) fsm.TopicSpec {
	return fsm.TopicSpec{Name: t.Name, ReadQueues: t.ReadQueues, WriteQueues: t.WriteQueues, Perm: t.Perm, Order: t.Order, SysFlag: t.SysFlag, Attributes: t.Attributes}
}

// maxAttributes is how many one request sets, or takes away: a topic has no more.
const maxAttributes = 256

// attributes reads "+k=v,-k": what is set, and what is not to be any more.
func attributes(s string) (set map[string]string, unset []string, err error) {
	for part := range strings.SplitSeq(s, ",") {
		if kv, ok := strings.CutPrefix(part, "+"); ok {
			k, v, _ := strings.Cut(kv, "=")
			if set == nil {
				set = make(map[string]string)
			}
			set[k] = v
		} else if k, ok := strings.CutPrefix(part, "-"); ok {
			unset = append(unset, k)
		} else if part != "" {
			return nil, nil, fmt.Errorf("attribute %q begins with neither + nor -", part)
		}
		if len(set)+len(unset) > maxAttributes {
			return nil, nil, fmt.Errorf("more than %d attributes", maxAttributes)
		}
	}
	return set, unset, nil
}

// altered is as with what is set and without what is unset; nil if nothing is either.
func altered(as, set map[string]string, unset []string) map[string]string {
	if len(set) == 0 && len(unset) == 0 {
		return nil
	}
	out := make(map[string]string)
	maps.Copy(out, as)
	maps.Copy(out, set)
	for _, k := range unset {
		delete(out, k)
	}
	return out
}

// chooseSlots takes the n slots with the fewest partitions; 0: all.
func (b *Broker) chooseSlots(n int) []int {
	slots := b.catalogue.Slots()
	if n == 0 {
		n = len(slots)
	}
	load := make(map[int]int)
	for _, p := range b.catalogue.Partitions() {
		load[p.Slot]++
	}
	ids := make([]int, 0, len(slots))
	for _, s := range slots {
		ids = append(ids, s.ID)
	}
	slices.SortStableFunc(ids, func(x, y int) int { return cmp.Compare(load[x], load[y]) })
	return ids[:min(n, len(ids))]
}

// dropsAtOnce bounds how many partitions are asked about a group at the same time.
const dropsAtOnce = 16

// dropGroups makes every partition forget a group that the catalogue has
// forgotten; a group by that name begins anew.
func (b *Broker) dropGroups(ctx context.Context, r *request, group string) (refusal *remoting.Command) {
	if err := b.catchUp(ctx); err != nil { // there may be partitions that are not known here
		return r.refuse(remoting.SystemError, "group %s is deleted, but the catalogue has no leader now, and partitions may still have its offsets: %v; delete it again", group, err)
	}
	var mu sync.Mutex
	sideBySide(b.catalogue.Partitions(), func(_ int, part fsm.Partition) {
		reply := b.dropGroup(ctx, r.ofGroup(codeDropGroup, group, part.ID))
		if reply.Code == remoting.OK || reply.Code == remoting.TopicNotExist {
			return
		}
		mu.Lock()
		defer mu.Unlock()
		refusal = r.refuse(remoting.SystemError, "group %s is deleted, but partition %d of %s may still have its offsets: %s; delete it again", group, part.ID, part.Topic, reply.Remark)
	})
	return refusal
}

// sideBySide calls f for each of the partitions, for several at the same time.
func sideBySide(parts []fsm.Partition, f func(i int, part fsm.Partition)) {
	var wg sync.WaitGroup
	some := make(chan struct{}, dropsAtOnce)
	for i, part := range parts {
		some <- struct{}{}
		wg.Go(func() {
			defer func() { <-some }()
			f(i, part)
		})
	}
	wg.Wait()
}

// ofGroup is a request between nodes about a group in a partition, that comes of r.
func (r *request) ofGroup(code remoting.Code, group string, partition uint64) *request {
	sub := *r
	sub.Command = remoting.NewRequest(code, nil)
	sub.SetExt("group", group)
	sub.SetExt("partition", strconv.FormatUint(partition, 10))
	return &sub
}

// dropGroup makes one partition forget a group, if it knows it.
func (b *Broker) dropGroup(ctx context.Context, r *request) *remoting.Command {
	return b.atGroup(ctx, r, func(ctx context.Context, p *partition, group string) (*remoting.Command, error) {
		if p.machine.Knows(group) {
			if _, err := p.propose(ctx, fsm.EncodeDropGroup(nil, b.atMs(), group)); err != nil {
				return nil, err
			}
		}
		return r.ReplyWith(nil, nil), nil
	})
}

// atGroup has the leader of a request's partition answer about its group; see ofGroup.
func (b *Broker) atGroup(ctx context.Context, r *request, answer func(context.Context, *partition, string) (*remoting.Command, error)) *remoting.Command {
	id, _ := strconv.ParseUint(r.Ext["partition"], 10, 64)
	part, ok := b.catalogue.Partition(id)
	if !ok {
		return r.refuse(remoting.TopicNotExist, "partition %d does not exist", id)
	}
	return b.atEnd(ctx, r, part, func(ctx context.Context, p *partition) (*remoting.Command, error) {
		return answer(ctx, p, r.Ext["group"])
	})
}
