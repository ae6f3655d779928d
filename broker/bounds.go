package broker

import (
	"cmp"
	"fmt"

	"raftmq/fsm"
	"raftmq/raftlog"
	"raftmq/store"
)

// fillBounds takes defaults for the budgets that are zero.
func (c *Config) fillBounds() {
	c.MaxConnections = cmp.Or(c.MaxConnections, 16384)
	c.MaxRequestBytes = cmp.Or(c.MaxRequestBytes, 256<<20)
	c.MaxReplyBytes = cmp.Or(c.MaxReplyBytes, 256<<20)
}

// checkBounds refuses budgets that do not fit each other.
func (c *Config) checkBounds() error {
	largest := int64(c.MaxBody) + entryHead
	switch {
	case c.MaxConnections < 1 || c.MaxConnections > 1<<20:
		return fmt.Errorf("%w: max-connections is %d, 1 to %d are possible", ErrConfig, c.MaxConnections, 1<<20)
	case c.MaxRequestBytes < 4*largest:
		return fmt.Errorf("%w: max-request-bytes is %d; with max-body %d at least %d are needed, for four messages", ErrConfig, c.MaxRequestBytes, c.MaxBody, 4*largest)
	case c.MaxReplyBytes < 4*maxPullBytes:
		return fmt.Errorf("%w: max-reply-bytes is %d; at least %d are needed, for four pulls", ErrConfig, c.MaxReplyBytes, 4*maxPullBytes)
	case c.SegmentBytes < 0:
		return fmt.Errorf("%w: segment-bytes is %d", ErrConfig, c.SegmentBytes)
	case c.WriteDeadline < 0 || c.Heartbeat < 0:
		return fmt.Errorf("%w: write-deadline is %v, heartbeat %v: below zero", ErrConfig, c.WriteDeadline, c.Heartbeat)
	}
	if err := (raftlog.WALOptions{SegmentBytes: c.WALSegmentBytes, Segments: c.WALSegments, MaxEntry: largest}).Check(); err != nil {
		return fmt.Errorf("%w: wal-segment-bytes, wal-segments and max-body do not fit each other: %w", ErrConfig, err)
	}
	return nil
}

// largestItem is the most bytes of records that a request may have: of all that an entry has
// room for, or, where the write-ahead log has not, of one message.
func (c *Config) largestItem() int {
	o := raftlog.WALOptions{SegmentBytes: c.WALSegmentBytes, Segments: c.WALSegments, MaxEntry: store.MaxEntry}
	if o.Check() == nil {
		return fsm.MaxItem
	}
	return c.MaxBody + entryHead - store.MaxEntry + fsm.MaxItem // the rest of an entry is the same
}
