package fsm

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"

	"raftmq/message"
	"raftmq/store"
)

// history makes random entries, looking at a replica that has applied all that it
// made before.
type history struct {
	t   testing.TB
	rnd *rand.Rand
	*replica
	at      int64
	entries []*raft.Log
	results []any
	sent    []Item // with a producer, to be sent again
	next    map[producerKey]uint64
	halves  []Half // with a producer, to be sent again
}

func newHistory(t testing.TB, seed uint64) *history {
	return &history{t: t, rnd: rand.New(rand.NewPCG(seed, 2)), replica: newReplica(t), next: make(map[producerKey]uint64)}
}

func (h *history) queue() message.Queue { return queue(int32(h.rnd.IntN(4))) }
func (h *history) group() string        { return name("g", h.rnd.IntN(4)) }
func (h *history) client() string       { return name("c", h.rnd.IntN(3)) }

// item is new, or sent again, or with a mistake.
func (h *history) item() Item {
	if len(h.sent) > 0 && h.rnd.IntN(5) == 0 {
		return h.sent[len(h.sent)-1-h.rnd.IntN(min(len(h.sent), 50))]
	}
	q := h.queue()
	it := Item{Queue: q, Count: 1 + h.rnd.IntN(4)}
	it.Records = records(h.t, q, it.Count, h.rnd.IntN(2000))
	switch h.rnd.IntN(30) {
	case 0:
		it.Count++
	case 1:
		it.Records = it.Records[:len(it.Records)-1]
	}
	if h.rnd.IntN(3) > 0 {
		p := producer(uint64(1+h.rnd.IntN(8)), 0, 0)
		k := producerKey{p.ID, q}
		p.Sequence, p.Ordered = h.next[k], h.rnd.IntN(2) == 0
		switch h.rnd.IntN(20) {
		case 0:
			p.Sequence += uint64(h.rnd.IntN(3))
		case 1:
			p.Epoch, p.Sequence = uint32(h.rnd.IntN(3)), 0
		}
		h.next[k] = p.Sequence + uint64(it.Count)
		it.Producer = p
		h.sent = append(h.sent, it)
	}
	return it
}

func (h *history) command() []byte {
	h.at += int64(h.rnd.IntN(20)) - 5
	if h.rnd.IntN(400) == 0 {
		h.at += forgetMs
	}
	at, q := h.at, h.queue()
	_, end := h.Store().Bounds(q)
	off := message.Offset(h.rnd.IntN(int(end)+3) - 1)
	if h.rnd.IntN(4) == 0 {
		return h.transaction()
	}
	if h.rnd.IntN(12) == 0 {
		return h.putBack()
	}
	switch n := h.rnd.IntN(120); {
	case n >= 100:
		return h.timing()
	case n < 60:
		items := make([]Item, 1+h.rnd.IntN(5))
		for i := range items {
			items[i] = h.item()
		}
		return EncodeAppend(nil, at, items)
	case n < 75:
		var cs []CommitOffset
		for range h.rnd.IntN(4) {
			c := CommitOffset{Group: h.group(), Queue: q, Offset: off, Owner: h.client()}
			if h.rnd.IntN(3) == 0 {
				c.Owner, c.Epoch, _, _ = h.LockOwner(c.Group, q)
				c.Epoch += uint64(h.rnd.IntN(2))
			}
			cs = append(cs, c)
		}
		return EncodeCommit(nil, at, cs)
	case n < 79:
		return EncodeReset(nil, at, h.group(), q, off)
	case n < 83:
		g := h.group()
		off, _ := h.PendingReset(g, q)
		return EncodeResetTold(nil, at, g, q, off)
	case n < 90:
		return EncodeLock(nil, at, h.group(), h.client(), []message.Queue{q, h.queue()}, int64(h.rnd.IntN(200)))
	case n < 94:
		return EncodeUnlock(nil, at, h.group(), h.client(), []message.Queue{q})
	case n < 97:
		starts := h.Store().Segments()
		return EncodeTrim(nil, at, starts[h.rnd.IntN(len(starts))].Position)
	case n < 98:
		return EncodeDropGroup(nil, at, h.group())
	}
	return EncodeDigest(nil, at)
}

