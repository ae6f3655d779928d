package broker

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"raftmq/raftlog"
)

// metrics are what /metrics serves. Rates are for whoever reads them to compute:
// what counts up is a counter.
func (b *Broker) metrics() *prometheus.Registry {
	reg := prometheus.NewRegistry()
	gauge := func(name, help string, f func() float64) {
		reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, f))
	}
	counter := func(name, help string, f func() uint64) {
		reg.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help}, func() float64 { return float64(f()) }))
	}
	reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	gauge("raftmq_partitions", "Replicas open here.", func() float64 { return float64(len(b.local())) })
	gauge("raftmq_partitions_led", "Replicas here that lead.", func() float64 {
		n := 0
		for _, p := range b.local() {
			if p.leads() {
				n++
			}
		}
		return float64(n)
	})
	gauge("raftmq_feature_level", "What the cluster's nodes can all read; rises when the last has been upgraded.", func() float64 { return float64(b.FeatureLevel()) })
	gauge("raftmq_catalogue_led", "1 on the node that leads the catalogue.", func() float64 {
		if b.begun.Load() && b.leadsHere(catalogueGroup) {
			return 1
		}
		return 0
	})
	gauge("raftmq_nodes_alive", "Nodes that gossip knows alive, this one included.", func() float64 {
		if !b.begun.Load() {
			return 0
		}
		return float64(len(b.members.Nodes()))
	})
	gauge("raftmq_partitions_quarantined", "Replicas here in which damage was found, and that are not repaired.", func() float64 {
		n, _, _ := b.sick.counts()
		return float64(n)
	})
	counter("raftmq_damage_found_total", "Times that damage was found in a replica here.", func() uint64 { _, n, _ := b.sick.counts(); return n })
	counter("raftmq_repairs_total", "Replicas here that were repaired.", func() uint64 { _, _, n := b.sick.counts(); return n })
	counter("raftmq_scrub_bytes_total", "Bytes on disk that were read again against their checksums.", b.scrubbed.bytes.Load)
	counter("raftmq_scrub_passes_total", "Times that everything was read.", b.scrubbed.passes.Load)
	counter("raftmq_digests_compared_total", "Comparisons of replicas of partitions that are led here.", b.digested.compared.Load)
	counter("raftmq_digests_differed_total", "Comparisons in which replicas differed.", b.digested.differed.Load)
	counter("raftmq_catalogue_compared_total", "Comparisons of the catalogue's replicas, while it is led here.", b.checked.compared.Load)
	counter("raftmq_catalogue_differed_total", "Comparisons of them in which they differed.", b.checked.differed.Load)
	counter("raftmq_catalogue_replaced_total", "Times that the catalogue here was not the others' and was replaced by theirs.", b.checked.replaced.Load)
	gauge("raftmq_catalogue_disputed", "1 on the node that leads the catalogue while no majority of its replicas agrees: it decides nothing.", func() float64 {
		if b.checked.disputed.Load() != nil {
			return 1
		}
		return 0
	})
	slots := func(of func(*slotMeters) int64) func() uint64 {
		return func() (sum uint64) {
			for i := range b.rates.slots {
				sum += uint64(of(&b.rates.slots[i]))
			}
			return sum
		}
	}
	counter("raftmq_messages_stored_total", "Messages that this node stored as a leader.", slots(func(s *slotMeters) int64 { return s.in.Load() }))
	counter("raftmq_messages_stored_bytes_total", "Bytes of their records.", slots(func(s *slotMeters) int64 { return s.inBytes.Load() }))
	counter("raftmq_messages_read_total", "Messages that members of groups, and readers, were given by this node.", slots(func(s *slotMeters) int64 { return s.out.Load() }))
	count := func(is func(*partition) bool) func() float64 {
		return func() float64 {
			n := 0
			for _, p := range b.local() {
				if is(p) {
					n++
				}
			}
			return float64(n)
		}
	}
	halves := func(pick func(pending, parked int, bytes int64) float64) func() float64 {
		return func() (sum float64) {
			for _, p := range b.local() {
				if p.leads() {
					sum += pick(p.machine.HalfCounts())
				}
			}
			return sum
		}
	}
	gauge("raftmq_transactions_pending", "Transactions without a decision, parked ones included, of partitions led here.", halves(func(n, _ int, _ int64) float64 { return float64(n) }))
	gauge("raftmq_transactions_parked", "Those that are asked about no more: an operator must decide.", halves(func(_, n int, _ int64) float64 { return float64(n) }))
	gauge("raftmq_transactions_pending_bytes", "Bytes of their messages.", halves(func(_, _ int, n int64) float64 { return float64(n) }))
	counter("raftmq_transactions_prepared_total", "Halves that were stored through this node.", b.tx.halves.Load)
	counter("raftmq_transactions_committed_total", "Transactions that were committed through this node.", b.tx.commits.Load)
	counter("raftmq_transactions_rolled_back_total", "Transactions that were rolled back through this node.", b.tx.rollbacks.Load)
	counter("raftmq_transactions_conflicts_total", "Decisions that were refused, since another was made before.", b.tx.conflicts.Load)
	counter("raftmq_transactions_refused_total", "Halves that were refused, since too many have no decision.", b.tx.refused.Load)
	counter("raftmq_transactions_checks_total", "Questions to producers that left.", b.tx.checks.Load)
	counter("raftmq_transactions_checks_lost_total", "Questions that were counted and reached no producer.", b.tx.unasked.Load)
	gauge("raftmq_timers_indexed", "Messages that wait for their time in partitions led here, some that came not long ago among them.", func() (sum float64) {
		for _, p := range b.local() {
			if p.leads() {
				sum += float64(p.store().TimerCount())
			}
		}
		return sum
	})
	counter("raftmq_timers_fired_total", "Messages whose time had come and that were put into their queues by this node.", b.fired.Load)
	counter("raftmq_messages_retried_total", "Messages that were put back through this node.", b.putBack.Load)
	counter("raftmq_messages_buried_total", "Messages that went to dead letters through this node.", b.buried.Load)
	counter("raftmq_messages_placed_total", "Messages of stock clients that a topic's rules put into another queue than they were sent to.", b.placed.Load)
	counter("raftmq_replies_total", "Replies that this node handed to their requesters, or had handed over.", b.replies.Load)
	counter("raftmq_replies_unanswered_total", "Replies whose requesters were connected to no node.", b.unanswered.Load)
	gauge("raftmq_pulls_held", "Pulls that may wait for messages here, other nodes' clients' too.", func() float64 { return float64(b.admission.held.Load()) })
	gauge("raftmq_clock_ahead_seconds", "How far this node's clock is ahead of the cluster's time.", func() float64 { return b.now().Sub(b.time()).Seconds() })
	gauge("raftmq_disk_free_bytes", "Bytes free on the data folder's disk, what the reserve holds included.", func() float64 { return float64(b.room.last().free) })
	gauge("raftmq_disk_used_ratio", "Share of the data folder's disk that is used, without the reserve.", func() float64 { return b.room.last().used() / 100 })
	gauge("raftmq_disk_level", "What the disk asks for: 0 nothing, 1 delete what has expired, 2 delete also what has not, 3 take no messages.", func() float64 { return float64(b.room.last().level) })
	gauge("raftmq_partitions_waiting", "Replicas here that apply nothing, since the disk is full or no more files may be open.", count(func(p *partition) bool { return p.waits.Load() != nil }))
	gauge("raftmq_partitions_refusing", "Partitions led here that refuse messages, since the disks of too many replicas are full.", count(func(p *partition) bool { return p.refuses.Load() && p.leads() }))
	gauge("raftmq_wal_bytes", "Live bytes of the write-ahead log that wait for a checkpoint.", func() float64 {
		var n int64
		for _, p := range b.local() {
			n += p.log.Bytes()
		}
		return float64(n)
	})
	gauge("raftmq_wal_files", "Segment files of the write-ahead log.", func() float64 { return float64(b.wal.Stats().Files) })
	counter("raftmq_wal_syncs_total", "Syncs of the write-ahead log.", func() uint64 { return b.wal.Stats().Syncs })
	gauge("raftmq_wal_write_way", "How frames of the write-ahead log are made durable: 3 past the page cache, submitted, 2 past it, by calls that block, 1 through it, 0 none was yet.", func() float64 { return float64(b.wal.Stats().Way) })
	gauge("raftmq_wal_damaged_segments", "Segments of the write-ahead log in which damage was found, and that are not written anew yet.", func() float64 { s := b.wal.Stats(); return float64(s.Damaged - s.Healed) })
	counter("raftmq_wal_damage_found_total", "Segments of the write-ahead log in which damage was found while it was in use.", func() uint64 { return b.wal.Stats().Damaged })
	counter("raftmq_wal_healed_total", "Of these, that were written anew.", func() uint64 { return b.wal.Stats().Healed })
	counter("raftmq_wal_requests_total", "Appends and other changes that these syncs made durable.", func() uint64 { return b.wal.Stats().Requests })
	counter("raftmq_wal_written_bytes_total", "Bytes written to the write-ahead log.", func() uint64 { return b.wal.Stats().Bytes })
	reg.MustRegister(syncTimes{b.wal.Stats})
	gauge("raftmq_wal_sync_p99_seconds", "99th percentile of the time of a sync since the start, within a factor of two; see raftmq_wal_sync_seconds for that of the last minutes.", func() float64 { return b.wal.Stats().SyncQuantile(0.99).Seconds() })
	counter("raftmq_transport_received_bytes_total", "Bytes received from the other nodes.", func() uint64 { return b.transport.Stats().BytesIn })
	counter("raftmq_transport_sent_bytes_total", "Bytes sent to the other nodes.", func() uint64 { return b.transport.Stats().BytesOut })
	counter("raftmq_transport_heartbeats_total", "Heartbeats sent, of all groups.", func() uint64 { return b.transport.Stats().Heartbeats })
	counter("raftmq_transport_heartbeat_frames_total", "Frames that they shared.", func() uint64 { return b.transport.Stats().HeartbeatFrames })
	counter("raftmq_transport_refused_total", "Requests of other nodes refused because too many waited.", func() uint64 { return b.transport.Stats().Busy })
	return reg
}

// syncTimes are the syncs of the write-ahead log by how long they took: what a disk is like now can be told from
// two looks at them, and from no number that counts since the start.
type syncTimes struct{ stats func() raftlog.WALStats }

var syncTimesDesc = prometheus.NewDesc("raftmq_wal_sync_seconds", "How long syncs of the write-ahead log took.", nil, nil)

// Buckets from 33 us to 8.6 s, by powers of two of nanoseconds. A sync that takes longer has failed.
const (
	firstSyncBucket = 15
	lastSyncBucket  = 33
)

func (syncTimes) Describe(ch chan<- *prometheus.Desc) { ch <- syncTimesDesc }

func (x syncTimes) Collect(ch chan<- prometheus.Metric) {
	s := x.stats()
	buckets, sum := make(map[float64]uint64), uint64(0)
	for i, n := range s.SyncTimes[:lastSyncBucket+1] {
		if sum += n; i >= firstSyncBucket {
			buckets[(time.Duration(1) << i).Seconds()] = sum
		}
	}
	ch <- prometheus.MustNewConstHistogram(syncTimesDesc, s.Syncs, s.SyncTime.Seconds(), buckets)
}
