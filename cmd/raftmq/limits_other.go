//go:build !linux

package main

import "github.com/hashicorp/go-hclog"

// warnOfLimits knows Linux's limits only.
func warnOfLimits(hclog.Logger) {}
