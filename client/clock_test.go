package client_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftmq/jepsen/vclock"
)

const clockChild = "RAFTMQ_CLIENT_CLOCK_CHILD"

// A queue that failed is left alone for a second, also if the wall's clock is put back meanwhile.
func TestAClockThatIsPutBackKeepsNoQueueAlone(t *testing.T) {
	if os.Getenv(clockChild) != "" {
		leaveAlone(t)
		return
	}
	if err := vclock.Possible(); err != nil {
		t.Skip(err)
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestAClockThatIsPutBackKeepsNoQueueAlone$")
	cmd.Env = append(os.Environ(), clockChild+"=1")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	runtime.LockOSThread()
	clock, err := vclock.Start(cmd, 0)
	runtime.UnlockOSThread()
	require.NoError(t, err)
	said := bufio.NewScanner(out)
	until := func(what string) {
		t.Helper()
		for said.Scan() {
			if said.Text() == what {
				return
			}
		}
		t.Fatalf("it does not say %q", what)
	}
	defer cmd.Wait()
	defer in.Close()
	until("one has failed")
	require.NoError(t, clock.Do(vclock.Change{Jump: -2 * time.Hour}))
	fmt.Fprintln(in, "go on")
	until("both are used")
}

// leaveAlone is in a process whose clock is put back.
func leaveAlone(t *testing.T) {
	f := newFake(t, 1, 2)
	f.topic("t", 1)
	p := producer(t, f.dial())
	f.failFirst(unavailable)
	failed, err := p.Send(bg, msg("t", "x"))
	require.NoError(t, err)
	fmt.Println("one has failed")
	bufio.NewScanner(os.Stdin).Scan()
	eventually(t, func() bool {
		r, err := p.Send(bg, msg("t", "x"))
		require.NoError(t, err)
		return r.Broker != failed.Broker
	})
	fmt.Println("both are used")
}
