package cluster

import (
	"bytes"
	"fmt"
	"os"
	"syscall"
)

// childAttr keeps a terminal's ^C from the nodes, and lets none outlive this program.
func childAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// paused reports whether the process is stopped by a signal: state T in
// /proc/PID/stat, proc(5).
func paused(pid int) (bool, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false, err
	}
	i := bytes.LastIndexByte(b, ')') // the name before it may have any bytes
	if i < 0 || i+2 >= len(b) {
		return false, fmt.Errorf("stat of process %d: %q", pid, b)
	}
	return b[i+2] == 'T', nil
}
