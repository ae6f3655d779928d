package client

import (
	"bytes"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"raftmq/message"
)

// Whatever a node sends as records, decoding ends, and gives what it consumed.
func FuzzDecodeRecords(f *testing.F) {
	for _, flags := range []int32{0, flagCompressed, flagCompressed | int32(LZ4)<<codecShift, flagCompressed | int32(Zstd)<<codecShift, flagCompressed | int32(Zlib)<<codecShift} {
		m := message.Message{Topic: "t", SysFlag: flags, Body: []byte("body"), Properties: "TAGS\x01a\x02KEYS\x01b c\x02x\x01y\x02",
			BornHost: netip.MustParseAddrPort("127.0.0.1:1"), StoreHost: netip.MustParseAddrPort("127.0.0.1:2")}
		rec, err := m.AppendRecord(nil)
		require.NoError(f, err)
		f.Add(append(rec, rec...))
	}
	var k codecs
	f.Fuzz(func(t *testing.T, b []byte) {
		ds, rest, err := decodeRecords(b, &k)
		if err == nil && len(b) > 0 {
			require.NotEmpty(t, ds)
		}
		require.LessOrEqual(t, len(rest), len(b))
		for _, d := range ds {
			require.NotEmpty(t, d.ID)
		}
	})
}

// Whatever a topic of traces holds, taking it apart ends, and gives records with a kind.
func FuzzParseTrace(f *testing.F) {
	f.Add([]byte("Pub\x011700000000000\x01DefaultRegion\x01p\x01t\x01ID\x01tag\x01k\x0110.0.0.1:10911\x015\x013\x010\x01OID\x01true\x0110.0.0.2\x02" +
		"SubBefore\x011700000000001\x01\x01g\x01R\x01ID\x011\x01null\x0110.0.0.3\x02SubAfter\x01R\x01ID\x014\x01true\x01null\x010\x01\x01\x02"))
	f.Add([]byte("EndTransaction\x011\x01r\x01g\x01t\x01i\x01\x01\x01h\x012\x01x\x01COMMIT_MESSAGE\x01true\x02Recall\x011\x01r\x01g\x01t\x01i\x01true\x02Pub\x02"))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, x := range ParseTrace(b) {
			require.NotEmpty(t, x.Kind)
		}
	})
}

func FuzzDecompress(f *testing.F) {
	var k codecs
	for _, c := range []Codec{Zlib, LZ4, Zstd} {
		b, err := k.compress(c, bytes.Repeat([]byte("raftmq"), 100))
		require.NoError(f, err)
		f.Add(int(c), b)
	}
	f.Fuzz(func(t *testing.T, c int, b []byte) {
		out, err := k.decompress(Codec(c), b)
		if err == nil {
			require.LessOrEqual(t, len(out), maxInflated)
		}
	})
}

func TestAverageIsRocketMQs(t *testing.T) {
	qs := make([]queueKey, 8)
	for i := range qs {
		qs[i] = queueKey{"b", int32(i)}
	}
	members := []string{"a", "b", "c"}
	require.Equal(t, qs[0:3], average(qs, members, "a"))
	require.Equal(t, qs[3:6], average(qs, members, "b"))
	require.Equal(t, qs[6:8], average(qs, members, "c"))
	require.Empty(t, average(qs[:2], members, "c"))
	require.Empty(t, average(qs, members, "d"))
}
