package main

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// A check says that something held only if there was something.
func TestAnEmptyBenchHasShownNothing(t *testing.T) {
	code := func(err error) int { return exitCode(t.Context(), err) }
	require.Zero(t, code((&failoverResult{Sent: 1, Digests: true}).check()))
	require.Zero(t, code((&filesResult{Sent: 1, Digests: true}).check()))
	for _, r := range []failoverResult{{Digests: true}, {Sent: 1}, {Sent: 1, Digests: true, Lost: 1}} {
		require.Equal(t, exitCheck, code(r.check()))
	}
	for _, r := range []filesResult{{Digests: true}, {Sent: 1}, {Sent: 1, Digests: true, Failed: 1}} {
		require.Equal(t, exitCheck, code(r.check()))
	}
}
