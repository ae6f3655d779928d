//go:build !linux

package main

import (
	"context"

	"github.com/hashicorp/go-hclog"
)

// keepSlack: other systems have no such setting.
func keepSlack(context.Context, hclog.Logger) {}
