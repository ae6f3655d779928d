package client

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"raftmq/remoting"
)

// TimerInfo is a message that waits for its time.
type TimerInfo struct {
	Name    string // by it Client.Recall takes it back
	ID      string
	Topic   string
	Broker  string
	QueueID int
	Due     time.Time
	Bytes   int
	Message *Delivery // only where one is asked for
}

func (a *Admin) timers(ctx context.Context, topic, name string, max int) ([]TimerInfo, error) {
	const op = "timers"
	req := remoting.NewRequest(remoting.ListTimers, nil)
	req.SetExt("topic", topic)
	req.SetExt("recallHandle", name)
	req.SetExt("max", fmt.Sprint(max))
	r, addr, err := a.c.askBroker(ctx, op, "", req)
	if err != nil {
		return nil, err
	}
	if r.Code != remoting.OK {
		return nil, refusal(op, topic, "", addr, r)
	}
	var l remoting.TimerList
	if err := remoting.DecodeBody(r.Body, &l); err != nil {
		return nil, fmt.Errorf("%s from %s: %w", op, addr, err)
	}
	var out []TimerInfo
	for _, t := range l.Timers {
		i := TimerInfo{Name: t.Name, ID: t.MsgID, Topic: t.Topic, Broker: fmt.Sprintf("raftmq-%d", t.Slot), QueueID: int(t.Queue), Due: time.UnixMilli(t.Due), Bytes: t.Bytes}
		if len(t.Record) > 0 {
			if d, _, err := decodeRecord(t.Record, &a.c.codecs); err == nil {
				i.Message = d
			}
		}
		out = append(out, i)
	}
	return out, nil
}

// Timers are messages that wait in a topic's partitions, retries of its messages among
// them, the next to come first, at most max; 0: 1000, which is the most.
func (a *Admin) Timers(ctx context.Context, topic string, max int) ([]TimerInfo, error) {
	if max < 0 || max > listedLetters {
		return nil, fmt.Errorf("%w: at most %d timers, not 0 to %d", ErrInvalid, max, listedLetters)
	}
	return a.timers(ctx, topic, "", max)
}

// Timer is the message that waits under a name; ErrInvalid and ErrMessageNotFound if none does.
func (a *Admin) Timer(ctx context.Context, name string) (TimerInfo, error) {
	all, err := a.timers(ctx, "", name, 1)
	if err == nil && len(all) != 1 {
		err = fmt.Errorf("%w: %w: none waits under %s", ErrInvalid, ErrMessageNotFound, name)
	}
	if err != nil {
		return TimerInfo{}, err
	}
	return all[0], nil
}

// listedLetters is how many dead letters and timers a list has if it is not said, and how
// many timers at most.
const listedLetters = 1000

// DeadLetterInfo is a message that its group gave up.
type DeadLetterInfo struct {
	Name    string // SLOT-QUEUE-OFFSET
	Message *Delivery
}

// Topic is where the message was sent to.
func (d *DeadLetterInfo) Topic() string {
	return cmp.Or(d.Message.Properties["DLQ_ORIGIN_TOPIC"], d.Message.Properties["RETRY_TOPIC"]) // long properties leave room for one only
}

// Reason is why it failed the last time, if its consumer said so.
func (d *DeadLetterInfo) Reason() string { return d.Message.Properties["DLQ_REASON"] }

func (a *Admin) deadLetters(ctx context.Context, h remoting.DeadLettersHeader) (l remoting.DeadLetterList, err error) {
	op, ask := "dead letters", a.c.askOnce
	if h.Op == remoting.ListLetters {
		ask = a.c.askBroker
	}
	r, addr, err := ask(ctx, op, "", remoting.NewRequest(remoting.DeadLetters, h))
	if err != nil {
		return l, err
	}
	if r.Code != remoting.OK && h.Op == remoting.ListLetters {
		return l, refusal(op, "", h.Group, addr, r)
	}
	if r.Code != remoting.OK {
		return l, changeRefusal(op, "", h.Group, addr, r)
	}
	if err := remoting.DecodeBody(r.Body, &l); err != nil {
		return l, fmt.Errorf("%s from %s: %w", op, addr, err)
	}
	return l, nil
}

