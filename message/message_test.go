package message

import (
	"encoding/hex"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func sample() Message {
	return Message{
		Topic: "orders", QueueID: 3, Flag: 7, SysFlag: FlagCompressed | FlagZlib, QueueOffset: 42, PhysicalOffset: PhysicalOffset(5, 1234),
		BornTimestamp: 1700000000001, StoreTimestamp: 1700000000002,
		BornHost: netip.MustParseAddrPort("10.1.2.3:4567"), StoreHost: netip.MustParseAddrPort("127.0.0.1:10911"),
		ReconsumeTimes: 2, PreparedTransactionOffset: 9, Body: []byte("hello"), Properties: "KEYS\x01a b\x02TAGS\x01t\x02",
	}
}

func TestRecordRoundTrip(t *testing.T) {
	m := sample()
	b, err := m.AppendRecord(nil)
	require.NoError(t, err)
	require.Len(t, b, m.RecordSize())
	r, err := ParseRecord(append(b, "next"...))
	require.NoError(t, err)
	require.NoError(t, r.Verify())
	require.Equal(t, m, r.Message())
	v, ok := r.Property(PropTags)
	require.True(t, ok)
	require.Equal(t, "t", v)
	r[atBody] ^= 1
	require.ErrorIs(t, r.Verify(), ErrCorrupt)
}

// The layout is RocketMQ's: clients in the field read these bytes.
func TestRecordBytesNeverChange(t *testing.T) {
	m := sample()
	b, err := m.AppendRecord(nil)
	require.NoError(t, err)
	require.Equal(t, ""+
		"00000076daa320a73610a686000000030000000700000000"+
		"0000002a00002800000004d2000003010000018bcfe56801"+
		"0a010203000011d70000018bcfe568027f00000100002a9f"+
		"0000000200000000000000090000000568656c6c6f066f72"+
		"646572730010"+hex.EncodeToString([]byte("KEYS\x01a b\x02TAGS\x01t\x02")), hex.EncodeToString(b))
}

func TestStampWritesOnlyOffsetsAndTime(t *testing.T) {
	m := sample()
	b, _ := m.AppendRecord(nil)
	r, _ := ParseRecord(b)
	Stamp(r, 99, 1000, 1700000000077)
	m.QueueOffset, m.PhysicalOffset, m.StoreTimestamp = 99, 1000, 1700000000077
	require.Equal(t, m, r.Message())
}

func TestTagHashIsJavas(t *testing.T) {
	require.EqualValues(t, 2598919, TagHash("TagA"))
	require.EqualValues(t, 0, TagHash(""))
	require.EqualValues(t, 1772899, TagHash("\U0001F600")) // a surrogate pair
}

func TestBatchRoundTrip(t *testing.T) {
	ms := []BatchMessage{{Flag: 1, Body: []byte("a"), Properties: "K\x01v\x02"}, {Body: []byte{}}}
	var b []byte
	for _, m := range ms {
		b = AppendBatchMessage(b, m)
	}
	got, err := DecodeBatch(b)
	require.NoError(t, err)
	require.Equal(t, ms, got)
	for i := 1; i < len(b); i++ {
		if i == batchOverhead+1+4 {
			continue // exactly the first message
		}
		_, err := DecodeBatch(b[:i])
		require.ErrorIs(t, err, ErrCorrupt, "cut at %d", i)
	}
}

func TestIDs(t *testing.T) {
	host := netip.MustParseAddrPort("192.168.1.9:10911")
	p := PhysicalOffset(MaxPartitionNumber, MaxPosition)
	require.Positive(t, p)
	id := OffsetID(host, p)
	require.Len(t, id, 32)
	h, q, err := ParseOffsetID(id)
	require.NoError(t, err)
	require.Equal(t, host, h)
	n, pos := SplitPhysicalOffset(q)
	require.EqualValues(t, MaxPartitionNumber, n)
	require.EqualValues(t, MaxPosition, pos)
	n, pos = SplitPhysicalOffset(PhysicalOffset(6, 5<<43|17))
	require.EqualValues(t, 6, n)
	require.EqualValues(t, 17, pos)
	const lap = MaxPosition + 1
	for _, x := range [][3]int64{
		{17, 0, 17}, {17, 17, 17}, {17, 18, 17}, {17, lap, 17}, {17, lap + 17, 17}, {17, lap + 18, lap + 17}, {MaxPosition, lap, MaxPosition},
		{MaxPosition, 3*lap - 1, 2*lap - 1}, {MaxPosition, 3 * lap, 3*lap - 1}, {0, 5*lap + 1, 5 * lap}, {0, 5 * lap, 4 * lap},
	} {
		require.Equal(t, x[2], PositionBefore(x[0], x[1]), "%v", x)
	}
	u := NewUniqueKeys(host.Addr(), 1, 7, func() time.Time { return time.Unix(0, 0) })
	require.NotEqual(t, u.Next(), u.Next())
}

func TestNames(t *testing.T) {
	for _, ok := range []string{"a", "%RETRY%g", "A_b-9|x", strings.Repeat("x", MaxTopic)} {
		require.NoError(t, CheckTopic(ok))
	}
	for _, bad := range []string{"", "a b", "é", "a/b", strings.Repeat("x", MaxTopic+1)} {
		require.ErrorIs(t, CheckTopic(bad), ErrName)
	}
	require.NoError(t, CheckTopic(RetryTopic(strings.Repeat("g", MaxGroup))))
	require.Error(t, CheckGroup(strings.Repeat("g", MaxGroup+1)))
	for _, own := range []string{DefaultTopic, "SCHEDULE_TOPIC_XXXX", "rmq_sys_wheel_timer", RetryTopic("g"), DLQTopic("g")} {
		require.True(t, IsSystemTopic(own), own)
	}
	for _, any := range []string{"orders", TraceTopic, "BenchmarkTest"} {
		require.False(t, IsSystemTopic(any), any)
	}
}

func FuzzParseRecord(f *testing.F) {
	m := sample()
	b, _ := m.AppendRecord(nil)
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := ParseRecord(b)
		if err != nil {
			return
		}
		m := r.Message()
		_ = r.Verify()
		_ = ParseProperties(m.Properties)
		require.Equal(t, len(r), m.RecordSize())
	})
}

