package run

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"io/fs"
	"iter"
	"path"
	"slices"
	"strconv"
	"strings"

	"raftmq/jepsen/cluster"
	"raftmq/jepsen/history"
	"raftmq/message"
)

// A record begins with its length and these four bytes.
var recordMagic = []byte{0xDA, 0xA3, 0x20, 0xA7}

// witness writes what lies on the disks of the nodes, which have stopped: every record
// of the commit logs, found by its own bytes and nothing that the product keeps beside
// them.
func (r *run) witness() {
	for _, n := range r.cluster.Nodes {
		queues, err := r.onDisk(n)
		for _, t := range r.topics() {
			for _, q := range t.names() {
				ms := queues[q]
				slices.SortFunc(ms, func(a, b history.Message) int { return cmp.Compare(a.Offset, b.Offset) })
				op := history.Op{Process: "run", Type: history.Info, F: history.Disk, Node: n.Name, Queue: q}
				for len(ms) > dumpLine {
					op.Messages, ms = ms[:dumpLine], ms[dumpLine:]
					r.history.Add(op)
				}
				op.Messages = ms
				if op.Type = history.OK; err != nil {
					op.Type, op.Error = history.Info, err.Error()
				}
				r.history.Add(op)
			}
		}
	}
}

// onDisk reads the commit logs of a node.
func (r *run) onDisk(n *cluster.Node) (map[string][]history.Message, error) {
	out := make(map[string][]history.Message)
	topics := make(map[string]Topic)
	for _, t := range r.topics() {
		topics[t.Name] = t
	}
	slots := make(map[string]int)
	for _, x := range r.cluster.Nodes {
		for s, l := range x.Listeners {
			slots[l] = s
		}
	}
	disk := n.Files()
	files, err := fs.Glob(disk, "partitions/*/*.log")
	if err != nil {
		return nil, err
	}
	for _, name := range files {
		b, err := fs.ReadFile(disk, name)
		if err != nil {
			return nil, err
		}
		start, err := strconv.ParseInt(strings.TrimSuffix(path.Base(name), ".log"), 10, 64)
		if err != nil {
			continue // the next segment, made ahead
		}
		for at, rec := range records(b) {
			// An entry that a resend is in lies there too, its records in no place.
			if _, position := message.SplitPhysicalOffset(rec.PhysicalOffset()); position != (start+int64(at))&message.MaxPosition {
				continue
			}
			t, wanted := topics[rec.Topic()]
			slot, known := slots[rec.StoreHost().String()]
			if wanted && known {
				q := t.Queue(int(rec.QueueID())*t.Partitions + slot)
				out[q] = append(out[q], history.Message{Queue: q, Offset: int64(rec.QueueOffset()), Value: valueIn(rec)})
			}
		}
	}
	return out, nil
}

// records yields the whole records in b and where they begin, whatever lies between
// them.
func records(b []byte) iter.Seq2[int, message.Record] {
	return func(yield func(int, message.Record) bool) {
		for at := 0; ; {
			i := bytes.Index(b, recordMagic)
			if i < 0 {
				return
			}
			if i >= 4 {
				if size := int(binary.BigEndian.Uint32(b[i-4:])); size >= message.MinRecord && size <= len(b)-(i-4) {
					if rec, err := message.ParseRecord(b[i-4 : i-4+size]); err == nil && rec.Verify() == nil {
						if !yield(at+i-4, rec) {
							return
						}
						b, at = b[i-4+size:], at+i-4+size
						continue
					}
				}
			}
			b, at = b[i+len(recordMagic):], at+i+len(recordMagic)
		}
	}
}