// putBack puts messages back that may have been put back before.
func (h *history) putBack() []byte {
	items := make([]PutBack, 1+h.rnd.IntN(3))
	for i := range items {
		q := []message.Queue{retries, letters, letters, h.queue()}[h.rnd.IntN(4)]
		items[i] = putsBack(h.t, q, store.Position(h.rnd.IntN(20)), uint64(h.rnd.IntN(3)), h.at+int64(h.rnd.IntN(300))-100)
		if q == letters {
			items[i].DueMs = 0
		}
	}
	return EncodePutBacks(nil, h.at, items)
}

// timing is a command on timers, by what waits here.
func (h *history) timing() []byte {
	cursor, now := h.Timers()
	switch h.rnd.IntN(8) {
	case 7:
		q := h.queue()
		_, end := h.Store().Bounds(q)
		var us []Unearth
		for range h.rnd.IntN(4) {
			u := Unearth{From: message.Offset(h.rnd.IntN(int(end) + 1))}
			if u.To = u.From + message.Offset(h.rnd.IntN(4)); h.rnd.IntN(2) == 0 {
				u.To, u.Record = u.From+1, records(h.t, h.queue(), 1, 20)
			}
			us = append(us, u)
		}
		if h.rnd.IntN(2) == 0 {
			return EncodeUnearth(nil, h.at, "g", letters, us)
		}
		return EncodeUnearth(nil, h.at, h.group(), q, us)
	case 0, 1, 2:
		items := make([]Delayed, 1+h.rnd.IntN(4))
		for i := range items {
			items[i] = Delayed{Item: h.item(), DueMs: now + int64(h.rnd.IntN(300)) - 50}
		}
		return EncodeDelay(nil, h.at, items)
	case 3, 4:
		h.at += int64(h.rnd.IntN(60))
		until, from := max(now, h.at), cursor
		if h.rnd.IntN(10) == 0 {
			until += 20 // too early
		}
		if h.rnd.IntN(10) == 0 {
			from.ID++
		}
		return EncodeFire(nil, h.at, from, h.waiting(cursor, until, 5))
	case 5:
		seen, _ := h.Applied()
		return EncodeKeep(nil, h.at, seen-uint64(h.rnd.IntN(3)), h.waiting(store.TimerKey{}, now+200, 5))
	}
	var keys []store.TimerKey
	for _, d := range h.waiting(cursor, now+200, 3) {
		keys = append(keys, d.Key)
	}
	return EncodeRecall(nil, h.at, keys)
}

// waiting returns at most n of what waits behind after, as far as the log has it.
func (h *history) waiting(after store.TimerKey, untilMs int64, n int) (dues []Due) {
	require.NoError(h.t, h.Store().Timers(after, untilMs, func(x store.Timer) bool {
		rec, err := h.Store().TimerRecord(x)
		if !errors.Is(err, store.ErrNotFound) {
			require.NoError(h.t, err)
			dues = append(dues, Due{x.TimerKey, rec})
		}
		return len(dues) < n
	}))
	return dues
}

// grow applies n more entries, each by itself.
func (h *history) grow(n int) {
	h.t.Helper()
	for range n {
		index := uint64(len(h.entries)) + 1
		var l *raft.Log
		switch h.rnd.IntN(12) {
		case 0:
			l = entryAt(index, raft.LogNoop, nil)
		case 1:
			l = entryAt(index, []raft.LogType{raft.LogBarrier, raft.LogConfiguration}[h.rnd.IntN(2)], []byte("conf"))
		default:
			l = entryAt(index, raft.LogCommand, h.command())
		}
		res, err := h.Apply([]*raft.Log{l})
		require.NoError(h.t, err)
		h.entries = append(h.entries, l)
		h.results = append(h.results, res[0])
	}
}