func FuzzDecodeBatch(f *testing.F) {
	f.Add(AppendBatchMessage(nil, BatchMessage{Body: []byte("x"), Properties: "a\x01b\x02"}))
	f.Fuzz(func(t *testing.T, b []byte) {
		ms, err := DecodeBatch(b)
		if err != nil {
			return
		}
		n := 0
		for _, m := range ms {
			n += batchOverhead + len(m.Body) + len(m.Properties)
		}
		require.Equal(t, len(b), n)
	})
}

// A request says in which cluster it was sent; other messages are as they were.
func TestARequestNamesItsCluster(t *testing.T) {
	for in, want := range map[string]string{
		"":                            "",
		"KEYS\x01REPLY_TO_CLIENT\x02": "KEYS\x01REPLY_TO_CLIENT\x02",
		"REPLY_TO_CLIENT\x01c":        "REPLY_TO_CLIENT\x01c\x02CLUSTER\x01here\x02",
		"CLUSTER\x01x\x02REPLY_TO_CLIENT\x01c\x02": "REPLY_TO_CLIENT\x01c\x02CLUSTER\x01here\x02",
	} {
		require.Equal(t, want, InCluster(in, "here"))
	}
}

// A stored message says where it is and that it may be traced, whatever its sender said.
func TestAMessageMayBeTraced(t *testing.T) {
	const said = "MSG_REGION\x01DefaultRegion\x02TRACE_ON\x01true\x02"
	for in, want := range map[string]string{
		"":                  said,
		"KEYS\x01k":         "KEYS\x01k\x02" + said,
		"x\x01TRACE_ON\x02": "x\x01TRACE_ON\x02" + said,
		"MSG_REGION\x01mine\x02x\x01y\x02TRACE_ON\x01false\x02": "x\x01y\x02" + said,
	} {
		require.Equal(t, want, Traceable(in))
	}
}
