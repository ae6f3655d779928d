package run

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"math/rand/v2"
	"sync"
	"time"

	"raftmq/client"
	"raftmq/jepsen/cluster"
	"raftmq/jepsen/history"
	"raftmq/message"
	"raftmq/remoting"
)

var retryTopic = Topic{Name: "jepsen-retry", Partitions: partitions, Queues: 1}

// Two groups consume it: one asks for each message to be put back itself, once per
// request, so that copies can be counted; the other is of bundled consumers, which ask
// again by themselves.
const (
	retryGroup = "jepsen-retry"
	againGroup = "jepsen-again"
	retryMost  = 3
)

// Delays before a message comes again, and for how long nothing may be left before
// nothing will come: longer than a request lives whose asker has given it up.
const (
	longestRetry = 1500 * time.Millisecond
	settledFor   = 5 * time.Second
)

// copiesOf are the topics of what a group puts back.
func copiesOf(group string) (again, dead Topic) {
	again = Topic{Name: message.RetryTopic(group), Partitions: partitions, Queues: 1, Copies: history.CopiesOf{Group: group}}
	dead = Topic{Name: message.DLQTopic(group), Partitions: partitions, Queues: 1, Copies: history.CopiesOf{Group: group, Dead: true}}
	return again, dead
}

// retryLoad sends messages that fail by a rule, until they are handled or given up, and
// takes dead letters out again.
var retryLoad = Workload{
	Name: "retry", Does: "messages that fail, come again and are given up; dead letters that are handled again or dropped",
	Proves: []string{"P8", "P13"}, Topics: retryTopics(), Sends: 0.6,
	Retries: map[string]history.Retries{
		retryGroup: {Most: retryMost, Queues: retryTopic.names()},
		againGroup: {Most: retryMost, Queues: retryTopic.names()},
	},
	start: func(r *run, p *part) error {
		const clients = 3
		for i := range 2 {
			s, err := r.sender(retryTopic, i)
			if err != nil {
				return err
			}
			s.small = true
			p.load(func(ctx context.Context) { s.run(ctx, newPace(p.rate*0.6, i, 2)) })
		}
		for i := range clients {
			name := fmt.Sprintf("retry-%d", i)
			c := &retrier{r: r, rng: r.o.Seed.Stream(name), number: i, name: name, wire: r.wire("jepsen-" + name)}
			p.watch(func(ctx context.Context) error { c.run(ctx, newPace(max(p.rate/4, 12), i, clients)); return nil })
			m, err := r.retryMember(i)
			if err != nil {
				return err
			}
			p.watch(m)
		}
		for i := range 2 {
			name := fmt.Sprintf("retry-operator-%d", i)
			o := &undertaker{r: r, rng: r.o.Seed.Stream(name), number: i, name: name, wire: r.wire("jepsen-" + name)}
			p.load(func(ctx context.Context) { o.run(ctx) })
		}
		return nil
	},
	drain: func(ctx context.Context, r *run) { r.drainRetries(ctx) },
	end:   func(ctx context.Context, r *run) { r.listLetters(ctx, retryGroup); r.listLetters(ctx, againGroup) },
}

func retryTopics() []Topic {
	out := []Topic{retryTopic}
	for _, g := range []string{retryGroup, againGroup} {
		again, dead := copiesOf(g)
		out = append(out, again, dead)
	}
	return out
}

// fails says what becomes of a message that was given to a group so often before: it
// fails, and at times is given up with that. Half of them are handled at once, a tenth
// never.
func fails(value string, times int) (fails, bury bool) {
	switch x := draw(value); {
	case x%10 < 5:
		return false, false
	case x%10 < 8:
		return times <= int(x/10)%retryMost, false
	case x%10 < 9:
		return true, false
	default:
		return true, times >= int(x/10)%2
	}
}

// draw is a number that follows from a value.
func draw(value string) uint32 { return crc32.Checksum([]byte(value), castagnoli) }

