package client_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

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
