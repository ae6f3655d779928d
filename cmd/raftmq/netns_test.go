//go:build linux

package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// hosts are network namespaces with an address each, on a bridge, and one of the
// client's.
type hosts struct {
	t      *testing.T
	prefix string
	dir    string
}

const clientHost = "c"

func (h *hosts) ip(args ...string) {
	h.t.Helper()
	out, err := exec.Command("ip", args...).CombinedOutput()
	require.NoError(h.t, err, "ip %s: %s", strings.Join(args, " "), out)
}

func (h *hosts) name(host string) string { return h.prefix + host }

func (h *hosts) addr(i int) string { return fmt.Sprintf("10.77.0.%d", i) }

// in is a command in the namespace of a host.
func (h *hosts) in(host string, args ...string) *exec.Cmd {
	c := exec.Command("ip", append([]string{"netns", "exec", h.name(host)}, args...)...)
	c.Env = append(os.Environ(), asProgram+"=1", fmt.Sprintf("RAFTMQ_ENDPOINT=%s:9876,%s:9876,%s:9876", h.addr(1), h.addr(2), h.addr(3)))
	return c
}

func (h *hosts) add(host, addr string) {
	h.ip("netns", "add", h.name(host))
	h.t.Cleanup(func() { exec.Command("ip", "netns", "del", h.name(host)).Run() })
	h.ip("-n", h.name(host), "link", "set", "lo", "up")
	if host == clientHost {
		h.ip("-n", h.name(host), "link", "add", "br0", "type", "bridge")
		h.ip("-n", h.name(host), "addr", "add", addr+"/24", "dev", "br0")
		h.ip("-n", h.name(host), "link", "set", "br0", "up")
		return
	}
	h.ip("link", "add", "v"+host, "netns", h.name(clientHost), "type", "veth", "peer", "name", "eth0", "netns", h.name(host))
	h.ip("-n", h.name(clientHost), "link", "set", "v"+host, "master", "br0", "up")
	h.ip("-n", h.name(host), "addr", "add", addr+"/24", "dev", "eth0")
	h.ip("-n", h.name(host), "link", "set", "eth0", "up")
}

func (h *hosts) client(stdin string, args ...string) string {
	h.t.Helper()
	c := h.in(clientHost, append([]string{os.Args[0]}, args...)...)
	var out, errs bytes.Buffer
	c.Stdin, c.Stdout, c.Stderr = strings.NewReader(stdin), &out, &errs
	require.NoError(h.t, c.Run(), "raftmq %v: %s", args, errs.String())
	return out.String()
}

func (h *hosts) server(i int) *exec.Cmd {
	h.t.Helper()
	node := fmt.Sprintf("n%d", i)
	file := filepath.Join(h.dir, node+".yaml")
	require.NoError(h.t, os.WriteFile(file, fmt.Appendf(nil, "node: %s\ndata: %s\nhost: 0.0.0.0\nadvertise: %s\ninitial-nodes: [n1, n2, n3]\njoin: ['%s:10700', '%s:10700', '%s:10700']\nwal-segment-bytes: 33554432\nwal-segments: 5\n"+
		"disk-clean-at: 100\ndisk-force-at: 100\ndisk-refuse-at: 100\ndisk-reserve: -1\n", // the machine's disk may be nearly full, as dev's
		node, filepath.Join(h.dir, node), h.addr(i), h.addr(1), h.addr(2), h.addr(3)), 0o640))
	c := h.in(fmt.Sprint(i), os.Args[0], "server", "--config", file, "--log-level", "error")
	c.Stderr = os.Stderr
	require.NoError(h.t, c.Start())
	h.t.Cleanup(func() { c.Process.Kill(); c.Wait() })
	return c
}

func (h *hosts) ready(i int) bool {
	out, _ := h.in(clientHost, "curl", "-s", "-m", "1", "http://"+h.addr(i)+":10600/readyz").Output()
	return strings.TrimSpace(string(out)) == "ok"
}

func (h *hosts) await(nodes ...int) {
	h.t.Helper()
	for _, i := range nodes {
		require.Eventually(h.t, func() bool { return h.ready(i) }, patience, 50*time.Millisecond, "n%d is not ready", i)
	}
}

// Three servers with an address each, from files as README has them: clients on
// another host are told addresses that they can reach; a host whose cable is pulled
// is done without and comes back; SIGTERM ends a server with 0.
func TestThreeHosts(t *testing.T) {
	if os.Getenv("RAFTMQ_NETNS") == "" {
		t.Skip("makes network namespaces: make rows")
	}
	h := &hosts{t: t, prefix: fmt.Sprintf("rq%d", os.Getpid()), dir: t.TempDir()}
	if out, err := exec.Command("ip", "netns", "add", h.name("try")).CombinedOutput(); err != nil {
		t.Skipf("no network namespaces here: %v: %s", err, out)
	}
	h.ip("netns", "del", h.name("try"))
	h.add(clientHost, "10.77.0.100")
	servers := make(map[int]*exec.Cmd)
	for i := 1; i <= 3; i++ {
		h.add(fmt.Sprint(i), h.addr(i))
		servers[i] = h.server(i)
	}
	h.await(1, 2, 3)

	h.client("", "topic", "create", "orders")
	var lines strings.Builder
	for i := range 500 {
		fmt.Fprintf(&lines, "line %d\n", i)
	}
	h.client(lines.String(), "send", "orders", "-")
	require.Len(t, strings.Split(strings.TrimSpace(h.client("", "consume", "orders", "--group", "g", "--count", "500", "--timeout", "50s", "-o", "jsonl")), "\n"), 500)
	for i := 1; i <= 3; i++ {
		require.Contains(t, h.client("", "cluster", "status"), h.addr(i)+":10911")
	}

	h.ip("-n", h.name("1"), "link", "set", "eth0", "down")
	h.client(lines.String(), "send", "orders", "-")
	h.ip("-n", h.name("1"), "link", "set", "eth0", "up")
	h.await(1)

	require.NoError(t, servers[2].Process.Signal(syscall.SIGTERM))
	require.NoError(t, servers[2].Wait(), "SIGTERM is no failure")
	h.client(lines.String(), "send", "orders", "-")
	servers[2] = h.server(2)
	h.await(1, 2, 3)
	seen := strings.Split(strings.TrimSpace(h.client("", "consume", "orders", "--group", "other", "--count", "1500", "--timeout", "50s", "-o", "jsonl")), "\n")
	require.Len(t, seen, 1500)
}
