package client_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"sync"
	"time"

	"raftmq/client"
)

// endpoint is the name server of any node; name several, and any of them may be
// down. TestExamples runs all examples against a cluster.
var endpoint = "127.0.0.1:9876"

func ExampleAdmin_CreateTopic() {
	ctx := context.Background()
	c, err := client.Dial(ctx, client.WithEndpoints(endpoint))
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close(ctx)
	err = c.Admin().CreateTopic(ctx, client.TopicConfig{Name: "orders", Partitions: 1, Queues: 2})
	if err != nil && !errors.Is(err, client.ErrExists) {
		log.Fatal(err)
	}
	fmt.Println("orders has 2 queues")
}

func ExampleProducer_Send() {
	ctx := context.Background()
	c, err := client.Dial(ctx, client.WithEndpoints(endpoint))
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close(ctx)
	p, err := c.NewProducer("orders-api", client.WithTopics("orders"))
	if err != nil {
		log.Fatal(err)
	}
	r, err := p.Send(ctx, &client.Message{Topic: "orders", Tag: "created", Keys: []string{"A-17"}, OrderKey: "A-17", Body: []byte(`{"id":"A-17"}`)})
	switch {
	case errors.Is(err, client.ErrUncertain):
		fmt.Println("may be stored:", err)
	case err != nil:
		fmt.Println("certainly not stored:", err)
	default:
		fmt.Println("stored at", r.Offset)
	}
}

func ExampleTransactionProducer_Send() {
	ctx := context.Background()
	c, err := client.Dial(ctx, client.WithEndpoints(endpoint))
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close(ctx)
	var payments sync.Map // a database, in which a payment has its message's id
	p, err := c.NewTransactionProducer("payments", func(_ context.Context, t client.Transaction) client.Verdict {
		if _, paid := payments.Load(t.ID); paid {
			return client.Commit
		}
		return client.Undecided // it may still be at work: a database would say for sure
	})
	if err != nil {
		log.Fatal(err)
	}
	r, err := p.Send(ctx, &client.Message{Topic: "orders", Tag: "paid", Body: []byte(`{"id":"A-17"}`)}, func(_ context.Context, t client.Transaction) (client.Verdict, error) {
		payments.Store(t.ID, "A-17") // the local transaction
		return client.Commit, nil
	})
	switch {
	case errors.Is(err, client.ErrUncertain):
		fmt.Println("the cluster will ask:", err)
	case err != nil:
		fmt.Println("not delivered:", err)
	default:
		fmt.Println(r.Verdict)
	}
}

func ExampleConsumer_Run() {
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	c, err := client.Dial(ctx, client.WithEndpoints(endpoint))
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close(context.Background())
	billing, err := c.NewConsumer("billing", client.WithConcurrency(16), client.WithStartAt(client.Earliest()))
	if err != nil {
		log.Fatal(err)
	}
	if err := billing.Subscribe("orders", client.Tags("created", "paid")); err != nil {
		log.Fatal(err)
	}
	err = billing.Run(ctx, func(ctx context.Context, d *client.Delivery) error {
		fmt.Println(d.Keys, string(d.Body))
		stop()     // one is enough here; usually Run ends with the program
		return nil // done; an error would bring it again
	})
	if err != nil {
		log.Fatal(err)
	}
}

func ExampleProducer_Request() {
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	c, err := client.Dial(ctx, client.WithEndpoints(endpoint))
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close(context.Background())
	if err := c.Admin().CreateTopic(ctx, client.TopicConfig{Name: "quotes"}); err != nil && !errors.Is(err, client.ErrExists) {
		log.Fatal(err)
	}
	// Who answers: usually another program, on another host.
	shop, err := c.NewConsumer("shop")
	if err != nil {
		log.Fatal(err)
	}
	if err := shop.Subscribe("quotes", client.All()); err != nil {
		log.Fatal(err)
	}
	run, end := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() {
		ended <- shop.Run(run, func(ctx context.Context, d *client.Delivery) error {
			err := c.Reply(ctx, d, &client.Message{Body: []byte("42")})
			if errors.Is(err, client.ErrNoRequester) {
				return nil // nobody waits any more
			}
			return err
		})
	}()
	p, err := c.NewProducer("buyers")
	if err != nil {
		log.Fatal(err)
	}
	reply, err := p.Request(ctx, &client.Message{Topic: "quotes", Body: []byte("how much?")})
	switch {
	case errors.Is(err, client.ErrNoReply):
		fmt.Println("it may be answered yet, to nobody:", err)
	case err != nil:
		fmt.Println("certainly not asked:", err)
	default:
		fmt.Println("it costs", string(reply.Body))
	}
	end()
	<-ended
}

func ExampleReader_UntilEnd() {
	ctx := context.Background()
	c, err := client.Dial(ctx, client.WithEndpoints(endpoint))
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close(ctx)
	r, err := c.NewReader("orders", client.FromPosition(client.AtTime(time.Now().Add(-time.Hour))))
	if err != nil {
		log.Fatal(err)
	}
	defer r.Close()
	for d, err := range r.UntilEnd(ctx) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(d.Offset, d.Tag, len(d.Body))
	}
}

func ExampleAdmin_Lag() {
	ctx := context.Background()
	c, err := client.Dial(ctx, client.WithEndpoints(endpoint))
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close(ctx)
	var lag int64
	for row, err := range c.Admin().Lag(ctx, "billing") {
		if err != nil {
			log.Fatal(err)
		}
		if row.Topic == "orders" {
			lag += row.Lag
		}
	}
	fmt.Println("billing lags by", lag)
}
