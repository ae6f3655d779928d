package mqtest

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftmq/broker"
	"raftmq/client"
	"raftmq/internal/ports"
	"raftmq/internal/vfs"
)

// wipe empties the directory of node i, which is stopped.
func (c *Cluster) wipe(i int) {
	c.t.Helper()
	require.NoError(c.t, os.RemoveAll(c.dirs[i]))
	require.NoError(c.t, os.Mkdir(c.dirs[i], 0o750))
}

// lose gives node i, which is stopped, an empty directory, and returns the one it had.
func (c *Cluster) lose(i int) (old string) {
	c.t.Helper()
	old, c.dirs[i] = c.dirs[i], c.t.TempDir()
	return old
}

// says waits until node i is not ready and its reason has all the words.
func (c *Cluster) says(i int, words ...string) {
	c.t.Helper()
	var reason string
	lacks := func(w string) bool { return !strings.Contains(reason, w) }
	for deadline := time.After(ample); ; {
		if _, reason = c.Nodes[i].Ready(); !slices.ContainsFunc(words, lacks) {
			return
		}
		select {
		case <-time.After(5 * time.Millisecond):
		case err := <-c.Nodes[i].Failed():
			c.t.Fatalf("%s failed: %v", c.names[i], err)
		case <-deadline:
			c.t.Fatalf("%s does not say %q, but %s", c.names[i], words, reason)
		}
	}
}

// load sends until it is stopped, and remembers what was acknowledged.
type load struct {
	c     *Cluster
	p     *client.Producer
	stop  context.CancelFunc
	wg    sync.WaitGroup
	mu    sync.Mutex
	acked map[string]bool
}

func (c *Cluster) load(senders int) *load {
	c.t.Helper()
	p, err := c.Client().NewProducer("load", client.WithSendTimeout(ample))
	require.NoError(c.t, err)
	ctx, stop := context.WithCancel(context.Background())
	l := &load{c: c, p: p, stop: stop, acked: make(map[string]bool)}
	c.t.Cleanup(func() { stop(); l.wg.Wait() })
	for w := range senders {
		l.wg.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				l.send(ctx, l.p, fmt.Sprintf("%d-%d", w, n))
				select {
				case <-time.After(time.Millisecond):
				case <-ctx.Done():
				}
			}
		})
	}
	return l
}

func (l *load) send(ctx context.Context, p *client.Producer, body string) error {
	_, err := p.Send(ctx, &client.Message{Topic: "t", Body: []byte(body)})
	if err == nil {
		l.mu.Lock()
		l.acked[body] = true
		l.mu.Unlock()
	}
	return err
}

// serves requires that a message can be stored now.
func (l *load) serves(what string) {
	l.c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), whole)
	defer cancel()
	p, err := l.c.Client().NewProducer("one", client.WithSendTimeout(ample)) // nodes that came back have other addresses
	require.NoError(l.c.t, err)
	require.NoError(l.c.t, l.send(ctx, p, what), what)
}

// kept ends the load and requires that everything acknowledged is in the log, once,
// and that the replicas, which all run, are the same.
func (l *load) kept() {
	l.c.t.Helper()
	l.stop()
	l.wg.Wait()
	ctx, cancel := context.WithTimeout(context.Background(), whole)
	defer cancel()
	rd, err := l.c.Client().NewReader("t", client.FromPosition(client.Earliest()))
	require.NoError(l.c.t, err)
	defer rd.Close()
	seen := make(map[string]int)
	for m, err := range rd.UntilEnd(ctx) {
		require.NoError(l.c.t, err)
		seen[string(m.Body)]++
	}
	for body := range l.acked {
		require.Equal(l.c.t, 1, seen[body], body)
	}
	l.c.awaitSame(ctx, "t")
}

// A node that lost its folder, and whose settings name only itself among the initial nodes, founds no
// cluster of its own beside the one that join leads to: it is replaced.
func TestAWipedNodeThatNamesOnlyItselfFoundsNothing(t *testing.T) {
	t.Parallel()
	c := Start(t, 3, nil)
	l := c.load(2)
	l.serves("before")
	c.Stop(2)
	l.serves("without it")
	c.wipe(2)
	c.cfg = func(cfg *broker.Config) {
		if cfg.Node == "n3" {
			cfg.InitialNodes = []string{"n3"}
		}
	}
	c.Run(2)
	c.Await(2)
	l.serves("with it")
	l.kept()
	c.Stop(2)
	c.Run(2)
	c.Await(2)
}