// subscribe gives a group its queues of what comes again.
func (r *run) subscribe(ctx context.Context, group string, t Topic) error {
	again, _ := copiesOf(group)
	for {
		w := r.wire("jepsen-subscriber")
		err := w.join(ctx, r.cluster.Nodes[0], group, t)
		w.close()
		if err == nil {
			var rd *client.Reader
			if rd, err = r.clients[0].NewReader(again.Name); err == nil {
				var all map[int]client.OffsetRange
				all, err = rd.Offsets(ctx)
				rd.Close()
				if err == nil && len(all) == again.count() {
					return nil
				}
			}
		}
		if !sleep(ctx, 100*time.Millisecond) {
			return errors.Join(ctx.Err(), err)
		}
	}
}

// join tells a node that this client is of a group that subscribes to a topic.
func (w *wire) join(ctx context.Context, n *cluster.Node, group string, t Topic) error {
	beat := remoting.NewRequest(remoting.Heartbeat, nil)
	beat.Body = remoting.EncodeBody(remoting.HeartbeatData{ClientID: w.id, ConsumerDataSet: []remoting.ConsumerData{{ConsumeFromWhere: remoting.FromFirstOffset,
		ConsumeType: remoting.ConsumePassively, GroupName: group, MessageModel: remoting.Clustering,
		SubscriptionDataSet: []remoting.SubscriptionData{{ExpressionType: "TAG", SubString: "*", SubVersion: 1, Topic: t.Name}}}}})
	_, typ, why := w.ask(ctx, n, 0, beat)
	if typ != history.OK {
		return fmt.Errorf("join group %s: %s", group, why)
	}
	return nil
}

// retrier is a member of the group that puts back by requests of its own.
type retrier struct {
	r       *run
	rng     *rand.Rand
	number  int
	name    string
	process string
	wire    *wire
}

func (c *retrier) run(ctx context.Context, pace *pace) {
	defer c.wire.close()
	c.process = c.name + "/" + c.r.nextProcess()
	again, _ := copiesOf(retryGroup)
	for pace.next(ctx) {
		q := c.number // now and then another's: it is handled twice then
		if c.rng.IntN(6) == 0 {
			q = c.rng.IntN(partitions)
		}
		t := retryTopic
		if c.rng.IntN(2) == 0 {
			t = again
		}
		c.consume(context.WithoutCancel(ctx), t, q)
	}
}

// consume handles a few messages, and commits those that were handled or put back.
func (c *retrier) consume(ctx context.Context, t Topic, q int) {
	from, typ := c.wire.groupOffset(ctx, c.process, retryGroup, t, q, pick(c.rng, c.r.cluster.Nodes))
	if typ != history.OK {
		return
	}
	from = max(0, from)
	ms, _, how, _ := c.wire.pull(ctx, pick(c.rng, c.r.cluster.Nodes), t, q, retryGroup, from)
	if how != pullGiven {
		return
	}
	next := from
	for _, m := range ms[:min(len(ms), 1+c.rng.IntN(16))] {
		if !c.handle(ctx, t, q, m) {
			break
		}
		next = m.offset + 1
	}
	if next > from && c.rng.IntN(10) > 0 { // else it is handled again
		if c.wire.commit(ctx, c.process, retryGroup, t, q, pick(c.rng, c.r.cluster.Nodes), next) == history.Info {
			c.process = c.name + "/" + c.r.nextProcess()
		}
	}
}

// handle reports whether a message was handled, or put back. What nobody knows of is put
// back again, as a careful program does.
func (c *retrier) handle(ctx context.Context, t Topic, q int, m pulled) bool {
	value, p := m.value, history.Place{Queue: t.Queue(q), Offset: m.offset}
	op := history.Op{Process: c.process, Type: history.OK, F: history.Deliver, Group: retryGroup, Messages: []history.Message{{Queue: p.Queue, Offset: p.Offset, Value: value, Times: m.times}}}
	again := t.Copies.Group != "" && m.times == 0 // it was a dead letter
	failed, bury := fails(value, m.times)
	if !failed || again {
		c.r.history.Add(op)
		return true
	}
	if op.Type = history.Fail; bury {
		op.Fate = history.Burying
	}
	c.r.history.Add(op)
	for range 4 {
		switch c.back(ctx, t, q, m, value, op.Fate) {
		case history.OK:
			return true
		case history.Info:
			c.process = c.name + "/" + c.r.nextProcess()
		default:
			sleep(ctx, 20*time.Millisecond)
		}
	}
	return false
}

