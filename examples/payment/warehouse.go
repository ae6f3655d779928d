package main

import (
	"context"
	"fmt"

	bolt "go.etcd.io/bbolt"

	"raftmq/client"
)

// Buckets of the warehouse's database.
var (
	shipped = []byte("shipped") // order -> the message that told of it
	handled = []byte("handled") // message -> order
)

// warehouse ships what it is told to, and returns when it has shipped n orders.
func warehouse(ctx context.Context, c *client.Client, file string, n int) error {
	db, err := open(file, shipped, handled)
	if err != nil {
		return err
	}
	defer db.Close()
	if before, err := book(db, shipped); err != nil || len(before) == n {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	s, err := c.NewConsumer("warehouse")
	if err != nil {
		return err
	}
	if err := s.Subscribe(topic, client.All()); err != nil {
		return err
	}
	return s.Run(ctx, func(_ context.Context, d *client.Delivery) error {
		all, err := ship(db, string(d.Body), d.ID)
		if err == nil && all == n {
			stop()
		}
		return err
	})
}

// ship writes a shipment and the identity of the message that asked for it, once, and
// returns how many there are. A second message about an order is an error: two payments.
func ship(db *bolt.DB, order, message string) (all int, err error) {
	err = db.Update(func(tx *bolt.Tx) error {
		all = tx.Bucket(shipped).Stats().KeyN
		if tx.Bucket(handled).Get([]byte(message)) != nil {
			return nil // it came again
		}
		if by := tx.Bucket(shipped).Get([]byte(order)); by != nil {
			return fmt.Errorf("order %s was shipped for message %s, and %s asks for it too", order, by, message)
		}
		if err := tx.Bucket(handled).Put([]byte(message), []byte(order)); err != nil {
			return err
		}
		all++
		return tx.Bucket(shipped).Put([]byte(order), []byte(message))
	})
	return all, err
}

// balance compares the books: each order that the shop has was shipped, for the message
// that the shop wrote with it, and nothing else was.
func balance(shopFile, warehouseFile string) error {
	paid, err := bookOf(shopFile, orders)
	if err != nil {
		return err
	}
	sent, err := bookOf(warehouseFile, shipped)
	if err != nil {
		return err
	}
	for order, message := range paid {
		if sent[order] != message {
			return fmt.Errorf("order %s was paid, message %s; it was shipped for %q", order, message, sent[order])
		}
	}
	for order := range sent {
		if paid[order] == "" {
			return fmt.Errorf("order %s was shipped, and nobody paid", order)
		}
	}
	fmt.Println(len(paid), "orders, the books are balanced")
	return nil
}

func bookOf(file string, bucket []byte) (map[string]string, error) {
	db, err := open(file, bucket)
	if err != nil {
		return nil, err
	}
	defer db.Close()
	return book(db, bucket)
}

func book(db *bolt.DB, bucket []byte) (map[string]string, error) {
	all := make(map[string]string)
	return all, db.View(func(tx *bolt.Tx) error {
		return tx.Bucket(bucket).ForEach(func(k, v []byte) error {
			all[string(k)] = string(v)
			return nil
		})
	})
}
