package broker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"raftmq/fsm"
	"raftmq/membership"
	"raftmq/store"
)

// Attributes of a topic that stand in place of the node's settings.
const (
	attrRetention      = "retention"       // a duration, or "forever"
	attrRetentionBytes = "retention-bytes" // bytes, or "unlimited"
)

// forcedAtOnce is how many partitions lose a segment in one round because a disk fills
// up; RocketMQ deletes as many files a round.
const forcedAtOnce = 10

// keeping is how long and how much of a partition is kept, at least.
type keeping struct {
	age   time.Duration // 0: for ever
	bytes int64         // 0: no limit
}

// keepingOf is what counts for the topic. Attributes were checked when they were set;
// one that cannot be read keeps everything.
func (b *Broker) keepingOf(topic string) keeping {
	k := keeping{max(0, b.cfg.Retention), b.cfg.RetentionBytes}
	t, ok := b.catalogue.Topic(topic)
	if !ok { // not known here yet, or gone
		return keeping{}
	}
	if v, ok := t.Attributes[attrRetention]; ok {
		k.age, _ = parseRetention(v)
	}
	if v, ok := t.Attributes[attrRetentionBytes]; ok {
		k.bytes, _ = parseRetentionBytes(v)
	}
	return k
}

// parseRetention reads a topic's retention; 0: for ever.
func parseRetention(v string) (time.Duration, error) {
	if v == "forever" {
		return 0, nil
	}
	d, err := time.ParseDuration(v)
	if err != nil || d < time.Second {
		return 0, fmt.Errorf("retention %q: a duration of at least 1s, like 48h, or forever", v)
	}
	return d, nil
}

// parseRetentionBytes reads a topic's retention in bytes; 0: no limit.
func parseRetentionBytes(v string) (int64, error) {
	if v == "unlimited" {
		return 0, nil
	}
	n, err := strconv.ParseInt(v, 10, 64)
	if err != nil || n < 1 {
		return 0, fmt.Errorf("retention-bytes %q: a number of bytes, or unlimited", v)
	}
	return n, nil
}

// checkRetention refuses attributes of a topic that could not be read later.
func checkRetention(attributes map[string]string) error {
	if v, ok := attributes[attrRetention]; ok {
		if _, err := parseRetention(v); err != nil {
			return err
		}
	}
	if v, ok := attributes[attrRetentionBytes]; ok {
		if _, err := parseRetentionBytes(v); err != nil {
			return err
		}
	}
	return nil
}

// hours are hours of the day, one bit each.
type hours uint32

const anyHour hours = 1<<24 - 1

// parseHours reads "04", "04;16" or "any".
func parseHours(s string) (hours, error) {
	if s == "any" {
		return anyHour, nil
	}
	var all hours
	for part := range strings.SplitSeq(s, ";") {
		h, err := strconv.ParseUint(strings.TrimSpace(part), 10, 8)
		if err != nil || h > 23 {
			return 0, fmt.Errorf("hours of the day %q: 00 to 23, joined by semicolons, or any", s)
		}
		all |= 1 << h
	}
	return all, nil
}

func (h hours) has(t time.Time) bool { return h&(1<<t.Hour()) != 0 }

// retain proposes, for the partitions that are led here, that old segments go, and
// removes the files of those that went, on every replica.
func (b *Broker) retain() {
	const sweeps = 10 // per round
	at, _ := parseHours(b.cfg.DeleteWhen)
	tick := time.NewTicker(max(time.Millisecond, b.cfg.RetainEvery/sweeps))
	defer tick.Stop()
	for i := 1; ; i++ {
		select {
		case <-tick.C:
		case <-b.ctx.Done():
			return
		}
		if i%sweeps == 0 {
			b.retainRound(b.time(), at)
		}
		for _, p := range b.local() {
			if p.store().Trimmed() {
				b.removeTrimmed(p)
			}
		}
	}
}

// removeTrimmed lets the store remove what was trimmed, which it does when no
// checkpoint that may be opened needs it.
func (b *Broker) removeTrimmed(p *partition) {
	err := p.replica.Checkpoint()
	if err == nil && p.store().Trimmed() {
		err = p.replica.CheckpointAgain()
	}
	if err != nil && b.ctx.Err() == nil {
		b.log.Debug("checkpoint after a trim", "partition", p.desc.ID, "error", err) // what is final is told by the replica
	}
}

const (
	whyExpired = "expired"
	whyBytes   = "more than is to be kept"
)

// trim is what should go of a partition.
type trim struct {
	p   *partition
	to  store.Position
	why string
	old store.Position // what is below is expired, and goes if to gains nothing; 0: nothing
	age int64          // store time of the newest message that goes, Unix ms; of forced ones
}

// retainRound looks at every partition that is led here.
func (b *Broker) retainRound(now time.Time, at hours) {
	var forced []trim
	for _, p := range b.local() {
		if !p.leads() || p.waits.Load() != nil {
			continue
		}
		disk := b.worstDisk(p)
		k := b.keepingOf(p.desc.Topic)
		segments := p.store().Retained()
		to, old, why := p.store().First().Position, store.Position(0), ""
		if k.age > 0 && (at.has(now) || disk >= membership.DiskClean) {
			if x := p.store().TrimBefore(now.Add(-k.age).UnixMilli()); x > to {
				to, old, why = x, x, whyExpired
			}
		}
		if x := beyond(segments, k.bytes); x > to {
			to, why = x, whyBytes
		}
		if why != "" && b.trim(trim{p: p, to: to, why: why, old: old}) {
			continue
		}
		if disk >= membership.DiskForce && b.cfg.DiskForceAt < 100 && len(segments) > 1 && // a full disk is above it, switched off or not
			!p.store().Trimmed() {
			forced = append(forced, trim{p: p, why: "a replica's disk fills up", age: segments[0].LastMs})
		}
	}
	slices.SortFunc(forced, func(x, y trim) int { return cmp.Compare(x.age, y.age) })
	tried := 0
	for _, t := range forced {
		if tried == forcedAtOnce {
			return
		}
		var err error
		if t.to, err = t.p.gains(); err != nil {
			b.log.Warn("look for what may go of a full disk", "partition", t.p.desc.ID, "topic", t.p.desc.Topic, "error", err) // again in the next round
		}
		if t.to > 0 {
			tried++
			b.trim(t)
		}
	}
}

