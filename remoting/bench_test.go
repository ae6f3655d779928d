package remoting_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"sync"
	"testing"

	"raftmq/remoting"
)

func sendRequest() *remoting.Command {
	h := remoting.SendHeader{ProducerGroup: "group", Topic: "orders", DefaultTopic: "TBW102", DefaultTopicQueueNums: 4, QueueID: 1,
		BornTimestamp: 1700000000000, Properties: "UNIQ_KEY\x017F0000010001000000000000000A0001\x02WAIT\x01true\x02KEYS\x01order-1\x02"}
	r := remoting.NewRequest(remoting.SendMessageV2, h)
	r.Body = make([]byte, 1024)
	return r
}

func BenchmarkSendOverLoopback(b *testing.B) {
	h := remoting.HandlerFunc(func(_ context.Context, _ *remoting.ServerConn, req *remoting.Command) *remoting.Command {
		var h remoting.SendHeader
		if err := h.Decode(req.Ext); err != nil {
			return req.Reply(remoting.InvalidParameter, err.Error())
		}
		return req.ReplyWith(remoting.SendReply{MsgID: "7F00000100002A9F0000000000000000", QueueID: h.QueueID, QueueOffset: 1}, nil)
	})
	for _, serial := range []byte{remoting.JSON, remoting.Binary} {
		for _, inFlight := range []int{1, 64, 1024} {
			b.Run(fmt.Sprintf("%s/inflight=%d", []string{"json", "binary"}[serial], inFlight), func(b *testing.B) {
				addr := start(b, &remoting.Server{Handler: h})
				c := dial(b, addr, remoting.DialOptions{Serial: serial})
				b.ReportAllocs()
				b.ResetTimer()
				var wg sync.WaitGroup
				for i := range inFlight {
					n := (b.N + i) / inFlight
					wg.Go(func() {
						for range n {
							if reply, err := c.Call(context.Background(), sendRequest()); err != nil || reply.Code != remoting.OK {
								b.Error(reply, err)
								return
							}
						}
					})
				}
				wg.Wait()
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msgs/s")
			})
		}
	}
}

func BenchmarkFrame(b *testing.B) {
	for _, serial := range []byte{remoting.JSON, remoting.Binary} {
		name := []string{"json", "binary"}[serial]
		req := sendRequest()
		req.Serial = serial
		frame, _ := remoting.AppendCommand(nil, req)
		b.Run("append/"+name, func(b *testing.B) {
			b.ReportAllocs()
			buf := make([]byte, 0, 4096)
			for b.Loop() {
				buf, _ = remoting.AppendCommand(buf[:0], req)
			}
		})
		b.Run("read/"+name, func(b *testing.B) {
			b.ReportAllocs()
			src := bytes.NewReader(nil)
			r := bufio.NewReaderSize(src, 16<<10)
			for b.Loop() {
				src.Reset(frame)
				r.Reset(src)
				if _, err := remoting.ReadCommand(r, 0); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
