package client

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"raftmq/remoting"
)

// presence is what nodes were told of this client: its producers' and consumers' groups,
// by which they find whom to ask about a transaction, and share queues out.
//
// A node keeps what it was told last on a connection for as long as that is open, and a
// heartbeat that was overtaken by the end of a producer would stay. So one is told after
// the other, all who were told hear of what ends, and the last heartbeat names nobody.
type presence struct {
	soon chan struct{} // one token: tell soon

	telling sync.Mutex // held while nodes are told
	told    map[string]struct{}
}

func newPresence() presence {
	return presence{soon: make(chan struct{}, 1), told: make(map[string]struct{})}
}

// heartbeats tells the nodes who we are: at once after a change, else every 30 s.
func (c *Client) heartbeats() {
	for {
		select {
		case <-c.ctx.Done():
			return
		case <-c.presence.soon:
		case <-time.After(30 * time.Second):
		}
		c.heartbeat(c.ctx)
	}
}

func (c *Client) beatSoon() {
	select {
	case c.presence.soon <- struct{}{}:
	default:
	}
}

// heartbeat tells the first node of every broker name, and all who were told before. ok: at
// least one took it, or there is nothing to tell.
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
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	body := remoting.EncodeBody(data)
	took := c.tellEach(to, func(addr string) bool {
		req := remoting.NewRequest(remoting.Heartbeat, nil)
		req.Body = body
		req.SetExt("rmq", "1")
		r, err := c.conns.call(ctx, addr, req)
		if err != nil || r.Code != remoting.OK {
			c.log.Debug("heartbeat not taken", "addr", addr, "error", err)
			return false
		}
		return true
	})
	for _, addr := range to {
		switch took := slices.Contains(took, addr); {
		case took && !nobody:
			c.presence.told[addr] = struct{}{}
		case took, !c.conns.connected(addr): // a node forgets with the connection
			delete(c.presence.told, addr)
		}
	}
	return nobody || len(took) > 0
}

// unregister tells the nodes that a group has left this client. Those that are alive would
// find out from the connections' end; for one that has just died another must know, so one is
// told in any case, if there is one.
func (c *Client) unregister(h remoting.UnregisterHeader) {
	c.presence.telling.Lock()
	defer c.presence.telling.Unlock()
	tell := func(addr string) bool {
		ctx, cancel := context.WithTimeout(c.ctx, time.Second)
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
		if len(took) > 0 || c.isClosed() {
			return
		}
		if !slices.Contains(to, addr) && tell(addr) {
			took = append(took, addr)
		}
	}
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
