package mqtest

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftmq/broker"
	"raftmq/client"
	"raftmq/filter"
	"raftmq/remoting"
)

// sql is a pull by a condition.
func sql(topic, condition string) fields {
	return with(pullOf(topic, 0, 0), "expressionType", "SQL92", "subscription", condition)
}

// Filters as stock clients ask for them: what is not wanted is not on the wire, the next
// offset is past it, and mistakes are answered with their place.
func TestFiltersAreTheNodes(t *testing.T) {
	t.Parallel()
	c := Start(t, 3, nil)
	c.createTopic(t, topicOf("numbers", 1))
	c.createTopic(t, topicOf("tags", 1))
	c.createTopic(t, topicOf("held", 1))
	w := DialWire(t, c.listener(0, 0), 0)
	for i := range 40 {
		w.put(with(sendShort("numbers", 0), "i", fmt.Sprintf("n\x01%d\x02TAGS\x01%s\x02", i, []string{"even", "odd"}[i%2])), []byte{byte(i)})
	}
	for _, tag := range []string{"Aa", "BB", "Aa", "grün"} { // Aa and BB have the same hash
		w.put(with(sendShort("tags", 0), "i", "TAGS\x01"+tag+"\x02"), []byte(tag))
	}
	ctx, cancel := context.WithTimeout(t.Context(), whole)
	defer cancel()
	for _, name := range []string{"numbers", "tags"} { // followers answer what they have
		c.awaitSame(ctx, name)
	}
	bodies := func(t *testing.T, r *remoting.Command) (got []string) {
		t.Helper()
		require.Equal(t, remoting.OK, r.Code, r.Remark)
		for _, rec := range Records(t, r.Body) {
			got = append(got, string(rec.Body()))
		}
		return got
	}
	c.each(t, 0, func(t *testing.T, w *Wire) {
		for _, code := range []remoting.Code{remoting.PullMessage, remoting.LitePullMessage} {
			r := w.inside(code, sql("numbers", "n BETWEEN 3 AND 9 AND TAGS = 'odd'"))
			require.Equal(t, []string{"\x03", "\x05", "\x07", "\x09"}, bodies(t, r))
			require.EqualValues(t, 40, num(t, r, "nextBeginOffset"), "it is past what follows and is not wanted")
			r = w.inside(code, sql("numbers", "n > 100"))
			require.Equal(t, remoting.PullRetryImmediately, r.Code)
			require.EqualValues(t, 40, num(t, r, "nextBeginOffset"))
			require.EqualValues(t, 40, num(t, r, "maxOffset"))
			require.Empty(t, r.Body)
			r = w.inside(code, with(sql("numbers", "n >= 0"), "maxMsgNums", "7", "queueOffset", "30"))
			require.Len(t, bodies(t, r), 7)
			require.EqualValues(t, 37, num(t, r, "nextBeginOffset"))
			r = w.inside(code, sql("numbers", "n > 3 AND\nn <>> 5"))
			require.Equal(t, remoting.SubscriptionParseFailed, r.Code)
			require.Contains(t, r.Remark, "line 2, column 5: expected a property, a string or a number, found >")
		}
		require.Equal(t, []string{"Aa", "Aa"}, bodies(t, w.inside(remoting.PullMessage, with(pullOf("tags", 0, 0), "subscription", "Aa || none"))))
		require.Equal(t, []string{"BB", "grün"}, bodies(t, w.inside(remoting.PullMessage, with(pullOf("tags", 0, 0), "subscription", "BB||grün"))))

		check := func(kind, text string) *remoting.Command {
			return w.ask(remoting.CheckClientConfig, nil, remoting.EncodeBody(remoting.CheckClient{ClientID: "c", Group: "g",
				SubscriptionData: &remoting.SubscriptionData{ExpressionType: kind, SubString: text, Topic: "numbers"}}))
		}
		require.Equal(t, remoting.OK, check("TAG", "a || b").Code)
		require.Equal(t, remoting.OK, check("SQL92", "a > 3").Code)
		r := check("SQL92", "a >")
		require.Equal(t, remoting.SubscriptionParseFailed, r.Code)
		require.Contains(t, r.Remark, "line 1, column 4")
		require.Equal(t, remoting.SubscriptionParseFailed, check("SQL92", "").Code)
		require.Equal(t, remoting.SubscriptionParseFailed, check("JAVA", "a").Code)
		require.Equal(t, remoting.OK, w.ask(remoting.CheckClientConfig, nil, []byte(`{"clientId":"c"}`)).Code)
	})
	t.Run("heartbeat", func(t *testing.T) {
		c.some(t, 0, func(t *testing.T, w *Wire) {
			// One client with two groups, of which one has a filter that cannot be read.
			mark := "-" + filepath.Base(t.Name())
			h := remoting.HeartbeatData{ClientID: t.Name()}
			for group, text := range map[string]string{"few": "n < 3", "bad": "n <"} {
				h.ConsumerDataSet = append(h.ConsumerDataSet, remoting.ConsumerData{ConsumeType: remoting.ConsumePassively, GroupName: group + mark, MessageModel: remoting.Clustering,
					SubscriptionDataSet: []remoting.SubscriptionData{{ExpressionType: "SQL92", SubString: text, SubVersion: 1, Topic: "numbers"}}})
			}
			r := w.ask(remoting.Heartbeat, nil, remoting.EncodeBody(h))
			require.Equal(t, remoting.SubscriptionParseFailed, r.Code)
			require.Contains(t, r.Remark, "line 1, column 4")
			// As push consumers pull: the filter is in the heartbeat, and the request says TAG.
			pull := with(pullOf("numbers", 0, 0), "sysFlag", "0", "subscription", "")
			require.Equal(t, []string{"\x00", "\x01", "\x02"}, bodies(t, w.inside(remoting.PullMessage, with(pull, "consumerGroup", "few"+mark))))
			require.Equal(t, remoting.SubscriptionNotExist, w.inside(remoting.PullMessage, with(pull, "consumerGroup", "bad"+mark)).Code)
		})
	})
	t.Run("hold", func(t *testing.T) {
		c.each(t, 0, func(t *testing.T, w *Wire) {
			end := num(t, w.OK(remoting.GetMaxOffset, fields{"topic": "held", "queueId": "0"}, nil), "offset")
			held := with(sql("held", "n = 7"), "sysFlag", "6", "suspendTimeoutMillis", "60000", "queueOffset", strconv.FormatInt(end, 10))
			send := func(n string) {
				w.put(with(sendShort("held", 0), "i", "n\x01"+n+"\x02"), []byte(n))
			}
			// It wakes for what it wants.
			waits := w.Send(remoting.PullMessage, held, nil)
			send("1")
			send("7")
			r := w.Reply(waits)
			if r.Code == remoting.PullNotFound { // the leader was lost meanwhile
				r = w.OK(remoting.PullMessage, with(held, "queueOffset", strconv.FormatInt(end+1, 10)), nil)
			}
			if r.Code == remoting.PullRetryImmediately { // it came when 1 was there
				r = w.inside(remoting.PullMessage, with(held, "queueOffset", r.Ext["nextBeginOffset"]))
			}
			require.Equal(t, []string{"7"}, bodies(t, r))
			require.EqualValues(t, end+2, num(t, r, "nextBeginOffset"))
			// It waits on, and not for ever: the client is to know how far it is. One that
			// comes after the message is answered at once.
			waited := false
			for at := end + 2; !waited; at++ {
				require.Less(t, at, end+100, "it never waits on")
				begun := time.Now()
				waits = w.Send(remoting.PullMessage, with(held, "queueOffset", strconv.FormatInt(at, 10)), nil)
				send("2")
				r = w.Reply(waits)
				for r.Code == remoting.PullNotFound { // the leader was lost meanwhile
					r = w.inside(remoting.PullMessage, with(held, "queueOffset", strconv.FormatInt(at, 10)))
				}
				require.Equal(t, remoting.PullRetryImmediately, r.Code)
				require.EqualValues(t, at+1, num(t, r, "nextBeginOffset"))
				waited = time.Since(begun) > 500*time.Millisecond
			}
		})
	})
}

