package history

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// ops are one of each part of a line, and texts that are not written as they are.
func ops() []Op {
	return []Op{
		{Index: 1, Time: 2, Process: "0", Type: Invoke, F: Send, Values: []string{"0-0", "0-1"}},
		{Index: 1 << 40, Time: 1 << 59, Process: "0", Type: OK, F: Send, Places: []Place{{"t/0", 0}, {"t/1", -1}}, Loose: true},
		{Process: "n", Type: OK, F: Deliver, Group: "g", Topic: "t", Count: -3, Fate: Burying, Wait: 5, Node: "n1", Queue: "t/0", Messages: []Message{{Queue: "t/0"}, {"t/0", 7, "0-0", 2}}},
		{Type: Fail, F: Look, Range: &Range{0, -1}, Error: "what <went> & \"wrong\"\\\n\x01 \xff grün \u2028"},
		{Type: Info, F: Fault, Fault: &Effect{Kind: "kill", Detail: "x"}, Replica: &State{Partition: 1}, Event: &Told{What: "y"}, Run: &Plan{Seed: 1}},
		{Process: "0", Type: Info, F: Committed, Error: "of blanks, and ~ only"},
	}
}

// A line is that of encoding/json, which reads from it what was written.
func TestALineIsJSON(t *testing.T) {
	for _, op := range ops() {
		b, err := appendLine(nil, &op)
		require.NoError(t, err)
		want, err := json.Marshal(&op)
		require.NoError(t, err)
		require.JSONEq(t, string(want), string(b))
		var members, written []string
		for _, x := range []struct {
			b  []byte
			to *[]string
		}{{want, &members}, {b, &written}} {
			d := json.NewDecoder(strings.NewReader(string(x.b)))
			for token, err := d.Token(); err == nil; token, err = d.Token() {
				if s, ok := token.(string); ok {
					*x.to = append(*x.to, s)
				}
			}
		}
		require.Equal(t, members, written, "in one order")
		got, err := decodeLine(b)
		require.NoError(t, err)
		var of Op
		require.NoError(t, json.Unmarshal(want, &of))
		require.Equal(t, of, got)
	}
}

// What is of requests is read without encoding/json.
func TestLinesOfRequestsArePlain(t *testing.T) {
	for _, op := range ops()[:3] {
		b, err := appendLine(nil, &op)
		require.NoError(t, err)
		var got Op
		require.True(t, plainLine(string(b), &got))
		require.Equal(t, op, got)
	}
}

// What is read without encoding/json is what that reads.
func FuzzPlainLine(f *testing.F) {
	for _, op := range ops() {
		b, err := appendLine(nil, &op)
		require.NoError(f, err)
		f.Add(string(b))
	}
	for _, s := range []string{`{}`, `{"i":-0,"t":00}`, `{"i":1,"i":2}`, `{"i":999999999999999999}`, `{"v":[]}`, `{"v":["a",]}`, `{"at":[{"o":1,"k":"q"}]}`, `{"loose":true,"range":{"min":1,"end":2}}`, `{"p":"\u0061"}`, `{"p":"a"}x`, `{"p":null}`} {
		f.Add(s + "\n")
	}
	f.Fuzz(func(t *testing.T, s string) {
		var op, want Op
		if !plainLine(s, &op) {
			return
		}
		d := json.NewDecoder(strings.NewReader(s))
		d.DisallowUnknownFields()
		require.NoError(t, d.Decode(&want))
		require.Equal(t, want, op)
	})
}