// A node that names only itself and others to join begins when those have answered; it may be at one of
// the addresses itself.
func TestANodeAloneWaitsForWhomItIsToJoin(t *testing.T) {
	t.Parallel()
	first, err := ports.InARow(2)
	require.NoError(t, err)
	at := func(i int) string { return fmt.Sprint("127.0.0.1:", first+i) }
	run := func(name string, gossip int, join ...string) *broker.Broker {
		b, err := broker.Open(t.Context(), broker.Config{
			Cluster: fmt.Sprint("alone-", os.Getpid()), Node: name, Data: t.TempDir(), InitialNodes: []string{name}, Join: join,
			NameServer: -1, Listen: -1, Raft: -1, Gossip: gossip, HTTP: -1, WALSegmentBytes: 4 << 20, MaxBody: 64 << 10,
		}, broker.Deps{})
		require.NoError(t, err)
		t.Cleanup(func() {
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			defer cancel()
			b.Shutdown(ctx)
		})
		return b
	}
	says := func(b *broker.Broker, words string) {
		require.Eventually(t, func() bool {
			ok, reason := b.Ready()
			return words == "" && ok || words != "" && strings.Contains(reason, words)
		}, patience, 5*time.Millisecond)
	}
	b := run("n1", first, at(0), at(1))
	says(b, "the addresses of join has yet to answer")
	says(run("n2", first+1, at(1)), "")
	says(b, "") // n2 is another cluster, and does not know it
}

// ofCatalogue waits for the node that leads the catalogue.
func (c *Cluster) ofCatalogue() (at int) {
	c.t.Helper()
	c.untilIn(ample, "a leader of the catalogue", func() bool {
		for i, b := range c.Nodes {
			if b != nil && c.metric(i, "raftmq_catalogue_led") == 1 {
				at = i
				return true
			}
		}
		return false
	})
	return at
}

// A node that comes back with an empty directory votes under its old identity no
// more: it is replaced by its next incarnation, under load, and that one votes. With
// it and one other node the cluster goes on.
func TestAWipedNodeComesBack(t *testing.T) {
	t.Parallel()
	c := Start(t, 3, nil)
	l := c.load(4)
	l.serves("before")
	c.Stop(2)
	l.serves("without it")
	c.wipe(2)
	c.Run(2)
	c.Await(2)
	l.serves("with it")
	c.Stop(1)
	l.serves("it votes")
	c.Run(1)
	c.Await(1)
	c.Stop(2)
	c.Run(2) // as the incarnation that it was given
	c.Await(2)
	l.kept()
}

// A node that has not heard that another was replaced can hear it from that one only, if that leads
// the catalogue.
func TestAReplacedNodeTellsOfItself(t *testing.T) {
	t.Parallel()
	c := Start(t, 3, nil)
	c.load(0).serves("before")
	met := filepath.Join(c.dirs[1], "peers.json")
	before, err := os.ReadFile(met)
	require.NoError(t, err)
	c.Stop(2)
	c.wipe(2)
	c.Run(2)
	c.Await(2)
	for end := time.Now().Add(whole); ; {
		require.True(t, time.Now().Before(end), "never: it leads all the while")
		for c.ofCatalogue() != 2 { // which likely stands first, since it waits for the others
			c.Stop(0)
			c.Stop(1)
			c.Run(1)
			c.ofCatalogue()
			c.Run(0)
			c.Await(0)
			c.Await(1)
		}
		c.Stop(1)
		require.NoError(t, os.WriteFile(met, before, 0o640))
		c.Run(1)
		c.Await(1)
		if c.ofCatalogue() == 2 {
			return
		}
	}
}

// A node is lost again while it is being replaced, and once more later: each life
// is one of its own. What a new cluster would be made of it need not know.
func TestANodeIsWipedAgain(t *testing.T) {
	t.Parallel()
	c := Start(t, 3, nil)
	c.cfg = func(cfg *broker.Config) { cfg.InitialNodes = nil }
	l := c.load(2)
	l.serves("before")
	for range 2 {
		c.Stop(1)
		c.wipe(1)
		c.Run(1)
		c.says(1, "this node")
		c.Stop(1)
		c.wipe(1)
		c.Run(1)
		c.Await(1)
	}
	c.Stop(0)
	l.serves("it votes")
	c.Run(0)
	c.Await(0)
	l.kept()
}

// While one node is down, another that was wiped is not replaced: the rest is no
// majority. It says so, and is replaced when the other is back.
func TestAWipedNodeWaitsForAMajority(t *testing.T) {
	t.Parallel()
	c := Start(t, 3, nil)
	l := c.load(0)
	l.serves("before")
	c.Stop(1)
	c.Stop(2)
	c.wipe(2)
	c.Run(2)
	c.says(2, "waits to be replaced", "n2 must be there")
	c.Run(1)
	c.Await(1)
	c.Await(2)
	c.Stop(0)
	l.serves("it votes")
	c.Run(0)
	c.Await(0)
	l.kept()
}

