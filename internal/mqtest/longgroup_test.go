package mqtest

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"raftmq/remoting"
)

// Decisions of several transactions go into one entry: none makes that longer than can be sent to followers, else
// its partition would stand still.
func TestADecisionMakesNoEntryThatIsTooLong(t *testing.T) {
	t.Parallel()
	c := Start(t, 3, nil)
	c.createTopic(t, with(topicOf("t", 1), "partitions", "1"))
	w := DialWire(t, c.listener(0, 0), remoting.JSON)
	long := with(rollback(w.half("t", "g", "x")), "producerGroup", strings.Repeat("g", 700<<10))
	require.Equal(t, remoting.InvalidParameter, w.ask(remoting.EndTransaction, long, nil).Code)
	for range 40 { // those that come while entries are under way go into the next
		w.Oneway(remoting.EndTransaction, long, nil)
	}
	w.put(sendShort("t", 0), []byte("y"))
}
