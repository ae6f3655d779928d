package mqtest

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftmq/client"
	"raftmq/remoting"
)

// Lists of what waits for its time, and of transactions without a decision, begin with the first of all partitions
// together, also where they are cut.
func TestListsBeginWithTheFirstOfAllPartitions(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(context.Background(), whole)
	defer cancel()
	c := Start(t, 1, nil)
	cl := c.Client()
	a := cl.Admin()
	require.NoError(t, a.CreateTopic(ctx, client.TopicConfig{Name: "t", Partitions: 3, Queues: 1}))
	p, err := cl.NewProducer("p", client.WithSendTimeout(ample))
	require.NoError(t, err)
	for i := range 9 {
		_, err := p.SendTo(ctx, i%3, &client.Message{Topic: "t", Body: []byte("later"), Delay: time.Duration(9-i) * time.Hour})
		require.NoError(t, err)
	}
	timers, err := a.Timers(ctx, "t", 0)
	require.NoError(t, err)
	require.Len(t, timers, 9)
	require.True(t, slices.IsSortedFunc(timers, func(x, y client.TimerInfo) int { return x.Due.Compare(y.Due) }))
	some, err := a.Timers(ctx, "t", 4)
	require.NoError(t, err)
	require.Equal(t, timers[:4], some)

	undecided := func(context.Context, client.Transaction) client.Verdict { return client.Undecided }
	tp, err := cl.NewTransactionProducer("shop", undecided)
	require.NoError(t, err)
	for i := range 12 {
		_, err := tp.Send(ctx, &client.Message{Topic: "t", Body: fmt.Append(nil, i)}, func(context.Context, client.Transaction) (client.Verdict, error) { return client.Undecided, nil })
		require.NoError(t, err)
	}
	open, err := a.Transactions(ctx, "t", false, 0)
	require.NoError(t, err)
	require.Len(t, open, 12)
	require.True(t, slices.IsSortedFunc(open, func(x, y client.TransactionInfo) int { return x.Prepared.Compare(y.Prepared) }))
	few, err := a.Transactions(ctx, "t", false, 4)
	require.NoError(t, err)
	require.Len(t, few, 4)
	for i, x := range few {
		require.Equal(t, open[i].Name, x.Name)
	}
	_, err = a.Transactions(ctx, "t", false, remoting.MaxTransactions+1)
	require.ErrorIs(t, err, client.ErrInvalid)
}

// Who asks what became of a message is told what was not looked at.
func TestWhatWasNotLookedAtIsTold(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(context.Background(), whole)
	defer cancel()
	c := Start(t, 1, nil)
	cl := c.Client()
	a := cl.Admin()
	require.NoError(t, a.CreateTopic(ctx, client.TopicConfig{Name: "t", Partitions: 1, Queues: 1}))
	p, err := cl.NewProducer("p", client.WithSendTimeout(ample))
	require.NoError(t, err)
	send := func(n int) {
		for range n {
			_, err := p.Send(ctx, &client.Message{Topic: "t", Keys: []string{"many"}, Body: []byte("x")})
			require.NoError(t, err)
		}
	}
	send(32)
	life, err := a.Explain(ctx, "t", "many")
	require.NoError(t, err)
	require.Len(t, life.Steps, 32)
	require.False(t, life.Looked[0].UnseenRecords)
	send(1)
	life, err = a.Explain(ctx, "t", "many")
	require.NoError(t, err)
	require.Len(t, life.Steps, 32)
	require.True(t, life.Looked[0].UnseenRecords)
	require.Zero(t, life.Looked[0].UnseenGroups)

	h := remoting.HeartbeatData{ClientID: "c"}
	for i := range 257 {
		h.ConsumerDataSet = append(h.ConsumerDataSet, remoting.ConsumerData{GroupName: fmt.Sprintf("g%d", i), MessageModel: remoting.Clustering, ConsumeType: remoting.ConsumePassively,
			SubscriptionDataSet: []remoting.SubscriptionData{{Topic: "t", SubString: "*", ExpressionType: "TAG", SubVersion: 1}}})
	}
	w := DialWire(t, c.listener(0, 0), remoting.JSON)
	c.untilIn(ample, "all groups are known", func() bool {
		w.ask(remoting.Heartbeat, nil, remoting.EncodeBody(h))
		life, err := a.Explain(ctx, "t", "many")
		return err == nil && life.Looked[0].UnseenGroups == 1
	})
}
