//go:build !linux

package cluster

import (
	"os/exec"
	"strconv"
	"strings"
	"syscall"
)

// childAttr keeps a terminal's ^C from the nodes.
func childAttr() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

// paused reports whether the process is stopped by a signal, by ps(1).
func paused(pid int) (bool, error) {
	b, err := exec.Command("ps", "-o", "state=", "-p", strconv.Itoa(pid)).Output()
	return strings.HasPrefix(strings.TrimSpace(string(b)), "T"), err
}