// follow applies to r what it lacks of the history, in random batches, and
// compares the answers. Entries may come from h's commit log, as they do for a
// peer that lags: there the records are stamped.
func (h *history) follow(rnd *rand.Rand, r *replica, to uint64) {
	h.t.Helper()
	for {
		last, _ := r.Applied()
		if last == to {
			return
		}
		n := min(1+uint64(rnd.IntN(30)), to-last)
		batch := make([]*raft.Log, 0, n)
		stored := rnd.IntN(2) == 0 && h.Store().First().Index <= last
		for i := last; i < last+n; i++ {
			l := *h.entries[i]
			if stored {
				e, err := h.Store().Entry(i + 1)
				require.NoError(h.t, err)
				require.Equal(h.t, l.Term, e.Term)
				l.Data = e.Data
			} else {
				l.Data = append([]byte(nil), l.Data...)
			}
			batch = append(batch, &l)
		}
		res, err := r.Apply(batch)
		require.NoError(h.t, err)
		for i := range res {
			require.Equal(h.t, h.results[last+uint64(i)], res[i], "answer to entry %d", last+uint64(i)+1)
		}
	}
}

// same compares what two replicas hold: state, digest, every entry and queue that
// both retain.
func (h *history) same(r *replica) {
	h.t.Helper()
	require.Equal(h.t, h.small(), r.small(), "state")
	ours, digest := h.Store().Digest()
	theirs, other := r.Store().Digest()
	require.Equal(h.t, ours, theirs)
	require.Equal(h.t, digest, other, "digest")
	for i := max(h.Store().First().Index, r.Store().First().Index) + 1; i <= ours.Index; i++ {
		a, err := h.Store().Entry(i)
		require.NoError(h.t, err)
		b, err := r.Store().Entry(i)
		require.NoError(h.t, err)
		require.Equal(h.t, a, b, "entry %d", i)
	}
	first := max(h.Store().First().Position, r.Store().First().Position)
	require.Equal(h.t, timersOf(h.t, h.replica, first), timersOf(h.t, r, first), "what waits")
	require.Equal(h.t, h.Store().Queues(), r.Store().Queues())
	for _, x := range r.Halves(1<<20, nil) {
		_, err := r.HalfRecord(x)
		require.NoError(h.t, err)
	}
	for _, q := range h.Store().Queues() {
		lo, hi := h.Store().Bounds(q)
		low, high := r.Store().Bounds(q)
		require.Equal(h.t, hi, high)
		for at := max(lo, low); at < hi; {
			a, err := h.Store().Read(q, at, 64, 1<<20, nil)
			require.NoError(h.t, err)
			b, err := r.Store().Read(q, at, 64, 1<<20, nil)
			require.NoError(h.t, err)
			require.Equal(h.t, a.Records, b.Records, "%v from %d", q, at)
			at = a.Next
		}
	}
}

// timersOf returns what waits and lies at from or above.
func timersOf(t testing.TB, r *replica, from store.Position) (all []store.Timer) {
	cursor, _ := r.Timers()
	require.NoError(t, r.Store().Timers(cursor, math.MaxInt64, func(x store.Timer) bool {
		if x.At >= from {
			all = append(all, x)
		}
		return true
	}))
	return all
}

// The same log gives the same bytes, state and answers: in any batches, with power
// cuts and restarts from checkpoints, on a replica that began at another's floor,
// and from entries read back from a commit log.
func TestTheSameLogGivesTheSameBytes(t *testing.T) {
	rounds, entries := 6, 400
	if testing.Short() {
		rounds = 2
	}
	for range rounds {
		seed := rand.Uint64()
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) { runHistory(t, seed, entries) })
	}
}

// Seeds that once failed, and one that is always run.
func TestTheSameLogGivesTheSameBytesAgain(t *testing.T) {
	for _, seed := range []uint64{1} {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) { runHistory(t, seed, 400) })
	}
}

