package client_test

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftmq/client"
	"raftmq/message"
	"raftmq/remoting"
)

// fake is a cluster that keeps everything in memory: nodes share it, each
// listens on one port per slot and one as name server.
type fake struct {
	t     testing.TB
	nodes []*fakeNode
	slots []string

	mu       sync.Mutex
	topics   map[string]*fakeTopic
	queues   map[fakeQueue]*fakeLog
	offsets  map[string]int64 // group@topic@broker@queue
	resets   map[string]int64
	members  map[string]map[string]*remoting.ServerConn // group -> client id
	groups   map[string]remoting.SubscriptionGroupConfig
	dedup    map[string]*fakeProducer
	requests []*remoting.Command // sends seen
	grown    chan struct{}
	later    chan struct{}
	named    map[*remoting.ServerConn][]string // producer groups by connection
	leader   map[string]int                    // broker -> node; others say so
	young    int                               // so many questions for brokers are answered by nodes that have heard of none yet
	letters  int                               // dead letters
	locks    map[string]string                 // group@topic@broker@queue -> client id
	rules    map[string]string                 // of placement, by topic
	parts    map[string]uint32                 // numbers of partitions, by topic
	fault    func(n *fakeNode, req *remoting.Command) fault
	answer   func(req *remoting.Command) *remoting.Command // in place of the node's own; nil: that
}

type fault int

const (
	healthy     fault = iota
	cutBefore         // the connection ends, nothing was done
	cutAfter          // it was done, the connection ends before the reply
	silent            // it was done, no reply comes
	late              // it is done when f.later is closed
	unavailable       // ServiceNotAvailable
	busy
	unknown // OutcomeUnknown, not done
	forgot  // UnknownProducer
	gap
	stale
	illegal
	elsewhere // WrongQueue
)

type fakeTopic struct{ read, write, perm, slots int32 }
type fakeQueue struct {
	topic, broker string
	id            int32
}
type fakeLog struct{ records [][]byte }
type fakeProducer struct {
	epoch, next uint64
	offsets     map[uint64]int64
}

type fakeNode struct {
	f       *fake
	id      int
	servers []*remoting.Server
	ports   []string // of slots
	ns      string
	conns   map[*remoting.ServerConn]bool
	done    sync.WaitGroup
}

func newFake(t testing.TB, nodes, slots int) *fake {
	f := &fake{t: t, topics: make(map[string]*fakeTopic), queues: make(map[fakeQueue]*fakeLog), offsets: make(map[string]int64),
		resets: make(map[string]int64), members: make(map[string]map[string]*remoting.ServerConn), groups: make(map[string]remoting.SubscriptionGroupConfig),
		dedup: make(map[string]*fakeProducer), grown: make(chan struct{}), later: make(chan struct{}), named: make(map[*remoting.ServerConn][]string), locks: make(map[string]string)}
	for s := range slots {
		f.slots = append(f.slots, fmt.Sprintf("raftmq-%d", s))
	}
	for id := range nodes {
		n := &fakeNode{f: f, id: id}
		for s := range slots {
			n.ports = append(n.ports, n.listen(s))
		}
		n.ns = n.listen(-1)
		f.nodes = append(f.nodes, n)
	}
	t.Cleanup(func() {
		for _, n := range f.nodes {
			n.kill()
		}
	})
	return f
}

func (n *fakeNode) listen(slot int) string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(n.f.t, err)
	s := &remoting.Server{Handler: remoting.HandlerFunc(func(ctx context.Context, c *remoting.ServerConn, req *remoting.Command) *remoting.Command {
		return n.serve(ctx, c, req, slot)
	}), OnClose: n.closed}
	n.servers = append(n.servers, s)
	n.done.Go(func() { s.Serve(ln) })
	return ln.Addr().String()
}

// kill refuses connections and cuts those that are open.
func (n *fakeNode) kill() {
	for _, s := range n.servers {
		s.Close()
	}
	n.done.Wait()
}

func (n *fakeNode) closed(c *remoting.ServerConn) {
	n.f.mu.Lock()
	defer n.f.mu.Unlock()
	delete(n.f.named, c)
	for g, m := range n.f.members {
		for id, conn := range m {
			if conn == c {
				delete(m, id)
				n.f.notifyLocked(g)
			}
		}
	}
}

func (f *fake) notifyLocked(group string) {
	for _, c := range f.members[group] {
		c.Send(remoting.NewOneway(remoting.NotifyConsumerIDsChanged, remoting.ConsumerGroupHeader{ConsumerGroup: group}))
	}
}

