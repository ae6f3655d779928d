package main

import "syscall"

// childAttr lets no server outlive this process. The thread that starts a child must stay: see inThread.
func childAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
}
