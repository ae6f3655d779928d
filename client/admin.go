package client

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"raftmq/message"
	"raftmq/remoting"
)

// Admin creates, changes and looks at what a cluster holds. ErrUncertain of a change: it may
// have been made.
type Admin struct{ c *Client }

// Admin returns the client's administration.
func (c *Client) Admin() *Admin { return &Admin{c} }

// Permissions of a topic.
const (
	PermRead  = 4
	PermWrite = 2
)

// TopicConfig is a topic's settings.
type TopicConfig struct {
	Name        string
	Partitions  int // how many slots it uses; 0: the cluster's default. Cannot be changed
	Queues      int // of each partition, for reading and writing; 0: 2
	ReadQueues  int // 0: Queues
	WriteQueues int // 0: Queues
	Perm        int // PermRead and PermWrite; 0: both
	Order       bool
	// Attributes: "retention" is a duration like "48h", or "forever"; "retention-bytes" a
	// number of bytes per partition, or "unlimited"; "placement" rules, see AttrPlacement. An
	// update leaves those as they are that it does not name.
	Attributes map[string]string
	Unset      []string // attributes that an update removes: the nodes' settings count again
}

// GroupConfig is a consumer group's settings.
type GroupConfig struct {
	Name          string
	Disabled      bool // members may not pull
	NoBroadcast   bool // broadcasting members may not pull
	RetryMaxTimes int  // how often a message that failed comes again before it is a dead letter; 0: 16, negative: never
}

// GroupChange is what AlterGroup changes of a group; what is nil stays.
type GroupChange struct {
	Disabled      *bool
	NoBroadcast   *bool
	RetryMaxTimes *int // 0 or less: what fails is a dead letter at once. At most 2,147,483,647
}

// QueueStats is a queue's bounds.
type QueueStats struct {
	Queue   int
	Broker  string
	QueueID int
	Min     int64 // the first kept
	Max     int64 // the next to be written
	Updated time.Time
}

// GroupLag is a group's place in a queue.
type GroupLag struct {
	Group, Topic string
	Queue        int // number in the topic; -1 if the topic is gone
	Broker       string
	QueueID      int
	Committed    int64 // -1: never
	End          int64
	Lag          int64
	Delay        time.Duration // age of the last message handled; 0: not known, or no lag
}

// Member is a client of a consumer group.
type Member struct{ ID, Addr, Language string }

// Broker is a broker name and the addresses that serve it, the leader's first.
type Broker struct {
	Cluster, Name string
	Addrs         []string
}

// Cluster lists every broker name.
func (a *Admin) Cluster(ctx context.Context) ([]Broker, error) {
	info, err := a.c.clusterInfo(ctx)
	if err != nil {
		return nil, err
	}
	var out []Broker
	for _, name := range slices.SortedFunc(maps.Keys(info.BrokerAddrTable), compareBrokers) {
		b := info.BrokerAddrTable[name]
		br := Broker{Cluster: b.Cluster, Name: name}
		for _, id := range slices.Sorted(maps.Keys(b.BrokerAddrs)) {
			if addr := b.BrokerAddrs[id]; !slices.Contains(br.Addrs, addr) {
				br.Addrs = append(br.Addrs, addr)
			}
		}
		out = append(out, br)
	}
	return out, nil
}

// CreateTopic creates a topic and returns when its route is known. ErrExists
// if there is one, which is looked up before: of two creations at once both
// may succeed, if they want the same.
func (a *Admin) CreateTopic(ctx context.Context, t TopicConfig) error {
	switch _, err := a.c.routes.refresh(ctx, t.Name); {
	case err == nil:
		return fmt.Errorf("%w: topic %s", ErrExists, t.Name)
	case !errors.Is(err, ErrTopicNotFound):
		return err
	}
	return a.putTopic(ctx, "create topic", t)
}

// UpdateTopic changes a topic that is there. Partitions must be 0 or as it is.
func (a *Admin) UpdateTopic(ctx context.Context, t TopicConfig) error {
	if _, err := a.c.routes.refresh(ctx, t.Name); err != nil {
		return err
	}
	return a.putTopic(ctx, "update topic", t)
}

