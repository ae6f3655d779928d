package client_test

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftmq/client"
)

// A topic that was made again is read from its begin, in all its queues, whatever their numbers
// were before: whether the reader saw that it was gone, or did not.
func TestAReaderReadsAllOfATopicThatWasMadeAgain(t *testing.T) {
	for _, saw := range []bool{true, false} {
		t.Run(fmt.Sprintf("seen %t", saw), func(t *testing.T) {
			f := newFake(t, 1, 3)
			c := f.dial()
			made := func(slots, each int) {
				t.Helper()
				other := f.dial()
				require.NoError(t, other.Admin().CreateTopic(bg, client.TopicConfig{Name: "t", Queues: 2, Partitions: slots}))
				p := producer(t, other)
				for n := range 2 * slots {
					for i := range each {
						_, err := p.SendTo(bg, n, msg("t", fmt.Sprintf("%d/%d of %d", n, i, slots)))
						require.NoError(t, err)
					}
				}
			}
			r, err := c.NewReader("t")
			require.NoError(t, err)
			read := func() (bodies []string, err error) {
				for d, err := range r.UntilEnd(bg) {
					if err != nil {
						return bodies, err
					}
					bodies = append(bodies, string(d.Body))
					require.Equal(t, strconv.Itoa(d.Queue), strings.Split(string(d.Body), "/")[0])
				}
				return bodies, nil
			}
			made(1, 2)
			got, err := read()
			require.NoError(t, err)
			require.Len(t, got, 4)
			require.NoError(t, c.Admin().DeleteTopic(bg, "t"))
			each := 1
			if saw {
				_, err = read()
				require.ErrorIs(t, err, client.ErrTopicNotFound)
				each = 3 // more than it had come to
			}
			made(3, each)
			got, err = read()
			require.NoError(t, err)
			require.Len(t, got, 6*each)
		})
	}
}

// A topic was deleted, made again and filled beyond the place that a consumer had, while it did not ask: it
// begins anew, and commits nothing there of the one before.
func TestAConsumerDoesNotGoOnInATopicThatWasMadeAgain(t *testing.T) {
	f := newFake(t, 1, 1)
	f.topic("t", 1)
	f.parts = map[string]uint32{"t": 1}
	c := f.dial()
	p := producer(t, c)
	sendAll(t, p, "t", 0, 60)
	var y tally
	last := make(chan struct{})
	r := consume(t, c, "t", func(ctx context.Context, d *client.Delivery) error {
		if string(d.Body) == "9" {
			<-last
		}
		return y.handle(ctx, d)
	}, client.WithPrefetch(32, 1<<20))
	eventually(t, func() bool { return f.committed("g", "t") == 9 && y.times("40") == 1 }) // it holds as many as it may
	r.Pause()
	f.mu.Lock()
	f.deleteLocked("t")
	f.topics["t"] = &fakeTopic{1, 1, 6, 1}
	f.parts["t"] = 2
	f.mu.Unlock()
	sendAll(t, p, "t", 100, 200)
	close(last)
	eventually(t, func() bool { return y.times("9") == 1 })
	time.Sleep(1500 * time.Millisecond) // more than between two commits
	r.Resume()
	eventually(t, func() bool { return f.committed("g", "t") == 100 })
	require.Equal(t, 1, y.times("100"))
	require.Equal(t, 1, y.times("140"))
	require.NoError(t, r.stop())
}
