// Command once keeps accounts in SQLite by the payments that a topic brings. A payment
// takes effect once, however often its message comes: client/once writes the message's
// identity in the transaction that changes the balance.
//
//	once -db accounts.db       # handles payments until it is interrupted
//	raftmq send payments "alice 100"
//
// The example is a module of its own, so that who uses raftmq does not get SQLite with it.
package main

import (
	"context"
	"database/sql"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	_ "modernc.org/sqlite"

	"raftmq/client"
	"raftmq/client/once"
)

const (
	topic = "payments"
	group = "accounts"
)

func main() {
	file := flag.String("db", "accounts.db", "file of the database")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *file); err != nil {
		fmt.Fprintln(os.Stderr, "once:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, file string) error {
	db, err := open(file)
	if err != nil {
		return err
	}
	defer db.Close()
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
	s, err := c.NewConsumer(group)
	if err != nil {
		return err
	}
	if err := s.Subscribe(topic, client.All()); err != nil {
		return err
	}
	return s.Run(ctx, once.New(db, group).Handler(pay))
}

// open opens the database and makes its tables.
func open(file string) (*sql.DB, error) {
	// Writers wait for each other, and each transaction is one from its beginning.
	db, err := sql.Open("sqlite", "file:"+file+"?_pragma=busy_timeout(10000)&_txlock=immediate")
	if err != nil {
		return nil, err
	}
	for _, ddl := range []string{once.DDL, "CREATE TABLE accounts (name TEXT PRIMARY KEY, balance INTEGER NOT NULL)"} {
		if _, err := db.Exec(strings.Replace(ddl, "CREATE TABLE", "CREATE TABLE IF NOT EXISTS", 1)); err != nil {
			db.Close()
			return nil, err
		}
	}
	return db, nil
}

// pay is the effect of a payment: "NAME AMOUNT". One that cannot be read never will be.
func pay(ctx context.Context, tx *sql.Tx, d *client.Delivery) error {
	var name string
	var amount int64
	if n, err := fmt.Sscanf(string(d.Body), "%s %d", &name, &amount); n != 2 || err != nil {
		return client.DeadLetter(fmt.Errorf("%q is no payment", d.Body))
	}
	_, err := tx.ExecContext(ctx, "INSERT INTO accounts (name, balance) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET balance = balance + excluded.balance", name, amount)
	return err
}
