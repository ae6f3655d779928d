package raftlog

import "math/bits"

// walBudget is what a number of files has room for, in bytes. doc_wal.go says why these figures suffice.
type walBudget struct {
	segment int64 // of frames in one segment
	largest int64 // of one frame
	live    int64 // of records that are needed, so that copying all of them forward frees room
	entries int64 // of records that are needed, for more entries to be let in
	copying int64 // free, for the trimmer alone
	control int64 // free, for the trimmer and control records
}

// newWALBudget never gives a negative live.
func newWALBudget(segmentBytes int64, files int) walBudget {
	c, f := segmentBytes-walFirstFrame, walLargestFrame(segmentBytes)
	b := walBudget{segment: c, largest: f}
	b.live = walMulDiv(max(0, int64(files-2)*c-6*f), c-f, c+f)
	b.entries = b.live / 8 * 7
	b.copying = b.spread(b.live) - b.live + c + f
	b.control = b.copying + 3*f
	return b
}

// hold is how much may be needed before those who hold it are asked for checkpoints.
func (b walBudget) hold() int64 { return b.entries / 4 * 3 }

// grow is how much may be needed before another file is made: making one takes a while, in which what comes must have room.
func (b walBudget) grow() int64 { return b.hold() / 2 }

// spread is the most that n bytes of frames take, together with largest once: what does not fit at a segment's end goes to the next.
func (b walBudget) spread(n int64) int64 { return walMulDiv(n, b.segment, b.segment-b.largest) + 1 }

// walMulDiv is a*b/c, of which none is negative and b is at most c or a and b/c are small.
func walMulDiv(a, b, c int64) int64 {
	hi, lo := bits.Mul64(uint64(a), uint64(b))
	q, _ := bits.Div64(hi, lo, uint64(c))
	return int64(q)
}

// walLargestFrame bounds a frame: a quarter of a segment, so that little of one stays unused.
func walLargestFrame(segmentBytes int64) int64 {
	return min(walMaxFrame, (segmentBytes-walFirstFrame)/4) &^ 7
}

// walShare bounds what is gathered into one frame, and a part of one group's request in it.
func walShare(segmentBytes, limit int64) int64 { return min(limit, walLargestFrame(segmentBytes)/2) }
