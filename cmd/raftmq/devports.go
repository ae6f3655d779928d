package main

import (
	"errors"
	"path/filepath"
	"strconv"
)

// devPorts are the ports of one node.
type devPorts struct{ nameServer, listen, raft, gossip, http int }

const listenerStep = 10 // between the listeners of two slots

// place gives each node its name, ports and files.
func (d *devCluster) place(o devOptions, free func(port int) bool) error {
	taken := make(map[int]bool)
	// pick returns the first of count ports, step apart: near, or above it.
	pick := func(near, count int) (int, error) {
		for p := near; p+count*listenerStep < 60000; p += 200 {
			ok := true
			for i := 0; i < count && ok; i++ {
				ok = !taken[p+i*listenerStep] && free(p+i*listenerStep)
			}
			if ok {
				for i := range count {
					taken[p+i*listenerStep] = true
				}
				return p, nil
			}
		}
		return 0, errors.New("no free ports")
	}
	for i := range o.nodes {
		var at devPorts
		if o.base > 0 {
			b := o.base + max(60, listenerStep*(o.slots+2))*i
			at = devPorts{b, b + 10, b + 1, b + 2, b + 3}
		} else {
			for _, x := range []struct {
				port        *int
				near, count int
			}{{&at.nameServer, 9876 + i, 1}, {&at.listen, 10911 + 1000*i, o.slots}, {&at.raft, 10800 + i, 1}, {&at.gossip, 10700 + i, 1}, {&at.http, 10600 + i, 1}} {
				var err error
				if *x.port, err = pick(x.near, x.count); err != nil {
					return err
				}
			}
		}
		name := "n" + strconv.Itoa(i+1)
		x := &devNode{
			Name: name, NameServer: loopback(at.nameServer), Raft: loopback(at.raft), Gossip: loopback(at.gossip), HTTP: loopback(at.http),
			Data: filepath.Join(d.dir, name), Log: filepath.Join(d.dir, name+".log"), ports: at,
		}
		for s := range o.slots {
			x.Listeners = append(x.Listeners, loopback(at.listen+s*listenerStep))
		}
		d.Nodes = append(d.Nodes, x)
	}
	return nil
}

func loopback(port int) string { return "127.0.0.1:" + strconv.Itoa(port) }
