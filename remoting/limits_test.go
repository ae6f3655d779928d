package remoting_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"net"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftmq/remoting"
)

// untilUsed waits until a budget has that many bytes taken.
func untilUsed(t *testing.T, b *remoting.Budget, want int64) {
	t.Helper()
	require.Eventually(t, func() bool { return b.Used() == want }, 30*time.Second, time.Millisecond, "%d bytes", want)
}

func rawDial(t *testing.T, addr string) net.Conn {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	t.Cleanup(func() { nc.Close() })
	return nc
}

func sized(code remoting.Code, bytes int) *remoting.Command {
	c := remoting.NewRequest(code, nil)
	c.Body = make([]byte, bytes)
	return c
}

// What breaks the format ends its own connection, and no other's.
func TestAFrameThatLiesEndsItsConnectionOnly(t *testing.T) {
	budget := remoting.NewBudget(64 << 20)
	addr := start(t, &remoting.Server{Handler: remoting.HandlerFunc(echo), Requests: budget})
	other := dial(t, addr, remoting.DialOptions{})
	word := func(total, serial, header uint32) []byte {
		return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, total), serial<<24|header)
	}
	lyingRemark := append(word(4+21, 1, 21), make([]byte, 21)...)
	binary.BigEndian.PutUint32(lyingRemark[8+13:], 1000)
	for name, b := range map[string][]byte{
		"above 16 MiB":                 word(16<<20+1, 0, 10),
		"length of all ones":           word(1<<32-1, 0, 10),
		"header longer than the frame": word(100, 0, 97),
		"no room for a header":         word(3, 0, 0),
		"header above its limit":       word(8<<20, 0, remoting.MaxHeader+1),
		"unknown serialisation":        word(100, 2, 10),
		"a header that is no JSON":     append(word(4+4, 0, 4), "oops"...),
		"an empty binary header":       word(4, 1, 0),
		"a remark longer than all":     lyingRemark,
		"a reply nobody asked for":     frame(0, `{"code":0,"flag":1,"opaque":9}`, ""), // dropped; the next ends it
	} {
		nc := rawDial(t, addr)
		nc.Write(b)
		nc.Write(word(1<<31, 9, 0))
		nc.SetReadDeadline(time.Now().Add(30 * time.Second))
		_, err := nc.Read(make([]byte, 1))
		require.Error(t, err, name)
		ne, _ := err.(net.Error)
		require.False(t, ne != nil && ne.Timeout(), "%s: still open", name)
		reply, err := other.Call(context.Background(), sized(remoting.GetMaxOffset, 10))
		require.NoError(t, err, name)
		require.Len(t, reply.Body, 10)
	}
	untilUsed(t, budget, 0)
}

// Peers together may have so many bytes in flight: what is beyond is refused, on
// whichever connection it comes, and small things go on while there is room.
func TestBytesInFlightOfAllPeersAreBounded(t *testing.T) {
	release := make(chan struct{})
	budget := remoting.NewBudget(1 << 20)
	addr := start(t, &remoting.Server{Requests: budget, Handler: remoting.HandlerFunc(func(_ context.Context, _ *remoting.ServerConn, req *remoting.Command) *remoting.Command {
		if req.Code == remoting.SendMessage {
			<-release
		}
		return req.Reply(remoting.OK, "")
	})})
	free := sync.OnceFunc(func() { close(release) })
	t.Cleanup(free) // before the server is closed, which waits
	done := make(chan remoting.Code, 3)
	for i := range 3 { // one after the other: frames on their way have half of the budget
		require.Eventually(t, func() bool { return budget.Used() >= int64(i*304<<10) }, 30*time.Second, time.Millisecond)
		c := dial(t, addr, remoting.DialOptions{})
		go func() {
			reply, err := c.Call(context.Background(), sized(remoting.SendMessage, 300<<10))
			if err != nil {
				t.Error(err)
				reply = new(remoting.Command)
			}
			done <- reply.Code
		}()
	}
	require.Eventually(t, func() bool { return budget.Used() > 900<<10 }, 30*time.Second, time.Millisecond)
	for _, serial := range []byte{remoting.JSON, remoting.Binary} {
		c := dial(t, addr, remoting.DialOptions{Serial: serial})
		for _, size := range []int{150 << 10, 300 << 10, 5 << 20} {
			reply, err := c.Call(context.Background(), sized(remoting.SendMessage, size))
			require.NoError(t, err)
			require.Equal(t, remoting.SystemBusy, reply.Code)
			require.True(t, strings.HasPrefix(reply.Remark, "[OVERLOAD]"), reply.Remark)
			require.Contains(t, reply.Remark, "certainly not stored")
			reply, err = c.Call(context.Background(), sized(remoting.Heartbeat, 1000))
			require.NoError(t, err)
			require.Equal(t, remoting.OK, reply.Code, "the stream goes on, and there is room for this")
			require.NoError(t, c.Send(context.Background(), sized(remoting.SendMessage, size))) // one-way: dropped
		}
	}
	free()
	for range 3 {
		require.Equal(t, remoting.OK, <-done)
	}
	untilUsed(t, budget, 0)
}

