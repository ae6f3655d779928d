package sim

import (
	"net"
	"strconv"

	"raftmq/jepsen/link"
)

// Ports of every node.
const (
	nameServerPort = 9000 + iota
	raftPort
	gossipPort
	webPort
	listenPort = 9020 // of the first slot
)

// classOf is what goes to an address.
func classOf(addr string) link.Class {
	_, port, _ := net.SplitHostPort(addr)
	switch port {
	case strconv.Itoa(raftPort):
		return link.Raft
	case strconv.Itoa(gossipPort):
		return link.Gossip
	}
	return ""
}
