package broker

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"

	"raftmq/remoting"
)

// Addresses are where a node can be reached.
type Addresses struct {
	NameServer string   `json:"nameserver"`
	Listeners  []string `json:"listeners"` // per slot
	Raft       string   `json:"raft"`
	Gossip     string   `json:"gossip"`
	HTTP       string   `json:"http"`
}

// vipListener is a slot's second listener: old clients send to the port two below
// the one that they are told (their "VIP channel").
type vipListener struct {
	net.Listener
	slot int
}

func (b *Broker) listen(port int) (net.Listener, error) {
	addr := net.JoinHostPort(b.cfg.Host, strconv.Itoa(port))
	if b.net != nil {
		return b.net.Listen(addr)
	}
	return net.Listen("tcp", addr)
}

// advertised is ln's address as others are told it.
func (b *Broker) advertised(ln net.Listener) string {
	_, port, _ := net.SplitHostPort(ln.Addr().String())
	return net.JoinHostPort(b.cfg.Advertise, port)
}

func (b *Broker) listenClients() (net.Listener, []net.Listener, error) {
	ns, err := b.listen(b.cfg.NameServer)
	if err != nil {
		return nil, nil, err
	}
	b.addrs.NameServer = b.advertised(ns)
	var slots []net.Listener
	for i := range b.cfg.Slots {
		port := 0
		if b.cfg.Listen != -1 {
			port = b.cfg.Listen + slotStep*i
		}
		ln, err := b.listen(port)
		if err != nil {
			return nil, nil, fmt.Errorf("slot %d: %w", i, err)
		}
		slots = append(slots, ln)
		if vip := port - vipBelow; port > 0 {
			if ln, err := b.listenVIP(vip); err == nil {
				b.vip = append(b.vip, vipListener{ln, i})
			} else {
				b.log.Warn("old clients that use the VIP channel cannot connect", "port", vip, "error", err)
			}
		}
		b.addrs.Listeners = append(b.addrs.Listeners, b.advertised(ln))
	}
	return ns, slots, nil
}

// listenVIP listens for old clients, unless the port is one that this node opens later.
func (b *Broker) listenVIP(port int) (net.Listener, error) {
	switch port {
	case b.cfg.HTTP:
		return nil, errors.New("it is the http-port")
	case b.cfg.Gossip:
		return nil, errors.New("it is the gossip-port")
	}
	return b.listen(port)
}

func (b *Broker) serve(ns net.Listener, slots []net.Listener) {
	forClients := func(slot int) *remoting.Server {
		return &remoting.Server{Handler: b.handler(slot), OnClose: b.clients.closed, Unsaid: busyUnsaid, Queued: b.admission.replies, Open: b.admission.open, MaxConns: b.cfg.MaxConnections}
	}
	b.start(ns, forClients(noSlot))
	for slot, ln := range slots {
		b.start(ln, forClients(slot))
	}
	for _, v := range b.vip {
		b.start(v, forClients(v.slot))
	}
	b.start(b.transport.Listener(classForward), &remoting.Server{
		Handler: remoting.HandlerFunc(b.handleForwarded), MaxInFlight: maxHeldPulls, MaxInFlightBytes: forwardBytes, MaxSendBytes: forwardBytes,
	})
}

// start serves ln. The requests of all servers share a budget.
func (b *Broker) start(ln net.Listener, s *remoting.Server) {
	s.Logger, s.Requests = b.log.Named("remoting"), b.admission.requests
	b.servers = append(b.servers, s)
	b.wg.Go(func() {
		if err := s.Serve(ln); err != nil && !errors.Is(err, remoting.ErrServerClosed) && b.ctx.Err() == nil {
			b.log.Error("listener stopped", "address", ln.Addr(), "error", err)
		}
	})
}

// listenIP is the address of a host, the zero address if it is a name.
func listenIP(host string) netip.Addr {
	a, _ := netip.ParseAddr(host)
	return a
}

// dialNode connects to another node's Raft port, wherever gossip says it is.
func (b *Broker) dialNode(ctx context.Context, node string) (net.Conn, error) {
	if b.members == nil {
		return nil, fmt.Errorf("node %s: gossip has not started", node)
	}
	n, ok := b.members.Node(node)
	if !ok {
		return nil, fmt.Errorf("node %s: address unknown", node)
	}
	return b.dial(ctx, n.Raft)
}

// forwardBytes bounds what is under way on a connection between nodes, which
// carries what many clients ask.
const forwardBytes = 128 << 20

// classForward is the class of connections that carry forwarded requests between
// nodes.
const classForward = "forward"
