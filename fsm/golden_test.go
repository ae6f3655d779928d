package fsm

import (
	"bytes"
	"encoding/hex"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"testing"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"

	"raftmq/message"
	"raftmq/store"
)

// commands is one of each command, by name.
func commands() map[string][]byte {
	q := message.Queue{Topic: "topic", ID: 3}
	rec, err := (&message.Message{Topic: "topic", QueueID: 3, Body: []byte("body")}).AppendRecord(nil)
	if err != nil {
		panic(err)
	}
	retry, err := (&message.Message{Topic: "%RETRY%g", QueueID: 3, Body: []byte("body")}).AppendRecord(nil)
	if err != nil {
		panic(err)
	}
	p := producer(0x0102030405060708, 9, 10)
	ts := TopicSpec{Name: "t", ReadQueues: 1, WriteQueues: 2, Perm: 6, Order: true, SysFlag: 4, Attributes: map[string]string{"b": "2", "a": "1"}, Slots: []int{0, 2}}
	return map[string][]byte{
		"append-1":        EncodeAppend(nil, 1, []Item{{Queue: q, Records: rec, Count: 1}, {Queue: q, Producer: p, Records: append(rec[:len(rec):len(rec)], rec...), Count: 2}, {Queue: q, Producer: ordered(p), Records: rec, Count: 1}}),
		"commit-1":        EncodeCommit(nil, 2, []CommitOffset{{Group: "g", Queue: q, Offset: 4, Owner: "me", Epoch: 5}, {Group: "h", Queue: q}}),
		"reset-1":         EncodeReset(nil, 3, "g", q, 6),
		"reset-told-1":    EncodeResetTold(nil, 4, "g", q, 6),
		"lock-1":          EncodeLock(nil, 5, "g", "me", []message.Queue{q, {Topic: "u"}}, 60_000),
		"unlock-1":        EncodeUnlock(nil, 6, "g", "me", []message.Queue{q}),
		"trim-1":          EncodeTrim(nil, 7, 1<<40),
		"digest-1":        EncodeDigest(nil, 8),
		"drop-group-1":    EncodeDropGroup(nil, 9, "g"),
		"delay-1":         EncodeDelay(nil, 10, []Delayed{{Item{Queue: q, Records: rec, Count: 1}, 1 << 40}, {Item{Queue: q, Producer: p, Records: rec, Count: 1}, 9}}),
		"fire-1":          EncodeFire(nil, 11, store.TimerKey{DueMs: 1, ID: 2}, []Due{{store.TimerKey{DueMs: 3, ID: 4}, rec}}),
		"keep-1":          EncodeKeep(nil, 12, 5, []Due{{store.TimerKey{DueMs: 1 << 41, ID: 4}, rec}}),
		"recall-1":        EncodeRecall(nil, 13, []store.TimerKey{{DueMs: 1 << 41, ID: 4}}),
		"unearth-1":       EncodeUnearth(nil, 18, "g", message.Queue{Topic: "%DLQ%g", ID: 3}, []Unearth{{5, 6, rec}, {From: 7, To: 9}}),
		"put-back-1":      EncodePutBacks(nil, 19, []PutBack{{Group: "g", Source: 1 << 40, Delivery: 7, DueMs: 1 << 41, Record: retry}, {Group: "g", Source: 5, Record: retry}}),
		"tick-1":          EncodeTick(nil, 14),
		"half-1":          EncodeHalves(nil, 10, []Half{{Group: "g", CheckAfter: 6000, Record: rec}, {Producer: p, Group: "g", Record: rec}}),
		"decide-1":        EncodeDecides(nil, 11, []Decide{{Position: 1 << 40, Verdict: Commit, By: ByProducer, Group: "g", Record: rec}, {Position: 7, Verdict: Rollback, By: ByOperator}}),
		"check-1":         EncodeChecks(nil, 12, 30_000, 15, []Check{{1 << 40, 3}, {7, 0}}),
		"carry-1":         EncodeCarry(nil, 13, []Carry{{1 << 40, rec}}),
		"bootstrap-1":     EncodeBootstrap(nil, "c", []Slot{{ID: 0, Replicas: []string{"n1", "n2"}}}, []Node{{"n1", 1}, {"n2", 1}}),
		"create-topic-1":  EncodeCreateTopic(nil, ts),
		"update-topic-1":  EncodeUpdateTopic(nil, ts),
		"delete-topic-1":  EncodeDeleteTopic(nil, "t"),
		"put-group-1":     EncodePutGroup(nil, NewGroup("g")),
		"delete-group-1":  EncodeDeleteGroup(nil, "g"),
		"subscribe-1":     EncodeSubscribe(nil, "g", []string{"t", "u"}),
		"put-kv-1":        EncodePutKV(nil, "n", "k", "v"),
		"delete-kv-1":     EncodeDeleteKV(nil, "n", "k"),
		"put-node-1":      EncodePutNode(nil, Node{"n1", 2}),
		"put-slot-1":      EncodePutSlot(nil, Slot{ID: 1, Replicas: []string{"n2"}, Version: 3}),
		"feature-level-1": EncodeFeatureLevel(nil, 2),
	}
}

