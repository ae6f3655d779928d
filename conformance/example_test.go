package conformance

import (
	"context"
	"fmt"

	rocketmq "github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
)

// The lines of README.md. Nothing in them is particular to raftmq.
func Example() {
	servers := primitive.NamesrvAddr{"127.0.0.1:9876", "127.0.0.1:9877", "127.0.0.1:9878"}
	primitive.PanicHandler = func(v any) { fmt.Println("in the client:", v) } // without it, a timeout of SendAsync ends the process

	p, err := rocketmq.NewProducer(producer.WithNameServer(servers), producer.WithGroupName("orders-api"))
	if err != nil {
		panic(err)
	}
	if err := p.Start(); err != nil {
		panic(err)
	}
	defer p.Shutdown()
	r, err := p.SendSync(context.Background(), primitive.NewMessage("orders", []byte("hello")))
	fmt.Println(r, err)

	c, err := rocketmq.NewPushConsumer(consumer.WithNameServer(servers), consumer.WithGroupName("billing"))
	if err != nil {
		panic(err)
	}
	err = c.Subscribe("orders", consumer.MessageSelector{}, func(ctx context.Context, msgs ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
		return consumer.ConsumeSuccess, nil
	})
	if err != nil {
		panic(err)
	}
	if err := c.Start(); err != nil {
		panic(err)
	}
	defer c.Shutdown()
}
