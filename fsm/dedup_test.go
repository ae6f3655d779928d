package fsm

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"raftmq/message"
)

// step is one item and what it must be answered.
type step struct {
	name   string
	q      int32
	p      Producer
	n      int
	status Status
	offset message.Offset
}

func TestResendsAreAnsweredByWhatIsKnown(t *testing.T) {
	a, b := uint64(1), uint64(2)
	for _, c := range []struct {
		name  string
		steps []step
	}{
		{"no identity is never recognised", []step{
			{"first", 0, Producer{}, 1, Stored, 0},
			{"again", 0, Producer{}, 1, Stored, 1},
		}},
		{"inside the window the first receipt comes back", []step{
			{"one", 0, producer(a, 0, 0), 1, Stored, 0},
			{"batch", 0, producer(a, 0, 1), 3, Stored, 1},
			{"other producer", 0, producer(b, 0, 0), 1, Stored, 4},
			{"more", 0, producer(a, 0, 4), 2, Stored, 5},
			{"one again", 0, producer(a, 0, 0), 1, Duplicate, 0},
			{"batch again", 0, producer(a, 0, 1), 3, Duplicate, 1},
			{"more again", 0, producer(a, 0, 4), 2, Duplicate, 5},
			{"across two runs", 0, producer(a, 0, 3), 2, UnknownBelowWindow, 0},
			{"stored in part", 0, producer(a, 0, 5), 2, UnknownBelowWindow, 0},
			{"goes on", 0, producer(a, 0, 6), 1, Stored, 7},
		}},
		{"queues are counted apart", []step{
			{"q0", 0, producer(a, 0, 0), 1, Stored, 0},
			{"q1", 1, producer(a, 0, 0), 1, Stored, 0},
			{"q1 unknown", 2, producer(a, 0, 1), 1, UnknownProducer, 0},
		}},
		{"an unknown producer begins at sequence 0", []step{
			{"in the middle", 0, producer(a, 0, 5), 1, UnknownProducer, 0},
			{"at 0", 0, producer(a, 0, 0), 1, Stored, 0},
		}},
		{"a gap is refused to ordered producers only", []step{
			{"0", 0, ordered(producer(a, 0, 0)), 1, Stored, 0},
			{"2", 0, ordered(producer(a, 0, 2)), 1, SequenceGap, 0},
			{"1", 0, ordered(producer(a, 0, 1)), 1, Stored, 1},
			{"5, not ordered", 0, producer(a, 0, 5), 1, Stored, 2},
			{"into the gap, ordered", 0, ordered(producer(a, 0, 3)), 1, SequenceGap, 0},
			{"into the gap, not ordered", 0, producer(a, 0, 3), 1, Stored, 3},
			{"again", 0, producer(a, 0, 3), 1, Duplicate, 3},
			{"the rest of the gap and more", 0, producer(a, 0, 4), 2, UnknownBelowWindow, 0},
			{"the rest of the gap", 0, producer(a, 0, 4), 1, Stored, 4},
		}},
		{"a later epoch starts over and fences the earlier", []step{
			{"old", 0, producer(a, 1, 0), 2, Stored, 0},
			{"later, in the middle", 0, producer(a, 2, 2), 1, UnknownProducer, 0},
			{"old again", 0, producer(a, 1, 0), 2, Duplicate, 0},
			{"later", 0, producer(a, 2, 0), 1, Stored, 2},
			{"old resend", 0, producer(a, 1, 0), 2, StaleEpoch, 0},
			{"old goes on", 0, producer(a, 1, 2), 1, StaleEpoch, 0},
			{"later again", 0, producer(a, 2, 0), 1, Duplicate, 2},
		}},
		{"below the window it is unknown", []step{
			{"first", 0, producer(a, 0, 0), 1, Stored, 0},
			{"much", 0, producer(a, 0, 1), 1000, Stored, 1},
			{"first again", 0, producer(a, 0, 0), 1, Duplicate, 0},
			{"more", 0, producer(a, 0, 1001), 100, Stored, 1001},
			{"first once more", 0, producer(a, 0, 0), 1, UnknownBelowWindow, 0},
			{"just below", 0, producer(a, 0, 76), 1, UnknownBelowWindow, 0},
			{"just inside", 0, producer(a, 0, 77), 1, Duplicate, 77},
			{"across the edge", 0, producer(a, 0, 70), 10, UnknownBelowWindow, 0},
		}},
		{"the last item is in the window, however long", []step{
			{"first", 0, producer(a, 0, 0), 1, Stored, 0},
			{"long", 0, producer(a, 0, 1), 3 * Window, Stored, 1},
			{"long again", 0, producer(a, 0, 1), 3 * Window, Duplicate, 1},
			{"next", 0, producer(a, 0, 1+3*Window), 1, Stored, 1 + 3*Window},
			{"long once more", 0, producer(a, 0, 1), 3 * Window, UnknownBelowWindow, 0},
		}},
		{"sequences do not run over", []step{
			{"0", 0, producer(a, 0, 0), 1, Stored, 0},
			{"largest", 0, producer(a, 0, 1<<64-1), 2, SequenceGap, 0},
			{"1", 0, producer(a, 0, 1), 1, Stored, 1},
		}},
	} {
		// Between any two steps the replica may restart, or be a new one that was
		// given everything: the answers are the same.
		for _, restarts := range []bool{false, true} {
			t.Run(c.name, func(t *testing.T) {
				r := newReplica(t)
				for _, s := range c.steps {
					res := r.send(1, item(t, queue(s.q), s.n, s.p))
					require.Equal(t, s.status, res.Status, s.name)
					require.Equal(t, s.offset, res.Offset, s.name)
					require.Equal(t, s.n, res.Count, s.name)
					if s.status == Duplicate {
						b, err := r.Store().Read(queue(s.q), res.Offset, s.n, 4<<20, nil)
						require.NoError(t, err)
						require.Equal(t, s.n, b.Count, "the receipt's records are there")
					}
					if restarts {
						r = r.restart()
					}
				}
			})
		}
	}
}