// states are one state of each machine that has something of everything.
func states(t testing.TB) map[string][]byte {
	r := newReplica(t)
	q := queue(0)
	r.send(1000, item(t, q, 3, producer(1, 2, 0)))
	r.send(1001, item(t, q, 1, Producer{}))
	r.send(1002, item(t, q, 1, producer(1, 2, 5)))
	r.send(1003, item(t, q, 1, producer(2, 0, 0)))
	r.do(EncodeCommit(nil, 1004, []CommitOffset{{Group: "g", Queue: q, Offset: 2}, {Group: "a", Queue: q, Offset: 3}}))
	r.do(EncodeReset(nil, 1005, "g", q, 1))
	r.do(EncodeLock(nil, 1006, "g", "me", []message.Queue{q}, 60_000))
	partition, _ := r.Checkpoint()
	rec := records(t, q, 1, 10)
	var at []store.Position
	for _, x := range r.do(EncodeHalves(nil, 1007, []Half{{Group: "g", CheckAfter: 6000, Record: rec}, {Group: "h", Record: rec}, {Producer: producer(3, 1, 0), Group: "g", Record: rec}, {Group: "g", Record: rec}})).(HalvesResult).Items {
		at = append(at, x.Position)
	}
	r.do(EncodeDecides(nil, 1008, []Decide{{at[0], Commit, ByProducer, "g", rec}, {at[3], Rollback, ByCheck, "g", nil}}))
	r.do(EncodeChecks(nil, 1009, 30_000, 0, []Check{{at[1], 0}}))
	r.do(EncodeCarry(nil, 1010, []Carry{{at[2], rec}}))
	sections, _ := r.Checkpoint()

	c, err := OpenCatalogue(nil)
	require.NoError(t, err)
	all := commands()
	for i, name := range []string{"bootstrap-1", "put-node-1", "subscribe-1", "put-kv-1", "feature-level-1"} {
		_, err := c.Apply([]*raft.Log{entryAt(uint64(i+1), raft.LogCommand, all[name])})
		require.NoError(t, err)
	}
	_, err = c.Apply([]*raft.Log{entryAt(6, raft.LogCommand, EncodeCreateTopic(nil, TopicSpec{Name: "t", ReadQueues: 1, WriteQueues: 1, Perm: 6}))})
	require.NoError(t, err)
	_, err = c.Apply([]*raft.Log{entryAt(7, raft.LogCommand, all["subscribe-1"])})
	require.NoError(t, err)
	catalogue, _ := c.Checkpoint()
	return map[string][]byte{"state-partition-1": partition, "state-partition-2": sections, "state-partition-2-timers": timerState(t), "state-partition-2-put-backs": putBackState(t), "state-catalogue-1": catalogue}
}

