package client_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"raftmq/client"
)

func ExampleProducer_Send() {
	ctx := context.Background()
	c, err := client.Dial(ctx, client.WithEndpoints("127.0.0.1:9876"))
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close(ctx)
	p, err := c.NewProducer("orders-api", client.WithTopics("orders"))
	if err != nil {
		log.Fatal(err)
	}
	r, err := p.Send(ctx, &client.Message{Topic: "orders", Tag: "created", Keys: []string{"A-17"}, Body: []byte(`{"id":"A-17"}`)})
	switch {
	case errors.Is(err, client.ErrUncertain):
		log.Print("may be stored: ", err)
	case err != nil:
		log.Print("certainly not stored: ", err)
	default:
		fmt.Println(r.ID, r.Queue, r.Offset)
	}
}

func ExampleConsumer_Run() {
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	c, err := client.Dial(ctx)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close(context.Background())
	billing, err := c.NewConsumer("billing", client.WithConcurrency(16), client.WithStartAt(client.Latest()))
	if err != nil {
		log.Fatal(err)
	}
	if err := billing.Subscribe("orders", client.Tags("created", "paid")); err != nil {
		log.Fatal(err)
	}
	err = billing.Run(ctx, func(ctx context.Context, d *client.Delivery) error {
		fmt.Println(d.Keys, string(d.Body))
		return nil // done; an error would bring it again
	})
	if err != nil {
		log.Fatal(err)
	}
}

func ExampleReader_UntilEnd() {
	ctx := context.Background()
	c, err := client.Dial(ctx)
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
		fmt.Println(d.Queue, d.Offset, len(d.Body))
	}
}

func ExampleAdmin_CreateTopic() {
	ctx := context.Background()
	c, err := client.Dial(ctx)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close(ctx)
	a := c.Admin()
	err = a.CreateTopic(ctx, client.TopicConfig{Name: "orders", Partitions: 3, Queues: 2})
	if err != nil && !errors.Is(err, client.ErrExists) {
		log.Fatal(err)
	}
	for row, err := range a.Lag(ctx, "billing") {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(row.Topic, row.Queue, row.Lag)
	}
}
