package mqtest

import (
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftmq/broker"
	"raftmq/message"
	"raftmq/remoting"
)

// unanswered asks other things over the connection and finds that one request has
// got no answer meanwhile, and that the connection is fine.
func (w *Wire) unanswered(opaque int32) {
	w.t.Helper()
	for range 50 {
		w.OK(remoting.GetBrokerClusterInfo, nil, nil)
	}
	require.Nil(w.t, w.early[opaque], "an answer, which a stock client takes for 'not stored'")
}

// cutOff cuts node i off from all others.
func (c *Cluster) cutOff(i int) {
	for _, other := range c.names {
		if other != c.names[i] {
			c.Net.Cut(c.names[i], other)
		}
	}
}

// ends are the ends of a queue by what the cluster says when it is whole.
func (c *Cluster) end(slot int, topic string, queue int) int64 {
	c.t.Helper()
	w := DialWire(c.t, c.listener((c.leader(topic, slot)+1)%3, slot), 0)
	return num(c.t, w.OK(remoting.GetMaxOffset, fields{"topic": topic, "queueId": strconv.Itoa(queue)}, nil), "offset")
}

// A leader that is cut off has proposed what it cannot commit: whether it is
// stored, nobody knows yet. Clients of ours are told so; stock ones, who would
// take any code for "not stored", are not answered.
func TestALeaderThatIsCutOffDoesNotSayWhatItCannotKnow(t *testing.T) {
	t.Parallel()
	c := Start(t, 3, func(cfg *broker.Config) { cfg.Heartbeat = 7 * time.Second }) // for five seconds it believes that it leads
	c.createTopic(t, with(topicOf("t", 1), "partitions", "1"))
	var slot int
	for s := range 3 {
		if _, ok := c.replicaIn(0, "t", s); ok {
			slot = s
		}
	}
	c.untilIn(ample, "the preferred node leads", func() bool { return c.leader("t", slot) == slot }) // no leader is handing over, then
	at := slot
	w := DialWire(t, c.listener(at, slot), remoting.JSON)
	w.put(sendShort("t", 0), []byte("before"))
	var stock, long int32
	var refused []string // bodies: certainly not done
	noticed := true
	rounds := int64(0)
	for noticed && rounds < 5 { // some of it came after the node had noticed: this machine is slow
		if rounds++; rounds > 1 {
			c.Net.HealAll()
			w.put(sendShort("t", 0), []byte("before"))
			c.untilIn(ample, "the preferred node leads", func() bool { return c.leader("t", slot) == slot })
		}
		for i := range c.Nodes { // the others from each other too: they would elect another leader, and gossip tells of it
			c.cutOff(i)
		}
		// Asked before the node notices; the one who is told is asked last.
		round := strconv.FormatInt(rounds, 10)
		stock = w.Send(remoting.SendMessageV2, sendShort("t", 0), []byte("stock "+round))
		long = w.Send(remoting.SendMessage, sendLong("t", 0), []byte("long "+round))
		named := w.Send(remoting.SendMessageV2, with(sendShort("t", 0), "pid", "0123456789abcdef0123456789abcdef", "pep", round, "seq", "0"), []byte("named "+round))
		ours := w.Send(remoting.SendMessageV2, with(sendShort("t", 0), "rmq", "1"), []byte("ours "+round))
		noticed = false
		told := func(r *remoting.Command, body string) {
			if r != nil && r.Code == remoting.ServiceNotAvailable {
				noticed, refused = true, append(refused, body)
				return
			}
			if r != nil {
				require.Equal(t, remoting.OutcomeUnknown, r.Code, r.Remark)
			}
		}
		told(w.Reply(ours), "ours "+round)
		// The node looks for another leader to ask again: it must not end with "no leader".
		told(w.Reply(named), "named "+round)
		for range 50 { // the others' answers, if there are any, have come too
			w.OK(remoting.GetBrokerClusterInfo, nil, nil)
		}
		told(w.early[stock], "stock "+round)
		told(w.early[long], "long "+round)
	}
	require.False(t, noticed, "refused: %v", refused)
	for _, opaque := range []int32{stock, long} {
		require.Nil(t, w.early[opaque], "an answer, which a stock client takes for 'not stored'")
	}
	// Once it knows that it does not lead, it is certain.
	c.until("the old leader steps down", func() bool {
		p, _ := c.replicaIn(at, "t", slot)
		return p.State != "Leader"
	})
	r := w.ask(remoting.SendMessageV2, sendShort("t", 0), []byte("later"))
	refused = append(refused, "later")
	require.Equal(t, remoting.ServiceNotAvailable, r.Code, "every stock client retries this one")
	require.Contains(t, r.Remark, "certainly not done")
	last := strconv.FormatInt(rounds, 10)
	for opaque, body := range map[int32]string{stock: "stock " + last, long: "long " + last} { // begun so late that the node knew
		if r := w.early[opaque]; r != nil {
			require.Equal(t, remoting.ServiceNotAvailable, r.Code, "an answer, which a stock client takes for 'not stored': %s", r.Remark)
			refused = append(refused, body)
		}
	}

	c.Net.HealAll()
	for i := range c.Nodes {
		c.Await(i)
	}
	c.until("what was sent before is there and nothing twice", func() bool {
		end := c.end(slot, "t", 0)
		return end >= 1 && end <= 5*rounds
	})
	for _, rec := range w.pulled("t") {
		require.NotContains(t, refused, string(rec.Body()), "refused as certainly not done, and stored")
	}
}

