package main

import "syscall"

// childAttr keeps a terminal's ^C from the nodes, which dev stops itself, and lets
// none of them outlive it.
func childAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
}
