package cluster

import (
	"context"
	"net"
)

// Network is where nodes live and how they and the clients reach each other. Nodes are
// numbered from 0.
type Network interface {
	// Bind is the address that node i listens on, Address the one that others are told.
	Bind(i int) string
	Address(i int) string
	// Enter runs f on a thread that is where node i is: what f starts and dials is
	// there. Its error is that of f, or says that f did not run.
	Enter(i int, f func() error) error
	// Via says where node i is to dial others' addresses in place of there; peers are
	// by node, without those of i itself. Nil: there.
	Via(i int, peers []Peer) (map[string]string, error)
	// Dial connects to an address of node i as clients do.
	Dial(ctx context.Context, i int, addr string) (net.Conn, error)
}

// Peer is where the others reach a node.
type Peer struct {
	Node         int
	Raft, Gossip string
}

// Loopback is this machine's, without anything between the nodes.
type Loopback struct{}

func (Loopback) Bind(int) string                            { return "127.0.0.1" }
func (Loopback) Address(int) string                         { return "127.0.0.1" }
func (Loopback) Enter(_ int, f func() error) error          { return f() }
func (Loopback) Via(int, []Peer) (map[string]string, error) { return nil, nil }
func (Loopback) Close() error                               { return nil }

func (Loopback) Dial(ctx context.Context, _ int, addr string) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, "tcp", addr)
}
