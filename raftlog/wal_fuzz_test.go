package raftlog

import (
	"bytes"
	"math"
	"runtime"
	"testing"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"

	"raftmq/internal/vfs"
)

// Bytes that are read as a frame are the bytes of that frame.
func FuzzWALFrame(f *testing.F) {
	for _, g := range walGoldens() {
		f.Add(g.b, uint32(0x01020304), uint64(9))
	}
	f.Add(walImage(walAppendDrop(nil, 1))[walFirstFrame:walFirstFrame+64], uint32(77), uint64(1))
	f.Fuzz(func(t *testing.T, b []byte, salt uint32, segment uint64) {
		h, records, ok := walParseFrame(b, salt, segment)
		if !ok {
			return
		}
		again := make([]byte, walFrameHeader)
		walSealFrame(again, salt, segment, h.sequence, records, int(h.count))
		require.Equal(t, again[:36], b[:36])
	})
}

// Bytes that are read as a record are written the same way again.
func FuzzWALRecord(f *testing.F) {
	for _, g := range walGoldens()[2:] {
		f.Add(g.b[8:])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		b = walEnd(append(make([]byte, 8), b...), 0)
		r, err := walNext(b, 0)
		if err != nil {
			return
		}
		var again []byte
		switch r.kind {
		case walEntry:
			var l raft.Log
			if err = r.log(&l); err == nil {
				again = walAppendEntry(nil, r.group, &l, r.flags)
			}
		case walTruncate, walTrim:
			var i uint64
			if i, err = r.index(); err == nil {
				again = walAppendIndex(nil, r.kind, r.group, i)
			}
		case walStable:
			var m map[string][]byte
			if m, err = r.stable(); err == nil {
				require.LessOrEqual(t, len(m), len(b)/6)
				require.Equal(t, walStableSize(m), len(b))
			}
		case walCheckpoint, walReset:
			var c Checkpoint
			if c, err = r.checkpoint(); err == nil {
				again = walAppendCheckpoint(nil, r.kind, r.group, &c)
			}
		}
		if err != nil || again == nil {
			return
		}
		if r.kind == walEntry {
			clear(r.body[25:28]) // of no meaning
		}
		require.Equal(t, r.body, again[walRecordHeader:])
	})
}

// A file of whatever records, well framed, is refused or opened; it does not take memory out of proportion, and reads the same again. A
// refused one is left as it was.
func FuzzWALRecovery(f *testing.F) {
	golden := walGoldens()
	f.Add([]byte{}, true)
	f.Add(golden[2].b, true)
	f.Add(bytes.Join([][]byte{golden[7].b, golden[6].b, golden[2].b, golden[4].b, golden[2].b, golden[5].b, golden[8].b, golden[9].b}, nil), true)
	for _, index := range []uint64{0, 1, 250, 350, 100_000, 1 << 40, math.MaxUint64} { // beside entry 300: holes
		b := walAppendEntry(nil, 5, &raft.Log{Index: index}, walCopied)
		f.Add(append(bytes.Clone(golden[2].b), b...), true)
		f.Add(append(b, golden[2].b...), true)
		f.Add(append(walAppendCheckpoint(nil, walReset, 5, &Checkpoint{Index: index}), golden[2].b...), true)
		f.Add(append(walAppendIndex(bytes.Clone(golden[2].b), walTrim, 5, index), golden[2].b...), true)
	}
	f.Add(walImage(golden[2].b, golden[6].b), false)
	f.Fuzz(func(t *testing.T, b []byte, framed bool) {
		if len(b) > imageBytes/2 {
			return
		}
		image := make([]byte, imageBytes)
		if framed {
			image = walImage(sealRecords(b)...)
		} else {
			copy(image, b)
		}
		m := vfs.NewMem(1)
		writeImage(t, m, image)
		w, err := OpenWAL("wal", imageOptions(m))
		if err != nil {
			require.True(t, bytes.Equal(image, readImage(t, m)), "%v", err)
			return
		}
		last := map[uint64]uint64{}
		slots := 0
		for _, g := range w.all() {
			last[g.id], _ = g.LastIndex()
			slots += cap(g.slots)
			require.GreaterOrEqual(t, g.entryBytes.Load(), int64(0))
		}
		require.LessOrEqual(t, slots, 4*imageBytes/walEntryHeader)
		require.NoError(t, w.Close())
		w, err = OpenWAL("wal", imageOptions(m))
		require.NoError(t, err)
		for _, g := range w.all() {
			again, _ := g.LastIndex()
			require.Equal(t, last[g.id], again)
			delete(last, g.id)
		}
		require.Empty(t, last)
		require.NoError(t, w.Close())
	})
}

