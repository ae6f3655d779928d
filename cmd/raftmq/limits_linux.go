package main

import (
	"math"
	"os"
	"strconv"
	"strings"
	"syscall"

	"github.com/hashicorp/go-hclog"

	"raftmq/broker"
)

// What a node with a thousand partitions needs: at most 16 open files and a few
// maps for each (see store), and a thousand clients.
const (
	wantFiles = 32_768
	wantMaps  = 65_530 // Linux's default of vm.max_map_count
)

// heedLimits says which limits of the system are low, and leaves half of the files that may
// be open to what is not connections of clients: they must not keep the node from its
// own files. The soft limit of open files was raised to the hard one when the program started.
func heedLimits(c *broker.Config, log hclog.Logger) {
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err == nil {
		want := max(wantFiles, 2*c.MaxConnections)
		if leaveHalf(c, files.Cur) || files.Cur < wantFiles {
			log.Warn("few open files are allowed; raise the limit (ulimit -n, LimitNOFILE)", "limit", files.Cur, "want", want, "connections", c.MaxConnections)
		}
	}
	b, err := os.ReadFile("/proc/sys/vm/max_map_count")
	if n, e := strconv.Atoi(strings.TrimSpace(string(b))); err == nil && e == nil && n < wantMaps {
		log.Warn("few memory maps are allowed; raise vm.max_map_count", "limit", n, "want", wantMaps)
	}
}

// leaveHalf leaves half of so many files to what is not connections, and reports whether that makes them fewer.
func leaveHalf(c *broker.Config, files uint64) bool {
	most := int(min(files/2, math.MaxInt32))
	if c.MaxConnections <= most {
		return false
	}
	c.MaxConnections = max(1, most)
	return true
}
