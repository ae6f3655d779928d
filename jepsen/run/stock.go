package run

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"raftmq/jepsen/history"
)

var stockTopic = Topic{Name: "jepsen-stock", Partitions: partitions, Queues: 2}

const stockGroup = "jepsen-stock"

// stockLoad is the log's load by RocketMQ's own Go client: what it was told is stored
// must be, what it could not be told may be there once or more.
var stockLoad = Workload{
	Name: "stock", Does: "sends and a group by RocketMQ's Go client in processes of its own (make stockclient)",
	Proves: []string{"P8", "P9"}, Topics: []Topic{stockTopic}, Groups: map[string]Topic{stockGroup: stockTopic}, Sends: 1, Apart: true,
	start: func(r *run, p *part) error {
		const clients, lanes = 2, 4
		for i := range clients {
			c := &stock{r: r, name: "stock-" + strconv.Itoa(i), waits: make(map[int]chan stockLine)}
			if err := c.begin(); err != nil {
				return err
			}
			p.watch(c.run)
			for j := range lanes {
				s := &stockSender{c: c, process: r.nextProcess()}
				p.load(func(ctx context.Context) { s.run(ctx, newPace(p.rate, i*lanes+j, clients*lanes)) })
			}
		}
		p.watch(func(ctx context.Context) error { r.ask(ctx, stockGroup, stockTopic); return nil })
		return nil
	},
}

// stock is one child process.
type stock struct {
	r    *run
	name string
	cmd  *exec.Cmd
	in   io.WriteCloser
	out  io.ReadCloser

	mu    sync.Mutex
	next  int
	waits map[int]chan stockLine
	ended bool
}

// stockLine is a line of a child: an answer, or a delivery if it has messages.
type stockLine struct {
	ID     int    `json:"id"`
	Error  string `json:"error"`
	Broker string `json:"broker"`
	Queue  int    `json:"queue"`
	Offset int64  `json:"offset"`

	Messages []struct {
		Broker string `json:"broker"`
		Queue  int    `json:"queue"`
		Offset int64  `json:"offset"`
		Body   string `json:"body"`
	} `json:"messages"`
}

// number is that of a queue as the wire names it; -1: the topic has none such.
func (t Topic) number(broker string, id int) int {
	slot, err := strconv.Atoi(strings.TrimPrefix(broker, "raftmq-"))
	if err != nil || slot >= t.Partitions || id >= t.Queues {
		return -1
	}
	return id*t.Partitions + slot
}

// begin starts the process, with its member of the group.
func (c *stock) begin() (err error) {
	offsets := filepath.Join(c.r.o.Store, c.name)
	if err := os.Mkdir(offsets, 0o755); err != nil {
		return err
	}
	c.cmd = exec.Command(c.r.o.Stock, c.r.cluster.Endpoints()...)
	c.cmd.Env = append(os.Environ(), "rocketmq.client.localOffsetStoreDir="+offsets)
	c.cmd.Stderr = os.Stderr
	if c.in, err = c.cmd.StdinPipe(); err != nil {
		return err
	}
	if c.out, err = c.cmd.StdoutPipe(); err != nil {
		return err
	}
	if err := c.r.cluster.Begin(c.cmd); err != nil {
		return err
	}
	return c.ask(map[string]any{"consume": stockTopic.Name, "group": stockGroup})
}

// ask writes a request.
func (c *stock) ask(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = c.in.Write(append(b, '\n'))
	return err
}

// run takes the child's lines until ctx ends, then lets it commit and end.
func (c *stock) run(ctx context.Context) error {
	read := make(chan error, 1)
	go func() { read <- c.read() }()
	var early error
	select {
	case <-ctx.Done():
		c.in.Close()
		select {
		case early = <-read:
		case <-time.After(30 * time.Second):
			c.cmd.Process.Kill()
			<-read
			early = fmt.Errorf("%s did not end", c.name)
		}
	case early = <-read:
		if early == nil {
			early = fmt.Errorf("%s ended by itself", c.name)
		}
		c.in.Close()
	}
	return errors.Join(early, c.cmd.Wait())
}

// read takes lines until there are no more.
func (c *stock) read() error {
	lines := bufio.NewScanner(c.out)
	lines.Buffer(nil, 16<<20)
	defer func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.ended = true
		for _, w := range c.waits {
			close(w)
		}
		clear(c.waits)
	}()
	for lines.Scan() {
		var l stockLine
		if err := json.Unmarshal(lines.Bytes(), &l); err != nil {
			return fmt.Errorf("%s: line %q: %w", c.name, lines.Text(), err)
		}
		if l.Messages == nil {
			c.mu.Lock()
			w := c.waits[l.ID]
			delete(c.waits, l.ID)
			c.mu.Unlock()
			if w != nil {
				w <- l
			}
			continue
		}
		op := history.Op{Process: c.name + "-member", Type: history.OK, F: history.Deliver, Group: stockGroup}
		for _, m := range l.Messages {
			op.Messages = append(op.Messages, history.Message{Queue: stockTopic.Queue(stockTopic.number(m.Broker, m.Queue)), Offset: m.Offset, Value: decode([]byte(m.Body))})
		}
		c.r.history.Add(op)
	}
	return lines.Err()
}

// stockPatience is for a send with the client's own tries, of 3 s each.
const stockPatience = 20 * time.Second

// stockSender sends one message after the other through a child.
type stockSender struct {
	c       *stock
	process string
	count   int
}

func (s *stockSender) run(ctx context.Context, pace *pace) {
	for pace.next(ctx) {
		value := s.process + "-" + strconv.Itoa(s.count)
		s.count++
		op := history.Op{Process: s.process, Type: history.Invoke, F: history.Send, Values: []string{value}, Loose: true}
		s.c.r.history.Add(op)
		op.Values, op.Loose = nil, false
		op.Places, op.Error = s.c.send(value)
		if op.Type = history.OK; op.Error != "" {
			op.Type = history.Info // it tries other queues, and says nothing of each
		}
		s.c.r.history.Add(op)
		if op.Type == history.Info {
			s.process, s.count = s.c.r.nextProcess(), 0
		}
	}
}

func (c *stock) send(value string) ([]history.Place, string) {
	w := make(chan stockLine, 1)
	c.mu.Lock()
	if c.ended {
		c.mu.Unlock()
		return nil, "the client has ended"
	}
	c.next++
	id := c.next
	c.waits[id] = w
	// In turn: lines are whole.
	err := c.ask(map[string]any{"id": id, "send": stockTopic.Name, "body": string(encode(value, 256))})
	c.mu.Unlock()
	if err != nil {
		return nil, err.Error()
	}
	select {
	case l, ok := <-w:
		switch {
		case !ok:
			return nil, "the client has ended"
		case l.Error != "":
			return nil, l.Error
		}
		return []history.Place{{Queue: stockTopic.Queue(stockTopic.number(l.Broker, l.Queue)), Offset: l.Offset}}, ""
	case <-time.After(stockPatience):
		return nil, "no answer of the client"
	}
}
