package broker

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftmq/fsm"
	"raftmq/internal/vfs"
	"raftmq/message"
	"raftmq/raftlog"
	"raftmq/remoting"
)

// lone is a cluster of one node, on a disk in memory, with a topic "t".
type lone struct {
	*Broker
	t    *testing.T
	conf Config
	mem  *vfs.Mem
	part uint64 // the topic's
}

func newLone(t *testing.T) *lone {
	t.Helper()
	l := &lone{t: t, mem: vfs.NewMem(1), conf: Config{
		Node: "n1", Data: t.TempDir(), InitialNodes: []string{"n1"}, NameServer: -1, Listen: -1, Raft: -1, Gossip: -1, HTTP: -1, Slots: 1, DefaultQueues: 1,
		WALSegmentBytes: 4 << 20, MaxBody: 64 << 10, SegmentBytes: 64 << 10, Heartbeat: 500 * time.Millisecond, ScrubRate: -1, DigestInterval: -1,
	}}
	l.run()
	t.Cleanup(l.stop)
	eventually(t, func() bool { ok, _ := l.Ready(); return ok })
	eventually(t, func() bool {
		return l.autoCreate(t.Context(), &request{Command: remoting.NewRequest(remoting.SendMessage, nil)}, "t") == nil
	})
	topic, ok := l.catalogue.Topic("t")
	require.True(t, ok)
	l.part = topic.Partitions[0].ID
	return l
}

func (l *lone) run() {
	l.t.Helper()
	b, err := Open(context.Background(), l.conf, Deps{Disk: l.mem})
	require.NoError(l.t, err)
	l.Broker = b
}

func (l *lone) stop() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	l.Shutdown(ctx)
}

// leader is the partition, once it is led.
func (l *lone) leader() (p *partition) {
	l.t.Helper()
	eventually(l.t, func() bool {
		var ok bool
		p, ok = l.partition(l.part)
		return ok && p.leads()
	})
	return p
}

func (l *lone) store(n int) {
	l.t.Helper()
	for range n {
		rec, err := (&message.Message{Topic: "t", Body: make([]byte, 4000)}).AppendRecord(nil)
		require.NoError(l.t, err)
		res, err := l.leader().append.append(l.t.Context(), fsm.Item{Queue: message.Queue{Topic: "t"}, Records: rec, Count: 1})
		require.NoError(l.t, err)
		require.Equal(l.t, fsm.Stored, res.Status)
	}
}

// runs finds that nothing has told the node to end.
func (l *lone) runs() {
	l.t.Helper()
	select {
	case err := <-l.Failed():
		l.t.Fatal("the node ends: ", err)
	default:
	}
}

// meetDamage has the partition's replica meet damage, once, as it applies a trim, and returns it.
func (l *lone) meetDamage() *partition {
	l.t.Helper()
	p := l.leader()
	segments := p.store().Segments()
	require.Greater(l.t, len(segments), 2)
	for _, name := range []string{"*.floor", "*.q"} {
		l.mem.Inject(vfs.Fault{Ops: []vfs.OpKind{vfs.OpRead}, Name: name, Times: 1})
	}
	_, err := p.propose(l.t.Context(), fsm.EncodeTrim(nil, l.atMs(), segments[2].Position))
	require.ErrorIs(l.t, err, raftlog.ErrUnknownOutcome)
	return p
}
