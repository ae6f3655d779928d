package broker

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"math"
	"slices"
	"strconv"
	"time"

	"raftmq/fsm"
	"raftmq/message"
	"raftmq/remoting"
	"raftmq/store"
)

// A group that nobody uses is deleted after GroupExpiry. The leader of the catalogue looks for those that have no
// members anywhere, and notes in the catalogue since when, and where each is; so another leader goes on counting. A
// group that has had members since, or is elsewhere in some queue, is used. One that has retries or dead letters is
// needed, and one whose settings somebody chose is not the broker's to delete.

// idleGroups is the namespace of the catalogue's values that are such notes, by group.
const idleGroups = "RAFTMQ_IDLE_GROUPS"

const (
	// idleAtMost is how many are noted at a time: half of the values that the catalogue keeps.
	idleAtMost = 8192
	// idleAsked is how many groups are asked about in one look: each asks the leaders of all partitions
	// of its topics.
	idleAsked = 64
	// idleGrace is how many looks a leader takes before it deletes anything: clients of a cluster
	// that was down come back meanwhile.
	idleGrace = 10
	// idleAgain is which part of GroupExpiry a group that is needed is left alone.
	idleAgain = 20
	// waitingRead is how many messages that wait for their time are read to see whether they are a
	// group's retries. Where there are more it is needed.
	waitingRead = 1 << 20
	idleWait    = 30 * time.Second
)

// minGroupExpiry is longer than clients of a node that died count as members.
const minGroupExpiry = time.Minute

// idleness is what a group that nobody uses was seen to be: since when, Unix ms of the cluster's time, and a
// hash of its offsets.
type idleness struct {
	since  int64
	places uint64
}

func (i idleness) String() string { return fmt.Sprintf("%d %016x", i.since, i.places) }

func parseIdleness(s string) (i idleness, ok bool) {
	n, err := fmt.Sscanf(s, "%d %x", &i.since, &i.places)
	return i, n == 2 && err == nil
}