func runHistory(t *testing.T, seed uint64, entries int) {
	h := newHistory(t, seed)
	rnd := rand.New(rand.NewPCG(seed, 3))
	batches, crashing := newReplica(t), newReplica(t)
	var floored *replica
	durable := uint64(0) // the last checkpoint of crashing
	var state []byte
	for len(h.entries) < entries {
		h.grow(1 + rnd.IntN(40))
		end := uint64(len(h.entries))
		h.follow(rnd, batches, end)

		applied, _ := crashing.Applied()
		h.follow(rnd, crashing, applied+uint64(rnd.IntN(int(end-applied)+1)))
		if rnd.IntN(3) == 0 {
			var sync func() error
			state, sync = crashing.Checkpoint()
			require.NoError(t, sync())
			durable, _ = crashing.Applied()
		}
		h.follow(rnd, crashing, end)
		if rnd.IntN(2) == 0 {
			require.NoError(t, crashing.Close())
			crashing = openReplica(t, crashing.disk.Crash(rnd.Uint64()), state)
			at, _ := crashing.Applied()
			require.Equal(t, durable, at, "open cuts back to the checkpoint")
			h.follow(rnd, crashing, end)
		}

		if rnd.IntN(4) == 0 {
			if floored != nil {
				h.follow(rnd, floored, end)
				h.same(floored)
				require.NoError(t, floored.Close())
			}
			floored, _ = []*replica{h.replica, batches, crashing}[rnd.IntN(3)].installed()
		}
		if floored != nil {
			h.follow(rnd, floored, end)
		}
	}
	h.same(batches)
	h.same(crashing)
	if floored != nil {
		h.same(floored)
	}
	a, _ := h.Checkpoint()
	b, _ := batches.Checkpoint()
	require.Equal(t, a, b, "checkpoints")
}

// An installed floor is durable like anything else, and its taker is able to give
// it on.
func TestAFloorIsGivenOn(t *testing.T) {
	h := newHistory(t, 7)
	for len(h.Store().Segments()) < 4 {
		h.grow(1)
	}
	starts, n := h.Store().Segments(), uint64(len(h.entries))
	h.entries = append(h.entries, entryAt(n+1, raft.LogCommand, EncodeTrim(nil, h.at, starts[2].Position)))
	res, err := h.Apply(h.entries[n:])
	require.NoError(t, err)
	h.results = append(h.results, res...)
	rnd := rand.New(rand.NewPCG(1, 1))
	second, index := h.installed()
	require.NotZero(t, index)
	require.Equal(t, h.Store().First().Index, index)
	h.follow(rnd, second, n+1)
	h.same(second)
	second = second.restart()
	third, again := second.installed()
	require.Equal(t, index, again)
	h.follow(rnd, third, n+1)
	h.same(third)
}

func TestStatesOfALaterProgramAreRefused(t *testing.T) {
	r := newReplica(t)
	r.send(1, item(t, queue(0), 1, producer(1, 0, 0)))
	state, _ := r.Checkpoint()
	later := append([]byte{stateVersion + 1}, state[1:]...)
	_, err := OpenPartition("p", PartitionOptions{}, later)
	require.ErrorIs(t, err, ErrStateVersion)
	require.ErrorIs(t, r.Restore(later, 1, 1), ErrStateVersion)
	state[len(state)-1] ^= 1
	_, err = OpenPartition("p", PartitionOptions{}, state)
	require.ErrorIs(t, err, ErrState)
	require.ErrorIs(t, r.Restore(state, 1, 1), ErrState)
	require.Equal(t, Duplicate, r.send(1, item(t, queue(0), 1, producer(1, 0, 0))).Status, "a refused floor changes nothing")
	_, err = OpenCatalogue([]byte{catalogueVersion + 1})
	require.ErrorIs(t, err, ErrStateVersion)
}

