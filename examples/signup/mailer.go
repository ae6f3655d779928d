package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"

	"raftmq/client"
)

// server sends a mail, or says why not: errAddress, that it never will.
type server func(name, address string) error

var errAddress = errors.New("no such address")

// file is a mail server that appends to a file.
func file(name string) server {
	return func(user, address string) error {
		if !strings.Contains(address, "@") {
			return fmt.Errorf("%w: %s", errAddress, address)
		}
		f, err := os.OpenFile(name, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(f, "To: %s\nWelcome, %s!\n\n", address, user)
		return errors.Join(err, f.Close())
	}
}

// mailer sends mails until ctx ends.
func mailer(ctx context.Context, c *client.Client, send server, opts ...client.ConsumerOption) error {
	s, err := c.NewConsumer(group, opts...)
	if err != nil {
		return err
	}
	if err := s.Subscribe(topic, client.All()); err != nil {
		return err
	}
	var mu sync.Mutex // one reader of corrections at a time
	return s.Run(ctx, func(ctx context.Context, d *client.Delivery) error {
		name, address, _ := strings.Cut(string(d.Body), " ")
		mu.Lock()
		corrected, err := correction(ctx, c, name)
		mu.Unlock()
		if err != nil {
			return err
		}
		if corrected != "" {
			address = corrected
		}
		err = send(name, address)
		if errors.Is(err, errAddress) {
			return client.DeadLetter(err) // trying again would not help
		}
		return err
	})
}

// correction is the latest address that a user was given afterwards; "": none.
func correction(ctx context.Context, c *client.Client, user string) (address string, err error) {
	r, err := c.NewReader(corrections, client.FromPosition(client.Earliest()))
	if err != nil {
		return "", err
	}
	defer r.Close()
	for d, err := range r.UntilEnd(ctx) {
		if err != nil {
			return "", err
		}
		if name, to, ok := strings.Cut(string(d.Body), " "); ok && name == user {
			address = to
		}
	}
	return address, nil
}
