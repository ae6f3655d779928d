// Command payment is a shop and a warehouse that must agree, whoever of them dies when.
//
// The shop writes an order and its payment in one transaction of its database, and with
// a transactional message has the warehouse told if, and only if, that is there. The
// warehouse ships what it is told, and writes the shipment and the message's identity in one
// transaction of its own, so that a message that comes again ships nothing. At the end the
// books of both agree:
//
//	payment shop -db shop.db -orders 100
//	payment warehouse -db warehouse.db -orders 100
//	payment balance -shop shop.db -warehouse warehouse.db
//
// Each may be killed at any moment and started again: it goes on. RAFTMQ_ENDPOINT names
// the cluster's name servers, joined by commas.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"raftmq/client"
)

const topic = "payments"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "payment:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return errors.New("shop, warehouse or balance")
	}
	f := flag.NewFlagSet(args[0], flag.ContinueOnError)
	db := f.String("db", args[0]+".db", "file of the database")
	orders := f.Int("orders", 100, "how many orders there are")
	shopDB := f.String("shop", "shop.db", "the shop's database, to balance")
	warehouseDB := f.String("warehouse", "warehouse.db", "the warehouse's database, to balance")
	if err := f.Parse(args[1:]); err != nil {
		return err
	}
	if args[0] == "balance" {
		return balance(*shopDB, *warehouseDB)
	}
	endpoint := os.Getenv("RAFTMQ_ENDPOINT")
	if endpoint == "" {
		endpoint = client.DefaultEndpoint
	}
	c, err := client.Dial(ctx, client.WithEndpoints(strings.Split(endpoint, ",")...))
	if err != nil {
		return err
	}
	defer c.Close(context.WithoutCancel(ctx))
	if err := c.Admin().CreateTopic(ctx, client.TopicConfig{Name: topic}); err != nil && !errors.Is(err, client.ErrExists) {
		return err
	}
	switch args[0] {
	case "shop":
		return shop(ctx, c, *db, *orders)
	case "warehouse":
		return warehouse(ctx, c, *db, *orders)
	}
	return fmt.Errorf("%q: shop, warehouse or balance", args[0])
}
