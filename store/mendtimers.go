package store

import (
	"context"
	"errors"
	"fmt"

	"raftmq/message"
)

// timers builds the index of timers again from the log: what it says of what is not
// retained no longer counts. The runs that are there are removed when the new ones
// are durable; a crash in between leaves some of them, which is damage that is found
// again.
func (m *Mender) timers(ctx context.Context, st state) error {
	s, first := m.store(), m.first(st)
	have, err := s.list()
	if err != nil {
		return err
	}
	for _, n := range have.timers {
		s.timers.next = max(s.timers.next, n+1)
	}
	s.trash = make(map[string]struct{})
	flush := func() error {
		if err := s.flushTimers(); err != nil {
			return fmt.Errorf("%w: %w", errMendDisk, err)
		}
		return nil
	}
	for i, start := range have.starts {
		end := st.mark.Position
		if i+1 < len(have.starts) {
			end = min(end, have.starts[i+1])
		}
		if start < first || start >= end || m.Timers == nil {
			continue
		}
		name := segmentName(m.Dir, start, "log")
		lastMs, err := m.lastBefore(name)
		if err == nil {
			_, err = scan(ctx, m.Options.FS, name, start, end, func(at Position, e Entry) error {
				ops, err := m.Timers(e, at+frameHead, lastMs)
				if err != nil {
					return err
				}
				for _, op := range ops {
					s.timers.mem = append(s.timers.mem, m.timerOf(op, e.Data, at+frameHead))
				}
				if len(s.timers.mem) >= timerFlush {
					return flush()
				}
				return nil
			})
		}
		var d *Damage
		if errors.As(err, &d) {
			if e := m.segmentOf(ctx, st, d); e != nil {
				return errors.Join(d, e)
			}
			return m.timers(ctx, st) // what was written says nothing wrong, and goes with the rest
		}
		if err != nil {
			return err
		}
	}
	if err := flush(); err != nil {
		return err
	}
	if err := m.Options.FS.SyncDir(m.Dir); err != nil {
		return err
	}
	for _, n := range have.timers {
		if err := s.removeFile(timerName(m.Dir, n)); err != nil {
			return err
		}
	}
	return m.Options.FS.SyncDir(m.Dir)
}

// timerOf is stampTimers of one that was stamped.
func (m *Mender) timerOf(op TimerOp, data []byte, pos Position) Timer {
	s := Store{o: m.Options}
	storeMs := int64(0)
	if op.Size > 0 {
		storeMs = message.Record(data[op.Start : op.Start+op.Size]).StoreTimestamp()
	}
	return s.stampTimers([]TimerOp{op}, data, pos, storeMs)[0]
}

// lastBefore is the last store time before a segment.
func (m *Mender) lastBefore(name string) (int64, error) {
	f, err := m.Options.FS.Open(name)
	if err != nil {
		return 0, unread(name, 0, err)
	}
	defer f.Close()
	b := make([]byte, segmentHead)
	if _, err := f.ReadAt(b, 0); err != nil {
		return 0, unread(name, 0, err)
	}
	o, err := decodeHead(name, b)
	return o.lastMs, err
}
