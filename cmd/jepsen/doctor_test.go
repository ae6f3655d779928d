package main

import (
	"bytes"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"raftmq/jepsen/run"
)

// The doctor names every backend and every fault, and says no where something is
// missing: the test's own program is no test build.
func TestTheDoctorSaysWhatIsMissing(t *testing.T) {
	var out bytes.Buffer
	c := root()
	c.SetOut(&out)
	c.SetArgs([]string{"doctor", "--binary", os.Args[0]})
	require.ErrorContains(t, c.Execute(), "cannot be had here")
	for _, name := range append([]string{"netns", "proxy", "loopback"}, run.Kinds()...) {
		require.Contains(t, out.String(), name)
	}
	require.Regexp(t, `power +no: not a test build`, out.String())
	require.Regexp(t, `kill +works`, out.String())
	c = root()
	c.SetOut(&out)
	c.SetArgs([]string{"doctor", "--binary", "/nowhere/raftmq"})
	require.Error(t, c.Execute())
}
