package client_test

import (
	"io"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"raftmq/internal/mqtest"
)

// The examples, one after the other, against a real cluster.
func TestExamples(t *testing.T) {
	endpoint = mqtest.Start(t, 3, nil).Endpoints()[0]
	r, w, err := os.Pipe()
	require.NoError(t, err)
	stdout := os.Stdout
	os.Stdout = w
	defer func() { os.Stdout = stdout }()
	for _, run := range []func(){ExampleAdmin_CreateTopic, ExampleProducer_Send, ExampleConsumer_Run, ExampleReader_UntilEnd, ExampleAdmin_Lag, ExampleTransactionProducer_Send, ExampleProducer_Request} {
		run()
	}
	os.Stdout = stdout
	require.NoError(t, w.Close())
	printed, err := io.ReadAll(r)
	require.NoError(t, err)
	require.Equal(t, `orders has 2 queues
stored at 0
[A-17] {"id":"A-17"}
0 created 13
billing lags by 0
committed
it costs 42
`, string(printed))
}