// back is one request.
func (c *retrier) back(ctx context.Context, t Topic, q int, m pulled, value, fate string) history.Type {
	at, n := t.wireQueue(q), pick(c.rng, c.r.cluster.Nodes)
	h := remoting.SendBackHeader{Group: retryGroup, Offset: m.physical, OriginTopic: retryTopic.Name, MaxReconsumeTimes: retryMost, BrokerName: at.broker, DelayMs: -1, Reason: "the handler fails"}
	switch {
	case fate == history.Burying:
		h.DelayLevel = -1
	case c.rng.IntN(4) == 0:
		h.DelayLevel = 1 // 1 s
	default:
		h.DelayMs = c.rng.Int64N(longestRetry.Milliseconds())
	}
	op := history.Op{Process: c.process, Type: history.Invoke, F: history.Back, Group: retryGroup, Node: n.Name, Values: []string{value}, Count: m.times, Fate: fate,
		Places: []history.Place{{Queue: t.Queue(q), Offset: m.offset}}}
	c.r.history.Add(op)
	reply, typ, why := c.wire.ask(ctx, n, at.slot, remoting.NewRequest(remoting.ConsumerSendMessageBack, h))
	op.Type, op.Error, op.Count, op.Values, op.Places = typ, why, 0, nil, nil
	if typ == history.OK && reply.Ext["dup"] != "1" {
		op.Count = 1
	}
	c.r.history.Add(op)
	return typ
}

// retryMember returns what runs a bundled consumer: it leaves and comes back unless it is
// the first.
func (r *run) retryMember(i int) (func(ctx context.Context) error, error) {
	consumer := func() (*client.Consumer, error) {
		s, err := r.clients[i].NewConsumer(againGroup, client.WithStartAt(client.Earliest()), client.WithDrainTimeout(5*time.Second), client.WithMaxAttempts(retryMost+1),
			client.WithBackoff(100*time.Millisecond, longestRetry))
		if err == nil {
			err = s.Subscribe(retryTopic.Name, client.All())
		}
		return s, err
	}
	if _, err := consumer(); err != nil {
		return nil, err
	}
	name := fmt.Sprintf("%s/member-%d", againGroup, i)
	h := &retryHandler{r: r, process: name, first: make(map[history.Place]int)}
	rng := r.o.Seed.Stream(name)
	return func(ctx context.Context) error {
		for ctx.Err() == nil {
			stay, leave := ctx, func() {}
			if i > 0 {
				stay, leave = context.WithTimeout(ctx, shortStay+time.Duration(rng.Int64N(int64(longStay-shortStay))))
			}
			s, err := consumer()
			if err == nil {
				err = s.Run(stay, h.handle)
			}
			leave()
			if err != nil && stay.Err() == nil { // else it was still putting something back, which takes as long as the cluster does
				return err
			}
			sleep(ctx, awayFor)
		}
		return nil
	}, nil
}

// retryHandler fails by the rule. A message that could not be put back is handled again
// where it is, as a further attempt; what the cluster counts is what it was the first time.
type retryHandler struct {
	r       *run
	process string

	mu    sync.Mutex
	first map[history.Place]int
}

func (h *retryHandler) handle(_ context.Context, d *client.Delivery) error {
	t := retryTopic
	if d.Properties[message.PropRetryTopic] != "" {
		t, _ = copiesOf(againGroup)
	}
	p := history.Place{Queue: t.Queue(d.Queue), Offset: d.Offset}
	h.mu.Lock()
	times, known := h.first[p]
	if !known {
		times = d.Attempt - 1
		h.first[p] = times
	}
	h.mu.Unlock()
	value := valueOf(&d.Message)
	op := history.Op{Process: h.process, Type: history.OK, F: history.Deliver, Group: againGroup, Messages: []history.Message{{Queue: p.Queue, Offset: p.Offset, Value: value, Times: times}}}
	failed, bury := fails(value, times)
	if !failed {
		h.r.history.Add(op)
		return nil
	}
	err := errHandler
	if op.Type = history.Fail; bury {
		op.Fate, err = history.Burying, client.DeadLetter(errHandler)
	}
	h.r.history.Add(op)
	return err
}

