package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	bolt "go.etcd.io/bbolt"

	"raftmq/client"
)

// seller is the group of the shop's producers.
const seller = "shop"

// Buckets of the shop's database.
var (
	orders = []byte("orders") // order -> the message that tells of its payment
	told   = []byte("told")   // message -> order, or nothing: it never will be one
)

// errTooLate: the cluster asked what became of the message, and was told: nothing.
var errTooLate = errors.New("payment: this message was given up")

// open opens a database with buckets.
func open(file string, buckets ...[]byte) (*bolt.DB, error) {
	db, err := bolt.Open(file, 0o600, &bolt.Options{Timeout: 10 * time.Second})
	if err != nil {
		return nil, err
	}
	return db, db.Update(func(tx *bolt.Tx) error {
		for _, b := range buckets {
			if _, err := tx.CreateBucketIfNotExists(b); err != nil {
				return err
			}
		}
		return nil
	})
}

// shop takes what orders it does not have yet, one after the other, and returns when
// it has all.
func shop(ctx context.Context, c *client.Client, file string, n int) error {
	db, err := open(file, orders, told)
	if err != nil {
		return err
	}
	defer db.Close()
	p, err := c.NewTransactionProducer(seller, func(_ context.Context, t client.Transaction) client.Verdict { return whatBecameOf(db, t.ID) })
	if err != nil {
		return err
	}
	for i := 0; i < n; {
		order := strconv.Itoa(i)
		if have(db, orders, order) {
			i++
			continue
		}
		_, err := p.Send(ctx, &client.Message{Topic: topic, Keys: []string{order}, Body: []byte(order)}, func(_ context.Context, t client.Transaction) (client.Verdict, error) {
			if err := pay(db, order, t.ID); err != nil {
				return client.Rollback, err
			}
			return client.Commit, nil
		})
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil: // what is not known a check will settle; an order that is not there is taken again
			fmt.Println("order", order, err)
		default:
			fmt.Println("order", order, "is paid")
		}
	}
	return decided(ctx, c)
}

// decided returns when the cluster knows what became of each of the shop's messages. One whose verdict was
// lost is asked about, and nobody else has the books.
func decided(ctx context.Context, c *client.Client) error {
	for {
		open, err := c.Admin().Transactions(ctx, topic, false, 0)
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(open, func(t client.TransactionInfo) bool { return t.Group == seller && t.State == "pending" }) {
			return nil
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// pay is the local transaction: the order, and that this message tells of it.
func pay(db *bolt.DB, order, message string) error {
	return db.Update(func(tx *bolt.Tx) error {
		if tx.Bucket(told).Get([]byte(message)) != nil {
			return errTooLate
		}
		if err := tx.Bucket(orders).Put([]byte(order), []byte(message)); err != nil {
			return err
		}
		return tx.Bucket(told).Put([]byte(message), []byte(order))
	})
}

// whatBecameOf answers a check. What is not there is given up in the same
// transaction, so that it cannot come to be after the answer: if that is not written, there is none.
func whatBecameOf(db *bolt.DB, message string) client.Verdict {
	v := client.Undecided
	err := db.Update(func(tx *bolt.Tx) error {
		switch order := tx.Bucket(told).Get([]byte(message)); {
		case order == nil:
			if err := tx.Bucket(told).Put([]byte(message), []byte("-")); err != nil {
				return err
			}
			v = client.Rollback
		case string(order) == "-":
			v = client.Rollback
		default:
			v = client.Commit
		}
		return nil
	})
	if err != nil {
		return client.Undecided // it is asked again
	}
	return v
}

func have(db *bolt.DB, bucket []byte, key string) (there bool) {
	db.View(func(tx *bolt.Tx) error {
		there = tx.Bucket(bucket).Get([]byte(key)) != nil
		return nil
	})
	return there
}
