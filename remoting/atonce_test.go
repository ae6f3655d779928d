package remoting_test

import (
	"context"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"raftmq/remoting"
)

// heap is what is alive, after a collection.
func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// An answer that is written at once gives back what it took, and no more: else the bound would rise
// with each.
func TestAnAnswerThatIsWrittenAtOnceGivesBackWhatItTook(t *testing.T) {
	budget := remoting.NewBudget(64 << 20)
	addr := start(t, &remoting.Server{Queued: budget, Handler: remoting.HandlerFunc(func(_ context.Context, _ *remoting.ServerConn, req *remoting.Command) *remoting.Command {
		r := req.Reply(remoting.OK, "")
		r.Body = make([]byte, 12<<10)
		return r
	})})
	c := dial(t, addr, remoting.DialOptions{})
	for range 20 {
		heap()
		heap() // no buffer that has grown is used again
		reply, err := c.Call(context.Background(), remoting.NewRequest(remoting.PullMessage, nil))
		require.NoError(t, err)
		require.Len(t, reply.Body, 12<<10)
	}
	untilUsed(t, budget, 0)
}
