package store

import (
	"encoding/hex"
	"hash/crc32"
	"testing"

	"github.com/stretchr/testify/require"

	"raftmq/message"
)

// Bytes that released versions have written, and later ones must read.
func TestGoldenBytes(t *testing.T) {
	e := Entry{Index: 7, Term: 3, Type: 2, AppendedAt: 99, Data: []byte("data!")}
	frame := make([]byte, frameSize(len(e.Data)))
	copy(frame[frameHead:], e.Data)
	putFrame(frame, &e)
	st := state{
		first: Mark{1, 1, 4096}, mark: Mark{9, 2, 5000}, frame: 4900, lastMs: 1234, digest: 0xABCD,
		bounds: []bound{{message.Queue{Topic: "t", ID: 1}, 2, 5}},
	}
	for _, c := range []struct {
		name string
		got  []byte
		want string
	}{
		{"segment", origin{Mark{7, 3, 4096}, 4000, 1234}.encode(), "7271434c000000010000000000001000000000000000000700000000000000030000000000000fa000000000000004d2000000000000000000000000ea2c2a97"},
		{"frame", frame, "6ae07f4f0000000500000000000000070000000000000003000000000000006302000000000000006461746121000000"},
		{"queue head", encodeQueueHead(5), "7271435100000001000000000000000500000000000000000000000000000000000000000000000000000000000000000000000000000000000000007768189f"},
		{"queue entry", appendPlace(nil, 5, queuePlace{pos: 4136, time: 1234, size: 100, tag: -1, crc: 0xDEADBEEF}), "000000000000102800000000000004d200000064ffffffffdeadbeefc571936b"},
		{"key run", encodeRun([]keyPlace{{9, 64}, {2, 128}, {2, 64}}, 4096), "72714b580000000100000003000000000000000000001000ba0ebdf8a965ba01000000000000000200000000000000400000000000000002000000000000008000000000000000090000000000000040"},
		{"state", st.encode(), "02000000000000000100000000000000010000000000001000000000000000000900000000000000020000000000001388000000000000132400000000000004d2000000000000abcd0000000101740000000100000000000000020000000000000005cf70cc57"},
		{"trim", encodeCut(4096), "72715452000000010000000000001000730663fd"},
		{"floor", encodeFloor(st.encode(), []byte("bytes")), "7271464c00000001d06e9c9200000067686a7d8802000000000000000100000000000000010000000000001000000000000000000900000000000000020000000000001388000000000000132400000000000004d2000000000000abcd0000000101740000000100000000000000020000000000000005cf70cc576279746573"},
	} {
		require.Equal(t, c.want, hex.EncodeToString(c.got), c.name)
	}
}

func FuzzState(f *testing.F) {
	st := state{mark: Mark{9, 2, 5000}, frame: 4900, bounds: []bound{{message.Queue{Topic: "t", ID: 1}, 2, 5}}}
	f.Add(st.encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, b := range [][]byte{b, be.AppendUint32(b, crc32.Checksum(b, castagnoli))} {
			if s, err := decodeState(b); err == nil && len(b) > 0 {
				require.Equal(t, b, s.encode())
			}
		}
	})
}

func FuzzFloor(f *testing.F) {
	st := state{mark: Mark{9, 2, 5000}, frame: 4900}
	f.Add(encodeFloor(st.encode(), []byte("bytes")))
	f.Fuzz(func(t *testing.T, file []byte) {
		st, b, err := decodeFloor("floor", file)
		if err == nil && be.Uint32(file[12:]) > 0 && be.Uint32(file[4:]) == formatVersion {
			require.Equal(t, file, encodeFloor(st.encode(), b))
		}
	})
}

func FuzzTrim(f *testing.F) {
	f.Add(encodeCut(4096))
	f.Fuzz(func(t *testing.T, b []byte) {
		if p, err := decodeCut("trim", b); err == nil && be.Uint32(b[4:]) == formatVersion {
			require.Equal(t, b[:20], encodeCut(p))
		}
	})
}

func FuzzFrame(f *testing.F) {
	e := Entry{Index: 7, Term: 3, Type: 2, AppendedAt: 99, Data: []byte("data!")}
	frame := make([]byte, frameSize(len(e.Data)))
	copy(frame[frameHead:], e.Data)
	putFrame(frame, &e)
	f.Add(frame)
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < frameHead {
			return
		}
		fr := decodeFrame(b)
		if fr.bytes <= MaxEntry && frameHead+fr.bytes <= len(b) {
			fr.check(b[:frameHead+fr.bytes])
		}
	})
}

func FuzzQueueEntry(f *testing.F) {
	f.Add(int64(5), appendPlace(nil, 5, queuePlace{pos: 4136, time: 1234, size: 100}))
	f.Fuzz(func(t *testing.T, off int64, b []byte) {
		if len(b) < queueEntry {
			return
		}
		if p, ok := decodePlace(message.Offset(off), b); ok {
			require.Equal(t, b[:queueEntry], appendPlace(nil, message.Offset(off), p))
		}
	})
}

func FuzzKeyRun(f *testing.F) {
	f.Add(encodeRun([]keyPlace{{9, 64}, {2, 128}}, 4096))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < keyRunHead {
			return
		}
		run, _, err := decodeRun("keys", b[:keyRunHead], 0, int64(len(b)))
		if err == nil {
			require.LessOrEqual(t, run.at+int64(run.count)*keyEntry, int64(len(b)))
		}
	})
}

func FuzzHeads(f *testing.F) {
	f.Add(origin{Mark{7, 3, 4096}, 4000, 1234}.encode())
	f.Add(encodeQueueHead(5))
	f.Fuzz(func(t *testing.T, b []byte) {
		_, _ = decodeHead("segment", b)
		_ = checkQueueHead("queue", b, 5)
		q, base, ok := parseQueueName(string(b))
		if ok {
			_ = queueName("", q, base)
		}
	})
}
