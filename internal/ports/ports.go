// Package ports finds ports of the loopback interface for a process that is yet to be started.
package ports

import (
	"errors"
	"math/rand/v2"
	"net"
	"strconv"
)

// Ports that are found are in [lowest, beyond): above are those that the system gives to whoever
// connects (Linux: ip_local_port_range, from 32768; darwin and Windows: from 49152), at any time, so
// that one of them that was free a moment ago may not be free any more when it is to be listened on.
const (
	lowest = 15000
	beyond = 32000
)

// attempts bounds the search.
const attempts = 1000

// InARow is the first of n ports in a row, 1 ≤ n ≤ 2000, none of which anybody listens on just now.
// Where the search begins is random, so that processes that look at the same time find others.
// It fails when there are none.
func InARow(n int) (int, error) {
	for range attempts {
		first := lowest + rand.IntN(beyond-lowest-n)
		all := true
		for p := first; all && p < first+n; p++ {
			all = Free(p)
		}
		if all {
			return first, nil
		}
	}
	return 0, errors.New("no free ports")
}

// Free reports whether nobody listens on the port just now, neither by TCP nor by UDP.
func Free(port int) bool {
	at := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	l, err := net.Listen("tcp", at)
	if err != nil {
		return false
	}
	defer l.Close()
	u, err := net.ListenPacket("udp", at)
	if err != nil {
		return false
	}
	u.Close()
	return true
}