func TestFiltersCanBeSwitchedOff(t *testing.T) {
	t.Parallel()
	c := Start(t, 1, func(cfg *broker.Config) { cfg.NoPropertyFilter = true })
	c.createTopic(t, topicOf("t", 1))
	w := DialWire(t, c.listener(0, 0), 0)
	r := w.Led(remoting.PullMessage, sql("t", "a > 3"), nil)
	require.Equal(t, remoting.SystemError, r.Code)
	require.Contains(t, r.Remark, "no-property-filter")
	ctx, cancel := context.WithTimeout(t.Context(), whole)
	defer cancel()
	cons, err := c.Client().NewConsumer("g")
	require.NoError(t, err)
	require.NoError(t, cons.Subscribe("t", client.SQL("a > 3")))
	require.ErrorContains(t, cons.Run(ctx, func(context.Context, *client.Delivery) error { return nil }), "no-property-filter")
}

// A group that subscribes by a condition gets what meets it, all of it, also what failed
// and comes again, and while the leaders go.
func TestAGroupThatFiltersMissesNothing(t *testing.T) {
	t.Parallel()
	c := Start(t, 3, nil)
	ctx, cancel := context.WithTimeout(t.Context(), whole)
	defer cancel()
	cl := c.Client()
	topic(ctx, t, cl, "orders", nil)
	cons, err := cl.NewConsumer("g", client.WithBackoff(50*time.Millisecond, time.Second))
	require.NoError(t, err)
	err = cons.Subscribe("orders", client.SQL("amount >> 3"))
	require.ErrorIs(t, err, client.ErrInvalid)
	mistake, ok := errors.AsType[*filter.Error](err)
	require.True(t, ok)
	require.Equal(t, 9, mistake.Column)
	for _, tag := range []string{"", " a", "a||b", "*"} {
		require.ErrorIs(t, cons.Subscribe("orders", client.Tags(tag)), client.ErrInvalid)
	}
	_, err = cl.NewReader("orders", client.FromFilter(client.SQL("(")))
	require.ErrorIs(t, err, client.ErrInvalid)

	require.NoError(t, cons.Subscribe("orders", client.SQL("amount > 3 AND region IN ('eu', 'us')")))
	var mu sync.Mutex
	got, failed := make(map[string]int), make(map[string]bool)
	run, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan error, 1)
	go func() {
		ended <- cons.Run(run, func(_ context.Context, d *client.Delivery) error {
			mu.Lock()
			defer mu.Unlock()
			if body := string(d.Body); body[len(body)-1] == '0' && !failed[body] {
				failed[body] = true
				return errors.New("not yet")
			}
			got[string(d.Body)]++
			return nil
		})
	}()
	p, err := cl.NewProducer("p", client.WithSendTimeout(ample))
	require.NoError(t, err)
	want := make(map[string]bool)
	for i := range 300 {
		if i == 150 {
			c.Stop(c.leaderOf("orders"))
		}
		region := []string{"eu", "us", "asia"}[i%3]
		body := fmt.Sprint(i)
		_, err := p.Send(ctx, &client.Message{Topic: "orders", Body: []byte(body), Properties: map[string]string{"amount": fmt.Sprint(i % 8), "region": region}})
		require.NoError(t, err)
		if i%8 > 3 && region != "asia" {
			want[body] = true
		}
	}
	c.until("all of it is handled", func() bool {
		mu.Lock()
		defer mu.Unlock()
		for body := range want {
			if got[body] == 0 {
				return false
			}
		}
		return true
	})
	stop()
	require.NoError(t, <-ended)
	require.NotEmpty(t, failed)
	for body := range got {
		require.True(t, want[body], "%s is not wanted", body)
	}
	r, err := cl.NewReader("orders", client.FromFilter(client.SQL("amount = 7")))
	require.NoError(t, err)
	defer r.Close()
	var read []int
	for d, err := range r.UntilEnd(ctx) {
		require.NoError(t, err)
		i, _ := strconv.Atoi(string(d.Body))
		read = append(read, i%8)
	}
	require.NotEmpty(t, read)
	require.Equal(t, []int{7}, slices.Compact(read))
}