// The items of one entry see each other: a resend that was gathered into the same
// entry as the first try is its duplicate.
func TestItemsOfAnEntryAreDecidedInTurn(t *testing.T) {
	r := newReplica(t)
	q := queue(0)
	res := r.do(EncodeAppend(nil, 5, []Item{
		item(t, q, 2, producer(1, 0, 0)),
		item(t, q, 2, producer(1, 0, 0)),
		{Queue: q, Records: []byte("not a record"), Count: 1},
		item(t, q, 1, producer(1, 0, 2)),
		item(t, queue(1), 1, producer(1, 0, 0)),
		{Queue: q, Records: append(records(t, q, 1, 1), records(t, queue(1), 1, 1)...), Count: 2},
		{Queue: q, Records: records(t, q, 2, 1), Count: 1},
		{Queue: q, Records: records(t, message.Queue{Topic: "../up"}, 1, 1), Count: 1},
		{Queue: q},
	})).(AppendResult)
	var got []Status
	for _, x := range res.Items {
		got = append(got, x.Status)
	}
	require.Equal(t, []Status{Stored, Duplicate, Malformed, Stored, Stored, Malformed, Malformed, Malformed, Malformed}, got)
	require.EqualValues(t, 2, res.Items[3].Offset)
	b, err := r.Store().Read(q, 0, 10, 1<<20, nil)
	require.NoError(t, err)
	require.Equal(t, 3, b.Count)
	for i, want := range append(append([]int64(nil), res.Items[0].Physical...), res.Items[3].Physical...) {
		rec, err := message.ParseRecord(b.Records)
		require.NoError(t, err)
		require.EqualValues(t, i, rec.QueueOffset())
		require.Equal(t, want, rec.PhysicalOffset())
		require.EqualValues(t, 5, rec.StoreTimestamp())
		b.Records = b.Records[len(rec):]
	}
}