// What a peer would take for another answer it is not told: neither that there is no room for its request, nor that
// the handler failed.
func TestARefusalMayBeLeftUnsaid(t *testing.T) {
	budget := remoting.NewBudget(1 << 20)
	addr := start(t, &remoting.Server{
		Requests: budget, MaxInFlight: 1, // a request is read when the one before is done with
		Unsaid:  func(req *remoting.Command, _ remoting.Code) bool { return req.Code == remoting.ConsumerSendMessageBack },
		Handler: remoting.HandlerFunc(func(context.Context, *remoting.ServerConn, *remoting.Command) *remoting.Command { panic("boom") }),
	})
	nc := rawDial(t, addr)
	in := bufio.NewReader(nc)
	ask := func(want remoting.Code) {
		t.Helper()
		var frames []byte
		for i, code := range []remoting.Code{remoting.ConsumerSendMessageBack, remoting.Heartbeat} {
			req := remoting.NewRequest(code, nil)
			req.Opaque = int32(i)
			var err error
			frames, err = remoting.AppendCommand(frames, req)
			require.NoError(t, err)
		}
		_, err := nc.Write(frames)
		require.NoError(t, err)
		r, err := remoting.ReadCommand(in, 0)
		require.NoError(t, err)
		require.Equal(t, []any{int32(1), want}, []any{r.Opaque, r.Code}, "the first that is answered: %s", r.Remark)
	}
	require.True(t, budget.Take(1<<20))
	ask(remoting.SystemBusy)
	budget.Give(1 << 20)
	ask(remoting.SystemError)
	untilUsed(t, budget, 0)
}

// Frames that stop in the middle get half of it at most, and their connections end.
func TestFramesThatStopInTheMiddleLeaveRoomForOthers(t *testing.T) {
	budget := remoting.NewBudget(2 << 20)
	addr := start(t, &remoting.Server{Requests: budget, Handler: remoting.HandlerFunc(echo), FrameTimeout: time.Second})
	whole, err := remoting.AppendCommand(nil, sized(remoting.SendMessage, 15<<20))
	require.NoError(t, err)
	var stopped []net.Conn
	for range 20 {
		nc := rawDial(t, addr)
		nc.Write(whole[:600<<10])
		stopped = append(stopped, nc)
	}
	c := dial(t, addr, remoting.DialOptions{})
	for range 20 {
		reply, err := c.Call(context.Background(), sized(remoting.SendMessage, 200<<10))
		require.NoError(t, err)
		require.Equal(t, remoting.OK, reply.Code, reply.Remark)
		require.LessOrEqual(t, budget.Used(), int64(2<<20))
	}
	for _, nc := range stopped {
		nc.SetReadDeadline(time.Now().Add(30 * time.Second))
		_, err := nc.Read(make([]byte, 1))
		ne, _ := err.(net.Error)
		require.False(t, ne != nil && ne.Timeout(), "still open")
	}
	untilUsed(t, budget, 0)
}

// Long headers count like bodies: peers that stop behind one leave room for others, and
// hold no more than half of the budget, and a first step each.
func TestLongHeadersCount(t *testing.T) {
	budget := remoting.NewBudget(4 << 20)
	addr := start(t, &remoting.Server{Requests: budget, Handler: remoting.HandlerFunc(echo)})
	req := remoting.NewRequest(remoting.SendMessage, nil)
	req.SetExt("properties", strings.Repeat("x", 900<<10))
	req.Body = make([]byte, 1<<20)
	whole, err := remoting.AppendCommand(nil, req)
	require.NoError(t, err)
	var heap runtime.MemStats
	held := func() int64 {
		runtime.GC()
		runtime.ReadMemStats(&heap)
		return int64(heap.HeapAlloc)
	}
	before := held()
	const peers = 64
	for range peers {
		_, err := rawDial(t, addr).Write(whole[:950<<10])
		require.NoError(t, err)
	}
	c := dial(t, addr, remoting.DialOptions{})
	require.Eventually(t, func() bool { // until they have all stopped there may be no room for a moment
		for range 20 {
			reply, err := c.Call(context.Background(), sized(remoting.SendMessage, 200<<10))
			require.NoError(t, err)
			if reply.Code != remoting.OK {
				return false
			}
		}
		return true
	}, 30*time.Second, 10*time.Millisecond)
	require.Greater(t, budget.Used(), int64(900<<10))
	require.LessOrEqual(t, budget.Used(), int64(2<<20))
	require.Less(t, held()-before, int64(4<<20+peers*300<<10))
}