// letter is the header for one dead letter, or, without a name, for at most max of all.
func letter(group, name, op string, max int) (h remoting.DeadLettersHeader, err error) {
	if max < 0 || max > remoting.MaxLetters {
		return h, fmt.Errorf("%w: at most %d dead letters, not 0 to %d", ErrInvalid, max, remoting.MaxLetters)
	}
	h = remoting.DeadLettersHeader{Group: group, Op: op, Slot: -1, Offset: -1, Max: int32(max)}
	if name == "" {
		return h, nil
	}
	at, err := remoting.ParseLetterPlace(name)
	if err != nil {
		return h, fmt.Errorf("%w: dead letter %q %w", ErrInvalid, name, err)
	}
	h.Slot, h.Queue, h.Offset = at.Slot, at.Queue, at.Offset
	return h, nil
}

// DeadLetters are a group's, at most max; 0: 1000. Those that were taken out are not
// among them. An answer of a node has up to 4 MiB of them, so it may ask several times:
// what becomes one meanwhile may be missing.
func (a *Admin) DeadLetters(ctx context.Context, group string, max int) ([]DeadLetterInfo, error) {
	h, err := letter(group, "", remoting.ListLetters, max)
	if err != nil {
		return nil, err
	}
	return a.listLetters(ctx, h)
}

func (a *Admin) listLetters(ctx context.Context, h remoting.DeadLettersHeader) (out []DeadLetterInfo, err error) {
	for most := cmp.Or(int(h.Max), listedLetters); len(out) < most; {
		h.Max = int32(most - len(out))
		l, err := a.deadLetters(ctx, h)
		if err != nil {
			return nil, err
		}
		for _, x := range l.Letters {
			d, _, err := decodeRecord(x.Record, &a.c.codecs)
			if err != nil {
				return nil, fmt.Errorf("dead letters of %s: %w", h.Group, err)
			}
			d.Broker = fmt.Sprintf("raftmq-%d", x.Slot)
			out = append(out, DeadLetterInfo{remoting.LetterPlace{Slot: int32(x.Slot), Queue: x.Queue, Offset: x.Offset}.String(), d})
		}
		if l.Next == nil {
			break
		}
		if l.Next.Compare(h.From) <= 0 {
			return nil, fmt.Errorf("dead letters of %s: a list that ends at %s goes on at %s", h.Group, h.From, l.Next)
		}
		h.From = *l.Next
	}
	return out, nil
}

// DeadLetter is one; ErrInvalid and ErrMessageNotFound if it is not there.
func (a *Admin) DeadLetter(ctx context.Context, group, name string) (DeadLetterInfo, error) {
	h, err := letter(group, name, remoting.ListLetters, 1)
	if err != nil {
		return DeadLetterInfo{}, err
	}
	all, err := a.listLetters(ctx, h)
	if err == nil && len(all) != 1 {
		err = fmt.Errorf("%w: %w: group %s has no dead letter %s", ErrInvalid, ErrMessageNotFound, group, name)
	}
	if err != nil {
		return DeadLetterInfo{}, err
	}
	return all[0], nil
}

// Redrive has the group handle a dead letter again, with all its attempts; name "": at
// most max of them, 0: 1000. Each comes again once, however often that is asked. It
// returns how many come because of this call. ErrTooLarge: some stay, whose properties have no
// room for their topic's name; the others come. ErrUncertain: some may, and it is not known
// how many.
func (a *Admin) Redrive(ctx context.Context, group, name string, max int) (int, error) {
	return a.takeOut(ctx, group, name, remoting.RedriveLetters, max)
}

// Purge drops a dead letter; name "": at most max of them, 0: 1000. It returns how many
// were dropped by this call. ErrUncertain: some may have been, and it is not known how many.
func (a *Admin) Purge(ctx context.Context, group, name string, max int) (int, error) {
	return a.takeOut(ctx, group, name, remoting.PurgeLetters, max)
}

func (a *Admin) takeOut(ctx context.Context, group, name, op string, max int) (int, error) {
	h, err := letter(group, name, op, max)
	if err != nil {
		return 0, err
	}
	l, err := a.deadLetters(ctx, h)
	if err == nil && l.NoRoom > 0 {
		err = fmt.Errorf("%w: %d dead letters of group %s stay: their properties have no room for their topic's name", ErrTooLarge, l.NoRoom, group)
	}
	return l.Done, err
}