// gains is where the first segments end that hold more than what waits for its time, which
// would be appended again; 0: nowhere.
func (p *partition) gains() (store.Position, error) {
	segments := p.store().Retained()
	waits := make([]int64, len(segments)) // in each
	if p.store().TimerCount() > 0 {
		cursor, _ := p.machine.Timers()
		err := p.store().Timers(cursor, never, func(t store.Timer) bool {
			at := sort.Search(len(segments), func(i int) bool { return segments[i].End > t.At })
			if at < len(segments) {
				waits[at] += int64(t.Size) + fsm.DueHead
			}
			return true
		})
		if err != nil {
			return 0, err
		}
	}
	var sum int64
	for i := range len(segments) - 1 {
		to := segments[i+1].Start
		if sum += waits[i]; 2*sum <= int64(to-segments[0].Start) {
			return to, nil
		}
	}
	return 0, nil
}

// beyond is where the segments start that hold at least bytes together; 0: nowhere.
func beyond(segments []store.Retained, bytes int64) (to store.Position) {
	if bytes <= 0 || len(segments) == 0 {
		return 0
	}
	end := segments[len(segments)-1].End
	for _, g := range segments {
		if int64(end-g.Start) >= bytes {
			to = g.Start
		}
	}
	return to
}

// worstDisk is what the fullest disk among the partition's replicas asks for.
func (b *Broker) worstDisk(p *partition) membership.DiskLevel {
	worst := b.room.last().level
	for _, v := range p.desc.Voters {
		if n, ok := b.members.Node(v.Name); ok && v.Name != b.id.Node && b.transport.Alive(v.Name) {
			worst = max(worst, n.Disk)
		}
	}
	return worst
}

// trim proposes one. It is false if that would gain nothing, or what is to be kept could not be
// appended again: then less may go.
func (b *Broker) trim(t trim) bool {
	err := t.p.keepAbove(b, t.to, t.why)
	if errors.Is(err, errNoGain) && t.old > 0 {
		t.to, t.why = t.old, whyExpired
		err = t.p.keepAbove(b, t.to, t.why)
	}
	if err != nil {
		log := b.log.Warn
		if errors.Is(err, errNoGain) { // as is to be expected, for as long as it waits
			log = b.log.Debug
		}
		if b.ctx.Err() == nil {
			log("append again what waits, before old messages are deleted", "partition", t.p.desc.ID, "topic", t.p.desc.Topic, "error", err) // again in the next round
		}
		return false
	}
	ctx, cancel := context.WithTimeout(b.ctx, forwardWait)
	defer cancel()
	from := t.p.store().First().Position
	if err := b.carryHalves(ctx, t.p, t.to); err != nil {
		if b.ctx.Err() == nil {
			b.log.Warn("store again what is pending below a trim", "partition", t.p.desc.ID, "topic", t.p.desc.Topic, "error", err) // again in the next round
		}
		return true
	}
	if _, err := t.p.propose(ctx, fsm.EncodeTrim(nil, b.atMs(), t.to)); err != nil {
		if b.ctx.Err() == nil {
			b.log.Warn("delete old messages", "partition", t.p.desc.ID, "topic", t.p.desc.Topic, "error", err) // again in the next round
		}
		return true
	}
	b.log.Info("old messages deleted", "partition", t.p.desc.ID, "topic", t.p.desc.Topic, "why", t.why, "from", int64(from), "to", int64(t.to))
	return true
}

// keepWait bounds how long what waits is appended again.
const keepWait = time.Minute

// errNoGain: most of what a trim would take is to be kept, and would be appended again.
var errNoGain = errors.New("broker: most of it is still to come, among retries and dead letters, or without a decision")

// keepAbove appends again what a trim would take and is to be kept: what is still to
// come, retries and dead letters. errNoGain if that, and what carryHalves does next, is most of it, and it need not go.
// When a disk fills up, letters and transactions do not count for that: behind them may lie what goes.
func (p *partition) keepAbove(b *Broker, to store.Position, why string) error {
	ctx, cancel := context.WithTimeout(b.ctx, keepWait)
	defer cancel()
	half := int64(to-p.store().First().Position) / 2
	letters, undecided, timers := int64(0), int64(0), int64(0)
	var err error
	if why == whyBytes {
		if letters, err = p.lettersBelow(ctx, b, to); err != nil {
			return err
		}
		undecided = p.halvesBelow(to)
	}
	if p.store().TimerCount() > 0 {
		if timers, err = p.timersBelow(to); err != nil {
			return err
		}
	}
	if why != whyExpired && letters+undecided+timers > half {
		return errNoGain
	}
	if err := p.keepLetters(ctx, b, to); err != nil || timers == 0 {
		return err
	}
	return p.keepTimers(ctx, b, to)
}