// AlterTopic changes what t names of a topic that is there: its attributes, those in Unset, and
// WriteQueues and ReadQueues if they are not 0. All else stays, also what somebody else changes
// meanwhile. Queues that are not written any more are read until ReadQueues says otherwise.
func (a *Admin) AlterTopic(ctx context.Context, t TopicConfig) error {
	now, err := a.Topic(ctx, t.Name)
	if err != nil {
		return err
	}
	alters := []string{}
	if t.WriteQueues > 0 {
		alters = append(alters, "write")
		now.WriteQueues, now.ReadQueues = t.WriteQueues, max(now.ReadQueues, t.WriteQueues)
	}
	if t.ReadQueues > 0 {
		alters = append(alters, "read")
		now.ReadQueues = t.ReadQueues
	}
	now.Attributes, now.Unset = t.Attributes, t.Unset
	return a.putTopic(ctx, "alter topic", now, alters...)
}

// putTopic sends a topic's settings; of one that is there only what alters names counts, if that is not nil.
func (a *Admin) putTopic(ctx context.Context, op string, t TopicConfig, alters ...string) error {
	if err := invalid(message.CheckTopic(t.Name)); err != nil {
		return err
	}
	def := func(n, d int) int32 {
		if n == 0 {
			n = d
		}
		return int32(n)
	}
	queues := int(def(t.Queues, 2))
	h := remoting.CreateTopicHeader{Topic: t.Name, ReadQueueNums: def(t.ReadQueues, queues), WriteQueueNums: def(t.WriteQueues, queues),
		Perm: def(t.Perm, PermRead|PermWrite), Order: t.Order, Partitions: int32(t.Partitions)}
	var attrs []string
	for _, k := range slices.Sorted(maps.Keys(t.Attributes)) {
		attrs = append(attrs, "+"+k+"="+t.Attributes[k])
	}
	for _, k := range t.Unset {
		attrs = append(attrs, "-"+k)
	}
	h.Attributes = strings.Join(attrs, ",")
	req := remoting.NewRequest(remoting.UpdateAndCreateTopic, h)
	if alters != nil {
		req.SetExt("alters", strings.Join(alters, ","))
	}
	if err := a.do(ctx, op, t.Name, "", req); err != nil {
		return err
	}
	if _, ok := ctx.Deadline(); !ok { // somebody may delete it at once
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, askTotal)
		defer cancel()
	}
	for wait := newBackoff(5*time.Millisecond, 200*time.Millisecond); ; {
		_, err := a.c.routes.fetch(ctx, t.Name)
		if !errors.Is(err, ErrTopicNotFound) {
			a.c.routes.forget(t.Name)
			if err != nil {
				err = fmt.Errorf("%s: %w: it is made, but where is not known: %w", op, ErrUncertain, err)
			}
			return err
		}
		if wait.sleep(ctx) != nil {
			return fmt.Errorf("%s: %w: it is made, but its route does not show: %w", op, ErrUncertain, err)
		}
	}
}

// DeleteTopic deletes a topic and its messages. Nil: there is none by that name, also if
// there was none before.
func (a *Admin) DeleteTopic(ctx context.Context, name string) error {
	err := a.do(ctx, "delete topic", name, "", remoting.NewRequest(remoting.DeleteTopicInBroker, remoting.TopicHeader{Topic: name}))
	a.c.routes.forget(name)
	return err
}

// do asks any node for a change that may be made twice.
func (a *Admin) do(ctx context.Context, op, topic, group string, req *remoting.Command) error {
	r, addr, err := a.c.askChange(ctx, op, "", req)
	if err == nil && r.Code != remoting.OK {
		err = changeRefusal(op, topic, group, addr, r)
	}
	return err
}

// changeRefusal is refusal of a change. A fault of the node may be one behind the change: it is made, and
// not everywhere yet.
func changeRefusal(op, topic, group, addr string, r *remoting.Command) error {
	err := refusal(op, topic, group, addr, r)
	if r.Code == remoting.SystemError {
		return fmt.Errorf("%w: %w", ErrUncertain, err)
	}
	return err
}

func (a *Admin) askAny(ctx context.Context, op, topic, group string, req *remoting.Command) (*remoting.Command, error) {
	r, addr, err := a.c.askBroker(ctx, op, "", req)
	if err != nil {
		return nil, err
	}
	if r.Code != remoting.OK {
		return nil, refusal(op, topic, group, addr, r)
	}
	return r, nil
}

