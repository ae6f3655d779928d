package broker

import (
	"cmp"
	"fmt"
	"time"

	"raftmq/raftlog"
)

// fillBounds takes defaults for the budgets that are zero.
func (c *Config) fillBounds() {
	c.MaxConnections = cmp.Or(c.MaxConnections, 16384)
	c.MaxRequestBytes = cmp.Or(c.MaxRequestBytes, 256<<20)
	c.MaxReplyBytes = cmp.Or(c.MaxReplyBytes, 256<<20)
}

// minHeartbeat is a time of which three quarters, a leader's lease, are as much as Raft takes at least.
const minHeartbeat = 10 * time.Millisecond

// maxSegment is more than anybody needs: each partition has a map of it in the process's addresses.
const maxSegment = 1 << 40

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
	case c.SegmentBytes < 0 || c.SegmentBytes > maxSegment:
		return fmt.Errorf("%w: segment-bytes is %d, at most %d", ErrConfig, c.SegmentBytes, int64(maxSegment))
	case c.ScrubEvery < 0:
		return fmt.Errorf("%w: scrub-every is %v: below zero; scrub-rate -1 has nothing read again", ErrConfig, c.ScrubEvery)
	case c.WriteDeadline < 0 || c.Heartbeat < 0:
		return fmt.Errorf("%w: write-deadline is %v, heartbeat %v: below zero", ErrConfig, c.WriteDeadline, c.Heartbeat)
	case c.Heartbeat < minHeartbeat:
		return fmt.Errorf("%w: heartbeat is %v, at least %v are possible", ErrConfig, c.Heartbeat, minHeartbeat)
	}
	if err := (raftlog.WALOptions{SegmentBytes: c.WALSegmentBytes, Segments: c.WALSegments, MaxEntry: largest}).Check(); err != nil {
		return fmt.Errorf("%w: wal-segment-bytes, wal-segments and max-body do not fit each other: %w", ErrConfig, err)
	}
	return nil
}
