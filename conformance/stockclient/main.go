// Command stockclient is RocketMQ's own Go client as a child process, for the
// fault-injection suite: a producer and, if it is told so, a member of a group.
//
// It is given the name servers' addresses as arguments, reads requests from its
// standard input and writes answers and deliveries to its standard output, a line of
// JSON each, in any order:
//
//	in   {"id":1,"send":"topic","body":"..."}
//	out  {"id":1,"broker":"raftmq-0","queue":1,"offset":7}
//	out  {"id":1,"error":"..."}                  the client gave up; it may be stored
//	in   {"consume":"topic","group":"g"}
//	out  {"messages":[{"broker":"raftmq-0","queue":1,"offset":7,"body":"..."}]}
//
// It ends when its input does, after its consumer has committed.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"sync"

	rocketmq "github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
	"github.com/apache/rocketmq-client-go/v2/rlog"
)

type request struct {
	ID      int    `json:"id"`
	Send    string `json:"send"`
	Consume string `json:"consume"`
	Group   string `json:"group"`
	Body    string `json:"body"`
}

type message struct {
	Broker string `json:"broker"`
	Queue  int    `json:"queue"`
	Offset int64  `json:"offset"`
	Body   string `json:"body,omitempty"`
}

type answer struct {
	ID int `json:"id"`
	message
	Error string `json:"error,omitempty"`
}

type delivery struct {
	Messages []message `json:"messages"`
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "stockclient:", err)
		os.Exit(1)
	}
}

func run(servers []string) error {
	rlog.SetLogLevel("fatal")
	c := &child{servers: servers, instance: "jepsen-" + strconv.Itoa(os.Getpid()), out: json.NewEncoder(os.Stdout)}
	p, err := rocketmq.NewProducer(producer.WithNameServer(servers), producer.WithInstanceName(c.instance), producer.WithGroupName("jepsen-stock"), producer.WithRetry(2))
	if err != nil {
		return err
	}
	if err := p.Start(); err != nil {
		return err
	}
	defer p.Shutdown()
	in := bufio.NewScanner(os.Stdin)
	in.Buffer(nil, 4<<20)
	var sends sync.WaitGroup
	for in.Scan() {
		var r request
		if err := json.Unmarshal(in.Bytes(), &r); err != nil {
			return fmt.Errorf("request %q: %w", in.Text(), err)
		}
		if r.Consume != "" {
			if err := c.consume(r.Consume, r.Group); err != nil {
				return err
			}
			continue
		}
		sends.Go(func() { c.send(p, r) })
	}
	sends.Wait()
	if c.member != nil {
		c.member.Shutdown()
	}
	return in.Err()
}

type child struct {
	servers  []string
	instance string
	member   rocketmq.PushConsumer

	mu  sync.Mutex // lines are whole
	out *json.Encoder
}

func (c *child) say(v any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.out.Encode(v) // without a reader the input ends too
}

func (c *child) send(p rocketmq.Producer, r request) {
	res, err := p.SendSync(context.Background(), primitive.NewMessage(r.Send, []byte(r.Body)))
	a := answer{ID: r.ID}
	switch {
	case err != nil:
		a.Error = err.Error()
	case res.Status != primitive.SendOK:
		a.Error = fmt.Sprintf("status %d", res.Status)
	default:
		a.message = message{Broker: res.MessageQueue.BrokerName, Queue: res.MessageQueue.QueueId, Offset: res.QueueOffset}
	}
	c.say(a)
}

func (c *child) consume(topic, group string) (err error) {
	c.member, err = rocketmq.NewPushConsumer(consumer.WithNameServer(c.servers), consumer.WithInstance(c.instance+"-member"), consumer.WithGroupName(group),
		consumer.WithConsumeFromWhere(consumer.ConsumeFromFirstOffset))
	if err != nil {
		return err
	}
	err = c.member.Subscribe(topic, consumer.MessageSelector{}, func(_ context.Context, ms ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
		var d delivery
		for _, m := range ms {
			d.Messages = append(d.Messages, message{m.Queue.BrokerName, m.Queue.QueueId, m.QueueOffset, string(m.Body)})
		}
		c.say(d)
		return consumer.ConsumeSuccess, nil
	})
	if err != nil {
		return err
	}
	return c.member.Start()
}
