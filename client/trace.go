package client

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"raftmq/message"
)

// TraceTopic is where stock clients write what they trace, unless they are told another.
const TraceTopic = message.TraceTopic

// Trace is one record that a stock client wrote of a message. It is as reliable as that
// client: what it dropped is not there.
type Trace struct {
	Kind       string // Pub, SubBefore, SubAfter, EndTransaction or Recall
	At         time.Time
	Region     string
	Group      string
	Topic      string
	ID         string
	Tag, Keys  string
	StoreHost  string
	ClientHost string
	OffsetID   string
	RequestID  string // joins SubBefore and SubAfter
	Bytes      int    // of the body
	Took       time.Duration
	Type       string // normal, half, commit, delay
	Retries    int
	Done       bool // stored, handled
	Code       int  // how handling ended: 0 success, 1 timeout, 2 exception, 3 null, 4 failed
	State      string
}

// maxTraces bounds what one body is taken apart to.
const maxTraces = 65536

// ParseTrace takes the body of a trace message apart. Records that are not whole are
// passed over.
func ParseTrace(body []byte) (out []Trace) {
	for record := range strings.SplitSeq(string(body), "\x02") {
		if len(out) == maxTraces {
			break
		}
		f := traceFields(strings.Split(record, "\x01"))
		t := Trace{Kind: f.text(0)}
		switch {
		case t.Kind == "Pub" && len(f) >= 12:
			t.At, t.Region, t.Group, t.Topic, t.ID, t.Tag, t.Keys = f.time(1), f.text(2), f.text(3), f.text(4), f.text(5), f.text(6), f.text(7)
			t.StoreHost, t.Bytes, t.Took, t.Type = f.text(8), f.int(9), f.millis(10), f.kind(11)
			t.Done = true
			if len(f) == 13 { // of old clients: success alone
				t.Done = f.text(12) == "true"
			} else if len(f) >= 14 {
				t.OffsetID, t.Done, t.ClientHost = f.text(12), f.text(13) == "true", f.text(14)
			}
		case t.Kind == "SubBefore" && len(f) >= 8:
			t.At, t.Region, t.Group, t.RequestID, t.ID, t.Retries, t.Keys, t.ClientHost = f.time(1), f.text(2), f.text(3), f.text(4), f.text(5), f.int(6), f.text(7), f.text(8)
		case t.Kind == "SubAfter" && len(f) >= 6:
			t.RequestID, t.ID, t.Took, t.Done, t.Keys, t.Code, t.At, t.Group = f.text(1), f.text(2), f.millis(3), f.text(4) == "true", f.text(5), f.int(6), f.time(7), f.text(8)
		case t.Kind == "EndTransaction" && len(f) >= 13:
			t.At, t.Region, t.Group, t.Topic, t.ID, t.Tag, t.Keys, t.StoreHost, t.Type = f.time(1), f.text(2), f.text(3), f.text(4), f.text(5), f.text(6), f.text(7), f.text(8), f.kind(9)
			t.State, t.Done = f.text(11), true
		case t.Kind == "Recall" && len(f) >= 7:
			t.At, t.Region, t.Group, t.Topic, t.ID, t.Done = f.time(1), f.text(2), f.text(3), f.text(4), f.text(5), f.text(6) == "true"
		default:
			continue
		}
		if t.Keys == "null" {
			t.Keys = ""
		}
		out = append(out, t)
	}
	return out
}

// traceFields are a record's, "" behind the last.
type traceFields []string

func (f traceFields) text(i int) string {
	if i < len(f) {
		return f[i]
	}
	return ""
}

func (f traceFields) int(i int) int {
	n, _ := strconv.Atoi(f.text(i))
	return n
}

func (f traceFields) millis(i int) time.Duration {
	n, _ := strconv.ParseInt(f.text(i), 10, 32)
	return time.Duration(n) * time.Millisecond
}

func (f traceFields) time(i int) time.Time {
	n, err := strconv.ParseInt(f.text(i), 10, 64)
	if err != nil || n <= 0 || n > 1<<50 {
		return time.Time{}
	}
	return time.UnixMilli(n)
}

func (f traceFields) kind(i int) string {
	kinds := []string{"normal", "half", "commit", "delay"}
	if n, err := strconv.Atoi(f.text(i)); err == nil && n >= 0 && n < len(kinds) {
		return kinds[n]
	}
	return f.text(i)
}

// Trace returns what stock clients traced of a message, by its unique id or a key, the
// oldest first, each record once; topic "" is TraceTopic. ErrMessageNotFound if there
// is none.
func (a *Admin) Trace(ctx context.Context, topic, id string) ([]Trace, error) {
	if topic == "" {
		topic = TraceTopic
	}
	ds, err := a.FindMessages(ctx, topic, id, time.Time{}, time.Time{}, 0)
	if err != nil {
		return nil, err
	}
	var out []Trace
	seen := make(map[Trace]bool)
	for _, d := range ds {
		for _, t := range ParseTrace(d.Body) {
			if (t.ID == id || slices.Contains(strings.Fields(t.Keys), id)) && !seen[t] {
				seen[t] = true
				out = append(out, t)
			}
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%w: nothing in %s is of %s", ErrMessageNotFound, topic, id)
	}
	began := make(map[string]Trace)
	for _, t := range out {
		if t.Kind == "SubBefore" {
			began[t.RequestID+"\x00"+t.ID] = t
		}
	}
	for i, t := range out { // what older clients leave out
		b, ok := began[t.RequestID+"\x00"+t.ID]
		if t.Kind != "SubAfter" || !ok {
			continue
		}
		if t.At.IsZero() {
			out[i].At = b.At.Add(t.Took)
		}
		if t.Group == "" {
			out[i].Group = b.Group
		}
	}
	slices.SortStableFunc(out, func(x, y Trace) int { return x.At.Compare(y.At) })
	return out, nil
}