func (f *fake) setFault(h func(n *fakeNode, req *remoting.Command) fault) {
	f.mu.Lock()
	f.fault = h
	f.mu.Unlock()
}

// failFirst gives the first sends these faults, one each.
func (f *fake) failFirst(faults ...fault) {
	f.setFault(func(_ *fakeNode, req *remoting.Command) fault {
		if !isSend(req) || len(faults) == 0 {
			return healthy
		}
		x := faults[0]
		faults = faults[1:]
		return x
	})
}

func isSend(req *remoting.Command) bool {
	return req.Code == remoting.SendMessageV2 || req.Code == remoting.SendBatchMessage
}

func (f *fake) topic(name string, queues int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.topics[name] = &fakeTopic{int32(queues), int32(queues), 6, int32(len(f.slots))}
}

// deleteLocked deletes a topic, with all that is of its queues.
func (f *fake) deleteLocked(name string) {
	delete(f.topics, name)
	for q := range f.queues {
		if q.topic == name {
			delete(f.queues, q)
		}
	}
	for k := range f.offsets {
		if strings.Split(k, "@")[1] == name {
			delete(f.offsets, k)
		}
	}
	for k := range f.locks {
		if strings.Split(k, "@")[1] == name {
			delete(f.locks, k)
		}
	}
	close(f.grown)
	f.grown = make(chan struct{})
}

// bodies are those stored in a topic, by queue.
func (f *fake) bodies(topic string) (out []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for q, l := range f.queues {
		if q.topic == topic {
			for _, r := range l.records {
				out = append(out, string(message.Record(r).Body()))
			}
		}
	}
	slices.Sort(out)
	return out
}

func (f *fake) sends() []*remoting.Command {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.requests)
}

func (f *fake) offset(group, topic, broker string, id int32) (int64, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	o, ok := f.offsets[offsetKey(group, topic, broker, id)]
	return o, ok
}

func (f *fake) committed(group, topic string) (sum int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for k, o := range f.offsets {
		if strings.HasPrefix(k, group+"@"+topic+"@") {
			sum += o
		}
	}
	return sum
}

func offsetKey(group, topic, broker string, id int32) string {
	return fmt.Sprintf("%s@%s@%s@%d", group, topic, broker, id)
}

func (f *fake) addrs(slot int) map[int64]string {
	m := make(map[int64]string)
	for i, n := range f.nodes {
		m[int64(i)] = n.ports[slot]
	}
	return m
}

func (n *fakeNode) serve(ctx context.Context, c *remoting.ServerConn, req *remoting.Command, slot int) *remoting.Command {
	f := n.f
	f.mu.Lock()
	hook := f.fault
	x := healthy
	if hook != nil {
		x = hook(n, req)
	}
	f.mu.Unlock()
	switch x {
	case cutBefore:
		c.Close()
		return nil
	case late:
		<-f.later
	case unavailable:
		return req.Reply(remoting.ServiceNotAvailable, "no leader")
	case busy:
		return req.Reply(remoting.SystemBusy, "busy")
	case unknown:
		return req.Reply(remoting.OutcomeUnknown, "unknown")
	case forgot:
		return req.Reply(remoting.UnknownProducer, "who")
	case gap:
		return req.Reply(remoting.SequenceGap, "gap")
	case stale:
		return req.Reply(remoting.StaleEpoch, "stale")
	case illegal:
		return req.Reply(remoting.MessageIllegal, "too large")
	case elsewhere:
		return req.Reply(remoting.WrongQueue, "by a rule")
	}
	if req.Code == remoting.PullMessage {
		return n.pull(ctx, req, slot)
	}
	f.mu.Lock()
	r := n.answerLocked(c, req, slot)
	f.mu.Unlock()
	switch x {
	case cutAfter:
		c.Close()
		return nil
	case silent:
		<-ctx.Done()
		return nil
	}
	return r
}

