package cluster

import (
	"errors"
	"math/rand/v2"
	"net"
	"strconv"
)

// A node's ports, from its base on: name server, raft, gossip, http, and from
// firstListener a listener per slot, each with one for VIP clients two below.
const (
	perNode       = 100
	firstListener = 20
	listenerStep  = 10
	lowestBase    = 15000
	highestPort   = 32000 // above are those that the system gives to whoever connects
)

// freePorts is a base from which all ports of so many nodes were free just now.
func freePorts(nodes, slots int) (int, error) {
	if firstListener+slots*listenerStep > perNode {
		return 0, errors.New("too many slots")
	}
	for range 50 {
		base := lowestBase + rand.IntN((highestPort-lowestBase)/perNode-nodes)*perNode
		ok := true
		for n := range nodes {
			for p := range perNode {
				ok = ok && free(base+n*perNode+p)
			}
		}
		if ok {
			return base, nil
		}
	}
	return 0, errors.New("no free ports")
}

func free(port int) bool {
	l, err := net.Listen("tcp", local(port))
	if err != nil {
		return false
	}
	defer l.Close()
	u, err := net.ListenPacket("udp", local(port))
	if err != nil {
		return false
	}
	u.Close()
	return true
}

func local(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }
