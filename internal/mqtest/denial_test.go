package mqtest

import (
	"net/netip"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"raftmq/message"
	"raftmq/remoting"
)

// What a node does not know, while it cannot ask whether there is more to know, it does not
// deny.
func TestANodeThatIsCutOffDeniesNothing(t *testing.T) {
	t.Parallel()
	c := Start(t, 3, nil)
	c.cutOff(0)
	w := DialWire(t, c.listener(0, 0), remoting.JSON)
	for name, ask := range map[string]struct {
		code remoting.Code
		ext  fields
	}{
		"a value":               {remoting.GetKVConfig, fields{"namespace": "n", "key": "k"}},
		"a namespace":           {remoting.GetKVListByNamespace, fields{"namespace": "n"}},
		"the life of a message": {remoting.ExplainMessage, fields{"id": message.OffsetID(netip.MustParseAddrPort(c.listener(1, 0)), message.PhysicalOffset(1, 100))}},
		"a message":             {remoting.ViewMessageByID, fields{"offset": strconv.FormatInt(message.PhysicalOffset(1, 100), 10)}},
	} {
		r := w.ask(ask.code, ask.ext, nil)
		require.Equal(t, remoting.ServiceNotAvailable, r.Code, "%s: %s", name, r.Remark)
	}
}

// Nor does it deny queues that a topic was given meanwhile.
func TestANodeThatIsCutOffDeniesNoQueue(t *testing.T) {
	t.Parallel()
	c := Start(t, 3, nil)
	c.createTopic(t, topicOf("t", 1))
	c.cutOff(0)
	admin := DialWire(t, c.listener(1, 0), remoting.JSON)
	c.until("it has more queues", func() bool {
		return admin.ask(remoting.UpdateAndCreateTopic, with(topicOf("t", 4), "rmq", "1"), nil).Code == remoting.OK
	})
	r := DialWire(t, c.listener(0, 0), remoting.JSON).ask(remoting.GetMaxOffset, fields{"topic": "t", "queueId": "3"}, nil)
	require.Equal(t, remoting.ServiceNotAvailable, r.Code, r.Remark)
}

// A node that knows nothing of the cluster yet does not judge what is asked of it.
func TestANodeThatStartsCutOffRefusesNoTopic(t *testing.T) {
	t.Parallel()
	c := Start(t, 3, nil)
	c.Stop(0)
	c.cutOff(0)
	c.Run(0)
	r := DialWire(t, c.listener(0, 0), remoting.JSON).ask(remoting.UpdateAndCreateTopic, with(topicOf("t", 1), "partitions", "3"), nil)
	require.Equal(t, remoting.ServiceNotAvailable, r.Code, r.Remark)
	c.Net.HealAll()
	c.Await(0)
}
