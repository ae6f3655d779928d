package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"syscall"
	"time"

	natsgo "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// The load is that of "raftmq bench failover"; each attempt is given up early and made again under the same message id, and
// a server that does not answer pings is left early, so that what counts is the cluster.
const (
	failoverSenders = 16
	natsAttempt     = 250 * time.Millisecond
	natsPing        = 500 * time.Millisecond
	gapLimit        = time.Minute // of one fault
)

// hurtNATS breaks a stream's leader again and again under load and returns each time without an acknowledgement, in ms.
func hurtNATS(ctx context.Context, c *natsCluster, times int, hurt syscall.Signal, atLeast time.Duration) (gaps []float64, err error) {
	nc, err := natsgo.Connect(c.urls(), natsgo.MaxReconnects(-1), natsgo.ReconnectWait(20*time.Millisecond), natsgo.Timeout(time.Second), natsgo.PingInterval(natsPing), natsgo.MaxPingsOutstanding(2))
	if err != nil {
		return nil, err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, err
	}
	o := natsLoad{streams: 1}
	if err := o.streamsUp(ctx, js); err != nil {
		return nil, err
	}
	var acks ackTimes
	load, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	for w := range failoverSenders {
		wg.Go(func() {
			for i := 0; load.Err() == nil; i++ {
				id := strconv.Itoa(w) + "-" + strconv.Itoa(i)
				for load.Err() == nil {
					attempt, cancel := context.WithTimeout(load, natsAttempt)
					_, err := js.Publish(attempt, streamName(0), []byte(id), jetstream.WithMsgID(id), jetstream.WithRetryAttempts(0))
					cancel()
					if err == nil {
						acks.note(time.Now())
						break
					}
					sleep(load, 5*time.Millisecond)
				}
				sleep(load, time.Millisecond)
			}
		})
	}
	for range times {
		if err := sleep(ctx, time.Second); err != nil {
			return nil, err
		}
		n, err := c.leader(ctx, js)
		if err != nil {
			return nil, err
		}
		from := time.Now()
		if err := n.cmd.Process.Signal(hurt); err != nil {
			return nil, err
		}
		if err := sleep(ctx, atLeast); err != nil {
			return nil, err
		}
		for !acks.since(from.Add(100*time.Millisecond)) && time.Since(from) < gapLimit {
			if err := sleep(ctx, 20*time.Millisecond); err != nil {
				return nil, err
			}
		}
		gaps = append(gaps, acks.longest(from))
		if hurt == syscall.SIGSTOP {
			err = n.cmd.Process.Signal(syscall.SIGCONT)
		} else {
			<-n.ended
			err = c.start(n)
		}
		if err != nil {
			return nil, err
		}
		if err := c.current(ctx, js); err != nil {
			return nil, err
		}
	}
	return gaps, nil
}

// ackTimes are when something was acknowledged.
type ackTimes struct {
	mu sync.Mutex
	at []time.Time
}

func (a *ackTimes) note(t time.Time) {
	a.mu.Lock()
	a.at = append(a.at, t)
	a.mu.Unlock()
}

// since reports whether anything was acknowledged after t.
func (a *ackTimes) since(t time.Time) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.at) > 0 && a.at[len(a.at)-1].After(t)
}

// longest is the longest time without an acknowledgement since from, until now, in ms.
func (a *ackTimes) longest(from time.Time) float64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	last, worst := from, time.Duration(0)
	for _, t := range a.at {
		if t.After(from) {
			worst, last = max(worst, t.Sub(last)), t
		}
	}
	return float64(max(worst, time.Since(last)).Microseconds()) / 1000
}

// leader is the node that leads the stream.
func (c *natsCluster) leader(ctx context.Context, js jetstream.JetStream) (*natsNode, error) {
	info, err := streamInfo(ctx, js)
	if err != nil {
		return nil, err
	}
	for _, n := range c.nodes {
		if n.name == info.Cluster.Leader {
			return n, nil
		}
	}
	return nil, fmt.Errorf("%q leads the stream", info.Cluster.Leader)
}

func streamInfo(ctx context.Context, js jetstream.JetStream) (*jetstream.StreamInfo, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	s, err := js.Stream(ctx, streamName(0))
	if err != nil {
		return nil, err
	}
	info, err := s.Info(ctx)
	if err == nil && info.Cluster == nil {
		return nil, errors.New("a stream without a cluster")
	}
	return info, err
}

// current waits until the stream has a leader and two followers that are up to date.
func (c *natsCluster) current(ctx context.Context, js jetstream.JetStream) error {
	for until := time.Now().Add(readyLimit); ; {
		info, err := streamInfo(ctx, js)
		if err == nil {
			n := 0
			for _, p := range info.Cluster.Replicas {
				if p.Current && !p.Offline {
					n++
				}
			}
			if info.Cluster.Leader != "" && n == len(c.nodes)-1 {
				return nil
			}
		}
		if time.Now().After(until) {
			return errors.Join(errors.New("the stream's replicas do not catch up"), err)
		}
		if err := sleep(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
}
