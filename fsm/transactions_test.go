package fsm

import (
	"fmt"
	"testing"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"

	"raftmq/message"
	"raftmq/store"
)

// transaction makes halves, decisions about what is pending and what is not, checks
// and carries, each with mistakes.
func (h *history) transaction() []byte {
	at := h.at
	pending := h.Halves(1<<20, nil)
	some := func() (HalfInfo, bool) {
		if len(pending) == 0 {
			return HalfInfo{Position: store.Position(h.rnd.IntN(1000))}, false
		}
		x := pending[h.rnd.IntN(len(pending))]
		if h.rnd.IntN(8) == 0 {
			x.Position += 8
			return x, false
		}
		return x, true
	}
	record := func(x HalfInfo, known bool) []byte {
		if !known || h.rnd.IntN(10) == 0 {
			return records(h.t, h.queue(), 1, 10)
		}
		rec, err := h.HalfRecord(x)
		require.NoError(h.t, err)
		return rec
	}
	n := 1 + h.rnd.IntN(4)
	switch h.rnd.IntN(5) {
	case 0, 1:
		halves := make([]Half, n)
		for i := range halves {
			if len(h.halves) > 0 && h.rnd.IntN(5) == 0 {
				halves[i] = h.halves[len(h.halves)-1-h.rnd.IntN(min(len(h.halves), 50))]
				continue
			}
			q := h.queue()
			x := Half{Group: h.group(), CheckAfter: uint32(h.rnd.IntN(100)), Record: records(h.t, q, 1, h.rnd.IntN(2000))}
			switch h.rnd.IntN(20) {
			case 0:
				x.Record = x.Record[1:]
			case 1:
				x.Group = ""
			}
			if h.rnd.IntN(2) == 0 {
				x.Producer = producer(uint64(1+h.rnd.IntN(4)), 0, 0)
				k := producerKey{x.Producer.ID, message.Queue{Topic: q.Topic, ID: ^q.ID}}
				x.Producer.Sequence = h.next[k]
				h.next[k]++
				h.halves = append(h.halves, x)
			}
			halves[i] = x
		}
		return EncodeHalves(nil, at, halves)
	case 2, 3:
		decides := make([]Decide, n)
		for i := range decides {
			x, known := some()
			d := Decide{Position: x.Position, Verdict: Verdict(1 + h.rnd.IntN(2)), By: Decider(1 + h.rnd.IntN(3)), Group: x.Group}
			if d.Verdict == Commit {
				d.Record = record(x, known)
			}
			switch h.rnd.IntN(20) {
			case 0:
				d.Group = ""
			case 1:
				d.Verdict = Verdict(h.rnd.IntN(4))
			case 2:
				d.By = 0
			case 3:
				d.Record = []byte("none")
			}
			decides[i] = d
		}
		return EncodeDecides(nil, at, decides)
	}
	if h.rnd.IntN(2) == 0 {
		checks := make([]Check, n)
		for i := range checks {
			x, _ := some()
			checks[i] = Check{x.Position, x.Checks}
		}
		return EncodeChecks(nil, at, 50, 2, checks)
	}
	carries := make([]Carry, n)
	for i := range carries {
		x, known := some()
		carries[i] = Carry{x.Position, record(x, known)}
	}
	return EncodeCarry(nil, at, carries)
}

// prepare stores one half of group "g" and returns its position.
func (r *replica) prepare(atMs int64, body int) store.Position {
	r.t.Helper()
	res := r.do(EncodeHalves(nil, atMs, []Half{{Group: "g", CheckAfter: 6000, Record: records(r.t, queue(0), 1, body)}})).(HalvesResult)
	require.Equal(r.t, Stored, res.Items[0].Status)
	return res.Items[0].Position
}

// decideOne applies one decision; a commit carries the half's record.
func (r *replica) decideOne(atMs int64, pos store.Position, v Verdict) DecideResult {
	r.t.Helper()
	d := Decide{Position: pos, Verdict: v, By: ByProducer, Group: "g"}
	if v == Commit {
		d.Record = records(r.t, queue(0), 1, 10)
	}
	return r.do(EncodeDecides(nil, atMs, []Decide{d})).(DecidesResult).Items[0]
}