// timerState is a state that has sections.
func timerState(t testing.TB) []byte {
	r := newReplica(t)
	res := r.do(EncodeDelay(nil, 1000, []Delayed{{item(t, queue(0), 1, Producer{}), 1500}, {item(t, queue(0), 1, Producer{}), 2500}})).(DelayResult)
	require.True(t, res.Items[1].Waits)
	h := &history{t: t, replica: r}
	require.True(t, r.do(EncodeFire(nil, 2000, store.TimerKey{}, h.waiting(store.TimerKey{}, 2000, 9))).(FireResult).Done)
	require.Equal(t, []bool{true}, r.do(EncodeRecall(nil, 2001, []store.TimerKey{h.waiting(store.TimerKey{}, 2500, 9)[1].Key})).(RecallResult).Items)
	r.send(2002, item(t, message.Queue{Topic: "%DLQ%g"}, 9, Producer{}))
	require.Equal(t, []UnearthStatus{TakenOut, TakenOut}, r.do(EncodeUnearth(nil, 2003, "g", message.Queue{Topic: "%DLQ%g"}, []Unearth{{From: 1, To: 3}, {From: 5, To: 6}})).(UnearthResult).Items)
	state, _ := r.Checkpoint()
	return state
}

// putBackState is a state that has put-backs of each kind.
func putBackState(t testing.TB) []byte {
	r := newReplica(t)
	r.putsBack(1000, putsBack(t, retries, 1, 7, 5000), putsBack(t, letters, 2, 0, 0), putsBack(t, retries, 3, 8, 0))
	state, _ := r.Checkpoint()
	return state
}

// The bytes of every released command and state. A line that changes is a log
// that a replica reads otherwise than the one that wrote it: add a version.
func TestFormatsDoNotChange(t *testing.T) {
	got := commands()
	for k, v := range states(t) {
		if strings.HasPrefix(k, "state-partition") { // ours; the store has its own formats
			st, err := decodeState(v)
			require.NoError(t, err)
			v = v[stateHead : len(v)-4-len(st.store)]
		}
		got[k] = v
	}
	names := make([]string, 0, len(got))
	for k := range got {
		names = append(names, k)
	}
	sort.Strings(names)
	var b strings.Builder
	for _, k := range names {
		b.WriteString(k + "\n")
		if rest := got[k]; bytes.HasSuffix(rest, []byte("}")) { // the catalogue's are text
			n := bytes.IndexByte(rest, '{')
			b.WriteString("  " + hex.EncodeToString(rest[:n]) + "\n  " + string(rest[n:]) + "\n")
			continue
		}
		for rest := got[k]; len(rest) > 0; {
			n := min(32, len(rest))
			b.WriteString("  " + hex.EncodeToString(rest[:n]) + "\n")
			rest = rest[n:]
		}
	}
	file := filepath.Join("testdata", "formats.golden")
	if *rewrite {
		require.NoError(t, os.WriteFile(file, []byte(b.String()), 0o644))
	}
	want, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, string(want), b.String())
}

// Builder and EncodeAppend give the same bytes, and leave what is before alone.
func TestAnAppendIsBuiltItemByItem(t *testing.T) {
	items := []Item{item(t, queue(0), 2, producer(1, 2, 3)), item(t, queue(1), 1, Producer{})}
	want := EncodeAppend(nil, 77, items)
	var a AppendBuilder
	for range 2 {
		for i := range items {
			a.Add(&items[i])
		}
		require.Equal(t, 2, a.Items())
		require.Equal(t, len(want), a.Size())
		require.Equal(t, want, a.Finish(77))
	}
	require.Equal(t, EncodeAppend(nil, 5, nil), a.Finish(5))
	dst := append(make([]byte, 0, 4096), "before"...)
	require.Equal(t, "before"+string(want), string(EncodeAppend(dst, 77, items)))
	require.Equal(t, "before"+string(want), string(EncodeAppend(dst[:6:6], 77, items)))
}