// Peers that ask and do not read are closed when all together have too much
// waiting; who reads is served throughout.
func TestPeersThatDoNotReadDoNotCostThoseWhoDo(t *testing.T) {
	budget := remoting.NewBudget(8 << 20)
	s := &remoting.Server{Queued: budget, Handler: remoting.HandlerFunc(func(_ context.Context, _ *remoting.ServerConn, req *remoting.Command) *remoting.Command {
		r := req.Reply(remoting.OK, "")
		r.Body = make([]byte, 512<<10)
		return r
	})}
	addr := start(t, s)
	ask, err := remoting.AppendCommand(nil, remoting.NewRequest(remoting.PullMessage, nil))
	require.NoError(t, err)
	c := dial(t, addr, remoting.DialOptions{})
	for range 8 {
		nc := rawDial(t, addr)
		nc.(*net.TCPConn).SetReadBuffer(4096)
		for range 60 { // 30 MiB of answers each, below what one may have alone
			nc.Write(ask)
		}
	}
	require.Eventually(t, func() bool { // the last of them that fit may stay
		reply, err := c.Call(context.Background(), remoting.NewRequest(remoting.PullMessage, nil))
		require.NoError(t, err)
		require.Len(t, reply.Body, 512<<10)
		return s.Conns() < 9 && budget.Used() <= 8<<20
	}, 30*time.Second, time.Millisecond)
}

// A request that is never answered gives back what it took when its connection
// ends, or when it is forgotten.
func TestWhatIsNotAnsweredGivesBackItsBytes(t *testing.T) {
	budget := remoting.NewBudget(1 << 20)
	addr := start(t, &remoting.Server{Requests: budget, Handler: remoting.HandlerFunc(func(_ context.Context, c *remoting.ServerConn, req *remoting.Command) *remoting.Command {
		switch req.Code {
		case remoting.SendMessage:
			c.Close()
		case remoting.SendMessageV2:
			c.Forget(req.Opaque)
		}
		return nil
	})})
	nc := rawDial(t, addr)
	for _, code := range []remoting.Code{remoting.SendMessageV2, remoting.PullMessage, remoting.SendMessage} {
		b, err := remoting.AppendCommand(nil, sized(code, 100<<10))
		require.NoError(t, err)
		nc.Write(b)
	}
	nc.SetReadDeadline(time.Now().Add(30 * time.Second))
	_, err := remoting.ReadCommand(bufio.NewReader(nc), 0)
	require.Error(t, err)
	untilUsed(t, budget, 0)
}

// Requests that have one opaque are let go of one by one, and the bytes of one that waits stay
// taken meanwhile.
func TestAnAnswerGivesBackNoOtherRequestsBytes(t *testing.T) {
	release := make(chan struct{})
	free := sync.OnceFunc(func() { close(release) })
	defer free()
	budget := remoting.NewBudget(8 << 20)
	addr := start(t, &remoting.Server{Requests: budget, Handler: remoting.HandlerFunc(func(_ context.Context, _ *remoting.ServerConn, req *remoting.Command) *remoting.Command {
		if req.Code == remoting.SendMessage {
			<-release
		}
		return req.Reply(remoting.OK, "")
	})})
	nc := rawDial(t, addr)
	in := bufio.NewReader(nc)
	long, err := remoting.AppendCommand(nil, sized(remoting.SendMessage, 2<<20))
	require.NoError(t, err)
	short, err := remoting.AppendCommand(nil, remoting.NewRequest(remoting.GetMaxOffset, nil))
	require.NoError(t, err)
	_, err = nc.Write(long)
	require.NoError(t, err)
	for range 20 {
		_, err = nc.Write(short)
		require.NoError(t, err)
		_, err = remoting.ReadCommand(in, 0)
		require.NoError(t, err)
		require.Greater(t, budget.Used(), int64(2<<20))
	}
	free()
	_, err = remoting.ReadCommand(in, 0)
	require.NoError(t, err)
	untilUsed(t, budget, 0)
}