// sealRecords cuts b into records by the lengths in it, and makes their checksums right.
func sealRecords(b []byte) (frames [][]byte) {
	for len(b) >= walRecordHeader && len(frames) < 64 {
		n := int(walLE.Uint32(b)) % 4096
		n = min(max(n, walRecordHeader), len(b))
		r := bytes.Clone(b[:n])
		frames = append(frames, walEnd(r, 0))
		b = b[n:]
	}
	return frames
}

// Entries so far apart that the files could not hold what lies between, and indexes that raft does not use, are damage; they do not take
// memory.
func TestWALRefusesEntriesThatCannotBe(t *testing.T) {
	var far []byte
	for group := range uint64(100) {
		far = walAppendEntry(far, group, &raft.Log{Index: 1_000_000}, 0)
		far = walAppendEntry(far, group, &raft.Log{Index: 1}, walCopied)
	}
	for name, records := range map[string][]byte{
		"far apart":      far,
		"0":              walAppendEntry(nil, 1, &raft.Log{}, 0),
		"huge":           walAppendEntry(nil, 1, &raft.Log{Index: math.MaxUint64}, 0),
		"huge reset":     walAppendCheckpoint(nil, walReset, 1, &Checkpoint{Index: math.MaxUint64}),
		"holes remain":   walAppendEntry(walAppendEntry(nil, 1, &raft.Log{Index: 1}, 0), 1, &raft.Log{Index: 4}, 0),
		"holes in front": walAppendEntry(walAppendEntry(nil, 1, &raft.Log{Index: 4}, 0), 1, &raft.Log{Index: 1}, walCopied),
	} {
		m := vfs.NewMem(1)
		writeImage(t, m, walImage(records))
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := OpenWAL("wal", imageOptions(m))
		runtime.ReadMemStats(&after)
		require.ErrorIs(t, err, ErrWALDamaged, name)
		require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(16<<20), name)
	}
}

// Three frames were synced, the fourth not yet. Whatever happens to the bytes: with a later frame's header intact a damaged frame is an
// error; the last one is cut as torn; what is whole before it is there.
func FuzzWALDamage(f *testing.F) {
	const frames = 4
	var records [][]byte
	for i := range uint64(frames) {
		records = append(records, walAppendEntry(nil, 1, walTestLog(i+1, 1, 50), 0))
	}
	whole := walImage(records...)
	size := int(walFrameSize(len(records[0])))
	for k := range frames {
		f.Add(uint16(walFirstFrame+k*size+9), []byte{1})                        // header
		f.Add(uint16(walFirstFrame+k*size+walFrameHeader+60), []byte{0, 0, 1})  // record
		f.Add(uint16(walFirstFrame+(k+1)*size-1), []byte{1})                    // padding
		f.Add(uint16(walFirstFrame+k*size), bytes.Repeat([]byte{0x5a}, 4*size)) // all from there
	}
	f.Add(uint16(0), []byte{0xff})
	f.Add(uint16(20), bytes.Repeat([]byte{0xff}, walSecondHead))
	f.Fuzz(func(t *testing.T, off uint16, xor []byte) {
		image := bytes.Clone(whole)
		for i, x := range xor[:min(len(xor), imageBytes-int(off))] {
			image[int(off)+i] ^= x
		}
		differs := func(from, to int) bool { return !bytes.Equal(image[from:to], whole[from:to]) }
		headless := differs(0, walHeadBytes) && differs(walSecondHead, walSecondHead+walHeadBytes)
		want, broken := frames, false
		for k := range frames {
			at := walFirstFrame + k*size
			if want == frames && differs(at, at+walFrameHeader+len(records[k])) {
				want = k
			} else if want < frames && !differs(at, at+walFrameHeader) {
				broken = true
			}
		}
		m := vfs.NewMem(1)
		writeImage(t, m, image)
		w, err := OpenWAL("wal", imageOptions(m))
		if headless || broken {
			require.ErrorIs(t, err, ErrWALDamaged)
			require.True(t, bytes.Equal(image, readImage(t, m)), "it is left as it was")
			return
		}
		require.NoError(t, err)
		defer w.Close()
		last, _ := w.Group(1).LastIndex()
		require.EqualValues(t, want, last)
		for i := range uint64(want) {
			var l raft.Log
			require.NoError(t, w.Group(1).GetLog(i+1, &l))
			require.Equal(t, *walTestLog(i+1, 1, 50), l)
		}
	})
}
