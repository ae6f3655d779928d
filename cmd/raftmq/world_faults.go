//go:build faults

package main

import (
	"context"
	"net"

	"raftmq/broker"
	control "raftmq/internal/faults"
)

// world is what a node touches: as the set-up that the environment names has it, and
// as it is told later. What no setting says it puts into the config.
func world(cfg *broker.Config) (d broker.Deps, end func(), err error) {
	s, ok, err := control.ReadSetup()
	if err != nil || !ok {
		return d, func() {}, err
	}
	c, err := control.Listen(s)
	if err != nil {
		return d, nil, err
	}
	cfg.RetainEvery, cfg.CheckpointBytes = s.RetainEvery, s.CheckpointBytes
	d.Now = c.Clock.Now
	if c.Disk != nil {
		d.Disk = c.Disk
	}
	if len(s.Via) > 0 {
		via := func(addr string) string {
			if to, ok := s.Via[addr]; ok {
				return to
			}
			return addr
		}
		var nd net.Dialer
		d.Dial = func(ctx context.Context, addr string) (net.Conn, error) { return nd.DialContext(ctx, "tcp", via(addr)) }
		d.GossipVia = via
	}
	return d, func() { c.Close() }, nil
}
