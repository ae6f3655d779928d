package cluster

import (
	"context"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The test program is also the node: it answers /readyz, and ends as it is told.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "server" {
		os.Exit(toy(os.Args[2:]))
	}
	os.Exit(m.Run())
}

func toy(args []string) int {
	flags := make(map[string]string)
	for i := 0; i+1 < len(args); i += 2 {
		flags[args[i]] = args[i+1]
	}
	if flags["--ends"] != "" {
		os.Stderr.WriteString("cannot go on\n")
		return 7
	}
	l, err := net.Listen("tcp", "127.0.0.1:"+flags["--http-port"])
	if err != nil {
		return 1
	}
	go http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/end" {
			os.Exit(9)
		}
	}))
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	<-stop
	return 0
}

func start(t *testing.T, o Options) *Cluster {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	o.Program, o.Dir, o.Nodes, o.Slots = self, t.TempDir(), 2, 2
	c, err := Start(t.Context(), o)
	require.NoError(t, err)
	return c
}

func TestAKillIsSeen(t *testing.T) {
	c := start(t, Options{OnExit: func(node, how string) { t.Errorf("%s ended by itself: %s", node, how) }})
	n := c.Nodes[0]
	was := n.PID()
	pid, err := n.Kill()
	require.NoError(t, err)
	require.Equal(t, was, pid)
	require.ErrorIs(t, syscall.Kill(pid, 0), syscall.ESRCH)
	require.False(t, n.Running())
	_, err = n.Kill()
	require.Error(t, err, "what does not run cannot be killed")
	_, err = n.Pause()
	require.Error(t, err)
	require.NoError(t, n.Start())
	require.Error(t, n.Start(), "it runs already")
	require.NoError(t, n.AwaitReady(t.Context()))
	require.NotEqual(t, pid, n.PID())
	require.NoError(t, c.Stop())
}

func TestAPauseIsSeen(t *testing.T) {
	c := start(t, Options{})
	n := c.Nodes[1]
	pid, err := n.Pause()
	require.NoError(t, err)
	is, err := paused(pid)
	require.NoError(t, err)
	require.True(t, is)
	_, err = n.get(context.Background(), "/readyz")
	require.Error(t, err, "it answers nothing")
	_, err = n.Resume()
	require.NoError(t, err)
	require.NoError(t, n.AwaitReady(t.Context()))
	_, err = n.Pause()
	require.NoError(t, err)
	require.NoError(t, c.Stop(), "a paused node is stopped cleanly too")
}

func TestANodeThatEndsByItselfIsTold(t *testing.T) {
	told := make(chan string, 1)
	c := start(t, Options{OnExit: func(node, how string) {
		told <- node + " " + how
		time.Sleep(50 * time.Millisecond) // so that Stop finds the node ended and not yet seen to be
	}})
	http.Get("http://" + c.Nodes[1].http + "/end")
	select {
	case how := <-told:
		require.Contains(t, how, "n2 exit status 9")
	case <-time.After(time.Minute):
		require.FailNow(t, "nobody was told")
	}
	require.NoError(t, c.Stop())
}

// Whoever let a node end by itself can have it told how that ended.
func TestAnEndThatWasAllowedCanBeTold(t *testing.T) {
	told := make(chan string, 1)
	c := start(t, Options{OnExit: func(node, how string) { told <- node + " " + how }})
	c.Nodes[1].MayEnd(true)
	c.Nodes[1].TellEnd() // it runs
	http.Get("http://" + c.Nodes[1].http + "/end")
	_, err := c.Nodes[1].AwaitEnd(t.Context(), time.Minute)
	require.NoError(t, err)
	for range 50 {
		code, err := c.Nodes[1].AwaitEnd(t.Context(), 0)
		require.NoError(t, err, "it has ended")
		require.Equal(t, 9, code)
	}
	_, err = c.Nodes[0].AwaitEnd(t.Context(), 0)
	require.ErrorContains(t, err, "still runs")
	require.Empty(t, told)
	c.Nodes[1].TellEnd()
	require.Contains(t, <-told, "n2 exit status 9")
	require.NoError(t, c.Stop())
}

func TestANodeThatCannotStartIsAnError(t *testing.T) {
	self, err := os.Executable()
	require.NoError(t, err)
	_, err = Start(t.Context(), Options{Program: self, Dir: t.TempDir(), Nodes: 1, Slots: 1, Args: []string{"--ends", "1"}})
	require.ErrorContains(t, err, "cannot go on")
}

func TestOnlyConnectsToOneNode(t *testing.T) {
	c := start(t, Options{})
	defer c.Stop()
	ln, err := net.Listen("tcp", c.Nodes[1].Listeners[1])
	require.NoError(t, err)
	defer ln.Close()
	dial := c.Only(c.Nodes[1])
	conn, err := dial(t.Context(), "tcp", c.Nodes[0].Listeners[1])
	require.NoError(t, err)
	require.Equal(t, c.Nodes[1].Listeners[1], conn.RemoteAddr().String())
	conn.Close()
	_, err = dial(t.Context(), "tcp", "127.0.0.1:1")
	require.ErrorContains(t, err, "no address of the cluster")
}
