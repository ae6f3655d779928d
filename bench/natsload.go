package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"runtime/debug"
	"time"

	natsgo "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// natsLoad is what "bench nats-load" is told. It runs as a process, as raftmq's load does, and
// collects garbage as seldom.
type natsLoad struct {
	url         string
	inFlight    int
	streams     int
	connections int
	size        int
	rate        int
	count       int
	duration    time.Duration
	how         string
}

// loadGC is that of "raftmq bench".
const loadGC = 800

// runNATSLoad carries out one kind of load and prints figures.
func runNATSLoad(ctx context.Context, args []string, out io.Writer) error {
	debug.SetGCPercent(loadGC)
	var o natsLoad
	f := flag.NewFlagSet("nats-load", flag.ContinueOnError)
	f.StringVar(&o.url, "url", "", "servers, with commas")
	if len(args) < 3 {
		return fmt.Errorf("nats-load --url URLS send|fill|consume|e2e")
	}
	if err := f.Parse(args[:2]); err != nil {
		return err
	}
	kind := args[2]
	f.IntVar(&o.inFlight, "in-flight", 64, "messages that wait for their answer")
	f.IntVar(&o.streams, "partitions", 1, "streams")
	f.IntVar(&o.connections, "connections", 1, "connections that send")
	f.IntVar(&o.size, "size", 1024, "bytes of a message")
	f.IntVar(&o.rate, "rate", 1000, "messages a second, of e2e")
	f.IntVar(&o.count, "count", 500_000, "messages, of fill and consume")
	f.DurationVar(&o.duration, "duration", 10*time.Second, "how long")
	f.StringVar(&o.how, "how", natsReads[0], "how to consume")
	if err := f.Parse(args[3:]); err != nil {
		return err
	}
	var got figures
	var err error
	switch kind {
	case "send":
		got, err = o.send(ctx)
	case "fill":
		got, err = o.fill(ctx)
	case "consume":
		got, err = o.consume(ctx)
	case "e2e":
		got, err = o.endToEnd(ctx)
	default:
		return fmt.Errorf("nats-load %q: want send, fill, consume or e2e", kind)
	}
	if err != nil {
		return err
	}
	return json.NewEncoder(out).Encode(got)
}

// dialNATS connects, and again for ever if the connection is lost.
func dialNATS(urls string) (*natsgo.Conn, jetstream.JetStream, error) {
	nc, err := natsgo.Connect(urls, natsgo.MaxReconnects(-1), natsgo.ReconnectWait(20*time.Millisecond), natsgo.Timeout(5*time.Second))
	if err != nil {
		return nil, nil, err
	}
	js, err := jetstream.New(nc)
	if err != nil {
		nc.Close()
		return nil, nil, err
	}
	return nc, js, nil
}

// makeStream makes one with three replicas on disk; its subject is its name.
func makeStream(ctx context.Context, js jetstream.JetStream, name string) error {
	_, err := js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{Name: name, Subjects: []string{name}, Storage: jetstream.FileStorage, Replicas: 3})
	return err
}

func streamName(i int) string { return fmt.Sprintf("BENCH-%d", i) }

// streamsUp makes the load's streams, again while the cluster elects.
func (o *natsLoad) streamsUp(ctx context.Context, js jetstream.JetStream) error {
	for i := range o.streams {
		for {
			brief, cancel := context.WithTimeout(ctx, 10*time.Second)
			err := makeStream(brief, js, streamName(i))
			cancel()
			if err == nil {
				break
			}
			if sleep(ctx, 200*time.Millisecond) != nil {
				return err
			}
		}
	}
	return nil
}
