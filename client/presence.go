package client

import (
	"context"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"raftmq/remoting"
)

// presence is what nodes were told of this client: its producers' and consumers' groups,
// by which they find whom to ask about a transaction, and share queues out.
//
// A node keeps what it was told last on a connection for as long as that is open, and a
// heartbeat that was overtaken by the end of a producer would stay. So one is told after
// the other, all who were told, or may have been, hear of what ends, and the last heartbeat
// names nobody.
type presence struct {
	soon chan struct{} // one token: tell soon
	met  chan struct{} // closed when a node has answered a heartbeat: it knows the client's id
	meet sync.Once

	telling sync.Mutex // held while nodes are told
	told    map[string]struct{}
}

func newPresence() *presence {
	return &presence{soon: make(chan struct{}, 1), met: make(chan struct{}), told: make(map[string]struct{})}
}

const (
	beatTime = 3 * time.Second // for a heartbeat's answer
	// endTime is how long nodes are told that a group has left, and endTry how long each is.
	endTime = 2 * time.Second
	endTry  = time.Second
)

// heartbeats tells the nodes who we are: at once after a change, else every 30 s. A node that
// hangs up on us is a change, and must not be called without end.
func (c *Client) heartbeats() {
	const first, most = 20 * time.Millisecond, time.Second
	for wait := newBackoff(first, most); ; {
		select {
		case <-c.ctx.Done():
			return
		case <-c.presence.soon:
		case <-time.After(30 * time.Second):
		}
		if c.heartbeat(c.ctx) {
			wait = newBackoff(first, most)
		} else if wait.sleep(c.ctx) != nil {
			return
		}
	}
}

// introduce returns when a node knows the client's id, or none has answered in the time of a
// heartbeat, or ctx has ended.
func (c *Client) introduce(ctx context.Context) {
	select {
	case <-c.presence.met:
		return
	default:
	}
	c.beatSoon()
	ctx, cancel := context.WithTimeout(ctx, beatTime)
	defer cancel()
	select {
	case <-c.presence.met:
	case <-ctx.Done():
	case <-c.ctx.Done():
	}
}

func (c *Client) beatSoon() {
	select {
	case c.presence.soon <- struct{}{}:
	default:
	}
}

// heartbeat tells the first node of every broker name, and all who were told before. ok: they
// all took it.
func (c *Client) heartbeat(ctx context.Context) (ok bool) {
	c.presence.telling.Lock()
	defer c.presence.telling.Unlock()
	data := remoting.HeartbeatData{ClientID: c.id}
	c.mu.Lock()
	for p := range c.producers {
		data.ProducerDataSet = append(data.ProducerDataSet, remoting.ProducerData{GroupName: p.group})
	}
	for s := range c.consumers {
		data.ConsumerDataSet = append(data.ConsumerDataSet, s.describe())
	}
	c.mu.Unlock()
	nobody := len(data.ProducerDataSet)+len(data.ConsumerDataSet) == 0
	to := slices.Collect(maps.Keys(c.presence.told))
	if !nobody {
		to = c.toldAndFirst()
	}
	ctx, cancel := context.WithTimeout(ctx, beatTime)
	defer cancel()
	body := remoting.EncodeBody(data)
	took := c.tellEach(to, func(addr string) bool {
		req := remoting.NewRequest(remoting.Heartbeat, nil)
		req.Body = body
		req.SetExt("rmq", "1")
		r, err := c.conns.call(ctx, addr, req)
		if err == nil && !isLater(r.Code) {
			c.presence.meet.Do(func() { close(c.presence.met) })
		}
		if err != nil || r.Code != remoting.OK {
			c.log.Debug("heartbeat not taken", "addr", addr, "error", err)
			return false
		}
		return true
	})
	for _, addr := range to {
		switch {
		case nobody && slices.Contains(took, addr), !c.conns.connected(addr): // a node forgets with the connection
			delete(c.presence.told, addr)
		default: // it may have taken it, whatever is known of its answer
			c.presence.told[addr] = struct{}{}
		}
	}
	return len(took) == len(to)
}

// unregister tells the nodes that a group has left this client, unless another of its
// producers is of that group. Those that are alive would find out from the connections' end;
// for one that has just died another must know, so one is told in any case, if there is one
// that answers in time, and before ctx ends.
func (c *Client) unregister(ctx context.Context, h remoting.UnregisterHeader) {
	c.presence.telling.Lock()
	defer c.presence.telling.Unlock()
	if h.ProducerGroup != "" && c.produces(h.ProducerGroup) {
		return
	}
	end, cancel := context.WithTimeout(ctx, endTime)
	defer cancel()
	tell := func(addr string) bool {
		ctx, cancel := context.WithTimeout(end, endTry)
		defer cancel()
		r, err := c.conns.call(ctx, addr, remoting.NewRequest(remoting.UnregisterClient, h))
		return err == nil && r.Code == remoting.OK
	}
	to := c.toldAndFirst()
	took := c.tellEach(to, tell)
	if len(took) < len(to) {
		c.beatSoon() // which says it again
	}
	for _, addr := range c.routes.addresses("") {
		if len(took) > 0 || end.Err() != nil {
			return
		}
		if !slices.Contains(to, addr) && tell(addr) {
			took = append(took, addr)
		}
	}
}

// endsSoonAfter is a context for telling nodes of what ends: it ends with the client, and
// endTime after ctx, however much there is to tell.
func (c *Client) endsSoonAfter(ctx context.Context) (tell context.Context, done func()) {
	tell, cancel := context.WithCancel(c.ctx)
	var late atomic.Pointer[time.Timer]
	stop := context.AfterFunc(ctx, func() { late.Store(time.AfterFunc(endTime, cancel)) })
	return tell, func() {
		stop()
		cancel()
		if t := late.Load(); t != nil {
			t.Stop()
		}
	}
}

// produces reports whether the client has a producer of a group.
func (c *Client) produces(group string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for p := range c.producers {
		if p.group == group {
			return true
		}
	}
	return false
}

// toldAndFirst are the first node of every broker name, and all who were told before.
func (c *Client) toldAndFirst() []string {
	to := c.routes.firstAddresses()
	for addr := range c.presence.told {
		if !slices.Contains(to, addr) {
			to = append(to, addr)
		}
	}
	return to
}

// tellEach tells all at once, and returns who took it.
func (c *Client) tellEach(to []string, tell func(addr string) bool) (took []string) {
	var mu sync.Mutex
	var wg sync.WaitGroup
	for _, addr := range to {
		wg.Go(func() {
			if tell(addr) {
				mu.Lock()
				took = append(took, addr)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return took
}
