package client

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"raftmq/message"
	"raftmq/remoting"
)

// retryVersion is that of the subscription to the retry topic, which never changes.
const retryVersion = 1

// putBackWait is how long it is tried to put a message back, before it is handled again
// here.
const putBackWait = 30 * time.Second

// RetryAfter is an error of a handler that chooses when the message comes
// again.
func RetryAfter(d time.Duration, err error) error { return &retryAfter{max(d, 0), err} }

type retryAfter struct {
	delay time.Duration
	err   error
}

func (e *retryAfter) Error() string { return fmt.Sprintf("again in %v: %v", e.delay, e.err) }
func (e *retryAfter) Unwrap() error { return e.err }

// DeadLetter is an error of a handler after which the message is not tried again: it
// goes to the group's dead letters, with the error's text.
func DeadLetter(err error) error { return &deadLetter{err} }

type deadLetter struct{ err error }

func (e *deadLetter) Error() string { return fmt.Sprintf("to the dead letters: %v", e.err) }
func (e *deadLetter) Unwrap() error { return e.err }

// failed has a message come again later. It is put back, and then counts as handled
// here; if that cannot be, it is handled again here, and the queue's committed offset
// stays below it. At the end of a run it is left to the next member, which may be given it
// twice if it was being put back; so is what was given up because the queue was taken away.
func (s *Consumer) failed(jobs *jobs, j *job, err error) {
	s.mu.Lock()
	over := s.over
	s.mu.Unlock()
	if errors.Is(err, context.Canceled) && (over() || j.claim.ctx.Err() != nil) {
		return
	}
	wait := s.backoff(j.d.Attempt)
	if r, ok := errors.AsType[*retryAfter](err); ok {
		wait = r.delay
	}
	s.c.log.Info("message failed", "group", s.group, "topic", j.d.Topic, "queue", j.d.Queue, "offset", j.d.Offset, "attempt", j.d.Attempt, "error", err)
	if !s.here {
		back := s.putBack(j, wait, err)
		if errors.Is(back, ErrTooLarge) && s.lastHere(j, err) { // its properties leave no room to come again, but to be buried
			back = s.putBack(j, wait, DeadLetter(err))
		}
		if back == nil {
			j.claim.done(j)
			return
		}
		if j.claim.run.Err() != nil {
			s.c.log.Warn("message perhaps not put back before the run's end: it comes again, and once more if it was", "group", s.group, "topic", j.d.Topic, "queue", j.d.Queue, "offset", j.d.Offset, "error", back)
			return
		}
		if notKept(back) && s.lastHere(j, err) {
			s.letGo(j, back)
			j.claim.done(j)
			return
		}
		s.c.log.Warn("message not put back: it is handled again here", "group", s.group, "topic", j.d.Topic, "queue", j.d.Queue, "offset", j.d.Offset, "error", back)
	}
	if wait < 0 {
		wait = time.Second << min(j.d.Attempt-1, 6)
	}
	j.again()
	jobs.addLater(j, wait)
}

// attemptsHere is how often a message is handled that cannot be put back, since it is not kept any
// more or has no room for it, unless the consumer says how often: as often as by the group's default.
const attemptsHere = 17

// notKept says that a message was not put back since it is not kept any more: it was trimmed, or its
// topic deleted.
func notKept(err error) bool {
	e, ok := errors.AsType[*BrokerError](err)
	if !ok || e.Code != int(remoting.SystemError) {
		return false
	}
	return e.notKept || strings.HasPrefix(e.Remark, "no message at ") || strings.HasPrefix(e.Remark, "no partition with ") // as earlier versions of nodes say it
}

// lastHere says that a message which cannot be put back was handled as often as it may be: nobody counts
// that, and what is behind it must not wait for ever.
func (s *Consumer) lastHere(j *job, err error) bool {
	_, buried := errors.AsType[*deadLetter](err)
	return buried || j.d.Attempt >= cmp.Or(s.attempts, attemptsHere)
}

func (s *Consumer) letGo(j *job, back error) {
	s.c.log.Error("message given up: it failed, and is not kept any more, so it is no dead letter either", "group", s.group, "topic", j.d.Topic, "queue", j.d.Queue, "offset", j.d.Offset, "id", j.d.ID, "error", back)
}

// backoff is the wait after a failed attempt; below 0: the broker's.
func (s *Consumer) backoff(attempt int) time.Duration {
	if s.first == 0 {
		return -1
	}
	wait := s.first
	for range min(attempt-1, 30) {
		wait = min(2*wait, s.most)
	}
	return wait
}

// putBack asks for the message to come again, or to go to the dead letters. Nil: that is
// durable. It is tried until the drain time of the run is over.
func (s *Consumer) putBack(j *job, wait time.Duration, err error) error {
	h := remoting.SendBackHeader{Group: s.group, Offset: j.d.physical, OriginMsgID: j.d.ID, OriginTopic: j.d.Topic, MaxReconsumeTimes: -1,
		BrokerName: j.claim.key.queue.broker, DelayMs: -1, Delivery: j.delivery}
	if wait >= 0 {
		h.DelayMs = wait.Milliseconds()
	}
	if s.attempts > 0 {
		h.MaxReconsumeTimes = int32(s.attempts - 1)
	}
	if _, ok := errors.AsType[*deadLetter](err); ok {
		h.DelayLevel = -1
	}
	if h.Reason = err.Error(); len(h.Reason) > message.MaxReason {
		h.Reason = strings.ToValidUTF8(h.Reason[:message.MaxReason], "")
	}
	ctx, cancel := context.WithTimeout(j.claim.run, putBackWait)
	defer cancel()
	defer context.AfterFunc(s.c.ctx, cancel)()
	r, addr, err := s.c.askBroker(ctx, "put back", j.claim.key.queue.broker, remoting.NewRequest(remoting.ConsumerSendMessageBack, h))
	if err != nil {
		return err
	}
	if r.Code != remoting.OK {
		return refusal("put back", j.d.Topic, s.group, addr, r)
	}
	return nil
}

// retried gives a message that comes again the topic that it had first.
func retried(d *Delivery) {
	if t := d.Properties[message.PropRetryTopic]; t != "" {
		d.Topic = t
	}
}
