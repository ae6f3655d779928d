// Command signup registers users and has a mail sent to each, without waiting for it.
//
// Registering is a send: it is done when the message is stored, whatever the mail server
// does. The mailer tries a mail again when the server is out of order, and gives one up at
// once whose address cannot be one: that is among the dead letters, with the reason, until
// somebody has looked, and has it handled again.
//
//	signup register alice alice@example.org
//	signup mailer                # sends mails: here it appends them to mails.txt
//	signup letters               # what could not be sent, and why
//	signup redrive               # all of them once more, when addresses are corrected
//	signup correct bob bob@example.org
//
// RAFTMQ_ENDPOINT names the cluster's name servers, joined by commas.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"raftmq/client"
)

const (
	topic       = "signups"
	corrections = "corrections" // of addresses, kept for ever by who mails
	group       = "mailer"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "signup:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	usage := errors.New("register NAME ADDRESS, correct NAME ADDRESS, mailer, letters or redrive")
	if len(args) == 0 {
		return usage
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
	if err := prepare(ctx, c); err != nil {
		return err
	}
	switch {
	case args[0] == "register" && len(args) == 3:
		return register(ctx, c, topic, args[1], args[2])
	case args[0] == "correct" && len(args) == 3:
		return register(ctx, c, corrections, args[1], args[2])
	case args[0] == "mailer":
		return mailer(ctx, c, file("mails.txt"))
	case args[0] == "letters":
		letters, err := c.Admin().DeadLetters(ctx, group, 0)
		for _, l := range letters {
			fmt.Printf("%s: %s: %s\n", l.Name, l.Message.Body, l.Reason())
		}
		return err
	case args[0] == "redrive":
		n, err := c.Admin().Redrive(ctx, group, "", 0)
		fmt.Println(n, "mails are tried once more")
		return err
	}
	return usage
}

// prepare makes the topics.
func prepare(ctx context.Context, c *client.Client) error {
	for _, t := range []client.TopicConfig{{Name: topic}, {Name: corrections, Partitions: 1, Queues: 1, Attributes: map[string]string{"retention": "forever"}}} {
		if err := c.Admin().CreateTopic(ctx, t); err != nil && !errors.Is(err, client.ErrExists) {
			return err
		}
	}
	return nil
}

// register tells of a user, or of another address of one.
func register(ctx context.Context, c *client.Client, to, name, address string) error {
	p, err := c.NewProducer("signup")
	if err != nil {
		return err
	}
	defer p.Close(context.WithoutCancel(ctx))
	r, err := p.Send(ctx, &client.Message{Topic: to, Keys: []string{name}, Body: []byte(name + " " + address)})
	if err != nil {
		return err
	}
	fmt.Println(name, "is registered, message", r.ID)
	return nil
}
