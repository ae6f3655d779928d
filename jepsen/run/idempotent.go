package run

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"

	"raftmq/jepsen/history"
	"raftmq/remoting"
)

var idempotentTopic = Topic{Name: "jepsen-idempotent", Partitions: partitions, Queues: 1}

// idempotentLoad sends what it has sent before again, under the same identity and
// through another node: after the first try, whatever became of it, or beside it.
var idempotentLoad = Workload{
	Name: "idempotent", Does: "each send again through another node, after it or beside it",
	Topics: []Topic{idempotentTopic}, Sends: 1, Proves: []string{"P6b"},
	start: func(r *run, p *part) error {
		const clients = 6
		for i := range clients {
			d := &doubler{r: r, rng: r.o.Seed.Stream(fmt.Sprintf("idempotent-%d", i)), queue: i % idempotentTopic.count(), name: i}
			d.next()
			p.load(func(ctx context.Context) { d.run(ctx, newPace(p.rate, i, clients)) })
		}
		return nil
	},
}

// doubler is one producer of one queue after the other: each is a process and an
// identity.
type doubler struct {
	r       *run
	rng     *rand.Rand
	queue   int
	name    int
	process string
	pid     string
	seq     uint64
	count   int
	old     []identified // acknowledged before a leap
}

// identified is what is sent under an identity.
type identified struct {
	value string
	body  []byte
	seq   uint64
}

// leap is by how many sequences a producer goes on at times: more than nodes remember.
const leap = 1500

// next takes a new identity: what became of the last send is not known.
func (d *doubler) next() {
	var id [16]byte
	binary.BigEndian.PutUint64(id[:], d.rng.Uint64())
	binary.BigEndian.PutUint64(id[8:], d.rng.Uint64())
	d.process, d.pid, d.seq, d.count = d.r.nextProcess(), hex.EncodeToString(id[:]), 0, 0
	d.old = nil
}

func (d *doubler) run(ctx context.Context, pace *pace) {
	first, again := d.r.wire(fmt.Sprintf("jepsen-first-%d", d.name)), d.r.wire(fmt.Sprintf("jepsen-again-%d", d.name))
	defer first.close()
	defer again.close()
	for pace.next(ctx) {
		on := context.WithoutCancel(ctx)
		value := d.process + "-" + strconv.Itoa(d.count)
		body := wornBody(value, smallest+d.rng.IntN(4<<10))
		d.count++
		s := identified{value, body, d.seq}
		a, b := d.rng.IntN(nodes), d.rng.IntN(nodes)
		how := d.rng.IntN(4)
		var t, t2 history.Type
		switch how {
		case 0, 3: // once only; what was sent before a leap comes again later
			t = d.send(on, first, history.Send, d.process, a, s)
		case 1: // beside it
			var wg sync.WaitGroup
			wg.Go(func() { t2 = d.send(on, again, history.Resend, d.process+"-again", b, s) })
			t = d.send(on, first, history.Send, d.process, a, s)
			wg.Wait()
		case 2: // after it, whatever became of it
			if t = d.send(on, first, history.Send, d.process, a, s); t != history.Fail {
				t2 = d.send(on, again, history.Resend, d.process+"-again", b, s)
			}
		}
		switch {
		case t == history.Info || t2 == history.Info:
			d.next()
		case t == history.OK && how == 3:
			d.old = append(d.old, s)
			d.seq += leap
		case t == history.OK || t2 == history.OK:
			d.seq++
			if how == 0 && len(d.old) > 0 { // the node may not know any more, but must not store it again
				o := d.old[0]
				d.old = d.old[1:]
				if d.send(on, again, history.Resend, d.process+"-again", b, o) == history.Info {
					d.next()
				}
			}
		}
		// What certainly failed leaves its sequence to the next.
	}
}

// send is one try, with its two lines.
func (d *doubler) send(ctx context.Context, w *wire, f, process string, node int, s identified) history.Type {
	op := history.Op{Process: process, Type: history.Invoke, F: f, Values: []string{s.value}, Node: d.r.cluster.Nodes[node].Name}
	d.r.history.Add(op)
	op.Values = nil
	op.Places, op.Type, op.Error = w.store(ctx, node, idempotentTopic, d.queue, d.pid, s.seq, s.value, s.body)
	d.r.history.Add(op)
	return op.Type
}

// store sends one body under an identity.
func (w *wire) store(ctx context.Context, node int, t Topic, number int, pid string, seq uint64, value string, body []byte) ([]history.Place, history.Type, string) {
	q := t.wireQueue(number)
	req := remoting.NewRequest(remoting.SendMessageV2, remoting.SendHeader{ProducerGroup: "jepsen-wire", Topic: q.topic, DefaultTopic: "TBW102", DefaultTopicQueueNums: 4,
		QueueID: q.id, MaxReconsumeTimes: -1, BrokerName: q.broker, Properties: dress(value)})
	req.Body = body
	req.SetExt("pid", pid)
	req.SetExt("pep", "0")
	req.SetExt("seq", strconv.FormatUint(seq, 10))
	reply, typ, why := w.ask(ctx, w.r.cluster.Nodes[node], q.slot, req)
	if typ != history.OK {
		return nil, typ, why
	}
	var h remoting.SendReply
	if err := h.Decode(reply.Ext); err != nil {
		return nil, history.Info, err.Error()
	}
	return []history.Place{{Queue: t.Queue(number), Offset: h.QueueOffset}}, history.OK, ""
}
