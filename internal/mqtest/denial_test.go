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
