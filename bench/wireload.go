package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"regexp"
	"runtime/debug"
	"strings"
	"time"

	"raftmq/remoting"
)

// wireLoad sends what RocketMQ's own clients send, to whoever answers as RocketMQ does: SEND_MESSAGE_V2 with a header in JSON, over one
// connection to the one queue's broker. Each answer sends the next message. It is the same load for each side.
type wireLoad struct {
	nameServer string
	inFlight   int
	size       int
	duration   time.Duration

	nc        net.Conn
	in        *bufio.Reader
	out       *bufio.Writer
	frames    [][]byte // each slot's, whole; its number is its opaque
	unique    []int    // where in it the message's unique key is
	key       []byte
	at        []time.Time
	latencies []float64
	sent      uint64
	failed    int
	complaint string // the first
}

// wireTopic has one queue.
const wireTopic = "wire"

// wireLimit is how long the topic, and the last answers, are waited for.
const wireLimit = time.Minute

func runWireLoad(ctx context.Context, args []string, out io.Writer) error {
	debug.SetGCPercent(loadGC)
	var o wireLoad
	f := flag.NewFlagSet("wire-load", flag.ContinueOnError)
	f.StringVar(&o.nameServer, "name-server", "", "whom to ask for routes")
	f.IntVar(&o.inFlight, "in-flight", 64, "messages that wait for their answer")
	f.IntVar(&o.size, "size", 1024, "bytes of a message")
	f.DurationVar(&o.duration, "duration", 10*time.Second, "how long")
	if err := f.Parse(args); err != nil {
		return err
	}
	got, err := o.run(ctx)
	if err != nil {
		return err
	}
	return json.NewEncoder(out).Encode(got)
}

func (o *wireLoad) run(ctx context.Context) (figures, error) {
	addr, err := o.route(ctx)
	if err != nil {
		return nil, err
	}
	if o.nc, err = net.Dial("tcp", addr); err != nil {
		return nil, err
	}
	defer o.nc.Close()
	o.in, o.out = bufio.NewReaderSize(o.nc, 256<<10), bufio.NewWriterSize(o.nc, 256<<10)
	if err := o.prepare(); err != nil {
		return nil, err
	}
	if err := o.settle(ctx); err != nil {
		return nil, err
	}
	begin := time.Now()
	if err := o.send(begin.Add(o.duration)); err != nil {
		return nil, err
	}
	f := latencyFigures(o.latencies, time.Since(begin), o.size)
	f["errors"] = float64(o.failed)
	if o.complaint != "" {
		return f, fmt.Errorf("%d of %d messages were refused, the first: %s", o.failed, o.sent, o.complaint)
	}
	return f, nil
}

// prepare makes a frame for each slot, of which only the unique key changes.
func (o *wireLoad) prepare() error {
	body := make([]byte, o.size)
	for i := range body {
		body[i] = byte('a' + i%26)
	}
	blank := strings.Repeat("F", 32)
	for slot := range o.inFlight {
		cmd := remoting.NewRequest(remoting.SendMessageV2, remoting.SendHeader{
			ProducerGroup: "bench", Topic: wireTopic, DefaultTopic: "TBW102", DefaultTopicQueueNums: 4, BornTimestamp: time.Now().UnixMilli(),
			Properties: "UNIQ_KEY\x01" + blank + "\x02WAIT\x01true\x02", MaxReconsumeTimes: -1,
		})
		cmd.Opaque, cmd.Body = int32(slot), body
		frame, err := remoting.AppendCommand(nil, cmd)
		if err != nil {
			return err
		}
		o.frames, o.unique = append(o.frames, frame), append(o.unique, bytes.Index(frame, []byte(blank)))
	}
	o.at = make([]time.Time, o.inFlight)
	return nil
}

// settle sends one message, again until it is stored: slaves may have to find their master first.
func (o *wireLoad) settle(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, wireLimit)
	defer cancel()
	for {
		if err := errors.Join(o.nc.SetDeadline(time.Now().Add(wireLimit)), o.next(0), o.out.Flush()); err != nil {
			return err
		}
		reply, err := remoting.ReadCommand(o.in, 0)
		if err != nil {
			return err
		}
		if reply.Code == remoting.OK {
			return nil
		}
		if sleep(ctx, 500*time.Millisecond) != nil {
			return fmt.Errorf("no message is stored: %d %s", reply.Code, reply.Remark)
		}
	}
}

