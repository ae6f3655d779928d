package main

import (
	"testing"

	"github.com/stretchr/testify/require"

	"raftmq/remoting"
)

// Endpoints may be listed with spaces: the second is asked where the first does not answer.
func TestEndpointsMayHaveSpacesBetweenThem(t *testing.T) {
	at := answering(t, func(*remoting.Command) *remoting.Command { return nil })
	code, out, errs := raftmq(t, "group", "list", "--endpoint", "127.0.0.1:1, "+at)
	require.Zero(t, code, errs)
	require.Contains(t, out, "g")
}