func (r *replica) end(q message.Queue) int64 {
	_, end := r.Store().Bounds(q)
	return int64(end)
}

// due are the halves to be asked about at T.
func (r *replica) due(at int64) []HalfInfo {
	return r.Halves(9, func(h *HalfInfo) bool { return !h.Parked && h.NextCheck <= at })
}

// The first decision holds, however often and in whatever order others come: a
// commit puts the message into its queue once, and nothing else does.
func TestTheFirstDecisionHolds(t *testing.T) {
	for _, first := range []Verdict{Commit, Rollback} {
		t.Run(fmt.Sprint(first), func(t *testing.T) {
			r := newReplica(t)
			pos := r.prepare(1, 10)
			require.Zero(t, r.end(queue(0)), "a half is in no queue")
			made := r.decideOne(2, pos, first)
			require.Equal(t, Decided, made.Status)
			for range 2 {
				for _, v := range []Verdict{Rollback, Commit} {
					again := r.decideOne(3, pos, v)
					want := DecidedBefore
					if v != first {
						want = DecidedOtherwise
					}
					require.Equal(t, DecideResult{want, made.Decision}, again)
				}
				r = r.restart()
			}
			require.EqualValues(t, 2-int64(first), r.end(queue(0)))
			if first == Commit {
				rec, err := r.Store().Record(made.Decision.Stored)
				require.NoError(t, err)
				require.EqualValues(t, 0, rec.QueueOffset())
			}
		})
	}
}

// Several decisions about one half in one entry are as in several.
func TestDecisionsInOneEntry(t *testing.T) {
	r := newReplica(t)
	a, b := r.prepare(1, 10), r.prepare(1, 10)
	rec := records(t, queue(0), 1, 10)
	res := r.do(EncodeDecides(nil, 2, []Decide{
		{a, Commit, ByProducer, "g", rec}, {a, Commit, ByProducer, "g", rec}, {a, Rollback, ByProducer, "g", nil},
		{b, Commit, ByProducer, "other", rec}, {b, Commit, ByProducer, "", rec}, {b, Commit, ByProducer, "g", rec[1:]}, {b, Commit, 0, "g", rec},
		{b, Commit, ByOperator, "", rec}, {a + b, Rollback, ByProducer, "g", nil},
	})).(DecidesResult)
	var got []DecideStatus
	for _, x := range res.Items {
		got = append(got, x.Status)
	}
	require.Equal(t, []DecideStatus{Decided, DecidedBefore, DecidedOtherwise, NotItsGroup, NotItsGroup, BadDecision, BadDecision, Decided, UnknownTransaction}, got)
	require.EqualValues(t, 2, r.end(queue(0)))
	require.EqualValues(t, 1, res.Items[7].Decision.Offset)
}

// A half that is sent again under its identity is the same half, pending or decided,
// also when no other would be taken.
func TestAHalfSentAgainIsTheSame(t *testing.T) {
	r := newReplica(t)
	h := Half{Producer: producer(1, 0, 0), Group: "g", Record: records(t, queue(0), 1, 10)}
	send := func() HalfResult { return r.do(EncodeHalves(nil, 1, []Half{h})).(HalvesResult).Items[0] }
	first := send()
	require.Equal(t, Stored, first.Status)
	r.send(1, item(t, queue(0), 1, producer(1, 0, 0)))
	require.EqualValues(t, 1, r.end(queue(0)), "messages are counted apart from halves")
	again := HalfResult{Status: Duplicate, Number: first.Number, Position: first.Position}
	require.Equal(t, again, send())
	r.txs.budget = 0
	require.Equal(t, again, send())
	r.decideOne(2, first.Position, Rollback)
	r = r.restart()
	require.Equal(t, again, send())
	require.Equal(t, DecidedBefore, r.decideOne(2, first.Position, Rollback).Status)
	for len(r.txs.decisions) > 0 {
		r.txs.forget()
	}
	require.Equal(t, UnknownBelowWindow, send().Status)
	require.Equal(t, UnknownTransaction, r.decideOne(2, first.Position, Commit).Status)
	require.EqualValues(t, 1, r.end(queue(0)))
}

