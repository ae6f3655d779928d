package broker

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"raftmq/fsm"
	"raftmq/raftlog"
)

// Replicas are compared by a digest of log and state at an entry: the leader proposes
// a command at which each notes its own, asks for them, and tells those that differ
// from a majority of the voters. If all voters have answered and no majority agrees,
// all are told, and stop.

const (
	digestWait = 10 * time.Second // for replicas that lag
	digestPoll = 50 * time.Millisecond
)

type digester struct {
	compared, differed atomic.Uint64
}

// digestAnswer is a replica's digest, as another asks for it.
type digestAnswer struct {
	Applied    uint64
	Known      bool // of Applied beyond the entry and not known: it was opened later
	Log, State uint64
}

// verdict is what the leader found at an entry.
type verdict struct {
	Index      uint64
	Log, State uint64 // of the majority
	Disputed   bool   // there is none
	Leader     string
	Sound      []string `json:",omitempty"` // of the catalogue: the nodes that have it
}

func decodeVerdict(b []byte) (v verdict, err error) { return v, json.Unmarshal(b, &v) }

func encodeAnswer(a digestAnswer) ([]byte, error) { return json.Marshal(a) }

// tell sends a verdict about its replica.
func (c copyPeer) tell(ctx context.Context, v verdict) error {
	msg, err := json.Marshal(v)
	if err == nil {
		_, err = c.ask(ctx, copyVerdict, msg)
	}
	return err
}

func (v verdict) String() string {
	if v.Disputed {
		return fmt.Sprintf("at entry %d no majority of the replicas agrees", v.Index)
	}
	return fmt.Sprintf("at entry %d the others' digests are %016x and %016x", v.Index, v.Log, v.State)
}

// compareDigests compares the partitions that are led here and whose log has moved, and the
// catalogue.
func (b *Broker) compareDigests() {
	tick := time.NewTicker(b.cfg.DigestInterval)
	defer tick.Stop()
	last := make(map[uint64]uint64) // the entry that was compared, and nothing since
	for {
		select {
		case <-tick.C:
		case v := <-b.checked.verdicts:
			ctx, cancel := context.WithTimeout(b.ctx, digestWait)
			b.mendCatalogue(ctx, v)
			cancel()
			continue
		case <-b.ctx.Done():
			return
		}
		if b.leadsHere(catalogueGroup) {
			ctx, cancel := context.WithTimeout(b.ctx, digestWait)
			if err := b.compareCatalogue(ctx); err != nil && b.ctx.Err() == nil {
				b.log.Warn("compare the catalogue's replicas", "error", err)
			}
			cancel()
		} else {
			b.checked.disputed.Store(nil) // the leader looks itself
		}
		was := last
		last = make(map[uint64]uint64, len(was)) // without those that are gone
		for _, p := range b.local() {
			last[p.desc.ID] = was[p.desc.ID]
			if !p.leads() || p.store().Last().Index == was[p.desc.ID] {
				continue
			}
			ctx, cancel := context.WithTimeout(b.ctx, digestWait)
			index, err := b.compareDigest(ctx, p)
			cancel()
			if err != nil && b.ctx.Err() == nil {
				b.log.Warn("compare the digests of replicas", "partition", p.desc.ID, "error", err)
			}
			last[p.desc.ID] = index
		}
	}
}

