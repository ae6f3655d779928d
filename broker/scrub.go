package broker

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"raftmq/store"
)

// scrubber re-reads what lies on this node's disk against its checksums, one replica
// after the other and then the write-ahead log, so that damage is found before the
// good copies are gone, and before a restart needs it. It reads with pread, at a rate,
// and from the disk: what is cold it drops from memory first.
type scrubber struct {
	rate   int64 // bytes a second
	bytes  atomic.Uint64
	passes atomic.Uint64
	found  atomic.Uint64
}

// pace waits as long as so many bytes may take.
func (s *scrubber) pace(ctx context.Context, bytes int) error {
	s.bytes.Add(uint64(bytes))
	t := time.NewTimer(time.Duration(bytes) * time.Second / time.Duration(s.rate))
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// scrub makes one pass after the other, ScrubEvery apart.
func (b *Broker) scrub() {
	for {
		select {
		case <-time.After(b.cfg.ScrubEvery):
		case <-b.ctx.Done():
			return
		}
		began, bytes, found := time.Now(), b.scrubbed.bytes.Load(), b.scrubbed.found.Load()
		for _, p := range b.local() {
			_, err := p.store().Verify(b.ctx, 0, b.scrubbed.pace, func(d *store.Damage) {
				b.scrubbed.found.Add(1)
				if !isIndex(d) { // of which the store tells
					b.damaged(p.desc.ID, d)
				}
			})
			if b.ctx.Err() != nil {
				return
			}
			if err != nil && !errors.Is(err, store.ErrClosed) {
				b.log.Warn("scrub a replica", "partition", p.desc.ID, "error", err)
			}
		}
		if err := b.wal.Verify(b.ctx, b.scrubbed.pace); err != nil {
			if b.ctx.Err() != nil {
				return
			}
			b.log.Warn("scrub the write-ahead log", "error", err)
		}
		b.scrubbed.passes.Add(1)
		b.log.Info("what is on disk was read again", "bytes", b.scrubbed.bytes.Load()-bytes, "damaged_files", b.scrubbed.found.Load()-found, "took", time.Since(began).Round(time.Millisecond))
	}
}

// walDamaged notes that the write-ahead log was found damaged. The log empties the
// segment by itself: see raftlog.WAL.Verify.
func (b *Broker) walDamaged(err error) {
	b.scrubbed.found.Add(1)
	b.event("write-ahead log damaged", catalogueGroup, "error", err.Error())
}

func (b *Broker) walHealed(file string) {
	b.event("write-ahead log healed", catalogueGroup, "file", file)
}