// undertaker takes dead letters out: some to be handled again, some for good, some as the
// other one does too, and some not.
type undertaker struct {
	r      *run
	rng    *rand.Rand
	number int
	name   string
	wire   *wire
	done   map[history.Place]bool
}

const lookEvery = 700 * time.Millisecond

func (o *undertaker) run(ctx context.Context) {
	defer o.wire.close()
	o.done = make(map[history.Place]bool)
	_, dead := copiesOf(retryGroup)
	for sleep(ctx, lookEvery) {
		on := context.WithoutCancel(ctx)
		for q := range dead.count() {
			letters, ok := o.wire.letters(on, pick(o.rng, o.r.cluster.Nodes), retryGroup, q, remoting.MaxLetters)
			if !ok {
				continue
			}
			for _, l := range letters {
				p := history.Place{Queue: l.Queue, Offset: l.Offset}
				if o.done[p] || ctx.Err() != nil {
					continue
				}
				o.done[p] = true
				fate, out := o.plan(l.Value)
				if !out {
					continue
				}
				for range 1 + o.rng.IntN(2) {
					o.takeOut(on, q, l, fate)
				}
			}
		}
	}
}

// plan is what the operator does with a dead letter.
func (o *undertaker) plan(value string) (fate string, out bool) {
	switch x := draw(value) / 100 % 6; {
	case x == 0: // both, to be handled again
		return "", true
	case x == 1: // one of them to be handled again, one for good
		return []string{"", history.Dropping}[o.number], true
	case x == 2:
		return "", o.number == 0
	case x == 3:
		return history.Dropping, o.number == 1
	}
	return "", false
}

// takeOut asks for one dead letter to be taken out.
func (o *undertaker) takeOut(ctx context.Context, q int, l history.Message, fate string) {
	n := pick(o.rng, o.r.cluster.Nodes)
	op := history.Op{Process: o.name + "/" + o.r.nextProcess(), Type: history.Invoke, F: history.TakeOut, Group: retryGroup, Node: n.Name, Values: []string{l.Value}, Fate: fate,
		Places: []history.Place{{Queue: l.Queue, Offset: l.Offset}}}
	o.r.history.Add(op)
	h := remoting.DeadLettersHeader{Group: retryGroup, Op: remoting.RedriveLetters, Slot: int32(q), Offset: l.Offset, Max: 1}
	if fate == history.Dropping {
		h.Op = remoting.PurgeLetters
	}
	reply, typ, why := o.wire.ask(ctx, n, q, remoting.NewRequest(remoting.DeadLetters, h))
	var list remoting.DeadLetterList
	if typ == history.OK {
		if err := remoting.DecodeBody(reply.Body, &list); err != nil {
			typ, why = history.Info, err.Error()
		}
	}
	op.Type, op.Error, op.Count, op.Values, op.Places = typ, why, list.Done, nil, nil
	o.r.history.Add(op)
}

// fewLetters is how many dead letters the first answer has at the end, so that lists go on in the next, whose beginning the one before names.
const fewLetters = 16

// letters asks a node for a group's dead letters in one partition, in as many answers as
// they take: the first of so many letters at most, each of twice as many as the one before, since there may be thousands.
func (w *wire) letters(ctx context.Context, n *cluster.Node, group string, q int, most int32) (ms []history.Message, ok bool) {
	_, dead := copiesOf(group)
	h := remoting.DeadLettersHeader{Group: group, Op: remoting.ListLetters, Slot: int32(q), Offset: -1, Max: most}
	for {
		reply, typ, _ := w.ask(ctx, n, q, remoting.NewRequest(remoting.DeadLetters, h))
		if typ != history.OK {
			return nil, false
		}
		var list remoting.DeadLetterList
		if err := remoting.DecodeBody(reply.Body, &list); err != nil {
			return nil, false
		}
		for _, l := range list.Letters {
			rec, err := message.ParseRecord(l.Record)
			if err != nil {
				return nil, false
			}
			ms = append(ms, history.Message{Queue: dead.Queue(q), Offset: l.Offset, Value: valueIn(rec), Times: int(rec.ReconsumeTimes())})
		}
		if list.Next == nil {
			return ms, true
		}
		if list.Next.Compare(h.From) <= 0 {
			return nil, false
		}
		h.From, h.Max = *list.Next, min(2*h.Max, remoting.MaxLetters)
	}
}