// use notes that members of groups come or go.
func (g *registry) use(groups []string) {
	if g.b.cfg.GroupExpiry <= 0 || len(groups) == 0 {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, name := range groups {
		g.used[name] = struct{}{}
	}
}

// takeUsed are the groups that have members, or had some since it was asked last.
func (g *registry) takeUsed() map[string]struct{} {
	g.mu.Lock()
	used := g.used
	g.used = make(map[string]struct{})
	g.mu.Unlock()
	g.each(func(i clientInfo) {
		for name := range i.Consumer {
			used[name] = struct{}{}
		}
	})
	return used
}

// whole reports whether all nodes live and have said which clients they have.
func (g *registry) whole() bool {
	g.mu.RLock()
	defer g.mu.RUnlock()
	for _, n := range g.b.catalogue.Nodes() {
		if n.Name == g.b.id.Node {
			continue
		}
		if _, heard := g.lists[n.Name]; !heard || !g.b.transport.Alive(n.Name) {
			return false
		}
	}
	return true
}

// groupExpiry is what a node knows of idle groups while it leads the catalogue.
type groupExpiry struct {
	b     *Broker
	term  uint64           // in which it leads; 0: it does not
	looks int              // in this term
	again map[string]int64 // when groups that were needed are asked about again, Unix ms
}

// expireGroups looks for groups that nobody uses.
func (b *Broker) expireGroups() {
	tick := time.NewTicker(max(time.Millisecond, b.cfg.GroupsEvery))
	defer tick.Stop()
	x := groupExpiry{b: b}
	for {
		select {
		case <-tick.C:
			ctx, cancel := context.WithTimeout(b.ctx, idleWait)
			if err := x.look(ctx); err != nil && b.ctx.Err() == nil {
				b.log.Debug("look for groups that nobody uses", "error", err) // again at the next look
			}
			cancel()
		case <-b.ctx.Done():
			return
		}
	}
}

// look is one round. An error ends it; the next goes on from what is noted.
func (x *groupExpiry) look(ctx context.Context) error {
	b := x.b
	used := b.clients.takeUsed()
	term, leads := b.catalogue.replica.Leads()
	if !leads || term != x.term {
		x.term, x.looks, x.again = 0, 0, make(map[string]int64)
		if leads {
			x.term = term
		}
	}
	notes := b.catalogue.KV(idleGroups)
	if x.term == 0 || b.cfg.GroupExpiry <= 0 && len(notes) == 0 {
		return nil
	}
	if err := b.catchUp(ctx); err != nil { // what was noted before this term, and whether others lead
		return err
	}
	notes = b.catalogue.KV(idleGroups)
	for name := range notes {
		g, there := b.catalogue.Group(name)
		_, inUse := used[name]
		if b.cfg.GroupExpiry <= 0 || !there || inUse || !g.Default() {
			if err := x.forget(ctx, name); err != nil {
				return err
			}
		}
	}
	x.looks++
	if b.cfg.GroupExpiry <= 0 || x.looks <= idleGrace || !b.timeIsSound() || !b.clients.whole() {
		return nil
	}
	asked, noted := 0, len(notes)
	for _, g := range b.catalogue.Groups() {
		if _, inUse := used[g.Name]; inUse || !g.Default() {
			continue
		}
		now := b.atMs()
		note, there := parseIdleness(notes[g.Name])
		if there && (now-note.since < b.cfg.GroupExpiry.Milliseconds() || now < x.again[g.Name]) || !there && noted >= idleAtMost {
			continue
		}
		if asked++; asked > idleAsked {
			return nil
		}
		places, needed, err := b.groupUse(ctx, g)
		switch {
		case err != nil:
			return err
		case !there || places != note.places:
			if err := x.put(ctx, fsm.EncodePutKV(nil, idleGroups, g.Name, idleness{now, places}.String()), g.Name); err != nil {
				return err
			}
			noted++
		case needed:
			x.again[g.Name] = now + b.cfg.GroupExpiry.Milliseconds()/idleAgain
		case len(b.clients.membersOf(g.Name)) == 0: // none came meanwhile
			if err := x.delete(ctx, g.Name, time.Duration(now-note.since)*time.Millisecond); err != nil {
				return err
			}
		}
	}
	return nil
}

func (x *groupExpiry) delete(ctx context.Context, name string, idle time.Duration) error {
	r := &request{Command: remoting.NewRequest(remoting.DeleteSubscriptionGroup, remoting.DeleteGroupHeader{GroupName: name, CleanOffset: true})}
	if reply := x.b.change(ctx, r); reply.Code != remoting.OK {
		x.b.log.Warn("delete a group that nobody uses", "group", name, "idle", idle.Round(time.Second), "code", reply.Code, "reason", reply.Remark)
		return errReply{reply}
	}
	x.b.log.Info("a group that nobody uses is deleted", "group", name, "idle", idle.Round(time.Second))
	x.b.event("group-expired", 0, "group", name, "idle_ms", idle.Milliseconds())
	return x.forget(ctx, name)
}

func (x *groupExpiry) forget(ctx context.Context, name string) error {
	delete(x.again, name)
	_, err := x.b.decide(ctx, fsm.EncodeDeleteKV(nil, idleGroups, name))
	return err
}

func (x *groupExpiry) put(ctx context.Context, cmd []byte, name string) error {
	leave, ok := x.b.enterCatalogue(change{adds: func(cmd []byte) int { return x.b.kvAdds(cmd, idleGroups, name) }}, cmd)
	if !ok {
		return errors.New("broker: no room in the catalogue to note that a group is idle")
	}
	v, err := x.b.decide(ctx, cmd)
	res, _ := v.(fsm.CatalogueResult)
	leave(err != nil || res.Changed)
	return errors.Join(err, res.Err)
}

// groupUse asks the leaders of all partitions of a group's topics where it is, as a hash, and whether it is needed.
func (b *Broker) groupUse(ctx context.Context, g fsm.Group) (places uint64, needed bool, err error) {
	parts := b.catalogue.Partitions()
	if len(g.Topics) > 0 {
		parts = slices.DeleteFunc(parts, func(p fsm.Partition) bool { return !slices.Contains(g.Topics, p.Topic) })
	}
	replies := make([]*remoting.Command, len(parts))
	r := &request{}
	sideBySide(parts, func(i int, part fsm.Partition) {
		replies[i] = b.groupUseIn(ctx, r.ofGroup(codeGroupUse, g.Name, part.ID))
	})
	h := fnv.New64a()
	for i, reply := range replies {
		switch {
		case reply.Code == remoting.TopicNotExist: // deleted meanwhile
		case reply.Code != remoting.OK:
			return 0, false, errReply{reply}
		default:
			needed = needed || reply.Ext["needed"] == "1"
			fmt.Fprintln(h, parts[i].ID, reply.Ext["places"])
		}
	}
	return h.Sum64(), needed, nil
}

// groupUseIn answers for one partition.
func (b *Broker) groupUseIn(ctx context.Context, r *request) *remoting.Command {
	return b.atGroup(ctx, r, func(ctx context.Context, p *partition, group string) (*remoting.Command, error) {
		needed, err := p.needs(ctx, b, group)
		if err != nil {
			return nil, err
		}
		reply := r.ReplyWith(nil, nil)
		reply.SetExt("places", strconv.FormatUint(p.placesOf(group), 16))
		if needed {
			reply.SetExt("needed", "1")
		}
		return reply, nil
	})
}

// placesOf is a hash of a group's offsets.
func (p *partition) placesOf(group string) uint64 {
	h := fnv.New64a()
	for _, q := range p.store().Queues() {
		if off, ok := p.machine.Committed(group, q); ok {
			fmt.Fprintln(h, q.Topic, q.ID, off)
		}
	}
	return h.Sum64()
}

// errNeeded ends a visit.
var errNeeded = errors.New("broker: the group is needed")

// needs reports whether a group has retries here that it has not consumed, due or not, or dead letters that
// are not old.
func (p *partition) needs(ctx context.Context, b *Broker, group string) (bool, error) {
	err := p.eachLetters(ctx, b, func(l letters) error {
		if l.group != group {
			return nil
		}
		return p.eachToKeep(b, l, math.MaxInt64, func(message.Record) error { return errNeeded })
	})
	if errors.Is(err, errNeeded) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	cursor, _ := p.machine.Timers()
	needed, n := false, 0
	var unread error
	err = p.store().Timers(cursor, math.MaxInt64, func(t store.Timer) bool {
		if n++; n > waitingRead {
			needed = true
			return false
		}
		rec, err := p.store().TimerRecord(t)
		if errors.Is(err, store.ErrNotFound) { // it came meanwhile, and is trimmed
			return ctx.Err() == nil
		}
		if unread = err; err != nil {
			return false
		}
		needed = rec.Topic() == message.RetryTopic(group)
		return !needed && ctx.Err() == nil
	})
	return needed, errors.Join(err, unread, ctx.Err())
}
