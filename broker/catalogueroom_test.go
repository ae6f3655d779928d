package broker

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftmq/message"
	"raftmq/remoting"
)

// What the catalogue takes is measured when somebody else led it, and, if it has changed, when it may be too much.
func TestACatalogueIsMeasured(t *testing.T) {
	var c catalogueRoom
	size, measured := 0, 0
	version := uint64(1)
	enter := func(term uint64, adds int) (func(bool), bool) {
		return c.enter(term, version, adds, func() int { measured++; return size })
	}
	later := func(d time.Duration) { c.at = c.at.Add(-d) }
	for range 100 {
		leave, ok := enter(1, 10)
		require.True(t, ok)
		leave(true)
		version++
	}
	require.Equal(t, 1, measured)
	later(2 * measureSeldom)
	leave, ok := enter(1, 10)
	require.True(t, ok)
	leave(true)
	require.Equal(t, 2, measured, "what is added is a guess")
	size = maxCatalogue
	_, ok = enter(2, 10)
	require.False(t, ok)
	_, ok = enter(2, 0)
	require.True(t, ok, "it adds nothing")
	size = 0
	later(2 * measureSeldom)
	_, ok = enter(2, 10)
	require.False(t, ok, "nothing was changed")
	require.Equal(t, 3, measured)
	later(-2 * measureSeldom)
	version++
	_, ok = enter(2, 10)
	require.False(t, ok, "it is not measured all the time")
	later(2 * measureSeldom)
	leave, ok = enter(2, maxCatalogue-5)
	require.True(t, ok)
	version++
	later(2 * measureAgain)
	_, ok = enter(2, 10)
	require.False(t, ok, "what is on its way counts")
	leave(true)
	version++
	later(2 * measureAgain)
	_, ok = enter(2, 10)
	require.True(t, ok)
}

// While it is measured others are let in by what is known, and what they add meanwhile counts beside what is measured; who
// would not fit by that, or leads since, waits for it.
func TestOthersAreLetInWhileACatalogueIsMeasured(t *testing.T) {
	var c catalogueRoom
	full := func() int { return maxCatalogue }
	leave, ok := c.enter(1, 1, 10, func() int { return 0 })
	require.True(t, ok)
	leave(true)
	c.at = c.at.Add(-2 * measureSeldom)
	const adds = maxCatalogue / 4
	begun, size := make(chan struct{}), make(chan int)
	entered := func(term uint64, adds int, measure func() int) <-chan bool {
		in := make(chan bool, 1)
		go func() {
			leave, ok := c.enter(term, 2, adds, measure)
			if ok {
				leave(true)
			}
			in <- ok
		}()
		return in
	}
	soon := func(in <-chan bool) (ok bool) {
		t.Helper()
		select {
		case ok = <-in:
		case <-time.After(20 * time.Second):
			t.Fatal("it is not let in")
		}
		return ok
	}
	first := entered(1, adds, func() int { close(begun); return <-size })
	<-begun
	require.True(t, soon(entered(1, adds, full)))
	waits := entered(1, 3*adds, full)
	select {
	case <-waits:
		t.Fatal("it is let in, or refused, by what was measured before")
	case <-time.After(10 * time.Millisecond):
	}
	size <- 2 * adds // without what came meanwhile
	require.True(t, soon(first))
	require.False(t, soon(waits))
	require.False(t, soon(entered(1, 1, full)), "a half as measured, a quarter that came meanwhile, and a quarter that had it measured")
	require.True(t, soon(entered(2, adds, func() int { return 3 * adds })))
	require.False(t, soon(entered(2, 1, full)))
}

// What is refused where it is applied has added nothing, however often it is asked for and however large it is. Nor does
// what was counted count for ever, if nothing else changes.
func TestWhatIsRefusedTakesNoRoomInTheCatalogue(t *testing.T) {
	l := newLone(t)
	l.leader()
	put := func(key, value string) *remoting.Command {
		return l.admin(t.Context(), &request{Command: remoting.NewRequest(remoting.PutKVConfig, remoting.KVHeader{Namespace: "n", Key: key, Value: value})})
	}
	l.crowd.mu.Lock()
	l.crowd.at = time.Time{} // the next change finds what there is now
	l.crowd.mu.Unlock()
	long := strings.Repeat("v", 900<<10) // more than a value may have
	for range maxCatalogue/len(long) + 2 {
		reply := put("long", long)
		require.Equal(t, remoting.InvalidParameter, reply.Code, reply.Remark)
	}
	reply := put("k", "v")
	require.Equal(t, remoting.OK, reply.Code, reply.Remark)

	l.crowd.mu.Lock()
	l.crowd.version, l.crowd.since, l.crowd.at = l.catalogue.Version(), maxCatalogue, time.Now().Add(-2*measureAgain)
	l.crowd.mu.Unlock()
	reply = put("l", "v")
	require.Equal(t, remoting.OK, reply.Code, reply.Remark)
}

