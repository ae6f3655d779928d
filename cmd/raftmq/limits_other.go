//go:build !linux

package main

import (
	"github.com/hashicorp/go-hclog"

	"raftmq/broker"
)

// heedLimits knows Linux's limits only.
func heedLimits(*broker.Config, hclog.Logger) {}