// compareDigest compares one partition, and returns the entry that it took.
func (b *Broker) compareDigest(ctx context.Context, p *partition) (uint64, error) {
	r, err := p.propose(ctx, fsm.EncodeDigest(nil, b.atMs()))
	if err != nil {
		return 0, err
	}
	own := r.(fsm.DigestResult)
	index := own.Mark.Index
	conf, _ := p.replica.Members()
	voters, answers := b.askVoters(ctx, conf, p.desc.ID, index, digestAnswer{Known: true, Log: own.Log, State: own.State})
	b.digested.compared.Add(1)
	v, differ := tally(voters, answers)
	if !differ {
		return index + 1, nil
	}
	b.digested.differed.Add(1)
	v.Index, v.Leader = index, b.id.Node
	var told []string
	for node, a := range answers {
		told = append(told, fmt.Sprintf("%s: %016x %016x", node, a.Log, a.State))
	}
	b.log.Error("replicas of a partition differ", "partition", p.desc.ID, "topic", p.desc.Topic, "entry", index, "digests", strings.Join(told, ", "))
	if !v.Disputed && v.Log == 0 && v.State == 0 {
		return 0, fmt.Errorf("replicas differ at entry %d, %d of %d voters have answered: nobody can say which is right", index, len(answers), voters)
	}
	for node, a := range answers {
		if !v.Disputed && a.Log == v.Log && a.State == v.State {
			continue
		}
		var err error
		if node == b.id.Node {
			b.judge(p, v)
			err = b.note(p.desc.ID)
		} else {
			err = copyPeer{b, node, p.desc.ID}.tell(ctx, v)
		}
		if err != nil {
			return 0, err // it is asked again
		}
	}
	return index + 1, nil
}

// askVoters asks a group's voters for their digests at an entry, at which this node has own.
func (b *Broker) askVoters(ctx context.Context, conf raft.Configuration, group, index uint64, own digestAnswer) (voters int, answers map[string]digestAnswer) {
	answers = make(map[string]digestAnswer)
	for _, s := range conf.Servers {
		node, _ := raftlog.NodeOf(s.Address)
		if s.Suffrage == raft.Voter {
			voters++
		}
		switch {
		case node == b.id.Node:
			answers[node] = own
		case s.Suffrage == raft.Voter && b.transport.Alive(node):
			if a, ok := b.askDigest(ctx, copyPeer{b, node, group}, index); ok {
				answers[node] = a
			}
		}
	}
	return voters, answers
}

// tally finds what a majority of the voters has. The verdict is of no digest if
// there is none and not all have answered.
func tally(voters int, answers map[string]digestAnswer) (v verdict, differ bool) {
	count := make(map[[2]uint64]int)
	for _, a := range answers {
		count[[2]uint64{a.Log, a.State}]++
	}
	if len(count) < 2 {
		return v, false
	}
	for d, n := range count {
		if n > voters/2 {
			v.Log, v.State = d[0], d[1]
			return v, true
		}
	}
	v.Disputed = len(answers) == voters
	return v, true
}

// askDigest asks until the replica has applied the entry after index.
func (b *Broker) askDigest(ctx context.Context, of copyPeer, index uint64) (a digestAnswer, ok bool) {
	for {
		raw, err := of.ask(ctx, copyDigest, binary.BigEndian.AppendUint64(nil, index))
		if err != nil || json.Unmarshal(raw, &a) != nil || a.Applied > index && !a.Known {
			return a, false
		}
		if a.Known {
			return a, true
		}
		select {
		case <-time.After(digestPoll):
		case <-ctx.Done():
			return a, false
		}
	}
}

// digestFor answers askDigest.
func (p *partition) digestFor(req []byte) ([]byte, error) {
	if len(req) != 8 {
		return nil, fmt.Errorf("broker: index of %d bytes", len(req))
	}
	d, known := p.machine.DigestAt(binary.BigEndian.Uint64(req))
	if !known {
		return encodeAnswer(digestAnswer{Applied: p.replica.Applied()})
	}
	return encodeAnswer(digestAnswer{Applied: d.Mark.Index + 1, Known: true, Log: d.Log, State: d.State})
}

// judge puts the replica here into quarantine, if the verdict is about what it has.
func (b *Broker) judge(p *partition, v verdict) {
	d, known := p.machine.DigestAt(v.Index)
	if !known || !v.Disputed && d.Log == v.Log && d.State == v.State {
		return
	}
	reason := fmt.Sprintf("%s, here %016x and %016x, says %s", v, d.Log, d.State, v.Leader)
	if b.sick.admit(p.desc.ID, quarantine{Whole: !v.Disputed, Disputed: v.Disputed, Reason: reason}) {
		b.log.Error("replica is not what the others are: nobody is served from it", "partition", p.desc.ID, "topic", p.desc.Topic, "reason", reason)
	}
	b.withhold(p.desc.ID)
}
