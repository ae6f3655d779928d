package proxy

import (
	"context"
	"net"

	"raftmq/jepsen/cluster"
	"raftmq/jepsen/link"
)

// Network has the nodes on this machine's loopback, with a relay for each way from one
// to another. The last host of the links is the clients.
type Network struct {
	*Proxy
}

// NewNetwork makes it for links between nodes and clients.
func NewNetwork(links *link.Net) Network { return Network{New(links)} }

func (Network) Bind(int) string                   { return "127.0.0.1" }
func (Network) Address(int) string                { return "127.0.0.1" }
func (Network) Enter(_ int, f func() error) error { return f() }

// Via makes relays for what node i sends its peers.
func (n Network) Via(i int, peers []cluster.Peer) (map[string]string, error) {
	via := make(map[string]string)
	for _, p := range peers {
		var err error
		if via[p.Raft], err = n.TCP(i, p.Node, p.Raft, link.Raft); err != nil {
			return nil, err
		}
		if via[p.Gossip], err = n.Both(i, p.Node, p.Gossip, link.Gossip); err != nil {
			return nil, err
		}
	}
	return via, nil
}

// Dial is a client's.
func (n Network) Dial(ctx context.Context, i int, addr string) (net.Conn, error) {
	return n.Proxy.Dial(ctx, n.links.Hosts()-1, i, addr)
}
