package fsm

import (
	"testing"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"

	"raftmq/message"
	"raftmq/store"
)

// Whatever the bytes of an entry are, it is an error and changes nothing, or two
// replicas agree on it; and the replica can go on from a checkpoint.
func FuzzPartitionCommand(f *testing.F) {
	for _, cmd := range commands() {
		f.Add(cmd)
	}
	f.Fuzz(func(t *testing.T, cmd []byte) {
		a, b := newReplica(t), newReplica(t)
		for _, r := range []*replica{a, b} {
			r.send(1, item(t, message.Queue{Topic: "topic", ID: 3}, 3, producer(0x0102030405060708, 9, 0)))
		}
		before, _ := a.Checkpoint()
		l := &raft.Log{Index: 2, Term: 1, Type: raft.LogCommand, Data: cmd}
		x, err := a.Apply([]*raft.Log{l})
		y, again := b.Apply([]*raft.Log{l})
		require.Equal(t, err == nil, again == nil)
		require.Equal(t, x, y)
		after, _ := a.Checkpoint()
		same, _ := b.Checkpoint()
		if err != nil {
			// What a command did before its bytes ran out dies with the replica: the
			// log has no frame of it.
			index, _ := a.Applied()
			require.EqualValues(t, 1, index)
			require.NotEmpty(t, before)
			return
		}
		require.Equal(t, after, same)
		e, err := a.store.Entry(2)
		require.NoError(t, err)
		_, err = Tell(e, a.store.Last().Position-store.Position(len(cmd)))
		require.NoError(t, err)
		st, err := decodeState(after)
		require.NoError(t, err)
		require.LessOrEqual(t, len(after)-len(st.store), 4<<20)
		a.restart()
	})
}

func FuzzCatalogueCommand(f *testing.F) {
	for _, cmd := range commands() {
		f.Add(cmd)
	}
	f.Fuzz(func(t *testing.T, cmd []byte) {
		c, err := OpenCatalogue(states(t)["state-catalogue-1"])
		require.NoError(t, err)
		if _, err := c.Apply([]*raft.Log{{Index: 8, Term: 1, Type: raft.LogCommand, Data: cmd}}); err != nil {
			return
		}
		state, _ := c.Checkpoint()
		again, err := OpenCatalogue(state)
		require.NoError(t, err)
		same, _ := again.Checkpoint()
		require.Equal(t, state, same)
	})
}

// A state that is read is written again alike, and never makes a machine that
// falls over; the checksum is put right, so that the fuzzer gets past it.
func FuzzPartitionState(f *testing.F) {
	for _, s := range states(f) {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) >= stateHead {
			b = sealed(append([]byte(nil), b...))
		}
		st, err := decodeState(b)
		if err != nil || len(b) == 0 {
			return
		}
		m := newReplica(t)
		m.setState(st)
		encoded := m.PartitionMachine.encode(st.store)
		again, err := decodeState(encoded)
		require.NoError(t, err)
		m.setState(again)
		require.Equal(t, encoded, m.PartitionMachine.encode(again.store))
		q := queue(0)
		m.send(1, item(t, q, 1, producer(1, 1<<31, 0)))
		m.do(EncodeCommit(nil, 1, []CommitOffset{{Group: "g", Queue: q, Offset: 1}}))
		m.do(EncodeLock(nil, 1, "g", "c", []message.Queue{q}, 5))
	})
}

func FuzzCatalogueState(f *testing.F) {
	for _, s := range states(f) {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := OpenCatalogue(b)
		if err != nil {
			return
		}
		index, _ := c.Applied()
		for _, cmd := range commands() {
			if kind(cmd[0]) < kindBootstrap {
				continue
			}
			index++
			_, err := c.Apply([]*raft.Log{{Index: index, Term: 1, Type: raft.LogCommand, Data: cmd}})
			require.NoError(t, err)
		}
		state, _ := c.Checkpoint()
		_, err = OpenCatalogue(state)
		require.NoError(t, err)
	})
}
