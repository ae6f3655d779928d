package raftlog

import (
	"bytes"
	"encoding/hex"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"

	"raftmq/internal/vfs"
)

// walGoldens are one of each kind, as doc_wal.go lays them out.
func walGoldens() []struct {
	name string
	b    []byte
} {
	const salt = 0x01020304
	at := time.Unix(1_700_000_000, 5)
	c := &Checkpoint{
		Index: 300, Term: 7, ConfigurationIndex: 2, State: []byte("state"),
		Configuration: raft.Configuration{Servers: []raft.Server{
			{Suffrage: raft.Voter, ID: "n1.1", Address: "n1.1"}, {Suffrage: raft.Nonvoter, ID: "n2.9", Address: "n2"},
		}},
	}
	stable := walAppendStable(nil, 5, map[string][]byte{"CurrentTerm": walLE.AppendUint64(nil, 7), "LastVoteCand": []byte("n1.1"), "LastVoteTerm": walLE.AppendUint64(nil, 7)})
	records := append(walAppendIndex(nil, walTruncate, 5, 300), walAppendDrop(nil, 6)...)
	frame := make([]byte, walFrameSize(len(records)))
	copy(frame[walFrameHeader:], records)
	walSealFrame(frame, salt, 9, 1234, records, 2)
	return []struct {
		name string
		b    []byte
	}{
		{"segment header", walHead{number: 9, low: 4, lowSequence: 1000, size: 64 << 20, salt: salt}.encode()},
		{"frame", frame},
		{"entry", walAppendEntry(nil, 5, &raft.Log{Index: 300, Term: 7, Type: raft.LogCommand, Data: []byte("data"), Extensions: []byte("ext"), AppendedAt: at}, 0)},
		{"entry copied", walAppendEntry(nil, 5, &raft.Log{Index: 300, Term: 7, Type: raft.LogNoop}, walCopied)},
		{"truncate", walAppendIndex(nil, walTruncate, 5, 300)},
		{"trim", walAppendIndex(nil, walTrim, 5, 300)},
		{"stable", stable},
		{"checkpoint", walAppendCheckpoint(nil, walCheckpoint, 5, c)},
		{"reset", walAppendCheckpoint(nil, walReset, 5, c)},
		{"drop", walAppendDrop(nil, 5)},
	}
}

// readGoldens gives the bytes by name: the hex digits before ";" of the lines below "= name".
func readGoldens(t *testing.T) map[string][]byte {
	t.Helper()
	b, err := os.ReadFile("testdata/wal.golden")
	require.NoError(t, err)
	all, name := map[string][]byte{}, ""
	for line := range strings.Lines(string(b)) {
		if n, ok := strings.CutPrefix(line, "= "); ok {
			name = strings.TrimSpace(n)
			continue
		}
		digits, _, _ := strings.Cut(line, ";")
		part, err := hex.DecodeString(strings.Join(strings.Fields(digits), ""))
		require.NoError(t, err, line)
		all[name] = append(all[name], part...)
	}
	return all
}

// What is written is the bytes in testdata/wal.golden, each explained there: they are on disks.
func TestWALGoldenBytes(t *testing.T) {
	golden := readGoldens(t)
	delete(golden, "")
	for _, g := range walGoldens() {
		require.Equal(t, hex.EncodeToString(golden[g.name]), hex.EncodeToString(g.b), g.name)
		delete(golden, g.name)
	}
	require.Empty(t, golden, "not written by anything")
}

// The golden bytes, put into a file as another program might have, are read as what they say.
func TestWALReadsGoldenBytes(t *testing.T) {
	golden := readGoldens(t)
	w := openImage(t, golden, "checkpoint", "stable", "entry")
	g := w.Group(5)
	c, ok, err := g.Checkpoint()
	require.NoError(t, err)
	require.True(t, ok)
	require.EqualValues(t, 300, c.Index)
	require.Equal(t, []raft.Server{{Suffrage: raft.Voter, ID: "n1.1", Address: "n1.1"}, {Suffrage: raft.Nonvoter, ID: "n2.9", Address: "n2"}}, c.Configuration.Servers)
	require.Equal(t, "state", string(c.State))
	v, err := g.GetUint64([]byte("LastVoteTerm"))
	require.NoError(t, err)
	require.EqualValues(t, 7, v)
	var l raft.Log
	require.NoError(t, g.GetLog(300, &l))
	require.Equal(t, raft.Log{Index: 300, Term: 7, Type: raft.LogCommand, Data: []byte("data"), Extensions: []byte("ext"), AppendedAt: time.Unix(1_700_000_000, 5)}, l)

	for _, end := range []string{"truncate", "trim", "reset", "drop"} {
		w := openImage(t, golden, "entry", end)
		require.Equal(t, raft.ErrLogNotFound, w.Group(5).GetLog(300, &l), end)
	}
}

