package run

import (
	"bytes"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"raftmq/message"
)

// Records are found wherever they lie, and what only looks like one is not taken for
// one.
func TestRecordsAreFoundByTheirBytes(t *testing.T) {
	at := netip.MustParseAddrPort("10.0.0.1:10911")
	record := func(body string) []byte {
		b, err := (&message.Message{Topic: "t", Body: []byte(body), BornHost: at, StoreHost: at}).AppendRecord(nil)
		require.NoError(t, err)
		return b
	}
	broken := record("broken")
	broken[bytes.Index(broken, []byte("broken"))] ^= 1
	log := bytes.Join([][]byte{[]byte("head"), record("one"), recordMagic, record("two"), broken, make([]byte, 100), record("three"), record("cut")[:40]}, nil)
	var got []string
	for at, r := range records(log) {
		got = append(got, string(r.Body()))
		require.Equal(t, []byte(r), log[at:at+len(r)])
	}
	require.Equal(t, []string{"one", "two", "three"}, got)
	for range records(log) {
		break
	}
	for range records(recordMagic) {
		t.Fatal("a magic number is no record")
	}
}

func FuzzRecords(f *testing.F) {
	f.Add(recordMagic)
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, r := range records(b) {
			require.NoError(t, r.Verify())
		}
	})
}
