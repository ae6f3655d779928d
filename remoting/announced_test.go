package remoting_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"raftmq/remoting"
)

// A body that is announced and does not come costs little, however many peers announce one.
func TestBodiesThatDoNotComeCostLittle(t *testing.T) {
	addr := start(t, &remoting.Server{Requests: remoting.NewBudget(16 << 20), Handler: remoting.HandlerFunc(echo)})
	whole, err := remoting.AppendCommand(nil, sized(remoting.SendMessage, 1<<20))
	require.NoError(t, err)
	before := heap()
	const peers = 400
	for range peers {
		_, err := rawDial(t, addr).Write(whole[:200])
		require.NoError(t, err)
	}
	c := dial(t, addr, remoting.DialOptions{})
	worst := int64(0)
	for range 30 {
		reply, err := c.Call(context.Background(), sized(remoting.SendMessage, 200<<10))
		require.NoError(t, err)
		require.Equal(t, remoting.OK, reply.Code, reply.Remark)
		worst = max(worst, heap()-before)
	}
	require.Less(t, worst, int64(4<<20+peers*64<<10))
}