// Java's clients of version 4 take every refusal for "the group has no offset", and go on at the queue's end or its first
// message: where a group is, is said, or that it is nowhere, and nothing else.
func TestWhoAsksWhereAGroupIsIsNotRefused(t *testing.T) {
	t.Parallel()
	c := Start(t, 3, nil)
	c.createTopic(t, topicOf("t", 1))
	w := DialWire(t, c.listener(0, 0), remoting.JSON)
	w.sure(remoting.SendMessageV2, with(sendShort("t", 0), "rmq", "1"), []byte("one"))
	place := fields{"consumerGroup": "g", "topic": "t", "queueId": "0"}
	ours := with(place, "rmq", "1")
	w.OK(remoting.UpdateConsumerOffset, with(place, "commitOffset", "1"), nil)
	for i := range c.Nodes {
		c.cutOff(i)
	}
	c.untilIn(ample, "no node leads", func() bool {
		return w.ask(remoting.QueryConsumerOffset, ours, nil).Code == remoting.ServiceNotAvailable
	})
	stock := w.Send(remoting.QueryConsumerOffset, place, nil)
	require.Equal(t, remoting.ServiceNotAvailable, w.ask(remoting.QueryConsumerOffset, ours, nil).Code)
	w.unanswered(stock)

	c.Net.HealAll()
	c.untilIn(ample, "the group's place is told", func() bool {
		r := w.within(time.Second, w.Send(remoting.QueryConsumerOffset, place, nil))
		return r != nil && r.Code == remoting.OK && r.Ext["offset"] == "1"
	})
}