// Topics yields every topic, by name.
func (a *Admin) Topics(ctx context.Context) iter.Seq2[TopicConfig, error] {
	return func(yield func(TopicConfig, error) bool) {
		r, addr, err := a.c.askEndpoint(ctx, "topics", remoting.NewRequest(remoting.GetAllTopicListFromNS, nil))
		if err == nil && r.Code != remoting.OK {
			err = refusal("topics", "", "", addr, r)
		}
		var list remoting.TopicList
		if err == nil {
			err = remoting.DecodeBody(r.Body, &list)
		}
		if err != nil {
			yield(TopicConfig{}, err)
			return
		}
		names := slices.Clone([]string(list.TopicList))
		slices.Sort(names)
		for _, n := range names {
			t, err := a.Topic(ctx, n)
			if errors.Is(err, ErrTopicNotFound) {
				continue // deleted meanwhile, or has no route
			}
			if !yield(t, err) || err != nil {
				return
			}
		}
	}
}

// Topic is a topic's settings.
func (a *Admin) Topic(ctx context.Context, name string) (TopicConfig, error) {
	rt, err := a.c.routes.refresh(ctx, name)
	if err != nil {
		return TopicConfig{}, err
	}
	r, err := a.askAny(ctx, "topic", name, "", remoting.NewRequest(remoting.GetTopicConfig, remoting.TopicHeader{Topic: name}))
	if err != nil {
		return TopicConfig{}, err
	}
	var b remoting.TopicConfig
	if err := remoting.DecodeBody(r.Body, &b); err != nil {
		return TopicConfig{}, fmt.Errorf("topic %s: %w", name, err)
	}
	slots := make(map[string]bool)
	for _, k := range rt.all {
		slots[k.broker] = true
	}
	return TopicConfig{Name: name, Partitions: len(slots), Queues: int(max(b.ReadQueueNums, b.WriteQueueNums)), ReadQueues: int(b.ReadQueueNums),
		WriteQueues: int(b.WriteQueueNums), Perm: int(b.Perm), Order: b.Order, Attributes: b.Attributes}, nil
}

// TopicStats are the bounds of a topic's queues, by number.
func (a *Admin) TopicStats(ctx context.Context, topic string) ([]QueueStats, error) {
	rt, err := a.c.routes.refresh(ctx, topic)
	if err != nil {
		return nil, err
	}
	table := make(map[remoting.MessageQueue]remoting.TopicOffset)
	for _, name := range rt.brokers() {
		r, addr, err := a.c.askBroker(ctx, "topic stats", name, remoting.NewRequest(remoting.GetTopicStats, remoting.TopicHeader{Topic: topic}))
		if err != nil {
			return nil, err
		}
		if r.Code != remoting.OK {
			return nil, refusal("topic stats", topic, "", addr, r)
		}
		var s remoting.TopicStats
		if err := remoting.DecodeBody(r.Body, &s); err != nil {
			return nil, fmt.Errorf("topic stats of %s from %s: %w", topic, addr, err)
		}
		for q, o := range s.OffsetTable {
			if q.BrokerName == name {
				table[q] = o
			}
		}
	}
	var out []QueueStats
	for n, k := range rt.all {
		if o, ok := table[remoting.MessageQueue{BrokerName: k.broker, QueueID: k.id, Topic: topic}]; ok {
			out = append(out, QueueStats{n, k.broker, int(k.id), o.MinOffset, o.MaxOffset, unixMilli(o.LastUpdateTimestamp)})
		}
	}
	return out, nil
}

func unixMilli(ms int64) time.Time {
	if ms <= 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms)
}

// CreateGroup creates a consumer group or changes it. There is no need to: who consumes first creates it, with the
// settings of a zero GroupConfig.
func (a *Admin) CreateGroup(ctx context.Context, g GroupConfig) error {
	b := remoting.DefaultGroup(g.Name)
	b.ConsumeEnable, b.ConsumeBroadcastEnable = !g.Disabled, !g.NoBroadcast
	if g.RetryMaxTimes != 0 {
		b.RetryMaxTimes = int32(max(g.RetryMaxTimes, 0))
	}
	return a.putGroup(ctx, "create group", b, int64(g.RetryMaxTimes))
}