// send keeps every slot busy until end, and waits for the last answers.
func (o *wireLoad) send(end time.Time) error {
	if err := o.nc.SetDeadline(end.Add(wireLimit)); err != nil {
		return err
	}
	for slot := range o.inFlight {
		if err := o.next(slot); err != nil {
			return err
		}
	}
	for open := o.inFlight; open > 0; {
		if o.in.Buffered() == 0 {
			if err := o.out.Flush(); err != nil {
				return err
			}
		}
		reply, err := remoting.ReadCommand(o.in, 0)
		if err != nil {
			return fmt.Errorf("%d answers are missing: %w", open, err)
		}
		slot := int(reply.Opaque)
		if !reply.IsReply() || slot < 0 || slot >= o.inFlight {
			continue
		}
		now := time.Now()
		if reply.Code == remoting.OK {
			o.latencies = append(o.latencies, float64(now.Sub(o.at[slot]).Microseconds())/1000)
		} else if o.failed++; o.complaint == "" {
			o.complaint = fmt.Sprintf("%d %s", reply.Code, reply.Remark)
		}
		if !now.Before(end) {
			open--
			continue
		}
		if err := o.next(slot); err != nil {
			return err
		}
	}
	return nil
}

func (o *wireLoad) next(slot int) error {
	o.sent++
	frame := o.frames[slot]
	o.key = fmt.Appendf(o.key[:0], "%032X", o.sent)
	copy(frame[o.unique[slot]:], o.key)
	o.at[slot] = time.Now()
	_, err := o.out.Write(frame)
	return err
}

// bareKeys are numbers as keys, without quotes, which is what RocketMQ's JSON has.
var bareKeys = regexp.MustCompile(`([{,])(\d+):`)

// route makes the topic and finds the broker of its queue, again until there is one.
func (o *wireLoad) route(ctx context.Context) (addr string, err error) {
	ctx, cancel := context.WithTimeout(ctx, wireLimit)
	defer cancel()
	for {
		if addr, err = o.routeOnce(ctx); err == nil {
			return addr, nil
		}
		if sleep(ctx, 500*time.Millisecond) != nil {
			return "", fmt.Errorf("topic %s: %w", wireTopic, err)
		}
	}
}

func (o *wireLoad) routeOnce(ctx context.Context) (string, error) {
	if addr, err := o.queue(ctx); err == nil {
		return addr, nil
	}
	reply, err := ask(ctx, o.nameServer, remoting.NewRequest(remoting.GetBrokerClusterInfo, nil))
	if err != nil {
		return "", err
	}
	var cluster remoting.ClusterInfo
	if err := remoting.DecodeBody(bareKeys.ReplaceAll(reply.Body, []byte(`$1"$2":`)), &cluster); err != nil {
		return "", err
	}
	for _, broker := range cluster.BrokerAddrTable {
		master, ok := broker.BrokerAddrs[0]
		if !ok {
			continue
		}
		_, err := ask(ctx, master, remoting.NewRequest(remoting.UpdateAndCreateTopic, remoting.CreateTopicHeader{
			Topic: wireTopic, ReadQueueNums: 1, WriteQueueNums: 1, Perm: 6, Partitions: 1,
		}))
		if err != nil {
			return "", err
		}
		return o.queue(ctx)
	}
	return "", fmt.Errorf("no broker is a master yet")
}

// queue is the address of the broker that has the topic's queue.
func (o *wireLoad) queue(ctx context.Context) (string, error) {
	req := remoting.NewRequest(remoting.GetRouteByTopic, nil)
	req.Ext = map[string]string{"topic": wireTopic}
	reply, err := ask(ctx, o.nameServer, req)
	if err != nil {
		return "", err
	}
	var route remoting.TopicRouteData
	if err := remoting.DecodeBody(bareKeys.ReplaceAll(reply.Body, []byte(`$1"$2":`)), &route); err != nil {
		return "", err
	}
	for _, q := range route.QueueDatas {
		for _, b := range route.BrokerDatas {
			if addr, ok := b.BrokerAddrs[0]; ok && b.BrokerName == q.BrokerName && q.WriteQueueNums == 1 {
				return addr, nil
			}
		}
	}
	return "", fmt.Errorf("no queue has a leader yet")
}

// ask is one request over a connection of its own; what is not answered with OK is an error.
func ask(ctx context.Context, addr string, req *remoting.Command) (*remoting.Command, error) {
	c, err := remoting.Dial(ctx, addr, remoting.DialOptions{})
	if err != nil {
		return nil, err
	}
	defer c.Close()
	reply, err := c.Call(ctx, req)
	if err == nil && reply.Code != remoting.OK {
		err = fmt.Errorf("code %d: %s", reply.Code, reply.Remark)
	}
	return reply, err
}