// openImage opens a log of one segment with a frame of these records.
func openImage(t *testing.T, golden map[string][]byte, names ...string) *WAL {
	t.Helper()
	var records [][]byte
	for _, n := range names {
		records = append(records, golden[n])
	}
	m := vfs.NewMem(1)
	writeImage(t, m, walImage(records...))
	w, err := OpenWAL("wal", imageOptions(m))
	require.NoError(t, err)
	t.Cleanup(func() { w.Close() })
	return w
}

func imageOptions(m *vfs.Mem) WALOptions {
	return WALOptions{FS: m, SegmentBytes: imageBytes, Segments: 8, MaxAppend: 8 << 10, WriteDeadline: time.Minute}
}

const imageBytes = 64 << 10

// walImage is a segment with a frame of each of records.
func walImage(records ...[]byte) []byte {
	h := walHead{number: 1, low: 1, lowSequence: 1, size: imageBytes, salt: 77}
	b := make([]byte, imageBytes)
	copy(b, h.encode())
	copy(b[walSecondHead:], h.encode())
	at := walFirstFrame
	for i, r := range records {
		n := int(walFrameSize(len(r)))
		copy(b[at+walFrameHeader:], r)
		count := 0
		for off := 0; off+4 <= len(r); count++ {
			off += max(1, int(walLE.Uint32(r[off:])))
		}
		walSealFrame(b[at:at+n], h.salt, h.number, uint64(i+1), r, count)
		at += n
	}
	return b
}

func writeImage(t testing.TB, m *vfs.Mem, b []byte) {
	t.Helper()
	require.NoError(t, m.MkdirAll("wal"))
	f, err := m.Create("wal/0000.wal")
	require.NoError(t, err)
	_, err = f.WriteAt(b, 0)
	require.NoError(t, err)
	require.NoError(t, f.Close())
}

func readImage(t testing.TB, m *vfs.Mem) []byte {
	t.Helper()
	f, err := m.Open("wal/0000.wal")
	require.NoError(t, err)
	defer f.Close()
	b := make([]byte, imageBytes)
	n, err := f.ReadAt(b, 0)
	if err != io.EOF {
		require.NoError(t, err)
	}
	return b[:n]
}

// A log of a newer format is refused by name and left as it is: its header's version, or a record of a type or with a flag that is not known.
func TestWALRefusesANewerFormat(t *testing.T) {
	newerHead := walImage(walAppendDrop(nil, 1))
	for _, off := range []int{0, walSecondHead} {
		b := newerHead[off:]
		walLE.PutUint32(b[4:], walVersion+1)
		walLE.PutUint32(b[44:], walSum(b[:44]))
	}
	oneCopy := walImage(walAppendDrop(nil, 1)) // a newer program was stopped between the copies
	copy(oneCopy, newerHead[:walHeadBytes])
	unknown := walImage(walEnd(walBegin(nil, walDrop+1, 0, 1), 0), walAppendDrop(nil, 2))
	flag := walImage(walAppendEntry(nil, 1, walTestLog(1, 1, 1), 2), walAppendDrop(nil, 2))
	for _, c := range []struct {
		name  string
		image []byte
		text  string
	}{
		{"head", newerHead, "format 2, this program reads 1"},
		{"one copy", oneCopy, "format 2, this program reads 1"},
		{"record", unknown, "record type 8"},
		{"flag", flag, "record flags 0x2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := vfs.NewMem(1)
			writeImage(t, m, c.image)
			_, err := OpenWAL("wal", imageOptions(m))
			require.ErrorIs(t, err, ErrWALVersion)
			require.NotErrorIs(t, err, ErrWALDamaged)
			require.ErrorContains(t, err, "0000.wal")
			require.ErrorContains(t, err, c.text)
			require.True(t, bytes.Equal(c.image, readImage(t, m)), "it is left as it was")
		})
	}
}
