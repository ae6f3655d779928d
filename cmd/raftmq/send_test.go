package main

import (
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestSendTellsWhatBecameOfWhatWasRead(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes")
	}
	d := startTestDev(t)
	at := d.nodes(t)[0].Nameserver

	good := filepath.Join(t.TempDir(), "good")
	require.NoError(t, os.WriteFile(good, []byte("x"), 0o600))
	code, out, errs := raftmq(t, "send", "files", "--endpoint", at, "-o", "json", "--file", good, "--file", good+".missing", "--file", good+".behind")
	require.Equal(t, exitFailed, code, errs)
	require.JSONEq(t, `{"stored":1,"not_stored":2,"unknown":0}`, out, "the first file was sent")
	require.Contains(t, errs, "good.missing: not stored")
	require.Contains(t, errs, "good.behind: not stored")

	code, out, errs = raftmqReading(t, "a\n"+strings.Repeat("b", 2<<20)+"\nc\n", "send", "lines", "-", "--endpoint", at, "-o", "json")
	require.NotZero(t, code)
	require.JSONEq(t, `{"stored":2,"not_stored":1,"unknown":0}`, out)
	require.Contains(t, errs, "line 2: not stored")

	code, out, errs = raftmq(t, "send", "lines", "later", "--delay", "1h", "--endpoint", at, "-o", "json")
	require.Zero(t, code, errs)
	var delayed struct{ Timer string }
	require.NoError(t, json.Unmarshal([]byte(out), &delayed))
	code, _, errs = raftmq(t, "timer", "cancel", delayed.Timer, "--endpoint", at)
	require.Zero(t, code, "what send prints takes it back: %s", errs)

	c := exec.Command(os.Args[0], "send", "interrupted", "-", "--endpoint", at, "-o", "json")
	c.Env = append(os.Environ(), asProgram+"=1")
	in, err := c.StdinPipe() // nothing ends it
	require.NoError(t, err)
	defer in.Close()
	var said strings.Builder
	c.Stdout, c.Stderr = &said, io.Discard
	require.NoError(t, c.Start())
	_, err = io.WriteString(in, "a\n")
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		_, out, _ := raftmq(t, "topic", "show", "interrupted", "--endpoint", at)
		return strings.Contains(out, " 1\n")
	}, patience, 100*time.Millisecond)
	require.NoError(t, c.Process.Signal(syscall.SIGTERM))
	ended := make(chan error, 1)
	go func() { ended <- c.Wait() }()
	select {
	case <-ended:
	case <-time.After(time.Minute):
		c.Process.Kill()
		<-ended
		t.Fatal("send does not end when it is told to while it waits for a line")
	}
	require.Equal(t, exitInterrupted, c.ProcessState.ExitCode())
	require.Contains(t, said.String(), `"stored":1`)
}
