package fsm

import (
	"encoding/binary"

	"github.com/hashicorp/raft"

	"raftmq/message"
	"raftmq/store"
)

// Told is what an entry says of a record in it that is in no queue, or was in none before.
type Told struct {
	Record message.Record // as it lies in the entry
	AtMs   int64          // when the entry was proposed, Unix ms: T was not less when it was applied
	Group  string         // of producers, of a half
	// Key is what it waits, or waited, under: of one that came, or was stored again while it
	// waited, ID is where it lay first.
	Key store.TimerKey
}

// Tell returns what an entry, whose data lies at a position, says of its records that are
// halves, wait, or have come, by their positions. Whether a half was accepted, and what came
// did come, it does not say: who asks knows from elsewhere.
func Tell(e store.Entry, data store.Position) (map[store.Position]Told, error) {
	if raft.LogType(e.Type) != raft.LogCommand || len(e.Data) < commandHead {
		return nil, nil
	}
	all := make(map[store.Position]Told)
	at := ProposedMs(e)
	add := func(start, size int, t Told) {
		t.Record, t.AtMs = e.Data[start:start+size:start+size], at
		all[data+store.Position(start)] = t
	}
	switch kind(e.Data[0]) {
	case kindHalf:
		items, starts, err := parseHalves(e.Data)
		if err != nil {
			return nil, err
		}
		for i, h := range items {
			if rec, err := message.ParseRecord(h.Record); err == nil && len(rec) == len(h.Record) {
				add(starts[i], len(rec), Told{Group: h.Group})
			}
		}
	case kindFire:
		m := &PartitionMachine{topics: make(map[string]string)}
		r := &reader{b: e.Data[commandHead:]}
		r.timerKey()
		keys, ok := m.dues(r, len(e.Data))
		if err := r.end(); err != nil {
			return nil, err
		}
		for i, k := range keys {
			if p := m.places[i]; ok {
				add(p.Start, p.Size, Told{Key: k})
			}
		}
	default:
		ops, err := TimerOps()(e, data, 0)
		if err != nil {
			return nil, err
		}
		for _, op := range ops {
			if op.Size > 0 {
				k := store.TimerKey{DueMs: op.DueMs, ID: op.ID}
				if k.ID == 0 {
					k.ID = data + store.Position(op.Start)
				}
				add(op.Start, op.Size, Told{Key: k})
			}
		}
	}
	return all, nil
}

// ProposedMs is the time that an entry's command carries, Unix ms; 0 if it is no command.
func ProposedMs(e store.Entry) int64 {
	if raft.LogType(e.Type) != raft.LogCommand || len(e.Data) < commandHead {
		return 0
	}
	return int64(binary.BigEndian.Uint64(e.Data[2:]))
}
