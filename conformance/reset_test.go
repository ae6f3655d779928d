package conformance

import (
	"fmt"
	"testing"
	"time"

	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/stretchr/testify/require"
)

// An operator moves a group while its member runs: the member is told by the answer to its
// pull, and goes on from there by itself. What is behind comes again, nothing else does, and
// nothing that is sent meanwhile is lost.
func TestAnOperatorMovesARunningGroup(t *testing.T) {
	t.Parallel()
	const topic, group = "reset", "reset-group"
	cluster.raftmq(t, "topic", "create", topic)
	p := newProducer(t)
	early, late := numbered("early", 30), numbered("late", 30)
	sendAll(t, p, topic, early)
	time.Sleep(time.Second) // the times of the two differ, whatever the slot
	sendAll(t, p, topic, late)
	var got deliveries
	newMember(t, group, topic, &got, consumer.MessageSelector{})
	all := append(early, late...)
	got.await(t, "", all)
	from := int64(1 << 62)
	for _, d := range got.snapshot() {
		if string(d.msg.Body[:4]) == "late" {
			from = min(from, d.msg.StoreTimestamp)
		}
	}
	times := func(bodies []string, n int) {
		t.Helper()
		var body string
		// The client leaves the queue alone for 10 s, and has it again when it next shares queues, every 20 s.
		until(t, 2*time.Minute, func() bool {
			there := got.bodies("")
			for _, body = range bodies {
				if there[body] < n {
					return false
				}
			}
			return true
		}, func() string { return fmt.Sprintf("%s does not come the %d. time", body, n) })
	}
	move := func(to string, meanwhile []string) {
		t.Helper()
		require.Len(t, cluster.raftmq(t, "group", "reset", group, "--topic", topic, "--to", to), 6)
		sendAll(t, p, topic, meanwhile)
	}
	first, second := numbered("first", 30), numbered("second", 30)
	move(time.UnixMilli(from).Format(time.RFC3339Nano), first)
	times(late, 2)
	times(first, 1)
	for _, body := range early {
		require.Equal(t, 1, got.bodies("")[body], "%s is before that time", body)
	}
	cluster.committed(t, group, topic)
	move("earliest", second)
	times(early, 2)
	times(late, 3)
	times(first, 2)
	times(second, 1)
	cluster.committed(t, group, topic)
	there := got.bodies("")
	for _, body := range all {
		require.Equal(t, map[string]int{"earl": 2, "late": 3}[body[:4]], there[body], body)
	}
	move("latest", nil)
	sendAll(t, p, topic, []string{"last"})
	times([]string{"last"}, 1)
	require.Len(t, got.snapshot(), 30*2+30*3+30*2+len(second)+1, "each move once")
}