// Halves are refused at their bounds, of number and of bytes, and taken again when
// others are decided. Decisions are forgotten at theirs, and after a day.
func TestTransactionsAreBounded(t *testing.T) {
	r := newReplica(t)
	one := halfSize + textSize("g")
	r.txs.budget = 3 * one
	var all []store.Position
	for range 3 {
		all = append(all, r.prepare(1, 10))
	}
	full := func() Status {
		return r.do(EncodeHalves(nil, 1, []Half{{Group: "g", Record: records(t, queue(0), 1, 10)}})).(HalvesResult).Items[0].Status
	}
	require.Equal(t, TooManyHalves, full())
	require.Equal(t, Decided, r.decideOne(1, all[1], Rollback).Status)
	require.Equal(t, Stored, full())
	require.Equal(t, TooManyHalves, full())
	r.txs.budget = halfBytes
	r.txs.bytes += halfRecords
	require.Equal(t, TooManyHalves, full())
	r.txs.bytes -= halfRecords
	require.Equal(t, Stored, full())
	require.Len(t, r.small(), len(newReplica(t).small())+1+5+8+4+4+r.txs.size, "sizes are counted as encoded")

	for range decidedBytes/decidedSize + 1 {
		r.txs.remember(&decided{pos: 1 << 40, number: 1 << 40, Decision: Decision{Verdict: Rollback, By: ByCheck, Time: 1}})
	}
	require.Equal(t, Decided, r.decideOne(1, all[0], Rollback).Status)
	require.LessOrEqual(t, len(r.txs.decisions)*decidedSize, decidedBytes)
	require.Equal(t, UnknownTransaction, r.decideOne(1, all[1], Rollback).Status, "the oldest was forgotten")
	require.Equal(t, DecidedBefore, r.decideOne(decidedMs+1, all[0], Rollback).Status)
	for range 20 {
		r.decideOne(decidedMs+2, 5, Rollback)
	}
	require.Equal(t, UnknownTransaction, r.decideOne(decidedMs+2, all[0], Commit).Status)
	require.Zero(t, len(r.txs.decisions))
}

// Checks are due, counted once each, and end with the half parked: then only a
// decision ends it.
func TestChecksAreCounted(t *testing.T) {
	r := newReplica(t)
	pos := r.prepare(1000, 10)
	check := func(atMs int64, n uint32) CheckStatus {
		return r.do(EncodeChecks(nil, atMs, 30_000, 2, []Check{{pos, n}})).(CheckResult).Items[0]
	}
	require.Empty(t, r.due(6999))
	require.Len(t, r.due(7000), 1)
	require.Equal(t, Asked, check(7000, 0))
	require.Equal(t, NotChecked, check(7000, 0), "counted by another leader")
	require.Empty(t, r.due(36999))
	r = r.restart()
	require.Len(t, r.due(37000), 1)
	require.Equal(t, Asked, check(37000, 1))
	require.Equal(t, Parked, check(67000, 2))
	require.Equal(t, NotChecked, check(67000, 2))
	require.Empty(t, r.due(1<<50))
	r = r.restart()
	pending, parked, bytes := r.HalfCounts()
	require.Equal(t, []int{1, 1, len(records(t, queue(0), 1, 10))}, []int{pending, parked, int(bytes)})
	require.Equal(t, Decided, r.decideOne(67001, pos, Commit).Status)
	require.Equal(t, NotChecked, check(67001, 2))
	pending, parked, _ = r.HalfCounts()
	require.Zero(t, pending+parked)
}

