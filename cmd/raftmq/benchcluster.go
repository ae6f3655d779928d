package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"time"

	"raftmq/broker"
	"raftmq/client"
)

// What the checks that break a dev cluster share: starting one, asking its nodes,
// and waiting for them.

// startDev runs a dev cluster of its own, until stop. The child ends with the thread
// that started it, so the caller's goroutine keeps that thread.
func startDev(serverFlags ...string) (dir string, stop func(), err error) {
	runtime.LockOSThread()
	if dir, err = os.MkdirTemp("", "raftmq-bench"); err != nil {
		return "", nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return "", nil, err
	}
	dev := exec.Command(self, append([]string{"dev", "--data", dir, "--"}, serverFlags...)...)
	dev.SysProcAttr = childAttr()
	if err := dev.Start(); err != nil {
		return "", nil, err
	}
	return dir, func() {
		dev.Process.Signal(os.Interrupt)
		dev.Wait()
		os.RemoveAll(dir)
	}, nil
}

// openCluster waits until the dev cluster on dir serves, and dials it.
func openCluster(ctx context.Context, dir string) (*devCluster, *client.Client, error) {
	wait, cancel := context.WithTimeout(ctx, 90*time.Second)
	defer cancel()
	d, err := readCluster(wait, dir)
	if err != nil {
		return nil, nil, err
	}
	cl, err := d.client(ctx)
	return d, cl, err
}

// client dials the cluster by all its nodes.
func (d *devCluster) client(ctx context.Context) (*client.Client, error) {
	var endpoints []string
	for _, n := range d.Nodes {
		endpoints = append(endpoints, n.NameServer)
	}
	return client.Dial(ctx, client.WithEndpoints(endpoints...))
}

// readCluster waits for a dev cluster that is ready.
func readCluster(ctx context.Context, dir string) (*devCluster, error) {
	for {
		var d devCluster
		b, err := os.ReadFile(filepath.Join(dir, "cluster.json"))
		if err == nil && json.Unmarshal(b, &d) == nil && len(d.Nodes) > 0 {
			ready := 0
			for _, n := range d.Nodes {
				if readyReason(ctx, n.HTTP) == "" {
					ready++
				}
			}
			if ready == len(d.Nodes) {
				return &d, nil
			}
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return nil, fmt.Errorf("no cluster on %s became ready: %w", dir, ctx.Err())
		}
	}
}

// leads counts the partitions of topic that a node leads.
func leads(n *devNode, topic string) (int, error) {
	infos, err := partitionsOf(n)
	led := 0
	for _, p := range infos {
		if p.Topic == topic && p.State == "Leader" {
			led++
		}
	}
	return led, err
}

func partitionsOf(n *devNode) ([]broker.PartitionInfo, error) {
	c := http.Client{Timeout: 2 * time.Second}
	resp, err := c.Get("http://" + n.HTTP + "/debug/partitions")
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	var infos []broker.PartitionInfo
	return infos, json.NewDecoder(resp.Body).Decode(&infos)
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// caughtUp waits until all replicas of the topic have applied nearly the same.
func caughtUp(ctx context.Context, d *devCluster, topic string) error {
	for {
		var lo, hi uint64
		seen := 0
		for _, n := range d.Nodes {
			infos, err := partitionsOf(n)
			if err != nil {
				continue
			}
			for _, p := range infos {
				if p.Topic == topic {
					if seen == 0 || p.Applied < lo {
						lo = p.Applied
					}
					hi = max(hi, p.Applied)
					seen++
				}
			}
		}
		if seen == len(d.Nodes) && hi-lo < 1000 {
			return nil
		}
		if err := sleep(ctx, 50*time.Millisecond); err != nil {
			return err
		}
	}
}

// digestsAgree waits until all replicas have applied the same, and compares.
func digestsAgree(ctx context.Context, d *devCluster, topic string) (bool, error) {
	for range 300 {
		type at struct{ applied, digest string }
		seen := make(map[uint64]map[at]int)
		replicas := 0
		for _, n := range d.Nodes {
			infos, err := partitionsOf(n)
			if err != nil {
				return false, err
			}
			for _, p := range infos {
				if p.Topic == topic {
					if seen[p.ID] == nil {
						seen[p.ID] = make(map[at]int)
					}
					seen[p.ID][at{fmt.Sprint(p.Applied), p.Digest}]++
					replicas++
				}
			}
		}
		same := replicas == len(seen)*len(d.Nodes)
		for _, x := range seen {
			same = same && len(x) == 1
		}
		if same {
			return true, nil
		}
		if err := sleep(ctx, 100*time.Millisecond); err != nil {
			return false, err
		}
	}
	return false, nil
}
