package client

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"raftmq/message"
	"raftmq/remoting"
)

// ErrMessageNotFound: no message by that name is kept, or it is deleted by now.
var ErrMessageNotFound = errors.New("client: message not found")

// LifeStep is something that became of a message.
type LifeStep struct {
	What     string // prepared, decided, waiting, waited, taken back, stored, retry, or dead letter
	ID       string
	Topic    string
	Group    string // of consumers, of a retry or dead letter; of a transaction, of producers
	Broker   string
	QueueID  int
	Offset   int64  // -1: in no queue
	Position int64  // in the log of its partition
	OffsetID string // by which stock clients know it
	Index    uint64 // of the Raft entry that it lies in; 0: not known
	Term     uint64
	At       time.Time // by the cluster's time; zero: not known
	Due      time.Time // of one that waits, or did
	Times    int       // handed out before; of a transaction, checks made
	State    string    // of a transaction; "taken out" of a dead letter that is not there any more
	By       string    // who decided; of others, the address they were sent from
	Reason   string    // of a dead letter
	Keys     []string
	Tag      string
	Bytes    int // of the body as it is stored
	Groups   []GroupPlace
}

// GroupPlace is how far a group is in the queue that a message lies in.
type GroupPlace struct {
	Group     string
	Committed int64 // -1: nothing yet
	Behind    int64 // messages to be handled before this one; 0 of one that is next, or handled
	Handled   bool  // the group's offset is past it
}

// Life is what became of a message, by the replicated state, the oldest first.
type Life struct {
	Steps  []LifeStep
	Looked []LookedInto
}

// LookedInto is a partition that was asked.
type LookedInto struct {
	Partition uint64
	Broker    string
	Node      string // that leads it
	Applied   uint64 // the entry up to which it answers
	Unseen    int    // messages that wait, or transactions, that were too many to look at
	// UnseenGroups is how many groups were too many for their retries and dead letters to be looked through.
	UnseenGroups int
	// UnseenRecords: more have the id, or the key, than were looked at; the oldest were not.
	UnseenRecords bool
	UnseenGone    int // transactions that were rolled back, and messages taken back, that were too many to look at
}

// Explain tells what became of a message: where it is stored, what it waits or waited for,
// that it was taken back, how it was decided, put back and given up, and which groups are
// past it. A transaction that was rolled back, and a message that was taken back, is known
// for a while only: see docs/limits.md. id is its unique id
// or one of its keys, in topic; or, with topic "", an offset id, or a unique id in
// whichever topic, each of which is then asked. ErrMessageNotFound if there is nothing.
func (a *Admin) Explain(ctx context.Context, topic, id string) (Life, error) {
	if id == "" {
		return Life{}, fmt.Errorf("%w: no message named", ErrInvalid)
	}
	life, err := a.explain(ctx, topic, id)
	if topic != "" || !errors.Is(err, ErrMessageNotFound) {
		return life, err
	}
	unseen := 0
	for t, err := range a.Topics(ctx) {
		if err != nil {
			return Life{}, err
		}
		if t.Name == message.DefaultTopic || t.Name == message.TraceTopic {
			continue
		}
		life, err = a.explain(ctx, t.Name, id)
		if !errors.Is(err, ErrMessageNotFound) && !errors.Is(err, ErrTopicNotFound) {
			return life, err
		}
		unseen += life.unseen()
	}
	return Life{}, notFound(unseen, "%s, in any topic", id)
}

// unseen is how many messages were too many to look at, which are in no queue.
func (l Life) unseen() (n int) {
	for _, p := range l.Looked {
		n += p.Unseen + p.UnseenGone
	}
	return n
}

// notFound is ErrMessageNotFound that says how many were not looked at.
func notFound(unseen int, format string, args ...any) error {
	what := fmt.Sprintf(format, args...)
	if unseen > 0 {
		what += fmt.Sprintf("; %d that wait, were rolled back or were taken back were not looked at", unseen)
	}
	return fmt.Errorf("%w: %s", ErrMessageNotFound, what)
}