// AlterGroup changes what is named of a group that is there. All else stays, also what somebody else changes
// meanwhile. Members are not told: the next pull and the next failure go by it. ErrGroupNotFound: there is none.
func (a *Admin) AlterGroup(ctx context.Context, name string, c GroupChange) error {
	b := remoting.DefaultGroup(name)
	alters := []string{}
	if c.Disabled != nil {
		alters, b.ConsumeEnable = append(alters, "consume"), !*c.Disabled
	}
	if c.NoBroadcast != nil {
		alters, b.ConsumeBroadcastEnable = append(alters, "broadcast"), !*c.NoBroadcast
	}
	times := 0
	if c.RetryMaxTimes != nil {
		times = max(*c.RetryMaxTimes, 0)
		alters, b.RetryMaxTimes = append(alters, "retries"), int32(times)
	}
	return a.putGroup(ctx, "alter group", b, int64(times), alters...)
}

// putGroup sends a group's settings; of one that is there only what alters names counts, if that is not nil.
func (a *Admin) putGroup(ctx context.Context, op string, g remoting.SubscriptionGroupConfig, times int64, alters ...string) error {
	err := message.CheckGroup(g.GroupName)
	if err == nil && times > math.MaxInt32 {
		err = fmt.Errorf("group %s: %d retries, at most %d", g.GroupName, times, math.MaxInt32)
	}
	if err := invalid(err); err != nil {
		return err
	}
	req := remoting.NewRequest(remoting.UpdateSubscriptionGroup, nil)
	req.Body = remoting.EncodeBody(g)
	if alters != nil {
		req.SetExt("alters", strings.Join(alters, ","))
	}
	return a.do(ctx, op, "", g.GroupName, req)
}

// DeleteGroup deletes a consumer group, its offsets, what is to come again to its members, and its dead letters. Nil: there
// is none by that name, also if there was none before. Members that are connected create it anew.
func (a *Admin) DeleteGroup(ctx context.Context, name string) error {
	return a.do(ctx, "delete group", "", name, remoting.NewRequest(remoting.DeleteSubscriptionGroup,
		remoting.DeleteGroupHeader{GroupName: name, CleanOffset: true}))
}

// Groups yields every consumer group, by name.
func (a *Admin) Groups(ctx context.Context) iter.Seq2[GroupConfig, error] {
	return func(yield func(GroupConfig, error) bool) {
		r, err := a.askAny(ctx, "groups", "", "", remoting.NewRequest(remoting.GetAllSubscriptionGroup, nil))
		var t remoting.SubscriptionGroupTable
		if err == nil {
			err = remoting.DecodeBody(r.Body, &t)
		}
		if err != nil {
			yield(GroupConfig{}, err)
			return
		}
		for _, n := range slices.Sorted(maps.Keys(t.SubscriptionGroupTable)) {
			g := t.SubscriptionGroupTable[n]
			times := int(g.RetryMaxTimes)
			if times <= 0 {
				times = -1
			}
			if !yield(GroupConfig{n, !g.ConsumeEnable, !g.ConsumeBroadcastEnable, times}, nil) {
				return
			}
		}
	}
}

// Group returns a group's settings. ErrGroupNotFound: there is none by that name.
func (a *Admin) Group(ctx context.Context, name string) (GroupConfig, error) {
	for g, err := range a.Groups(ctx) {
		if err != nil || g.Name == name {
			return g, err
		}
	}
	return GroupConfig{}, fmt.Errorf("%w: %s", ErrGroupNotFound, name)
}

// Members are the clients of a group that are connected; none is no error.
func (a *Admin) Members(ctx context.Context, group string) ([]Member, error) {
	r, err := a.askAny(ctx, "members", "", group, remoting.NewRequest(remoting.GetConsumerConnectionList,
		remoting.ConsumerGroupHeader{ConsumerGroup: group}))
	if err != nil {
		if be, ok := errors.AsType[*BrokerError](err); ok && be.Code == int(remoting.ConsumerNotOnline) {
			return nil, nil
		}
		return nil, err
	}
	var b remoting.ConsumerConnection
	if err := remoting.DecodeBody(r.Body, &b); err != nil {
		return nil, fmt.Errorf("members of %s: %w", group, err)
	}
	var out []Member
	for _, m := range b.ConnectionSet {
		out = append(out, Member{m.ClientID, m.ClientAddr, m.Language})
	}
	slices.SortFunc(out, func(x, y Member) int { return strings.Compare(x.ID, y.ID) })
	return out, nil
}

