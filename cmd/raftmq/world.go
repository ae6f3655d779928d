//go:build !faults

package main

import "raftmq/broker"

// world is what a node touches: the real thing.
func world(*broker.Config) (d broker.Deps, end func(), err error) { return d, func() {}, nil }