func (a *Admin) explain(ctx context.Context, topic, id string) (life Life, err error) {
	const op = "explain message"
	r, addr, err := a.c.askBroker(ctx, op, "", remoting.NewRequest(remoting.ExplainMessage, remoting.ExplainHeader{Topic: topic, ID: id}))
	if err != nil {
		return life, err
	}
	switch r.Code {
	case remoting.OK:
	case remoting.QueryNotFound:
		return life, fmt.Errorf("%w: %w", ErrMessageNotFound, refusal(op, topic, "", addr, r))
	default:
		return life, refusal(op, topic, "", addr, r)
	}
	var l remoting.MessageLife
	if err := remoting.DecodeBody(r.Body, &l); err != nil {
		return life, fmt.Errorf("%s from %s: %w", op, addr, err)
	}
	for _, p := range l.Partition {
		life.Looked = append(life.Looked, LookedInto{p.Partition, slotName(p.Slot), p.Node, p.Applied, p.Unseen, p.UnseenGroups, p.UnseenRecords, p.UnseenGone})
	}
	for _, s := range l.Steps {
		life.Steps = append(life.Steps, lifeStep(s))
	}
	begun := func(s LifeStep) time.Time {
		if s.At.IsZero() && s.What == remoting.StepWaited { // not known since when
			return s.Due
		}
		return s.At
	}
	slices.SortStableFunc(life.Steps, func(x, y LifeStep) int {
		x.At, y.At = begun(x), begun(y)
		if x.At.IsZero() != y.At.IsZero() { // what waits comes last
			if x.At.IsZero() {
				return 1
			}
			return -1
		}
		return x.At.Compare(y.At)
	})
	if len(life.Steps) == 0 {
		return life, notFound(life.unseen(), "%s in topic %s", id, topic)
	}
	return life, nil
}

func slotName(slot int) string { return fmt.Sprintf("raftmq-%d", slot) }

func lifeStep(s remoting.MessageStep) LifeStep {
	out := LifeStep{What: s.What, ID: s.MsgID, Topic: s.Topic, Group: s.Group, Broker: slotName(s.Slot), QueueID: int(s.Queue), Offset: s.Offset, Position: s.Position,
		OffsetID: s.OffsetID, Index: s.Index, Term: s.Term, Times: int(s.Times), State: s.State, By: s.By, Reason: s.Reason, Keys: strings.Fields(s.Keys), Tag: s.Tag, Bytes: s.Bytes}
	if s.At > 0 {
		out.At = time.UnixMilli(s.At)
	}
	if s.Due > 0 {
		out.Due = time.UnixMilli(s.Due)
	}
	for _, g := range s.Groups {
		out.Groups = append(out.Groups, GroupPlace{g.Group, g.Committed, max(0, s.Offset-max(0, g.Committed)), g.Committed > s.Offset})
	}
	return out
}

// FindMessages returns the messages of a topic with a key, or a unique id, that were
// stored from one time until another (zero: no bound), the oldest first: of each slot
// at most max, and at most 32, the newest.
func (a *Admin) FindMessages(ctx context.Context, topic, key string, from, until time.Time, max int) ([]*Delivery, error) {
	if key == "" || max < 0 {
		return nil, fmt.Errorf("%w: a key is needed, and a number that is not negative", ErrInvalid)
	}
	if max == 0 {
		max = 32
	}
	h := remoting.QueryMessageHeader{Topic: topic, Key: key, MaxNum: int32(min(max, 1<<20))}
	if !from.IsZero() {
		h.BeginTimestamp = from.UnixMilli()
	}
	if !until.IsZero() {
		h.EndTimestamp = until.UnixMilli()
	}
	if _, err := a.c.clusterInfo(ctx); err != nil {
		return nil, err
	}
	var found []*Delivery
	const op = "find messages"
	for _, name := range a.c.routes.names() {
		r, addr, err := a.c.askBroker(ctx, op, name, remoting.NewRequest(remoting.QueryMessage, h))
		switch {
		case err != nil:
			return nil, err
		case r.Code == remoting.QueryNotFound:
			continue
		case r.Code != remoting.OK:
			return nil, refusal(op, topic, "", addr, r)
		}
		for rest := r.Body; len(rest) > 0; {
			var ds []*Delivery
			if ds, rest, err = decodeRecords(rest, &a.c.codecs); err != nil {
				return nil, fmt.Errorf("%s of %s from %s: %w", op, topic, addr, err)
			}
			for _, d := range ds {
				d.Broker = name
			}
			found = append(found, ds...)
		}
	}
	slices.SortStableFunc(found, func(x, y *Delivery) int { return x.StoredAt.Compare(y.StoredAt) })
	return found, nil
}

// At returns the message of a stored step, with its body.
func (a *Admin) At(ctx context.Context, s LifeStep) (*Delivery, error) {
	const op = "show message"
	_, physical, err := message.ParseOffsetID(s.OffsetID)
	if err != nil {
		return nil, fmt.Errorf("%w: a message that is %s has no place to be read at", ErrInvalid, s.What)
	}
	r, addr, err := a.c.askBroker(ctx, op, s.Broker, remoting.NewRequest(remoting.ViewMessageByID, remoting.ViewMessageHeader{Offset: physical}))
	if err != nil {
		return nil, err
	}
	if r.Code != remoting.OK {
		err := error(refusal(op, s.Topic, "", addr, r))
		if notKept(err) {
			err = fmt.Errorf("%w: %w", ErrMessageNotFound, err)
		}
		return nil, err
	}
	d, _, err := decodeRecord(r.Body, &a.c.codecs)
	if err != nil {
		return nil, fmt.Errorf("%s from %s: %w", op, addr, err)
	}
	d.Broker = s.Broker
	return d, nil
}