// A request takes more memory than its frame has bytes: floods of short ones are
// bounded as well.
func TestShortRequestsCountForWhatTheyTake(t *testing.T) {
	release := make(chan struct{})
	budget := remoting.NewBudget(1 << 20)
	var running, most atomic.Int32
	addr := start(t, &remoting.Server{Requests: budget, Handler: remoting.HandlerFunc(func(_ context.Context, _ *remoting.ServerConn, req *remoting.Command) *remoting.Command {
		if req.Code == remoting.PullMessage {
			most.Store(max(most.Load(), running.Add(1)))
			<-release
			running.Add(-1)
		}
		return req.Reply(remoting.OK, "")
	})})
	ask, err := remoting.AppendCommand(nil, remoting.NewRequest(remoting.PullMessage, nil))
	require.NoError(t, err)
	const conns, each = 4, 500
	refused := make(chan int, conns)
	for range conns {
		nc := rawDial(t, addr)
		_, err := nc.Write(bytes.Repeat(ask, each))
		require.NoError(t, err)
		go func() {
			in, n := bufio.NewReader(nc), 0
			for range each {
				r, err := remoting.ReadCommand(in, 0)
				if err != nil {
					t.Error(err)
					break
				}
				if r.Code == remoting.SystemBusy {
					n++
				}
			}
			refused <- n
		}()
	}
	for deadline := time.Now().Add(30 * time.Second); running.Load() < 200 && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	time.Sleep(10 * time.Millisecond) // more would come now
	close(release)
	require.LessOrEqual(t, most.Load(), int32(256))
	total := 0
	for range conns {
		total += <-refused
	}
	require.Positive(t, total)
	untilUsed(t, budget, 0)
}

// A reply takes memory until it is written, and those to peers that do not read are
// bounded together, however many peers there are; who reads is served on.
func TestRepliesCountUntilTheyAreWritten(t *testing.T) {
	const most = 16 << 20
	budget := remoting.NewBudget(most)
	s := &remoting.Server{Queued: budget, Handler: remoting.HandlerFunc(func(_ context.Context, _ *remoting.ServerConn, req *remoting.Command) *remoting.Command {
		r := req.Reply(remoting.OK, "")
		r.Body = make([]byte, 4<<20)
		return r
	})}
	addr := start(t, s)
	ask, err := remoting.AppendCommand(nil, remoting.NewRequest(remoting.PullMessage, nil))
	require.NoError(t, err)
	var worst int64
	seen := func() { worst = max(worst, budget.Used()) }
	for range 40 { // 160 MiB, one reply each: none has another waiting
		nc := rawDial(t, addr)
		nc.(*net.TCPConn).SetReadBuffer(4096)
		nc.Write(ask)
		seen()
	}
	require.Eventually(t, func() bool { seen(); return budget.Used() > most/2 }, 30*time.Second, time.Millisecond, "it counts while it is being written")
	for deadline := time.Now().Add(12 * time.Second); budget.Full(); { // what makes large replies waits so
		require.True(t, time.Now().Before(deadline), "only the end of a write, after 15 s, makes room")
		seen()
		time.Sleep(time.Millisecond)
	}
	var reply *remoting.Command
	for deadline := time.Now().Add(12 * time.Second); reply == nil; time.Sleep(time.Millisecond) { // others' replies may fill it again
		require.True(t, time.Now().Before(deadline), "nobody is served")
		c := dial(t, addr, remoting.DialOptions{})
		reply, err = c.Call(context.Background(), remoting.NewRequest(remoting.PullMessage, nil))
		require.True(t, err == nil || errors.Is(err, remoting.ErrConnLost), err)
		seen()
	}
	require.Len(t, reply.Body, 4<<20)
	require.LessOrEqual(t, worst, int64(2*most))
}

// Servers that share a budget of connections have so many together.
func TestConnectionsOfAllListenersAreBounded(t *testing.T) {
	open := remoting.NewBudget(4)
	servers := []*remoting.Server{{Handler: remoting.HandlerFunc(echo), Open: open}, {Handler: remoting.HandlerFunc(echo), Open: open}}
	addrs := []string{start(t, servers[0]), start(t, servers[1])}
	var conns []net.Conn
	for i := range 4 {
		conns = append(conns, rawDial(t, addrs[i%2]))
	}
	untilUsed(t, open, 4)
	for i := range 10 { // closed at once
		nc := rawDial(t, addrs[i%2])
		nc.SetReadDeadline(time.Now().Add(30 * time.Second))
		_, err := nc.Read(make([]byte, 1))
		ne, _ := err.(net.Error)
		require.False(t, err == nil || ne != nil && ne.Timeout(), "still open")
		require.LessOrEqual(t, open.Used(), int64(4))
	}
	conns[0].Close()
	untilUsed(t, open, 3)
	c := dial(t, addrs[1], remoting.DialOptions{})
	_, err := c.Call(context.Background(), sized(remoting.GetMaxOffset, 10))
	require.NoError(t, err, "one that left made room")
	for _, nc := range conns[1:] {
		nc.Close()
	}
	c.Close()
	untilUsed(t, open, 0)
}