// What cannot be understood stops the replica: it is an error, and nothing of the
// entry happened.
func TestUnknownCommandsStopTheReplica(t *testing.T) {
	good := EncodeDigest(nil, 7)
	for _, c := range []struct {
		name string
		cmd  []byte
		want error
	}{
		{"empty", nil, ErrCommand},
		{"short", good[:9], ErrCommand},
		{"kind 0", append([]byte{0}, good[1:]...), ErrUnknownCommand},
		{"kind of the catalogue", append([]byte{byte(kindBootstrap)}, good[1:]...), ErrUnknownCommand},
		{"next kind", append([]byte{byte(kindEnd)}, good[1:]...), ErrUnknownCommand},
		{"version 2", append([]byte{good[0], 2}, good[2:]...), ErrUnknownCommand},
		{"trailing byte", append(good[:len(good):len(good)], 0), ErrCommand},
		{"counts lie", append(EncodeAppend(nil, 7, nil)[:10], 0xff, 0xff, 0xff, 0xff), ErrCommand},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := filled(t)
			before, _ := r.Checkpoint()
			_, err := r.Apply([]*raft.Log{{Index: 2, Term: 1, Type: raft.LogCommand, Data: c.cmd}})
			require.ErrorIs(t, err, c.want)
			after, _ := r.Checkpoint()
			require.Equal(t, before, after)
			cat, err := OpenCatalogue(nil)
			require.NoError(t, err)
			_, err = cat.Apply([]*raft.Log{{Index: 1, Term: 1, Type: raft.LogCommand, Data: c.cmd}})
			require.Error(t, err)
		})
	}
	r := filled(t)
	_, err := r.Apply([]*raft.Log{{Index: 3, Term: 1, Type: raft.LogNoop}})
	require.ErrorIs(t, err, ErrOrder)
}

// Each replica remembers its last digests, to be compared.
func TestDigestsAreRemembered(t *testing.T) {
	r := filled(t)
	d := r.do(EncodeDigest(nil, 1)).(DigestResult)
	require.EqualValues(t, 1, d.Mark.Index)
	kept, ok := r.DigestAt(1)
	require.True(t, ok)
	require.Equal(t, d, kept)
	r.commit(1, CommitOffset{Offset: 1})
	next := r.do(EncodeDigest(nil, 1)).(DigestResult)
	require.NotEqual(t, d.State, next.State)
	require.NotEqual(t, d.Log, next.Log)
	for range keptDigests {
		r.do(EncodeDigest(nil, 1))
	}
	_, ok = r.DigestAt(1)
	require.False(t, ok)
}

// What may run beside Apply does: the race detector watches.
func TestReadsRunBesideApply(t *testing.T) {
	h := newHistory(t, 9)
	h.grow(200)
	r := newReplica(t)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for index := uint64(0); index < 200; index, _ = r.Applied() {
			for _, g := range r.Groups() {
				r.Committed(g, queue(0))
				r.PendingReset(g, queue(0))
				r.LockOwner(g, queue(0))
			}
			r.Now()
			r.DigestAt(index)
			if _, _, _, err := r.Floor(); err != nil {
				t.Error(err)
			}
		}
	}()
	h.follow(rand.New(rand.NewPCG(9, 9)), r, 200)
	<-done
	h.same(r)
}

// The largest item fits an entry, and is applied in one piece.
func TestTheLargestItemFits(t *testing.T) {
	r := newReplica(t)
	q := queue(0)
	one := records(t, q, 1, 4<<20)
	rest := MaxItem - len(one)
	last := records(t, q, 1, 0)
	it := Item{Queue: q, Producer: producer(1, 0, 0), Records: append(one, records(t, q, 1, rest-len(last))...), Count: 2}
	require.Len(t, it.Records, MaxItem)
	require.Equal(t, Stored, r.send(1, it).Status)
	require.Equal(t, Duplicate, r.send(1, it).Status)
}
