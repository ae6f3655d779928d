//go:build !linux

package netns

import (
	"context"
	"errors"
	"net"

	"raftmq/jepsen/cluster"
	"raftmq/jepsen/link"
)

// Network cannot be had here.
type Network struct{}

var errLinux = errors.New("network namespaces are Linux's")

// New fails.
func New(*link.Net) (*Network, error) { return nil, errLinux }

// Possible says why there can be no such network here.
func Possible() error { return errLinux }

func (*Network) Close() error                                        { return nil }
func (*Network) Bind(int) string                                     { return "" }
func (*Network) Address(int) string                                  { return "" }
func (*Network) Enter(int, func() error) error                       { return errLinux }
func (*Network) Via(int, []cluster.Peer) (map[string]string, error)  { return nil, errLinux }
func (*Network) Dial(context.Context, int, string) (net.Conn, error) { return nil, errLinux }