// What is pending is never trimmed away: a trim stops before it, until it was stored
// again; its name stays.
func TestATrimStopsBeforeWhatIsPending(t *testing.T) {
	r := newReplica(t)
	fill := func(segments int) {
		for n := len(r.Store().Segments()) + segments; len(r.Store().Segments()) < n; {
			r.send(1, item(t, queue(0), 50, Producer{}))
		}
	}
	fill(1)
	pos := r.prepare(1, 3000)
	fill(3)
	starts := r.Store().Segments()
	last := starts[len(starts)-1].Position
	r.do(EncodeTrim(nil, 1, last))
	require.Less(t, r.Store().First().Position, pos)
	h := r.HalvesBelow(last, 9)
	require.Len(t, h, 1)
	rec, err := r.HalfRecord(h[0])
	require.NoError(t, err)
	require.Equal(t, records(t, queue(0), 1, 3000), []byte(rec))

	wrong := append([]byte(nil), rec...)
	wrong[len(wrong)-1] ^= 1
	require.Zero(t, r.do(EncodeCarry(nil, 1, []Carry{{pos, wrong}, {pos, rec[1:]}, {pos + 1, rec}})))
	require.Len(t, r.HalvesBelow(last, 9), 1)
	require.Equal(t, 1, r.do(EncodeCarry(nil, 1, []Carry{{pos, rec}})))
	require.Empty(t, r.HalvesBelow(last, 9))
	r.do(EncodeTrim(nil, 1, last))
	require.Equal(t, last, r.Store().First().Position)
	_, err = r.HalfRecord(h[0])
	require.ErrorIs(t, err, store.ErrNotFound)
	fresh, index := r.installed()
	for i := index + 1; i <= r.Store().Last().Index; i++ {
		e, err := r.Store().Entry(i)
		require.NoError(t, err)
		_, err = fresh.Apply([]*raft.Log{{Index: e.Index, Term: e.Term, Type: raft.LogType(e.Type), Data: e.Data}})
		require.NoError(t, err)
	}
	for _, x := range []*replica{r.restart(), fresh} {
		now, ok := x.Half(pos)
		require.True(t, ok)
		rec, err = x.HalfRecord(now)
		require.NoError(t, err)
		require.Len(t, rec, len(records(t, queue(0), 1, 3000)))
		require.Equal(t, Decided, x.decideOne(2, pos, Commit).Status)
	}
}

// A partition that never had a half has a state that the program before can read.
func TestAStateWithoutTransactionsIsOfVersionOne(t *testing.T) {
	r := filled(t)
	state, _ := r.Checkpoint()
	require.EqualValues(t, oldStateVersion, state[0])
	pos := r.prepare(1, 1)
	r.decideOne(1, pos, Commit)
	state, _ = r.Checkpoint()
	require.EqualValues(t, stateVersion, state[0])
}

// What a mender finds in a log are the records that were stored.
func TestPlacesOfCommittedHalves(t *testing.T) {
	h := newHistory(t, 11)
	h.grow(300)
	find := Places()
	queues := make(map[message.Queue]message.Offset)
	for i := h.Store().First().Index + 1; i <= h.Store().Last().Index; i++ {
		e, err := h.Store().Entry(i)
		require.NoError(t, err)
		places, err := find(e)
		require.NoError(t, err)
		for _, p := range places {
			rec := message.Record(e.Data[p.Start : p.Start+p.Size])
			if rec.PhysicalOffset() == 0 || rec.QueueOffset() < 0 {
				continue // not stored, or it waits
			}
			if next, seen := queues[p.Queue]; seen {
				require.Equal(t, next, rec.QueueOffset())
			}
			queues[p.Queue] = rec.QueueOffset() + 1
		}
	}
	for q, next := range queues {
		require.EqualValues(t, h.end(q), next)
	}
}

// BenchmarkHalves is applying entries of 250 halves of 1 KiB and of their commits.
func BenchmarkHalves(b *testing.B) {
	r := newReplica(b)
	rec := records(b, queue(0), 1, 900)
	halves, decides := make([]Half, 250), make([]Decide, 250)
	b.ReportAllocs()
	for b.Loop() {
		for i := range halves {
			halves[i] = Half{Group: "g", CheckAfter: 6000, Record: rec}
		}
		res := r.do(EncodeHalves(nil, 1, halves)).(HalvesResult)
		for i, x := range res.Items {
			decides[i] = Decide{x.Position, Commit, ByProducer, "g", rec}
		}
		r.do(EncodeDecides(nil, 1, decides))
		if s := r.Store().Segments(); len(s) > 3 {
			r.do(EncodeTrim(nil, 1, s[2].Position))
			_, sync := r.Checkpoint()
			require.NoError(b, sync())
		}
	}
}