// listLetters writes down the dead letters of a group, through each node.
func (r *run) listLetters(ctx context.Context, group string) {
	w := r.wire("jepsen-letters")
	defer w.close()
	for _, n := range r.cluster.Nodes {
		op := history.Op{Process: "run", Type: history.OK, F: history.Letters, Group: group, Node: n.Name}
		for q := range partitions {
			ms, ok := w.letters(ctx, n, group, q, fewLetters)
			for try := 1; !ok && try < endTries && sleep(ctx, endPause); try++ {
				ms, ok = w.letters(ctx, n, group, q, fewLetters)
			}
			if !ok {
				op.Type, op.Error = history.Info, "not all of them are told"
			}
			op.Messages = append(op.Messages, ms...)
		}
		r.history.Add(op)
	}
}

// behind is how many of a topic's queues have messages before their end that a group has
// not committed, or were not heard of. It writes one question about all of them: what commits
// the group's members made themselves is not known.
func (w *wire) behind(ctx context.Context, group string, t Topic) (left int, lag int64) {
	op := history.Op{Process: "drain-" + w.r.nextProcess(), Type: history.Invoke, F: history.Committed, Group: group}
	w.r.history.Add(op)
	op.Type = history.OK
	for q := range t.count() {
		n := w.r.cluster.Nodes[q%len(w.r.cluster.Nodes)]
		off, typ, _ := w.askOffset(ctx, group, t, q, n)
		if typ == history.OK {
			op.Messages = append(op.Messages, history.Message{Queue: t.Queue(q), Offset: off})
		}
		at := t.wireQueue(q)
		end, ends, _ := w.offset(ctx, n, at.slot, remoting.NewRequest(remoting.GetMaxOffset, remoting.QueueHeader{Topic: at.topic, QueueID: at.id, BrokerName: at.broker}))
		if typ != history.OK || ends != history.OK || max(off, 0) < end {
			left++
		}
		if lag += max(0, end-max(off, 0)); typ != history.OK || ends != history.OK {
			lag += 1 << 40 // nobody can say
		}
	}
	w.r.history.Add(op)
	return left, lag
}

// drainRetries waits until nothing waits to come again and the groups are at the ends of
// all their queues, for long enough. After a long run that takes long: it waits as long as the
// groups come nearer, but no longer than the run was to last.
func (r *run) drainRetries(ctx context.Context) {
	ops := make(map[string]*history.Op)
	for _, g := range []string{retryGroup, againGroup} {
		ops[g] = &history.Op{Process: "run", Type: history.Info, F: history.Drained, Group: g, Error: fmt.Sprintf("not at its ends after %v", drainLimit)}
	}
	w := r.wire("jepsen-retry-drain")
	defer w.close()
	var since time.Time
	nearest := int64(math.MaxInt64)
	last := time.Now().Add(drainLimit + r.o.Limit)
	for end := time.Now().Add(drainLimit); time.Now().Before(end); {
		left, behind := 0, int64(0)
		for g := range ops {
			again, _ := copiesOf(g)
			for _, t := range []Topic{retryTopic, again} {
				queues, lag := w.behind(ctx, g, t)
				left, behind = left+queues, behind+lag
			}
		}
		if behind < nearest {
			nearest = behind
			if end = time.Now().Add(drainLimit); end.After(last) {
				end = last
			}
		}
		if wait, err := r.clients[0].Admin().Timers(ctx, retryTopic.Name, 1); err != nil || len(wait) > 0 {
			left++
		}
		switch {
		case left > 0:
			since = time.Time{}
		case since.IsZero():
			since = time.Now()
		case time.Since(since) > settledFor:
			for _, op := range ops {
				op.Type, op.Error = history.OK, ""
			}
			end = time.Time{}
		}
		if !sleep(ctx, 500*time.Millisecond) {
			break
		}
	}
	for _, g := range []string{retryGroup, againGroup} {
		r.history.Add(*ops[g])
	}
}