// A node forwards a send, the leader stores it, and the answer is lost on the way.
// With the producer's identity it is asked again and answered with the first
// receipt; without, nobody may say that it is not stored.
func TestAnAnswerLostBetweenNodesIsNotARefusal(t *testing.T) {
	t.Parallel()
	c := Start(t, 3, nil)
	c.createTopic(t, topicOf("t", 1))
	const slot, leader, via = 0, 0, 1
	direct, w := DialWire(t, c.listener(leader, slot), remoting.Binary), DialWire(t, c.listener(via, slot), remoting.Binary)
	end := func() int64 {
		return num(t, direct.OK(remoting.GetMaxOffset, fields{"topic": "t", "queueId": "0"}, nil), "offset")
	}
	var refused []string // bodies: certainly not stored
	for round := 1; ; round++ {
		require.LessOrEqual(t, round, 5, "no round in which the leader stored all three and its answers were lost; refused: %v", refused)
		c.untilIn(ample, "the preferred node leads", func() bool { return c.leader("t", slot) == leader }) // no leader is handing over, then
		w.OK(remoting.GetMaxOffset, fields{"topic": "t", "queueId": "0"}, nil)
		w.sure(remoting.SendMessageV2, with(sendShort("t", 0), "rmq", "1"), []byte("before")) // the paths are open, and the follower follows
		before, n := end(), strconv.Itoa(round)
		mine := with(sendShort("t", 0), "pid", "0123456789abcdef0123456789abcdef", "pep", n, "seq", "0")
		c.Net.Hang(c.names[leader], c.names[via]) // what the leader says does not arrive
		stock := w.Send(remoting.SendMessageV2, sendShort("t", 0), []byte("stock "+n))
		ours := w.Send(remoting.SendMessageV2, with(sendShort("t", 0), "rmq", "1"), []byte("ours "+n))
		named := w.Send(remoting.SendMessageV2, mine, []byte("named "+n))
		read := w.Send(remoting.GetMaxOffset, fields{"topic": "t", "queueId": "0"}, nil)
		var r *remoting.Command
		c.until("the leader has stored all three, or somebody is told", func() bool {
			r = w.within(time.Millisecond, ours)
			return r != nil || end() == before+3
		})
		stored := end() == before+3
		c.cutOff(via)
		if r == nil {
			r = w.Reply(ours)
		}
		if r.Code != remoting.OutcomeUnknown || !stored { // the node had missed the leader before it was asked: this machine is slow
			for body, r := range map[string]*remoting.Command{"ours " + n: r, "named " + n: w.Reply(named), "": w.Reply(read), "stock " + n: w.early[stock]} {
				if r != nil && r.Code != remoting.OutcomeUnknown {
					require.Equal(t, remoting.ServiceNotAvailable, r.Code, "%s: %s", body, r.Remark)
					refused = append(refused, body)
				}
			}
			c.Net.HealAll()
			continue
		}
		w.unanswered(stock)
		r = w.Reply(read)
		require.Equal(t, remoting.ServiceNotAvailable, r.Code, "nothing was done by it, whatever was lost: %s", r.Remark)
		c.Net.HealAll()
		if r = w.Reply(named); r.Code == remoting.OutcomeUnknown { // the cut outlasted its patience: as a client does
			r = w.sure(remoting.SendMessageV2, mine, []byte("named "+n))
		}
		require.Equal(t, remoting.OK, r.Code, r.Remark)
		require.Equal(t, "1", r.Ext["dup"])
		w.unanswered(stock)
		require.EqualValues(t, before+3, c.end(slot, "t", 0), "stored once each")
		for _, rec := range w.pulled("t") {
			require.NotContains(t, refused, string(rec.Body()), "refused as certainly not done, and stored")
		}
		return
	}
}

// The locks of a partition are its leader's successor's too.
func TestALockSurvivesItsLeader(t *testing.T) {
	t.Parallel()
	c := Start(t, 3, nil)
	c.createTopic(t, topicOf("t", 1))
	q := remoting.MessageQueue{BrokerName: "raftmq-0", Topic: "t"}
	granted := func(w *Wire, client string) int {
		var got remoting.LockReply
		require.NoError(t, remoting.DecodeBody(w.OK(remoting.LockBatchMQ, nil, lockOf(client, "g", q)).Body, &got))
		return len(got.LockOKMQSet)
	}
	leader := c.leader("t", 0)
	at := DialWire(t, c.listener(leader, 0), 0)
	c.until("it is granted", func() bool { return granted(at, "a") == 1 }) // without a leader nothing is
	c.Stop(leader)
	w := DialWire(t, c.listener((leader+1)%3, 0), 0)
	c.until("the holder has it still", func() bool { return granted(w, "a") == 1 })
	require.Zero(t, granted(w, "b"))
	require.Zero(t, granted(DialWire(t, c.listener((leader+2)%3, 0), 0), "b"))
	w.sure(remoting.UnlockBatchMQ, fields{"rmq": "1"}, lockOf("a", "g", q))
	c.until("it is granted to another", func() bool { return granted(w, "b") == 1 })
}

