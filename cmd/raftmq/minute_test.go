package main

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// What a script relies on: outputs, their field names and exit codes, with a
// node killed in the middle.
func TestScriptsFindWhatTheyWerePromised(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes")
	}
	d := startTestDev(t)
	t.Setenv("RAFTMQ_ENDPOINT", d.nodes(t)[1].Nameserver+","+d.nodes(t)[2].Nameserver)
	run := func(stdin string, args ...string) string {
		t.Helper()
		code, out, errs := raftmqReading(t, stdin, args...)
		require.Zero(t, code, "%v: %s", args, errs)
		return out
	}
	fails := func(want int, args ...string) {
		t.Helper()
		code, out, errs := raftmq(t, args...)
		require.Equal(t, want, code, "%v: %s", args, errs)
		require.Empty(t, out)
		require.NotEmpty(t, errs)
	}

	run("", "topic", "create", "orders", "--partitions", "2", "--queues", "3")
	run("", "topic", "create", "orders", "--partitions", "2", "--queues", "3") // again
	fails(exitConflict, "topic", "create", "orders", "--partitions", "2", "--queues", "4")
	fails(exitConflict, "topic", "create", "orders", "--partitions", "3", "--queues", "3")
	fails(exitConflict, "topic", "create", "orders", "--partitions", "2", "--queues", "3", "--order")
	fails(exitNotFound, "topic", "show", "nothing")
	fails(exitNotFound, "topic", "delete", "nothing")

	var receipt struct {
		Stored, Queue, Offset int
		ID, Broker            string
	}
	require.NoError(t, json.Unmarshal([]byte(run("", "send", "orders", "first", "--key", "k1 k2", "--tag", "new", "--property", "colour=red, green", "-o", "json")), &receipt))
	require.Equal(t, 1, receipt.Stored)
	require.NotEmpty(t, receipt.ID)

	code, _, errs := raftmq(t, "dev", "kill", "n1", "--data", d.dir)
	require.Zero(t, code, errs)
	var lines strings.Builder
	for i := range 200 {
		fmt.Fprintf(&lines, "line %d\n", i)
	}
	lines.WriteString("no newline \xff")
	require.JSONEq(t, `{"stored":201,"not_stored":0,"unknown":0}`, run(lines.String(), "send", "orders", "-", "-o", "json"))

	seen := make(map[string]int)
	out := strings.TrimSpace(run("", "consume", "orders", "--group", "g", "--count", "202", "--timeout", "2m", "-o", "jsonl"))
	for line := range strings.Lines(out) {
		var m struct {
			Topic, Key, Tag, Body string
			Queue, Offset         *int
			Body_base64           []byte
			Properties            map[string]string
			Reconsume_times       *int
		}
		require.NoError(t, json.Unmarshal([]byte(line), &m))
		require.Equal(t, "orders", m.Topic)
		require.NotNil(t, m.Queue)
		require.NotNil(t, m.Offset)
		require.NotNil(t, m.Reconsume_times)
		seen[m.Body+string(m.Body_base64)]++
		if m.Body == "first" {
			require.Equal(t, "k1 k2", m.Key)
			require.Equal(t, "new", m.Tag)
			require.Equal(t, "red, green", m.Properties["colour"])
		}
	}
	require.Len(t, seen, 202)
	require.Contains(t, seen, "no newline \xff")

	var queues []struct{ Messages int }
	require.NoError(t, json.Unmarshal([]byte(run("", "topic", "show", "orders", "-o", "json")), &queues))
	require.Len(t, queues, 6)
	total := 0
	for _, q := range queues {
		total += q.Messages
	}
	require.Equal(t, 202, total)
	var lag []struct{ Committed, End, Lag int }
	require.NoError(t, json.Unmarshal([]byte(run("", "group", "lag", "g", "-o", "json")), &lag))
	for _, q := range lag {
		require.Zero(t, q.Lag, "a graceful end commits what was handled")
	}
	require.Contains(t, run("", "group", "list", "-o", "jsonl"), `"g"`)
	run("", "group", "reset", "g", "--topic", "orders", "--to", "earliest")
	require.Len(t, strings.Split(strings.TrimSpace(run("", "consume", "orders", "--group", "g", "--count", "202", "--timeout", "2m", "-o", "jsonl")), "\n"), 202)
	require.Contains(t, run("", "cluster", "status"), "raftmq-0")

	var numbers, ordered []string
	for i := range 100 {
		numbers = append(numbers, fmt.Sprint(i))
	}
	run("", "topic", "create", "steps")
	run(strings.Join(numbers, "\n"), "send", "steps", "-", "--order-key", "customer-7")
	for line := range strings.Lines(run("", "consume", "steps", "--group", "walkers", "--order", "--count", "100", "--timeout", "2m")) {
		ordered = append(ordered, strings.TrimSpace(line[strings.LastIndexByte(line, '\t'):]))
	}
	require.Equal(t, numbers, ordered)
	for range 2 { // whatever others get
		require.Equal(t, 100, strings.Count(run("", "consume", "steps", "--group", "walls", "--broadcast", "--count", "100", "--timeout", "2m"), "\n"))
	}
	fails(exitUsage, "consume", "steps", "--group", "walls", "--broadcast", "--order")
	fails(exitUsage, "consume", "steps", "--group", "walls", "--offsets", "x")
	kept := filepath.Join(t.TempDir(), "offsets.json")
	require.Equal(t, 100, strings.Count(run("", "consume", "steps", "--group", "walls", "--broadcast", "--offsets", kept, "--count", "100", "--timeout", "2m"), "\n"))
	run("next", "send", "steps", "-", "--order-key", "customer-7")
	require.Contains(t, run("", "consume", "steps", "--group", "walls", "--broadcast", "--offsets", kept, "--count", "1", "--timeout", "2m"), "next")
	require.Equal(t, 101, strings.Count(run("", "consume", "steps", "--group", "talls", "--queues", "0,1,2,3,4,5", "--count", "101", "--timeout", "2m"), "\n"))

	run("", "group", "create", "billing", "--retry-max-times", "3")
	run("", "group", "create", "billing", "--retry-max-times", "3") // again
	fails(exitConflict, "group", "create", "billing")
	fails(exitUsage, "group", "create", "a b")
	fails(exitUsage, "group", "alter", "billing")
	fails(exitUsage, "group", "alter", "billing", "--retry-max-times", "-1")
	fails(exitNotFound, "group", "alter", "biling", "--retry-max-times", "1")
	run("", "group", "alter", "billing", "--retry-max-times", "0")
	run("", "group", "alter", "billing", "--consume=false")
	require.Contains(t, run("", "group", "list", "-o", "jsonl"), `{"broadcast":true,"consume":false,"group":"billing","retry_max_times":0}`)
	code, _, errs = raftmq(t, "group", "show", "billing")
	require.Zero(t, code, errs)
	require.Contains(t, errs, "retry-max-times 0, consume false, broadcast true")
	code, _, errs = raftmq(t, "consume", "steps", "--group", "billing", "--timeout", "1s")
	require.Zero(t, code, errs)
	require.Contains(t, errs, "group billing is paused")
	fails(exitNotFound, "group", "delete", "biling")
	code, _, errs = raftmq(t, "group", "delete", "billing")
	require.Zero(t, code, errs)
	fails(exitNotFound, "group", "show", "billing")

	for asked, want := range map[string]string{
		"topic show ": "orders", "consume ": "orders", "group lag ": "g", "group alter ": "g", "group delete ": "g", "consume orders --group ": "g",
		"dev --data " + d.dir + " kill ": "n2", "bench failover --fault ": "suffix", "topic list -o ": "jsonl",
	} {
		require.Eventually(t, func() bool { // it asks for two seconds at most
			_, out, _ := raftmq(t, append([]string{"__complete"}, strings.Split(asked, " ")...)...)
			return slices.Contains(strings.Split(out, "\n"), want)
		}, patience, 10*time.Millisecond, "completion of %q: %s", asked, want)
	}
	require.Contains(t, run("", "completion", "bash"), "__start_raftmq")

	var life []struct {
		What, ID, Broker string
		Queue, Offset    int
		Groups           []struct {
			Group   string
			Handled bool
		}
	}
	require.NoError(t, json.Unmarshal([]byte(run("", "message", "explain", receipt.ID, "-o", "json")), &life))
	require.Len(t, life, 1)
	require.Equal(t, []any{"stored", receipt.ID, receipt.Broker, receipt.Offset, true}, []any{life[0].What, life[0].ID, life[0].Broker, life[0].Offset, life[0].Groups[0].Handled})
	require.Contains(t, run("", "message", "explain", receipt.ID, "--topic", "orders"), "group g")
	require.Contains(t, run("", "message", "find", "orders", "k2", "--last", "1h"), receipt.ID)
	require.Contains(t, run("", "message", "show", receipt.ID, "-o", "json"), `"body": "first"`)
	code, _, errs = raftmq(t, "message", "find", "orders", "no such key")
	require.Equal(t, exitNotFound, code, errs)
	fails(exitNotFound, "message", "explain", "none")
	fails(exitNotFound, "message", "trace", receipt.ID)

	run("", "topic", "rules", "orders", "--set", "tag=vip : 5", "--set", "key : 0-1")
	require.JSONEq(t, `[{"rule":1,"match":"tag=vip","target":"5"},{"rule":2,"match":"key","target":"0-1"}]`, run("", "topic", "rules", "orders", "-o", "json"))
	require.JSONEq(t, `[{"rule":1,"queue":5}]`, run("", "topic", "rules", "orders", "--try", "--tag", "vip", "-o", "json"))
	require.NoError(t, json.Unmarshal([]byte(run("", "send", "orders", "placed", "--tag", "vip", "-o", "json")), &receipt))
	require.Equal(t, 2, receipt.Queue, "of the second partition")
	fails(exitUsage, "topic", "rules", "orders", "--set", "key : 6")
	fails(exitUsage, "topic", "alter", "orders", "--queues", "1")
	code, _, errs = raftmq(t, "topic", "rules", "orders", "--set", "key : 0")
	require.Zero(t, code)
	require.Equal(t, "topic orders has 1 rule\n", errs)
	run("", "topic", "rules", "orders", "--none")
	run("", "topic", "alter", "orders", "--queues", "1")
	fails(exitUsage, "topic", "alter", "orders", "--read-queues", "0", "--queues", "0", "--retention", "x")
	code, _, errs = raftmq(t, "topic", "alter", "orders", "--read-queues", "1")
	require.Equal(t, exitConflict, code, errs)
	require.Contains(t, errs, "group g has 1 messages before it in queue 2")
	run("", "consume", "orders", "--group", "g", "--count", "1", "--timeout", "2m")
	run("", "topic", "alter", "orders", "--read-queues", "1")
	run("", "topic", "create", "quotes")
	for _, wait := range []string{"300ms", "1s", "3s", "10s"} { // in which it is stored, and not answered
		code, _, errs = raftmq(t, "request", "quotes", "nobody", "--timeout", wait)
		if code == exitUnknown {
			break // else the program was not so far
		}
	}
	require.Equal(t, exitUnknown, code, errs)
	require.NotEmpty(t, errs)
	fails(exitUsage, "reply", "quotes")
	replies := make(chan int, 1)
	go func() {
		code, _, _ := raftmq(t, "reply", "quotes", "--exec", "tr a-z A-Z", "--count", "2", "--timeout", "2m")
		replies <- code
	}()
	require.Equal(t, "HOW MUCH\n", run("how much", "request", "quotes", "-", "--timeout", "2m"))
	require.Contains(t, run("", "request", "quotes", "and now", "--timeout", "2m", "-o", "json"), `"body":"AND NOW"`)
	require.Zero(t, <-replies)

	var e2e map[string]float64
	require.NoError(t, json.Unmarshal([]byte(run("", "bench", "e2e", "--duration", "1s", "--rate", "100", "-o", "json")), &e2e))
	require.EqualValues(t, 100, e2e["sent"])
	require.NoError(t, json.Unmarshal([]byte(run("", "bench", "e2e", "--duration", "1s", "--rate", "100", "--delay", "1s", "-o", "json")), &e2e))
	require.Equal(t, []float64{100, 0}, []float64{e2e["sent"], e2e["errors"]}, "none is early")
	var engine map[string]float64
	require.NoError(t, json.Unmarshal([]byte(run("", "bench", "engine", "--duration", "500ms", "--in-flight", "8", "-o", "json")), &engine))
	require.Positive(t, engine["sent"])

	var bench map[string]float64
	require.NoError(t, json.Unmarshal([]byte(run("", "bench", "send", "--duration", "1s", "--rate", "200", "--size", "100", "-o", "json")), &bench))
	for _, key := range strings.Fields("msgs_per_s mb_per_s p50_ms p90_ms p99_ms p999_ms max_ms sent errors unknown fdatasync_p50_ms fdatasync_p99_ms load_1m steal_percent") {
		require.Contains(t, bench, key)
	}
	require.Zero(t, bench["errors"]+bench["unknown"])
	require.Positive(t, bench["sent"])
	require.NoError(t, json.Unmarshal([]byte(run("", "bench", "send", "--topic", "later", "--duration", "1m", "--count", "20", "--delay", "24h", "-o", "json")), &bench))
	require.EqualValues(t, 20, bench["sent"])
	require.Equal(t, 20, strings.Count(run("", "timer", "list", "later", "-o", "jsonl"), "\n"))
	var disk map[string]float64
	require.NoError(t, json.Unmarshal([]byte(run("", "bench", "disk")), &disk))
	for _, key := range []string{"fdatasync_p50_ms", "fdatasync_p99_ms", "disk_mb_per_s"} {
		require.Positive(t, disk[key], key)
	}

	run("", "topic", "delete", "orders")
	require.Eventually(t, func() bool {
		code, _, _ := raftmq(t, "topic", "show", "orders")
		return code == exitNotFound
	}, patience, 50*time.Millisecond)
}