// Lag yields where a group is in each queue of the topics it ever subscribed to, by topic
// and queue. What it put back counts in its retry topic, %RETRY% and its name, from when its
// delay is over.
func (a *Admin) Lag(ctx context.Context, group string) iter.Seq2[GroupLag, error] {
	return func(yield func(GroupLag, error) bool) {
		rows, err := a.lag(ctx, group)
		if err != nil {
			yield(GroupLag{}, err)
			return
		}
		for _, row := range rows {
			if !yield(row, nil) {
				return
			}
		}
	}
}

func (a *Admin) lag(ctx context.Context, group string) ([]GroupLag, error) {
	if _, err := a.c.clusterInfo(ctx); err != nil {
		return nil, err
	}
	var rows []GroupLag
	for _, name := range a.c.routes.names() {
		r, addr, err := a.c.askBroker(ctx, "lag", name, remoting.NewRequest(remoting.GetConsumeStats, remoting.ConsumeStatsHeader{ConsumerGroup: group}))
		if err != nil {
			return nil, err
		}
		if r.Code != remoting.OK {
			return nil, refusal("lag", "", group, addr, r)
		}
		var s remoting.ConsumeStats
		if err := remoting.DecodeBody(r.Body, &s); err != nil {
			return nil, fmt.Errorf("lag of %s from %s: %w", group, addr, err)
		}
		for q, o := range s.OffsetTable {
			if q.BrokerName != name {
				continue
			}
			row := GroupLag{Group: group, Topic: q.Topic, Queue: -1, Broker: q.BrokerName, QueueID: int(q.QueueID), Committed: o.ConsumerOffset,
				End: o.BrokerOffset, Lag: max(0, o.BrokerOffset-max(0, o.ConsumerOffset))}
			if row.Lag > 0 && o.LastTimestamp > 0 {
				row.Delay = max(0, time.Since(time.UnixMilli(o.LastTimestamp)))
			}
			if rt, err := a.c.routes.get(ctx, q.Topic); err == nil {
				if n, ok := rt.numbers[queueKey{q.BrokerName, q.QueueID}]; ok {
					row.Queue = n
				}
			}
			rows = append(rows, row)
		}
	}
	slices.SortFunc(rows, func(x, y GroupLag) int {
		if c := strings.Compare(x.Topic, y.Topic); c != 0 {
			return c
		}
		return x.Queue - y.Queue
	})
	return rows, nil
}

// ResetOffsets moves a group in every queue of a topic to a position, back or
// forth, and returns where it is then (Committed) beside the ends. With dryRun
// nothing is moved. Members that run go on from there by themselves. When it
// fails midway, some queues have been moved: that is ErrUncertain.
func (a *Admin) ResetOffsets(ctx context.Context, group, topic string, p Position, dryRun bool) ([]GroupLag, error) {
	rt, err := a.c.routes.refresh(ctx, topic)
	if err != nil {
		return nil, err
	}
	var out []GroupLag
	for _, n := range rt.readable {
		k := laneKey{topic, rt.key(n)}
		to, err := a.c.resolve(ctx, k, p)
		if err != nil {
			return nil, err
		}
		_, end, err := a.c.bounds(ctx, k)
		if err != nil {
			return nil, err
		}
		out = append(out, GroupLag{Group: group, Topic: topic, Queue: n, Broker: k.queue.broker, QueueID: int(k.queue.id), Committed: to, End: end, Lag: end - to})
	}
	if dryRun {
		return out, nil
	}
	for moved, row := range out {
		r, addr, err := a.c.askChange(ctx, "reset offsets", row.Broker, remoting.NewRequest(remoting.InvokeBrokerToResetOffset,
			remoting.ResetOffsetHeader{Topic: topic, Group: group, Timestamp: -1, Force: true, QueueID: int32(row.QueueID), Offset: row.Committed}))
		if err == nil && r.Code != remoting.OK {
			err = changeRefusal("reset offsets", topic, group, addr, r)
		}
		if err != nil && moved > 0 && !errors.Is(err, ErrUncertain) {
			err = fmt.Errorf("%w: %d of %d queues were moved, then: %w", ErrUncertain, moved, len(out), err)
		}
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}