// Where a queue ends is not said by a leader that others may have replaced, also not
// to a pull that does not wait: they may have acknowledged what it does not have.
func TestALeaderThatIsCutOffDoesNotSayWhereAQueueEnds(t *testing.T) {
	t.Parallel()
	c := Start(t, 3, nil)
	c.createTopic(t, topicOf("t", 1))
	leader := c.leader("t", 0)
	w := DialWire(t, c.listener(leader, 0), 0)
	w.put(sendShort("t", 0), []byte("x"))
	r := w.inside(remoting.PullMessage, pullOf("t", 0, 1))
	require.Equal(t, remoting.PullNotFound, r.Code, r.Remark)
	require.EqualValues(t, 1, num(t, r, "maxOffset"))
	c.cutOff(leader)
	r = w.ask(remoting.PullMessage, pullOf("t", 0, 1), nil)
	require.Equal(t, remoting.PullNotFound, r.Code, r.Remark)
	require.EqualValues(t, 1, num(t, r, "nextBeginOffset"))
	require.Zero(t, num(t, r, "maxOffset"), "it cannot know")
}

// A pull held at a leader that stops, or is cut off, is answered so that the
// client asks again at the same place.
func TestAHeldPullIsAnsweredWhenItsLeaderGoes(t *testing.T) {
	t.Parallel()
	c := Start(t, 3, nil)
	c.createTopic(t, topicOf("t", 1))
	held := with(pullOf("t", 0, 1), "sysFlag", "6", "suspendTimeoutMillis", "60000")
	leader := c.leader("t", 0)
	at := DialWire(t, c.listener(leader, 0), 0)
	at.put(sendShort("t", 0), []byte("x"))
	away := DialWire(t, c.listener((leader+1)%3, 0), 0)
	here, there := at.Send(remoting.PullMessage, held, nil), away.Send(remoting.PullMessage, held, nil)
	for _, w := range []*Wire{at, away} { // both are held by now
		w.OK(remoting.PullMessage, pullOf("t", 0, 0), nil)
	}
	// The node that sent a pull on lets go of it when it stops.
	stops := (leader + 2) % 3
	w := DialWire(t, c.listener(stops, 0), 0)
	forwarded := w.Send(remoting.PullMessage, held, nil)
	w.OK(remoting.PullMessage, pullOf("t", 0, 0), nil)
	c.Stop(stops)
	r := w.Reply(forwarded)
	require.Equal(t, remoting.PullNotFound, r.Code, r.Remark)
	c.Run(stops)
	c.Await(stops)
	c.Stop(leader)
	r = at.Reply(here)
	require.Equal(t, remoting.PullNotFound, r.Code, r.Remark)
	require.EqualValues(t, 1, num(t, r, "nextBeginOffset"))
	// The other is held on by the next leader, until something comes.
	next := c.leader("t", 0)
	DialWire(t, c.listener(next, 0), 0).put(sendShort("t", 0), []byte("y"))
	r = away.Reply(there)
	if r.Code == remoting.PullNotFound { // it was answered meanwhile
		r = away.OK(remoting.PullMessage, held, nil)
	}
	require.Equal(t, remoting.OK, r.Code, r.Remark)
	require.Equal(t, "y", string(Records(t, r.Body)[0].Body()))
}

// A batch that is larger than what the write-ahead log can store of an entry is refused: a
// leader that met it would step down, as often as it was sent.
func TestABatchThatTheLogCannotStoreIsRefused(t *testing.T) {
	t.Parallel()
	c := Start(t, 3, nil)
	c.createTopic(t, topicOf("t", 1))
	w := DialWire(t, c.listener(0, 0), remoting.Binary)
	w.put(sendShort("t", 0), []byte("one"))
	batch := func(n int) (b []byte) {
		for range n {
			b = message.AppendBatchMessage(b, message.BatchMessage{Body: make([]byte, 300<<10)})
		}
		return b
	}
	term := c.of(0, "t").Term
	r := w.Led(remoting.SendBatchMessage, with(sendShort("t", 0), "m", "true"), batch(4))
	require.Equal(t, remoting.MessageIllegal, r.Code, r.Remark)
	require.Contains(t, r.Remark, "certainly not stored")
	require.Equal(t, "1", w.OK(remoting.SendBatchMessage, with(sendShort("t", 0), "m", "true"), batch(3)).Ext["queueOffset"])
	require.Equal(t, term, c.of(0, "t").Term, "nobody stepped down")
}
