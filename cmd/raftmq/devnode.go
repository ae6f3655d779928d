package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// devNode is one node of a dev cluster, as cluster.json has it. PID is that of
// the last process, also when it has ended.
type devNode struct {
	Name       string   `json:"name"`
	PID        int      `json:"pid"`
	NameServer string   `json:"nameserver"`
	Listeners  []string `json:"listeners"`
	Raft       string   `json:"raft"`
	Gossip     string   `json:"gossip"`
	HTTP       string   `json:"http"`
	Data       string   `json:"data"`
	Log        string   `json:"log"`

	ports devPorts
	turn  sync.Mutex  // of what ends and starts the process; taken before devCluster.mu
	proc  *devProcess // the last one; nil: none yet
}

// devProcess is one life of a node.
type devProcess struct {
	cmd    *exec.Cmd
	ended  chan struct{} // closes when it has been waited for
	paused bool          // guarded by devCluster.mu
}

func (p *devProcess) running() bool {
	if p == nil {
		return false
	}
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

// end stops the process cleanly, and with -9 if it does not.
func (p *devProcess) end() {
	if !p.running() {
		return
	}
	p.cmd.Process.Signal(syscall.SIGTERM)
	p.cmd.Process.Signal(syscall.SIGCONT)
	select {
	case <-p.ended:
	case <-time.After(drain + 5*time.Second):
		p.cmd.Process.Kill()
		<-p.ended
	}
}

// process returns x's last process; nil: none yet.
func (d *devCluster) process(x *devNode) *devProcess {
	d.mu.Lock()
	defer d.mu.Unlock()
	return x.proc
}

var errDevStopping = errors.New("dev is stopping")

// start runs a process of x and keeps cluster.json true.
func (d *devCluster) start(x *devNode) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.stopping {
		return errDevStopping
	}
	if err := d.save(); err != nil { // names the node before it makes files; see wipeDev
		return err
	}
	log, err := os.OpenFile(x.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o640)
	if err != nil {
		return err
	}
	defer log.Close()
	var names, gossip []string
	for _, o := range d.Nodes {
		names = append(names, o.Name)
		gossip = append(gossip, o.Gossip)
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	p := x.ports
	cmd := exec.Command(self, append([]string{
		"server", "--cluster", d.name, "--node", x.Name, "--data", x.Data, "--auto-create-topics", "--initial-nodes", strings.Join(names, ","), "--join", strings.Join(gossip, ","),
		"--nameserver-port", strconv.Itoa(p.nameServer), "--listen-port", strconv.Itoa(p.listen), "--raft-port", strconv.Itoa(p.raft),
		"--gossip-port", strconv.Itoa(p.gossip), "--http-port", strconv.Itoa(p.http), "--slots", strconv.Itoa(len(x.Listeners)),
		"--disk-clean-at", "100", "--disk-force-at", "100", "--disk-refuse-at", "100", "--disk-reserve", "-1", // a developer's disk is often nearly full
	}, d.extra...)...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Env = append([]string{"GOMAXPROCS=" + strconv.Itoa(sharedProcs(runtime.NumCPU(), len(d.Nodes)))}, os.Environ()...) // the user's own comes last
	cmd.SysProcAttr = childAttr()
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan struct{})
	x.proc, x.PID = &devProcess{cmd: cmd, ended: ended}, cmd.Process.Pid
	go func() { // ends with the process, which stopAll waits for
		cmd.Wait()
		close(ended)
	}()
	return d.save()
}

// sharedProcs is how many processors' worth of goroutines each of some nodes on one machine runs at a time. Nodes that each
// reckon with the whole machine wake threads that find no processor: at one send in flight on two cores, three nodes then
// switch threads 55 times per message, and 35 times with one each.
func sharedProcs(cpus, nodes int) int { return max(1, (cpus+nodes-1)/nodes) }

// stopAll ends every process and lets none start again.
func (d *devCluster) stopAll() {
	d.mu.Lock()
	d.stopping = true
	var ps []*devProcess
	for _, x := range d.Nodes {
		ps = append(ps, x.proc)
	}
	d.mu.Unlock()
	var wg sync.WaitGroup
	for _, p := range ps {
		wg.Go(p.end)
	}
	wg.Wait()
}

// majorityRuns reports whether so many nodes run, not paused, that the others can
// be ready.
func (d *devCluster) majorityRuns() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	run := 0
	for _, x := range d.Nodes {
		if x.proc.running() && !x.proc.paused {
			run++
		}
	}
	return run > len(d.Nodes)/2
}

// serves waits until process p of x is ready. Without a majority of running nodes
// it cannot be: then it waits until it is alive, and says so.
func (d *devCluster) serves(ctx context.Context, x *devNode, p *devProcess) (note string, err error) {
	for {
		reason := readyReason(ctx, x.HTTP)
		switch {
		case !p.running():
			return "", fmt.Errorf("%s ended while starting; its log says:\n%s", x.Name, lastLines(x.Log, 5))
		case reason == "":
			return "", nil
		case !d.majorityRuns() && askNode(ctx, x.HTTP, "/livez") == "":
			return fmt.Sprintf("%s runs but is not ready: no majority runs (%s)", x.Name, reason), nil
		}
		if err := sleep(ctx, 20*time.Millisecond); err != nil {
			return "", fmt.Errorf("%s runs and was not waited for: %w", x.Name, err)
		}
	}
}

// readyReason is why a node is not ready; "" if it is.
func readyReason(ctx context.Context, addr string) string { return askNode(ctx, addr, "/readyz") }

// askNode is what path answers other than 200; "" for that.
func askNode(ctx context.Context, addr, path string) string {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+path, nil)
	if err != nil {
		return err.Error()
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err.Error()
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
	if resp.StatusCode == http.StatusOK {
		return ""
	}
	return strings.TrimSpace(string(b))
}

func lastLines(file string, n int) string {
	b, err := os.ReadFile(file)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