func TestProducersAreForgottenByTheEntriesTime(t *testing.T) {
	r := newReplica(t)
	q := queue(0)
	require.Equal(t, Stored, r.send(1000, item(t, q, 1, producer(1, 0, 0))).Status)
	require.Equal(t, Stored, r.send(2000, item(t, q, 1, producer(2, 0, 0))).Status)
	require.Equal(t, Duplicate, r.send(1000+forgetMs, item(t, q, 1, producer(1, 0, 0))).Status)
	r = r.restart()
	require.Equal(t, UnknownProducer, r.send(2001+forgetMs, item(t, q, 1, producer(2, 0, 1))).Status)
	require.Equal(t, Duplicate, r.send(2001+forgetMs, item(t, q, 1, producer(1, 0, 0))).Status)
	// Time never goes back, so an old leader's clock forgets nobody twice.
	require.Equal(t, Duplicate, r.send(1, item(t, q, 1, producer(1, 0, 0))).Status)
	require.EqualValues(t, 2001+forgetMs, r.Now())
}

// Many producers with scattered sequences: windows are narrowed first, longest
// unused first, and only then are producers forgotten.
func TestTheTableStaysInItsBudget(t *testing.T) {
	r := newReplica(t)
	q := queue(0)
	r.dedup.budget = 10_000
	send := func(p, seq uint64) Status { return r.send(1, item(t, q, 1, producer(p, 0, seq))).Status }
	for seq := range uint64(40) {
		for p := uint64(1); p <= 20; p++ { // in turn, so that every message is a run
			require.Equal(t, Stored, send(p, seq))
		}
	}
	require.LessOrEqual(t, r.dedup.size, r.dedup.budget)
	require.Len(t, r.dedup.byKey, 20, "narrowed, not forgotten")
	narrowed := 0
	for p := uint64(1); p <= 20; p++ {
		require.Equal(t, Duplicate, send(p, 39))
		if send(p, 0) == UnknownBelowWindow {
			narrowed++
		}
	}
	require.Greater(t, narrowed, 10)
	for p := range uint64(1000) {
		require.Equal(t, Stored, send(100+p, 0))
		require.LessOrEqual(t, r.dedup.size, r.dedup.budget)
	}
	require.Equal(t, UnknownProducer, send(1, 40))
	require.Equal(t, Duplicate, send(1099, 0))
	require.Equal(t, len(r.dedup.encode(nil))-4, r.dedup.size)
}

// A plain model of the table without bounds agrees with it wherever the table
// claims to know.
func TestTheTableAgreesWithAModel(t *testing.T) {
	for seed := range uint64(20) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		d := newDedup()
		d.budget = 2000 + rnd.IntN(30_000)
		stored := make(map[[3]uint64]message.Offset) // producer, epoch, sequence
		end := message.Offset(0)
		for i := range 5000 {
			p := producer(uint64(1+rnd.IntN(6)), uint32(rnd.IntN(1+i/2000)), 0)
			id := uint64(p.ID[7])
			if w := d.byKey[producerKey{p.ID, queue(0)}]; w != nil && rnd.IntN(8) > 0 {
				p.Epoch = w.epoch
				p.Sequence = uint64(max(0, int(w.next)+rnd.IntN(7)-4))
			}
			n := 1 + rnd.IntN(3)
			s, off := d.check(&p, queue(0), n, end, int64(i))
			switch s {
			case Stored:
				require.Equal(t, end, off)
				for j := range uint64(n) {
					k := [3]uint64{id, uint64(p.Epoch), p.Sequence + j}
					_, twice := stored[k]
					require.False(t, twice && p.Sequence > 0, "seed %d, step %d: stored twice", seed, i)
					stored[k] = end + message.Offset(j)
				}
				end += message.Offset(n)
			case Duplicate:
				for j := range uint64(n) {
					require.Equal(t, off+message.Offset(j), stored[[3]uint64{id, uint64(p.Epoch), p.Sequence + j}], "seed %d, step %d", seed, i)
				}
			}
			require.LessOrEqual(t, d.size, d.budget)
		}
		r := &reader{b: d.encode(nil)}
		again := newDedup()
		again.decode(r)
		require.NoError(t, r.end())
		require.Equal(t, d.encode(nil), again.encode(nil))
		require.Equal(t, d.size, again.size)
	}
}
