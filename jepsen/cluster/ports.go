package cluster

import (
	"errors"

	"raftmq/internal/ports"
)

// A node's ports, from its base on: name server, raft, gossip, http, and from
// firstListener a listener per slot, each with one for VIP clients two below.
const (
	perNode       = 100
	firstListener = 20
	listenerStep  = 10
	simulatedBase = 15000 // of the first node of a simulated network, where all ports are free
)

// freePorts is a base from which all ports of so many nodes were free just now.
func freePorts(nodes, slots int) (int, error) {
	if firstListener+slots*listenerStep > perNode {
		return 0, errors.New("too many slots")
	}
	return ports.InARow(nodes * perNode)
}