func (n *fakeNode) answerLocked(c *remoting.ServerConn, req *remoting.Command, slot int) *remoting.Command {
	f := n.f
	if f.answer != nil {
		if r := f.answer(req); r != nil {
			return r
		}
	}
	broker := ""
	if slot >= 0 {
		broker = f.slots[slot]
	}
	queue := func() (*fakeLog, fakeQueue) {
		id, _ := strconv.Atoi(req.Ext["queueId"])
		k := fakeQueue{req.Ext["topic"], broker, int32(id)}
		if f.queues[k] == nil {
			f.queues[k] = &fakeLog{}
		}
		return f.queues[k], k
	}
	switch req.Code {
	case remoting.GetRouteByTopic:
		t := f.topics[req.Ext["topic"]]
		if t == nil {
			return req.Reply(remoting.TopicNotExist, "no such topic")
		}
		d := remoting.TopicRouteData{Placement: f.rules[req.Ext["topic"]]}
		for s := range t.slots {
			d.BrokerDatas = append(d.BrokerDatas, remoting.BrokerData{BrokerName: f.slots[s], Cluster: "c", BrokerAddrs: f.addrs(int(s))})
			d.QueueDatas = append(d.QueueDatas, remoting.QueueData{BrokerName: f.slots[s], Perm: t.perm, ReadQueueNums: t.read, WriteQueueNums: t.write})
		}
		return req.ReplyWith(nil, remoting.EncodeBody(d))
	case remoting.GetBrokerClusterInfo:
		info := remoting.ClusterInfo{BrokerAddrTable: map[string]remoting.BrokerData{}}
		if f.young > 0 {
			f.young--
			return req.ReplyWith(nil, remoting.EncodeBody(info))
		}
		for s, name := range f.slots {
			info.BrokerAddrTable[name] = remoting.BrokerData{BrokerName: name, Cluster: "c", BrokerAddrs: f.addrs(s)}
		}
		return req.ReplyWith(nil, remoting.EncodeBody(info))
	case remoting.GetAllTopicListFromNS:
		var l remoting.TopicList
		for t := range f.topics {
			l.TopicList = append(l.TopicList, t)
		}
		return req.ReplyWith(nil, remoting.EncodeBody(l))
	case remoting.UpdateAndCreateTopic:
		var h remoting.CreateTopicHeader
		if err := h.Decode(req.Ext); err != nil {
			return req.Reply(remoting.InvalidParameter, err.Error())
		}
		slots := h.Partitions
		if slots == 0 {
			slots = int32(len(f.slots))
		}
		f.topics[strings.Clone(h.Topic)] = &fakeTopic{h.ReadQueueNums, h.WriteQueueNums, h.Perm, slots}
		return req.Reply(remoting.OK, "")
	case remoting.DeleteTopicInBroker:
		f.deleteLocked(req.Ext["topic"])
		return req.Reply(remoting.OK, "")
	case remoting.GetTopicConfig:
		t := f.topics[req.Ext["topic"]]
		if t == nil {
			return req.Reply(remoting.TopicNotExist, "no such topic")
		}
		return req.ReplyWith(nil, remoting.EncodeBody(remoting.TopicConfig{TopicName: req.Ext["topic"], Perm: t.perm, ReadQueueNums: t.read, WriteQueueNums: t.write}))
	case remoting.GetTopicStats:
		s := remoting.TopicStats{OffsetTable: map[remoting.MessageQueue]remoting.TopicOffset{}}
		t := f.topics[req.Ext["topic"]]
		for id := range t.read {
			k := fakeQueue{req.Ext["topic"], broker, id}
			o := remoting.TopicOffset{}
			if l := f.queues[k]; l != nil {
				o.MaxOffset = int64(len(l.records))
			}
			s.OffsetTable[remoting.MessageQueue{BrokerName: broker, QueueID: id, Topic: k.topic}] = o
		}
		return req.ReplyWith(nil, remoting.EncodeBody(s))
	case remoting.UpdateSubscriptionGroup:
		var g remoting.SubscriptionGroupConfig
		if err := remoting.DecodeBody(req.Body, &g); err != nil {
			return req.Reply(remoting.InvalidParameter, err.Error())
		}
		f.groups[g.GroupName] = g
		return req.Reply(remoting.OK, "")
	case remoting.DeleteSubscriptionGroup:
		delete(f.groups, req.Ext["groupName"])
		return req.Reply(remoting.OK, "")
	case remoting.GetAllSubscriptionGroup:
		t := remoting.SubscriptionGroupTable{SubscriptionGroupTable: map[string]remoting.SubscriptionGroupConfig{}}
		for n, g := range f.groups {
			t.SubscriptionGroupTable[n] = g
		}
		return req.ReplyWith(nil, remoting.EncodeBody(t))
	case remoting.GetConsumerConnectionList:
		var b remoting.ConsumerConnection
		for id := range f.members[req.Ext["consumerGroup"]] {
			b.ConnectionSet = append(b.ConnectionSet, remoting.Connection{ClientID: id, Language: "GO"})
		}
		if len(b.ConnectionSet) == 0 {
			return req.Reply(remoting.ConsumerNotOnline, "none")
		}
		return req.ReplyWith(nil, remoting.EncodeBody(b))
	case remoting.GetConsumeStats:
		s := remoting.ConsumeStats{OffsetTable: map[remoting.MessageQueue]remoting.OffsetWrapper{}}
		for k, o := range f.offsets {
			p := strings.Split(k, "@")
			if p[0] != req.Ext["consumerGroup"] || p[2] != broker {
				continue
			}
			id, _ := strconv.Atoi(p[3])
			w := remoting.OffsetWrapper{ConsumerOffset: o}
			if l := f.queues[fakeQueue{p[1], broker, int32(id)}]; l != nil {
				w.BrokerOffset = int64(len(l.records))
			}
			s.OffsetTable[remoting.MessageQueue{BrokerName: broker, QueueID: int32(id), Topic: p[1]}] = w
		}
		return req.ReplyWith(nil, remoting.EncodeBody(s))
	case remoting.InvokeBrokerToResetOffset:
		var h remoting.ResetOffsetHeader
		if err := h.Decode(req.Ext); err != nil {
			return req.Reply(remoting.InvalidParameter, err.Error())
		}
		k := offsetKey(h.Group, h.Topic, broker, h.QueueID)
		f.offsets[k], f.resets[k] = h.Offset, h.Offset
		close(f.grown)
		f.grown = make(chan struct{})
		return req.Reply(remoting.OK, "")
	case remoting.GetMaxOffset:
		l, _ := queue()
		return req.ReplyWith(remoting.OffsetReply{Offset: int64(len(l.records))}, nil)
	case remoting.GetMinOffset:
		return req.ReplyWith(remoting.OffsetReply{}, nil)
	case remoting.SearchOffsetByTimestamp:
		l, _ := queue()
		ms, _ := strconv.ParseInt(req.Ext["timestamp"], 10, 64)
		i := slices.IndexFunc(l.records, func(r []byte) bool { return message.Record(r).StoreTimestamp() >= ms })
		if i < 0 {
			i = len(l.records)
		}
		return req.ReplyWith(remoting.OffsetReply{Offset: int64(i)}, nil)
	case remoting.QueryConsumerOffset:
		_, k := queue()
		o, ok := f.offsets[offsetKey(req.Ext["consumerGroup"], k.topic, k.broker, k.id)]
		if !ok {
			return req.Reply(remoting.QueryNotFound, "")
		}
		return req.ReplyWith(remoting.OffsetReply{Offset: o}, nil)
	case remoting.UpdateConsumerOffset:
		_, k := queue()
		o, _ := strconv.ParseInt(req.Ext["commitOffset"], 10, 64)
		if part := req.Ext["part"]; part != "" && part != fmt.Sprint(f.parts[k.topic]) {
			return req.Reply(remoting.TopicNotExist, "no such topic")
		}
		key := offsetKey(req.Ext["consumerGroup"], k.topic, k.broker, k.id)
		if _, pending := f.resets[key]; !pending {
			f.offsets[key] = max(f.offsets[key], o)
		}
		return req.Reply(remoting.OK, "")
	case remoting.Heartbeat:
		var h remoting.HeartbeatData
		if err := remoting.DecodeBody(req.Body, &h); err != nil {
			return req.Reply(remoting.InvalidParameter, err.Error())
		}
		f.named[c] = nil
		for _, g := range h.ProducerDataSet {
			f.named[c] = append(f.named[c], g.GroupName)
		}
		for _, g := range h.ConsumerDataSet {
			if f.members[g.GroupName] == nil {
				f.members[g.GroupName] = make(map[string]*remoting.ServerConn)
			}
			_, was := f.members[g.GroupName][h.ClientID]
			f.members[g.GroupName][h.ClientID] = c
			if !was {
				f.notifyLocked(g.GroupName)
			}
		}
		return req.Reply(remoting.OK, "")
	case remoting.UnregisterClient:
		f.named[c] = slices.DeleteFunc(f.named[c], func(g string) bool { return g == req.Ext["producerGroup"] })
		if g := req.Ext["consumerGroup"]; g != "" {
			if _, ok := f.members[g][req.Ext["clientID"]]; ok {
				delete(f.members[g], req.Ext["clientID"])
				f.notifyLocked(g)
			}
		}
		return req.Reply(remoting.OK, "")
	case remoting.LockBatchMQ, remoting.UnlockBatchMQ:
		var b remoting.LockBatch
		if err := remoting.DecodeBody(req.Body, &b); err != nil {
			return req.Reply(remoting.InvalidParameter, err.Error())
		}
		var r remoting.LockReply
		for _, q := range b.MQSet {
			k := offsetKey(b.ConsumerGroup, q.Topic, q.BrokerName, q.QueueID)
			switch holder := f.locks[k]; {
			case req.Code == remoting.UnlockBatchMQ && holder == b.ClientID:
				delete(f.locks, k)
			case req.Code == remoting.LockBatchMQ && (holder == "" || holder == b.ClientID):
				f.locks[k] = b.ClientID
				r.LockOKMQSet, r.Epochs = append(r.LockOKMQSet, q), append(r.Epochs, 1)
			}
		}
		return req.ReplyWith(nil, remoting.EncodeBody(r))
	case remoting.DeadLetters:
		var h remoting.DeadLettersHeader
		if err := h.Decode(req.Ext); err != nil {
			return req.Reply(remoting.InvalidParameter, err.Error())
		}
		done := min(int(h.Max), f.letters)
		f.letters -= done
		return req.ReplyWith(nil, remoting.EncodeBody(remoting.DeadLetterList{Done: done}))
	case remoting.EndTransaction:
		var h remoting.EndTransactionHeader
		if err := h.Decode(req.Ext); err != nil {
			return req.Reply(remoting.InvalidParameter, err.Error())
		}
		return req.ReplyWith(remoting.EndTransactionReply{Decision: h.Decision, By: "producer"}, nil)
	case remoting.GetConsumerListByGroup:
		var l remoting.ConsumerList
		for id := range f.members[req.Ext["consumerGroup"]] {
			l.ConsumerIDList = append(l.ConsumerIDList, id)
		}
		return req.ReplyWith(nil, remoting.EncodeBody(l))
	case remoting.SendMessageV2, remoting.SendBatchMessage:
		return n.sendLocked(req, broker)
	}
	return req.Reply(remoting.RequestCodeNotSupported, "")
}

