package broker

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"raftmq/remoting"
	"raftmq/store"
)

// figures answers 28: how one slot fares at this node, by the names that RocketMQ's tools
// read. What is led elsewhere counts there.
func (b *Broker) figures(ctx context.Context, r *request) *remoting.Command {
	if err := b.admission.read(ctx, b.admission.lookups); err != nil {
		return r.failed(err)
	}
	defer b.admission.lookups.leave()
	return r.ReplyWith(nil, remoting.EncodeBody(remoting.KVTable{Table: b.figuresOf(max(r.slot, 0), b.now())}))
}

func (b *Broker) figuresOf(slot int, now time.Time) map[string]string {
	t := make(map[string]string, 64)
	n := func(key string, v int64) { t[key] = itoa(v) }
	n("bootTimestamp", now.Add(-b.uptime()).UnixMilli())
	n("startAcceptSendRequestTimeStamp", 0)
	t["runtime"] = sinceBoot(b.uptime())
	t["brokerVersionDesc"] = "raftmq-" + Version
	n("brokerVersion", int64(remoting.Version))
	t["brokerActive"] = strconv.FormatBool(b.begun.Load() && !b.web.draining.Load())

	// RocketMQ's own have three numbers each: of the last 10 s, minute and 10 minutes.
	s := b.rates.slot(slot)
	if s == nil {
		s = new(slotMeters) // of a cluster that has more slots than this node was told of
	}
	three := func(m *meter) string {
		ten, minute, tens := b.rates.back(m, perMinute, 1, now), b.rates.of(m, perMinute, now), b.rates.back(m, perHour, 1, now)
		return fmt.Sprintf("%.2f %.2f %.2f", ten.tps, minute.tps, tens.tps)
	}
	t["putTps"] = three(&s.in)
	for _, key := range []string{"getFoundTps", "getTotalTps", "getTransferredTps", "getTransferedTps"} { // the last of RocketMQ 4
		t[key] = three(&s.out)
	}
	t["getMissTps"] = "0.00 0.00 0.00"
	for _, x := range []struct {
		name string
		m    *meter
	}{{"msgPutTotal", &s.in}, {"msgGetTotal", &s.out}} {
		today, yesterday := b.rates.mornings(x.m)
		n(x.name+"YesterdayMorning", yesterday)
		n(x.name+"TodayMorning", today)
		n(x.name+"TodayNow", x.m.Load())
	}
	stored, bytes := s.in.Load(), s.inBytes.Load()
	n("putMessageTimesTotal", stored)
	n("putMessageSizeTotal", bytes)
	t["putMessageAverageSize"] = fmt.Sprintf("%.1f", float64(bytes)/float64(max(stored, 1)))

	oldest, waiting, dueSince, wal := int64(0), 0, int64(0), int64(0)
	at, led := b.atMs(), 0
	for _, p := range b.local() {
		if p.desc.Slot != slot {
			continue
		}
		wal += p.log.Bytes()
		if ms := p.oldestMs(); ms > 0 && (oldest == 0 || ms < oldest) {
			oldest = ms
		}
		if !p.leads() {
			continue
		}
		led++
		if count := p.store().TimerCount(); count > 0 {
			waiting += count
			cursor, _ := p.machine.Timers()
			p.store().Timers(cursor, at, func(t store.Timer) bool {
				dueSince = max(dueSince, at-t.DueMs)
				return false
			})
		}
	}
	n("earliestMessageTimeStamp", oldest)
	if oldest == 0 { // the tools take its age
		delete(t, "earliestMessageTimeStamp")
	}
	n("partitionsLed", int64(led))
	n("timerReadBehind", dueSince/1000)
	n("timerOffsetBehind", 0)
	n("timerCongestNum", int64(waiting))
	t["timerEnqueueTps"] = fmt.Sprintf("%.2f", b.rates.of(&s.timersIn, perMinute, now).tps)
	t["timerDequeueTps"] = fmt.Sprintf("%.2f", b.rates.of(&s.timersUp, perMinute, now).tps)

	disk := b.room.last()
	ratio := fmt.Sprintf("%.4f", disk.used()/100)
	t["commitLogDiskRatio"], t["consumeQueueDiskRatio"] = ratio, ratio
	t["commitLogDirCapacity"] = fmt.Sprintf("Total : %s, Free : %s.", readable(disk.total), readable(disk.free))
	t["remainHowManyDataToFlush"] = readable(wal) // in the write-ahead log only
	n("dispatchBehindBytes", 0)
	n("pageCacheLockTimeMills", 0)

	for name, waits := range map[string]int32{
		"send": 0, "ack": 0, "pull": b.admission.pulls.waiting.Load(), "litePull": 0, "query": b.admission.lookups.waiting.Load(),
	} {
		n(name+"ThreadPoolQueueSize", int64(waits))
		n(name+"ThreadPoolQueueCapacity", gateWaiting)
		n(name+"ThreadPoolQueueHeadWaitTimeMills", 0)
	}
	return t
}

// sinceBoot is how long a node runs, as RocketMQ words it.
func sinceBoot(d time.Duration) string {
	s := int64(d.Seconds())
	return fmt.Sprintf("[ %d days, %d hours, %d minutes, %d seconds ]", s/86400, s/3600%24, s/60%60, s%60)
}

// readable is a number of bytes for people.
func readable(n int64) string {
	f, unit := float64(n), 0
	for f >= 1024 && unit < len(byteUnits)-1 {
		f, unit = f/1024, unit+1
	}
	return strings.TrimSuffix(strconv.FormatFloat(f, 'f', 1, 64), ".0") + " " + byteUnits[unit]
}

var byteUnits = [...]string{"B", "KiB", "MiB", "GiB", "TiB", "PiB"}

// aged is when the oldest message that a replica keeps was stored.
type aged struct {
	first store.Mark // what the log begins with
	ms    int64
}

// oldestMs is when the oldest message in the replica's queues was stored, Unix ms; 0: there is none,
// or it cannot be read. It is looked for once for each trim: what is appended is not older.
func (p *partition) oldestMs() int64 {
	a := &aged{first: p.store().First()}
	if known := p.aged.Load(); known != nil && known.first == a.first {
		return known.ms
	}
	for _, q := range p.store().Queues() {
		lo, _ := p.store().Bounds(q)
		if ms := p.storedMs(q, lo); ms > 0 && (a.ms == 0 || ms < a.ms) {
			a.ms = ms
		}
	}
	if a.ms > 0 {
		p.aged.Store(a)
	}
	return a.ms
}
