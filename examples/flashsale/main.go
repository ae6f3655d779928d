// Command flashsale sells few articles to many buyers who all come at once.
//
// Each buyer's order is a request: it is stored when it comes, and its reply says whether
// it got an article. The shop behind handles as many at once as it can, and not one more,
// however high the peak is: the rest wait in the queue, in the order in which they came to
// it. An order that comes again, because a node or the shop died, has the answer that it had.
//
//	flashsale shop -articles 50
//	flashsale buy -buyers 500
//
// RAFTMQ_ENDPOINT names the cluster's name servers, joined by commas.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"raftmq/client"
)

const (
	topic = "flash-sale"
	group = "flash-sale-shop"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "flashsale:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return errors.New("shop or buy")
	}
	f := flag.NewFlagSet(args[0], flag.ContinueOnError)
	articles := f.Int("articles", 50, "how many there are")
	buyers := f.Int("buyers", 500, "how many want one")
	if err := f.Parse(args[1:]); err != nil {
		return err
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
		return newShop(*articles).serve(ctx, c)
	case "buy":
		got, err := buy(ctx, c, *buyers)
		fmt.Printf("%d of %d buyers have an article, %d came too late, %d do not know\n", got.sold, *buyers, got.late, got.unknown)
		return err
	}
	return fmt.Errorf("%q: shop or buy", args[0])
}

// atOnce is how many orders the shop can handle at the same time.
const atOnce = 4

// shop has a number of articles. One that must outlive its program keeps orders and the
// number of articles in a database, as package client/once helps to.
type shop struct {
	mu      sync.Mutex
	left    int
	orders  map[string]string // by message: its answer
	handles int               // at this moment
	most    int               // at once, ever
}

func newShop(articles int) *shop { return &shop{left: articles, orders: make(map[string]string)} }

// serve answers orders until ctx ends.
func (s *shop) serve(ctx context.Context, c *client.Client) error {
	cons, err := c.NewConsumer(group, client.WithConcurrency(atOnce))
	if err != nil {
		return err
	}
	if err := cons.Subscribe(topic, client.All()); err != nil {
		return err
	}
	return cons.Run(ctx, func(ctx context.Context, d *client.Delivery) error {
		err := c.Reply(ctx, d, &client.Message{Body: []byte(s.sell(d.ID))})
		if errors.Is(err, client.ErrNoRequester) {
			return nil // the buyer is gone; the order holds
		}
		return err
	})
}

// sell gives an order its answer, the same each time.
func (s *shop) sell(order string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.handles++
	s.most = max(s.most, s.handles)
	s.mu.Unlock()
	time.Sleep(time.Millisecond) // what it takes to look into a real one's books
	s.mu.Lock()
	s.handles--
	if answer, ok := s.orders[order]; ok {
		return answer
	}
	answer := "sold out"
	if s.left > 0 {
		s.left--
		answer = "sold"
	}
	s.orders[order] = answer
	return answer
}

// outcome counts buyers.
type outcome struct{ sold, late, unknown int }

// buy has all buyers order at once, and waits for their answers.
func buy(ctx context.Context, c *client.Client, buyers int) (got outcome, err error) {
	p, err := c.NewProducer("flash-sale-buyers")
	if err != nil {
		return got, err
	}
	defer p.Close(context.WithoutCancel(ctx))
	var wg sync.WaitGroup
	var mu sync.Mutex
	for i := range buyers {
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
			defer cancel()
			d, answer := p.Request(ctx, &client.Message{Topic: topic, Body: fmt.Appendf(nil, "buyer %d", i)})
			mu.Lock()
			defer mu.Unlock()
			switch {
			case errors.Is(answer, client.ErrNoReply):
				got.unknown++
			case answer != nil:
				err = errors.Join(err, answer)
			case string(d.Body) == "sold":
				got.sold++
			default:
				got.late++
			}
		})
	}
	wg.Wait()
	return got, err
}
