package run

import (
	"context"
	"net"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"raftmq/jepsen/history"
	"raftmq/remoting"
)

// A topic that has lost all of its messages is one that has none: a pull says the same of it as without a leader, and the
// leader is asked then.
func TestAnEmptyTopicIsReadToItsEnd(t *testing.T) {
	for _, x := range []struct {
		name string
		code remoting.Code // of the leader
		end  int64         // as it says
		want history.Type
	}{
		{"empty", remoting.OK, 0, history.OK},
		{"without a leader", remoting.ServiceNotAvailable, 0, history.Fail},
		{"not empty, without a leader until then", remoting.OK, 3, history.Fail},
	} {
		t.Run(x.name, func(t *testing.T) {
			r, w := toyRun(t, nil)
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			require.NoError(t, err)
			s := &remoting.Server{Handler: remoting.HandlerFunc(func(_ context.Context, _ *remoting.ServerConn, req *remoting.Command) *remoting.Command {
				switch req.Code {
				case remoting.GetRouteByTopic:
					return req.ReplyWith(nil, remoting.EncodeBody(remoting.TopicRouteData{QueueDatas: []remoting.QueueData{{BrokerName: "raftmq-0"}}}))
				case remoting.PullMessage:
					reply := req.ReplyWith(remoting.PullReply{}, nil)
					reply.Code = remoting.PullNotFound
					return reply
				case remoting.GetMaxOffset:
					reply := req.ReplyWith(remoting.OffsetReply{Offset: x.end}, nil)
					reply.Code = x.code
					return reply
				}
				return req.ReplyWith(nil, nil)
			})}
			go s.Serve(ln) // ends with Close
			t.Cleanup(func() { s.Close() })
			w.serves = ln.Addr().String()
			c := r.wire("reader")
			defer c.close()
			c.notes(t.Context(), "reader", comingTopic(0), r.cluster.Nodes[0])
			require.NoError(t, r.history.Close())
			ops, err := history.Load(filepath.Join(r.o.Store, "history.jsonl"))
			require.NoError(t, err)
			require.Len(t, ops, 2)
			require.Equal(t, x.want, ops[1].Type, ops[1].Error)
			require.Empty(t, ops[1].Values)
		})
	}
}
