package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
)

// devSocket is where a dev is told to kill and restart nodes: a line "verb node",
// answered by "ok", perhaps a blank and a note, or by an error, and closed. Where
// its path would be longer than a socket's may be, the file holds the path of the
// socket instead.
const devSocket = "dev.sock"

// noNode begins the error of who names a node that is none.
const noNode = "no node "

// maxSocketPath is below the 104 bytes of darwin's sockaddr_un.
const maxSocketPath = 100

// listenControl makes the socket; the caller holds the lock of dir.
func listenControl(dir string) (net.Listener, error) {
	name := filepath.Join(dir, devSocket)
	if err := os.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	if len(name) <= maxSocketPath {
		return net.Listen("unix", name)
	}
	short, err := os.MkdirTemp("", "raftmq-dev-")
	if err != nil {
		return nil, err
	}
	at := filepath.Join(short, devSocket)
	ln, err := net.Listen("unix", at)
	if err == nil {
		err = os.WriteFile(name, []byte(at), 0o640)
	}
	if err != nil {
		if ln != nil {
			ln.Close()
		}
		os.RemoveAll(short)
		return nil, err
	}
	return farSocket{ln, short, name}, nil
}

// farSocket is a socket outside dir.
type farSocket struct {
	net.Listener
	short, name string
}

func (f farSocket) Close() error {
	return errors.Join(f.Listener.Close(), os.RemoveAll(f.short), os.Remove(f.name))
}

// tellDev asks the dev that runs on dir to do something and waits for it.
func tellDev(ctx context.Context, dir, verb, node string) error {
	name := filepath.Join(dir, devSocket)
	if len(name) > maxSocketPath {
		if abs, err := filepath.Abs(dir); err == nil && len(abs) < len(dir) {
			name = filepath.Join(abs, devSocket)
		}
	}
	if st, err := os.Stat(name); err == nil && st.Mode().IsRegular() {
		b, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		name = string(b)
	}
	var nd net.Dialer
	conn, err := nd.DialContext(ctx, "unix", name)
	if err != nil {
		return exitError{exitNotFound, fmt.Errorf("no dev cluster runs on %s", dir)}
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	fmt.Fprintln(conn, verb, node)
	b, err := io.ReadAll(conn)
	if err != nil {
		return errors.Join(ctx.Err(), err)
	}
	answer := strings.TrimSpace(string(b))
	if note, ok := strings.CutPrefix(answer, "ok"); ok {
		if note != "" {
			fmt.Fprintln(os.Stderr, strings.TrimSpace(note))
		}
		return nil
	}
	if answer == "" {
		return exitError{exitUnknown, fmt.Errorf("dev ended before it answered to %s %s", verb, node)}
	}
	if strings.HasPrefix(answer, noNode) {
		return exitError{exitNotFound, errors.New(answer)}
	}
	return exitError{exitConflict, errors.New(answer)}
}

// control serves tellDev until ln is closed and all is answered.
func (d *devCluster) control(ctx context.Context, ln net.Listener) {
	var wg sync.WaitGroup
	defer wg.Wait()
	for {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		wg.Go(func() {
			defer c.Close()
			ctx, cancel := context.WithCancel(ctx)
			defer cancel()
			defer context.AfterFunc(ctx, func() { c.(*net.UnixConn).CloseRead() })()
			r := bufio.NewReader(io.LimitReader(c, 1<<10))
			line, err := r.ReadString('\n')
			if err != nil {
				return
			}
			wg.Go(func() { // whoever asked may go away
				r.ReadByte()
				cancel()
			})
			verb, node, _ := strings.Cut(strings.TrimSpace(line), " ")
			note, err := d.do(ctx, verb, node)
			if err != nil {
				fmt.Fprintln(c, err)
				return
			}
			fmt.Fprintln(c, strings.TrimSpace("ok "+note))
		})
	}
}

// do carries out one verb. What waits, waits without the lock: a node that does
// not become ready can be killed, and others restarted.
func (d *devCluster) do(ctx context.Context, verb, name string) (note string, err error) {
	if verb == "stop" && name == "" {
		return "", syscall.Kill(os.Getpid(), syscall.SIGTERM)
	}
	var x *devNode
	for _, o := range d.Nodes {
		if o.Name == name {
			x = o
		}
	}
	if x == nil {
		return "", fmt.Errorf("%s%q", noNode, name)
	}
	switch verb {
	case "kill", "pause", "resume":
		return "", d.signal(x, verb)
	case "stop", "restart":
		x.turn.Lock()
		p := d.process(x)
		if verb == "stop" {
			defer x.turn.Unlock()
			if !p.running() {
				return "", fmt.Errorf("%s is not running", name)
			}
			p.end()
			return "", nil
		}
		p.end()
		err := d.start(x)
		p = d.process(x)
		x.turn.Unlock()
		if err != nil {
			return "", err
		}
		return d.serves(ctx, x, p)
	}
	return "", fmt.Errorf("unknown verb %q", verb)
}

func (d *devCluster) signal(x *devNode, verb string) error {
	sig := map[string]syscall.Signal{"kill": syscall.SIGKILL, "pause": syscall.SIGSTOP, "resume": syscall.SIGCONT}[verb]
	d.mu.Lock()
	p := x.proc
	if !p.running() {
		d.mu.Unlock()
		return fmt.Errorf("%s is not running", x.Name)
	}
	err := p.cmd.Process.Signal(sig)
	p.paused = verb == "pause"
	d.mu.Unlock()
	if verb == "kill" && err == nil {
		<-p.ended
	}
	return err
}