// sendLocked stores with the cluster's dedup: by producer id, epoch, queue.
func (n *fakeNode) sendLocked(req *remoting.Command, broker string) *remoting.Command {
	f := n.f
	var h remoting.SendHeader
	if err := h.Decode(req.Ext); err != nil {
		return req.Reply(remoting.InvalidParameter, err.Error())
	}
	req.SetExt("test-node", strconv.Itoa(n.id))
	f.requests = append(f.requests, req)
	if h.BrokerName != broker {
		return req.Reply(remoting.InvalidParameter, "wrong port")
	}
	if f.topics[h.Topic] == nil {
		t := f.topics[h.DefaultTopic]
		if t == nil {
			return req.Reply(remoting.TopicNotExist, "no such topic")
		}
		c := *t
		f.topics[strings.Clone(h.Topic)] = &c
	}
	if t := f.topics[h.Topic]; slices.Index(f.slots, broker) >= int(t.slots) || h.QueueID >= t.write {
		return req.Reply(remoting.InvalidParameter, "no such queue")
	}
	batch := []message.BatchMessage{{Body: req.Body, Properties: h.Properties}}
	if req.Code == remoting.SendBatchMessage {
		var err error
		if batch, err = message.DecodeBatch(req.Body); err != nil {
			return req.Reply(remoting.MessageIllegal, err.Error())
		}
	}
	k := fakeQueue{strings.Clone(h.Topic), broker, h.QueueID}
	l := f.queues[k]
	if l == nil {
		l = &fakeLog{}
		f.queues[k] = l
	}
	reply := remoting.SendReply{MsgID: "0", QueueID: h.QueueID, QueueOffset: int64(len(l.records))}
	if h.SysFlag&message.FlagPrepared != 0 {
		reply.MsgID = message.OffsetID(netip.MustParseAddrPort("127.0.0.1:2"), 64)
	}
	if pid := req.Ext["pid"]; pid != "" {
		epoch, _ := strconv.ParseUint(req.Ext["pep"], 10, 64)
		seq, _ := strconv.ParseUint(req.Ext["seq"], 10, 64)
		key := fmt.Sprint(pid, k)
		p := f.dedup[key]
		switch {
		case p == nil && seq > 0:
			return req.Reply(remoting.UnknownProducer, "")
		case p == nil || epoch > p.epoch:
			p = &fakeProducer{epoch: epoch, offsets: make(map[uint64]int64)}
			f.dedup[key] = p
		case epoch < p.epoch:
			return req.Reply(remoting.StaleEpoch, "")
		}
		if o, ok := p.offsets[seq]; ok {
			reply.QueueOffset, reply.Duplicate = o, true
			return req.ReplyWith(reply, nil)
		}
		if seq > p.next && req.Ext["ord"] == "1" {
			return req.Reply(remoting.SequenceGap, "")
		}
		for i := range batch {
			p.offsets[seq+uint64(i)] = int64(len(l.records) + i)
		}
		p.next = seq + uint64(len(batch))
	}
	for _, b := range batch {
		m := message.Message{Topic: k.topic, QueueID: k.id, SysFlag: h.SysFlag, QueueOffset: message.Offset(len(l.records)), BornTimestamp: h.BornTimestamp,
			StoreTimestamp: time.Now().UnixMilli(), BornHost: netip.MustParseAddrPort("127.0.0.1:1"), StoreHost: netip.MustParseAddrPort("127.0.0.1:2"),
			Body: b.Body, Properties: b.Properties, PhysicalOffset: message.PhysicalOffset(f.parts[k.topic], 0)}
		rec, err := m.AppendRecord(nil)
		if err != nil {
			return req.Reply(remoting.MessageIllegal, err.Error())
		}
		l.records = append(l.records, rec)
	}
	close(f.grown)
	f.grown = make(chan struct{})
	r := req.ReplyWith(reply, nil)
	if id, ok := f.leader[broker]; ok && id != n.id {
		r.SetExt("leader", f.nodes[id].ports[slices.Index(f.slots, broker)])
	}
	return r
}