// The catalogue has a majority of five without two nodes, but a partition that lies
// on both has not: the wiped one is not replaced, since its folder could still help.
func TestAWipedNodeWaitsForAPartition(t *testing.T) {
	t.Parallel()
	c := Start(t, 5, nil)
	l := c.load(0)
	l.serves("before")
	c.Stop(1)
	c.Stop(2)
	c.wipe(1)
	c.Run(1)
	c.says(1, "waits to be replaced", "of t has no majority without node n2: n3 must be there")
	c.Run(2)
	for i := range 5 {
		c.Await(i)
	}
	c.Stop(0)
	l.serves("it votes")
	c.Run(0)
	c.Await(0)
}

// Two nodes of three with empty directories are a majority of the initial nodes.
// They found no other cluster, neither while the third is away nor when it is back,
// and say what to do; with one directory restored all comes back.
func TestTwoWipedNodesWaitForAFolder(t *testing.T) {
	t.Parallel()
	for _, third := range []string{"away", "there", "mute"} {
		t.Run(third, func(t *testing.T) {
			c := Start(t, 3, nil)
			l := c.load(0)
			l.serves("before")
			for i := range 3 {
				c.Stop(i)
			}
			c.joins = nil
			old := c.lose(1)
			c.lose(2)
			if third != "away" {
				c.Run(0)
			}
			if third == "mute" { // it is heard by the others, and cannot tell them that it does not know them
				c.muteNode("n1")
			}
			for i := 1; i < 3; i++ {
				c.Run(i)
			}
			if third == "mute" {
				for i := 1; i < 3; i++ {
					c.until("they have let it in", func() bool {
						b, _ := os.ReadFile(c.dirs[i] + "/peers.json")
						return strings.Contains(string(b), `"n1"`)
					})
					c.says(i, "waiting for n1:")
				}
				c.muteNode("")
			}
			if third == "away" {
				for i := 1; i < 3; i++ { // they have met each other
					c.says(i, "waiting for n1:")
				}
				c.Run(0)
			}
			c.says(1, "waits to be replaced", "n3 lost the data folder too", "restore the folder")
			c.says(2, "waits to be replaced", "n2 lost the data folder too", "restore the folder")
			ok, _ := c.Nodes[0].Ready()
			require.False(t, ok)
			for i := 1; i < 3; i++ {
				require.NoDirExists(t, c.dirs[i]+"/catalogue", "%s took part in founding another cluster", c.names[i])
			}
			c.Stop(1)
			c.dirs[1] = old
			c.Run(1)
			for i := range 3 {
				c.Await(i)
			}
			l.serves("after")
			l.kept()
		})
	}
}

// The folder of an incarnation that was replaced is let in by nobody, and its node
// ends with the reason; the folder that replaced it still is the node's.
func TestAReplacedFolderIsRefused(t *testing.T) {
	t.Parallel()
	c := Start(t, 3, nil)
	l := c.load(1)
	l.serves("before")
	c.Stop(2)
	old := c.lose(2)
	c.Run(2)
	c.Await(2)
	c.Stop(2)
	present := c.dirs[2]
	c.dirs[2] = old
	c.Run(2)
	select {
	case err := <-c.Nodes[2].Failed():
		require.ErrorContains(t, err, "its data folder was replaced")
		require.ErrorContains(t, err, "is of incarnation 1, which has no vote any more")
	case <-time.After(ample):
		_, reason := c.Nodes[2].Ready()
		t.Fatal("the old folder is let in: ", reason)
	}
	l.serves("without it")
	c.Stop(2)
	c.dirs[2] = present
	c.Run(2)
	c.Await(2)
	l.kept()
}

// The leader of the catalogue dies while it replaces a node, at whatever step; so
// does the node itself. Whoever leads then goes on.
func TestTheLeaderDiesWhileItReplaces(t *testing.T) {
	t.Parallel()
	for step, done := range map[string]func(c *Cluster, reason string) bool{
		"asked":     func(*Cluster, string) bool { return true },
		"granted":   func(c *Cluster, reason string) bool { return !strings.Contains(reason, "waits to be replaced") },
		"catalogue": func(c *Cluster, reason string) bool { return strings.Contains(reason, " of 3 partitions") },
	} {
		t.Run(step, func(t *testing.T) {
			c := Start(t, 3, nil)
			l := c.load(2)
			l.serves("before")
			c.Stop(2)
			c.wipe(2)
			c.Run(2)
			c.until(step, func() bool {
				ready, reason := c.Nodes[2].Ready()
				return ready || done(c, reason)
			})
			leader := c.ofCatalogue()
			c.Stop(leader)
			c.Stop(2)
			c.Run(leader)
			c.Run(2)
			for i := range 3 {
				c.Await(i)
			}
			c.Stop(1 - leader)
			l.serves("it votes")
			c.Run(1 - leader)
			c.Await(1 - leader)
			l.kept()
		})
	}
}

