package mqtest

import (
	"testing"

	"raftmq/broker"
)

// A node whose commit logs would have segments of another length than the others' does not come
// in, and says why: started with theirs, on the same folder, it does.
func TestANodeWithOtherSegmentsIsNotLetIn(t *testing.T) {
	t.Parallel()
	c := Start(t, 3, nil)
	l := c.load(1)
	l.serves("before")
	c.Stop(2)
	c.wipe(2)
	c.cfg = func(cfg *broker.Config) { cfg.SegmentBytes = 4 << 20 }
	c.Run(2)
	c.says(2, "segment-bytes is 4194304 here and 8388608 on n", "it must be the same on all nodes")
	c.Stop(2)
	c.cfg = nil
	c.Run(2)
	c.Await(2)
	l.kept()
}

// Nor is a cluster founded of such nodes.
func TestNoClusterIsFoundedOfNodesWithOtherSegments(t *testing.T) {
	t.Parallel()
	c := Start(t, 3, nil)
	for i := range 3 {
		c.Stop(i)
		c.wipe(i)
	}
	for i := range 3 {
		c.cfg = func(cfg *broker.Config) { cfg.SegmentBytes = int64(4<<20 + i/2<<20) }
		c.Run(i)
	}
	c.says(0, "segment-bytes is 4194304 here and 5242880 on n3")
	c.says(1, "segment-bytes is 4194304 here and 5242880 on n3")
	c.says(2, "segment-bytes is 5242880 here and 4194304 on n")
	c.Stop(2)
	c.cfg = func(cfg *broker.Config) { cfg.SegmentBytes = 4 << 20 }
	c.Run(2)
	for i := range 3 {
		c.Await(i)
	}
}
