package mqtest

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"raftmq/remoting"
)

// What one client says of itself does not keep a node from telling the others of its clients.
func TestALongHeartbeatDoesNotHideOtherClients(t *testing.T) {
	t.Parallel()
	c := Start(t, 3, nil)
	c.createTopic(t, topicOf("t", 1))
	beat := func(client string, topic int) remoting.Code {
		return DialWire(t, c.listener(0, 0), remoting.JSON).ask(remoting.Heartbeat, nil, heartbeatOf(client, "g", strings.Repeat("x", topic))).Code
	}
	require.Equal(t, remoting.InvalidParameter, beat("long", 9<<20))
	refused := 0
	for i := range 40 {
		if beat(fmt.Sprint(i), 250<<10) != remoting.OK {
			refused++
		}
	}
	require.InDelta(t, 40-(6<<20)/(250<<10), refused, 2)
	DialWire(t, c.listener(0, 0), remoting.JSON).OK(remoting.Heartbeat, nil, heartbeatOf("short", "h", "t"))
	w := DialWire(t, c.listener(1, 0), remoting.JSON)
	c.until("it is known elsewhere", func() bool {
		r := w.ask(remoting.GetConsumerListByGroup, fields{"consumerGroup": "h"}, nil)
		return r.Code == remoting.OK && bytes.Contains(r.Body, []byte("short"))
	})
}