// The node ended before what it was given was durable: it is given the same.
func TestTheAnswerIsGivenAgain(t *testing.T) {
	t.Parallel()
	c := Start(t, 3, nil)
	l := c.load(1)
	l.serves("before")
	c.Stop(2)
	c.wipe(2)
	c.Run(2)
	c.until("it is replaced", func() bool {
		ok, reason := c.Nodes[2].Ready()
		return ok || strings.Contains(reason, "caught up")
	})
	c.Stop(2)
	name := c.dirs[2] + "/node.json"
	b, err := os.ReadFile(name)
	require.NoError(t, err)
	require.Contains(t, string(b), `"incarnation":2`)
	c.wipe(2)
	before := strings.NewReplacer(`"incarnation":2`, `"incarnation":1`, `"member":true`, `"member":false`, `"version":3`, `"version":2`).Replace(string(b))
	before, _, _ = strings.Cut(before, `,"crc32c"`) // of a version that had no checksum
	before += "}"
	require.NoError(t, os.WriteFile(name, []byte(before), 0o640))
	c.Run(2)
	c.Await(2)
	again, err := os.ReadFile(name)
	require.NoError(t, err)
	require.Equal(t, string(b), string(again))
	l.kept()
}

// Whoever speaks under a name that is none of the cluster's is refused, and nobody
// notes it; nor is it given a life.
func TestStrangersLeaveNoTrace(t *testing.T) {
	t.Parallel()
	c := Start(t, 3, nil)
	cfg := broker.Config{
		Cluster: c.Name, Node: "n9", Data: t.TempDir(), InitialNodes: []string{"n1", "n9"}, Join: c.joins,
		NameServer: -1, Listen: -1, Raft: -1, Gossip: -1, HTTP: -1, WALSegmentBytes: 4 << 20, MaxBody: 512 << 10, SegmentBytes: 8 << 20,
	}
	refused := make(chan string, 1)
	b, err := broker.Open(t.Context(), cfg, broker.Deps{Dial: func(ctx context.Context, addr string) (net.Conn, error) {
		nc, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
		return tapped{nc, refused}, err
	}})
	require.NoError(t, err)
	defer func() { require.NoError(t, b.Shutdown(context.Background())) }()
	select {
	case answer := <-refused:
		require.Contains(t, answer, `node "n9" is no member of this cluster`)
	case <-time.After(ample):
		t.Fatal("n9 is not answered")
	}
	_, reason := b.Ready()
	require.Contains(t, reason, "initial-nodes is n1,n9 here and n1,n2,n3 on n")
	require.Contains(t, reason, "waiting for n1")
	for i := range 3 {
		peers, err := os.ReadFile(c.dirs[i] + "/peers.json")
		require.NoError(t, err)
		require.NotContains(t, string(peers), "n9")
		c.Await(i)
	}
}

// tapped tells the first bytes that are read.
type tapped struct {
	net.Conn
	read chan string
}

func (c tapped) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 12 { // beyond the head
		select {
		case c.read <- string(p[:n]):
		default:
		}
	}
	return n, err
}

// A node has no room to note that another was replaced: it goes on, and lets that one in when it has.
func TestANodeWithoutRoomHearsOfAnothersNextLife(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(context.Background(), whole)
	defer cancel()
	c, mems := onMems(t, 3, nil)
	full := (c.ofCatalogue() + 1) % 3
	wiped := (full + 1) % 3
	c.Stop(wiped)
	c.wipe(wiped)
	c.Disks[wiped] = vfs.NewMem(9)
	lacks := vfs.Fault{Ops: []vfs.OpKind{vfs.OpCreate}, Name: "peers.json.tmp", Err: vfs.ErrNoSpace}
	lacks.Skip = 8
	often := mems[full].Inject(lacks)
	lacks.Skip = 0
	in := mems[full].Inject(lacks)
	c.Run(wiped)
	select {
	case <-often.Struck():
	case err := <-c.Nodes[full].Failed():
		t.Fatalf("%s failed: %v", c.names[full], err)
	case <-ctx.Done():
		t.Fatal("never: it tries to note it again and again")
	}
	in.Release()
	often.Release()
	c.Await(wiped)
	c.Await(full)
	c.sound()
}