// A catalogue that is as large as it may be takes no more, until something is deleted. What does not make it larger is done.
func TestACatalogueThatIsFullTakesNoMore(t *testing.T) {
	l := newLone(t)
	l.leader()
	ask := func(code remoting.Code, h remoting.Header, body string) *remoting.Command {
		r := &request{Command: remoting.NewRequest(code, h)}
		r.Body = []byte(body)
		return l.admin(t.Context(), r)
	}
	put := func(key, value string) *remoting.Command {
		return ask(remoting.PutKVConfig, remoting.KVHeader{Namespace: "n", Key: key, Value: value}, "")
	}
	topic := func(name string, perm int32) *remoting.Command {
		return ask(remoting.UpdateAndCreateTopic, remoting.CreateTopicHeader{Topic: name, DefaultTopic: message.DefaultTopic, ReadQueueNums: 1, WriteQueueNums: 1, Perm: perm, TopicFilterType: "SINGLE_TAG"}, "")
	}
	group := func(name string, enabled string) *remoting.Command {
		return ask(remoting.UpdateSubscriptionGroup, nil, `{"groupName":"`+name+`","consumeEnable":`+enabled+`}`)
	}
	subscribe := func(group, topics string) *remoting.Command {
		r := &request{Command: remoting.NewRequest(codeSubscribe, nil)}
		r.SetExt("group", group)
		r.SetExt("topics", topics)
		return l.admin(t.Context(), r)
	}
	done := func(reply *remoting.Command) {
		t.Helper()
		require.Equal(t, remoting.OK, reply.Code, reply.Remark)
	}
	refused := func(reply *remoting.Command) {
		t.Helper()
		require.Equal(t, remoting.SystemBusy, reply.Code, reply.Remark)
		require.Contains(t, reply.Remark, "[CATALOGUE FULL]")
		require.Contains(t, reply.Remark, "certainly not done")
	}
	done(put("a", "value"))
	done(put("b", "value"))
	done(group("g", "false"))
	done(group("h", "true"))
	done(subscribe("g", "t"))
	done(topic("u", permRead|permWrite))
	l.crowd.mu.Lock()
	l.crowd.took, l.crowd.at = 2*maxCatalogue, time.Now().Add(time.Hour)
	l.crowd.mu.Unlock()

	refused(put("c", "v"))
	refused(put("a", strings.Repeat("longer", 10)))
	refused(topic("v", permRead))
	refused(group("i", "true"))
	refused(subscribe("i", "t"))
	refused(subscribe("h", "t"))

	done(put("a", "valeu"))
	done(topic("u", permRead))
	done(group("g", "true"))
	done(subscribe("g", "t"))
	done(ask(remoting.DeleteKVConfig, remoting.KVHeader{Namespace: "n", Key: "a"}, ""))
	done(ask(remoting.DeleteTopicInBroker, remoting.TopicHeader{Topic: "u"}, ""))
	done(ask(remoting.DeleteSubscriptionGroup, remoting.DeleteGroupHeader{GroupName: "h"}, ""))
	l.crowd.mu.Lock()
	l.crowd.at = time.Time{}
	l.crowd.mu.Unlock()
	done(put("c", "v"))
	done(subscribe("i", "t"))
}

// What a change is taken to add is no less than it adds.
func TestWhatAChangeAddsIsNotUnderrated(t *testing.T) {
	l := newLone(t)
	l.leader()
	size := func() int {
		_, state := l.catalogue.State()
		return len(state)
	}
	adds := func(r *request) {
		t.Helper()
		c, refusal := l.changeOf(t.Context(), r)
		require.Nil(t, refusal)
		cmd, refusal := c.next()
		require.Nil(t, refusal)
		most, before := c.adds(cmd), size()
		require.Equal(t, remoting.OK, l.admin(t.Context(), r).Code)
		require.Greater(t, size(), before)
		require.LessOrEqual(t, size()-before, most+16, "numbers of versions and entries grow with each change")
	}
	for _, attributes := range []string{"", "+retention-bytes=65536"} {
		adds(&request{Command: remoting.NewRequest(remoting.UpdateAndCreateTopic, remoting.CreateTopicHeader{
			Topic: strings.Repeat("t", 127), DefaultTopic: message.DefaultTopic, ReadQueueNums: 1, WriteQueueNums: 1, Perm: permRead, TopicFilterType: "SINGLE_TAG", Attributes: attributes,
		})})
	}
	group := &request{Command: remoting.NewRequest(remoting.UpdateSubscriptionGroup, nil)}
	group.Body = []byte(`{"groupName":"` + strings.Repeat("g", 120) + `"}`)
	adds(group)
	for _, name := range []string{strings.Repeat("g", 120), strings.Repeat("h", 120)} {
		subscribe := &request{Command: remoting.NewRequest(codeSubscribe, nil)}
		subscribe.SetExt("group", name)
		subscribe.SetExt("topics", "t,"+strings.Repeat("t", 127))
		adds(subscribe)
	}
	for _, value := range []string{"v", strings.Repeat("\x01\"", 1000)} {
		adds(&request{Command: remoting.NewRequest(remoting.PutKVConfig, remoting.KVHeader{Namespace: "n", Key: "k", Value: value})})
	}
}
