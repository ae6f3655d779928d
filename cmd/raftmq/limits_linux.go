package main

import (
	"os"
	"strconv"
	"strings"
	"syscall"

	"github.com/hashicorp/go-hclog"
)

// What a node with a thousand partitions needs: at most 16 open files and a few
// maps for each (see store), and a thousand clients.
const (
	wantFiles = 32_768
	wantMaps  = 65_530 // Linux's default of vm.max_map_count
)

// warnOfLimits says which limits of the system are low. The soft limit of open
// files was raised to the hard one when the program started.
func warnOfLimits(log hclog.Logger) {
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err == nil && files.Cur < wantFiles {
		log.Warn("few open files are allowed; raise the limit (ulimit -n, LimitNOFILE)", "limit", files.Cur, "want", wantFiles)
	}
	b, err := os.ReadFile("/proc/sys/vm/max_map_count")
	if n, e := strconv.Atoi(strings.TrimSpace(string(b))); err == nil && e == nil && n < wantMaps {
		log.Warn("few memory maps are allowed; raise vm.max_map_count", "limit", n, "want", wantMaps)
	}
}
