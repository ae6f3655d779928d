package main

import (
	"os"
	"os/exec"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftmq/remoting"
)

// Who is told to end before all messages came was interrupted: no check failed.
func TestAConsumerThatIsToldToEndWasInterrupted(t *testing.T) {
	for _, args := range [][]string{
		{"consume", "t", "--group", "g", "--count", "2"}, {"reply", "t", "--echo", "--count", "2"}, {"bench", "consume", "--topic", "t", "--count", "2"},
	} {
		asked := make(chan struct{})
		var once sync.Once
		at := answering(t, func(req *remoting.Command) *remoting.Command {
			switch req.Code {
			case remoting.GetConsumerListByGroup: // it runs
				once.Do(func() { close(asked) })
			case remoting.GetTopicStats:
				return req.ReplyWith(nil, remoting.EncodeBody(remoting.TopicStats{OffsetTable: map[remoting.MessageQueue]remoting.TopicOffset{
					{BrokerName: "raftmq-0", Topic: "t"}: {MaxOffset: 2}}}))
			}
			return nil
		})
		c := exec.Command(os.Args[0], append(args, "--endpoint", at)...)
		c.Env = append(os.Environ(), asProgram+"=1")
		require.NoError(t, c.Start())
		ended := make(chan error, 1)
		go func() { ended <- c.Wait() }()
		select {
		case <-asked:
		case <-time.After(patience):
			c.Process.Kill()
			t.Fatal("it does not begin")
		}
		require.NoError(t, c.Process.Signal(syscall.SIGTERM))
		<-ended
		require.Equal(t, exitInterrupted, c.ProcessState.ExitCode(), "%v", args)
	}
}
