package broker

import (
	"context"
	"encoding/binary"
	"errors"
	"math"
	"slices"
	"sync"
	"time"
)

// The time that commands carry is the cluster's: the median of the clocks of the nodes
// that are alive, of an even number that of the two which is nearer to what was taken before.
// It is taken every half second and goes on by the monotonic clock, so that a clock that jumps, this
// node's own too, moves it no further than to the next sound one: no timer fires early, and
// none stalls. Without a majority what was taken before goes on.

// kindClock asks a node for its clock. The answer: Unix ms, int64, big-endian.
const kindClock = 24

const (
	clockEvery = 500 * time.Millisecond
	clockWait  = 400 * time.Millisecond
)

// clock is the cluster's time, as this node has it.
type clock struct {
	mu    sync.Mutex
	ms    int64 // at
	at    time.Time
	sound bool                // taken of a majority of the cluster's nodes, once; kept since
	peers map[string]readings // of the last answers
}

type readings struct {
	ms int64
	at time.Time
}

// time is the cluster's. Until a majority of the clocks is known, which is before a
// leader can be elected or milliseconds after, it is this node's.
func (b *Broker) time() time.Time {
	b.clock.mu.Lock()
	defer b.clock.mu.Unlock()
	if !b.clock.sound {
		return b.now()
	}
	return time.UnixMilli(b.clock.ms + time.Since(b.clock.at).Milliseconds())
}

func (b *Broker) atMs() int64 { return b.time().UnixMilli() }

// timeIsSound reports whether the cluster's time has been taken of a majority of its
// nodes.
func (b *Broker) timeIsSound() bool {
	b.clock.mu.Lock()
	defer b.clock.mu.Unlock()
	return b.clock.sound
}

// keepTime asks the other nodes for their clocks, and those that come at once.
func (b *Broker) keepTime() {
	came := make(chan struct{}, 1)
	b.transport.Watch(func(_ string, up bool) {
		if up {
			select {
			case came <- struct{}{}:
			default:
			}
		}
	})
	tick := time.NewTicker(clockEvery)
	defer tick.Stop()
	for {
		b.takeTime()
		select {
		case <-tick.C:
		case <-came:
		case <-b.ctx.Done():
			return
		}
	}
}

// clusterSize is how many nodes the cluster has.
func (b *Broker) clusterSize() int {
	if b.begun.Load() {
		if n := len(b.catalogue.Nodes()); n > 0 {
			return n
		}
	}
	return max(1, len(b.cfg.InitialNodes))
}

func (b *Broker) takeTime() {
	var wg sync.WaitGroup
	for _, n := range b.members.Nodes() {
		if n.Name == b.id.Node || !b.transport.Alive(n.Name) {
			continue
		}
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(b.ctx, clockWait)
			defer cancel()
			answer, err := b.transport.Call(ctx, n.Name, kindClock, nil)
			if err != nil || len(answer) != 8 {
				return
			}
			at := time.Now()
			b.clock.mu.Lock()
			defer b.clock.mu.Unlock()
			if b.clock.peers == nil {
				b.clock.peers = make(map[string]readings)
			}
			// An answer that was long on its way makes it late, never early.
			b.clock.peers[n.Name] = readings{int64(binary.BigEndian.Uint64(answer)), at}
		})
	}
	wg.Wait()
	at := time.Now()
	all := []int64{b.now().UnixMilli()}
	b.clock.mu.Lock()
	defer b.clock.mu.Unlock()
	for node, r := range b.clock.peers {
		if !b.transport.Alive(node) {
			delete(b.clock.peers, node)
			continue
		}
		all = append(all, r.ms+at.Sub(r.at).Milliseconds())
	}
	if len(all) <= b.clusterSize()/2 { // what was taken before goes on
		return
	}
	before := int64(math.MinInt64) // the first time the lower of the two: better late than early
	if b.clock.sound {
		before = b.clock.ms + at.Sub(b.clock.at).Milliseconds()
	}
	b.clock.ms, b.clock.at, b.clock.sound = middle(all, before), at, true
}

// middle is the median of clocks, which it sorts; of an even number that of the two in the middle which is nearer to before.
func middle(clocks []int64, before int64) int64 {
	slices.Sort(clocks)
	low, high := clocks[(len(clocks)-1)/2], clocks[len(clocks)/2]
	if before > low && high-before < before-low {
		return high
	}
	return low
}

// answerClock answers kindClock.
func (b *Broker) answerClock(context.Context, string, []byte) ([]byte, error) {
	if b.ctx.Err() != nil {
		return nil, errors.New("broker: shutting down")
	}
	return binary.BigEndian.AppendUint64(nil, uint64(b.now().UnixMilli())), nil
}