func (n *fakeNode) pull(ctx context.Context, req *remoting.Command, slot int) *remoting.Command {
	f := n.f
	var h remoting.PullHeader
	if err := h.Decode(req.Ext); err != nil || slot < 0 {
		return req.Reply(remoting.InvalidParameter, fmt.Sprint(err))
	}
	hold := time.NewTimer(h.SuspendTimeout)
	defer hold.Stop()
	k := fakeQueue{h.Topic, f.slots[slot], h.QueueID}
	for {
		f.mu.Lock()
		reset, pending := f.resets[offsetKey(h.ConsumerGroup, k.topic, k.broker, k.id)]
		delete(f.resets, offsetKey(h.ConsumerGroup, k.topic, k.broker, k.id))
		var records [][]byte
		if l := f.queues[k]; l != nil {
			records = l.records
		}
		grown := f.grown
		there, part := f.topics[k.topic] != nil, f.parts[k.topic]
		holder := f.locks[offsetKey(h.ConsumerGroup, k.topic, k.broker, k.id)]
		f.mu.Unlock()
		if !there || h.Part != 0 && h.Part != part {
			return req.Reply(remoting.TopicNotExist, "no such topic")
		}
		if h.Epoch != 0 && holder != h.Owner {
			return req.Reply(remoting.IllegalOperation, "another client holds the queue's lock, or held it since")
		}
		end := int64(len(records))
		reply := remoting.PullReply{NextBeginOffset: h.QueueOffset, MaxOffset: end}
		switch {
		case pending:
			reply.NextBeginOffset = reset
		case h.QueueOffset > end:
			pending, reply.NextBeginOffset = true, end
		}
		if pending {
			r := req.ReplyWith(reply, nil)
			r.Code = remoting.PullOffsetMoved
			return r
		}
		if h.QueueOffset < end {
			to := min(end, h.QueueOffset+int64(h.MaxMsgNums))
			reply.NextBeginOffset = to
			return req.ReplyWith(reply, slices.Concat(records[h.QueueOffset:to]...))
		}
		select {
		case <-grown:
		case <-hold.C:
			r := req.ReplyWith(reply, nil)
			r.Code = remoting.PullNotFound
			return r
		case <-ctx.Done():
			return nil
		}
	}
}

func (f *fake) dial(opts ...client.Option) *client.Client {
	f.t.Helper()
	var eps []string
	for _, n := range f.nodes {
		eps = append(eps, n.ns)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	c, err := client.Dial(ctx, append([]client.Option{client.WithEndpoints(eps...)}, opts...)...)
	require.NoError(f.t, err)
	f.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		c.Close(ctx)
	})
	return c
}
