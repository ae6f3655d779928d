package main

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	bolt "go.etcd.io/bbolt"

	"raftmq/broker"
	"raftmq/client"
	"raftmq/internal/mqtest"
)

// child has this test be the program.
const child = "RAFTMQ_EXAMPLE_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(child) != "" {
		main()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// Shop and warehouse are killed with -9 at random moments, and started again, until both
// are done: the books are balanced.
func TestTheBooksAreBalancedWhoeverDies(t *testing.T) {
	c := mqtest.Start(t, 3, func(cfg *broker.Config) {
		cfg.TransactionTimeout, cfg.TransactionCheckInterval, cfg.TransactionChecks = 500*time.Millisecond, 500*time.Millisecond, 1000
	})
	seed := rand.Uint64()
	rnd := rand.New(rand.NewPCG(seed, 1))
	t.Logf("seed %d", seed)
	dir := t.TempDir()
	const orders, kills = 40, 4
	program := func(what string) *exec.Cmd {
		cmd := exec.Command(os.Args[0], what, "-db", filepath.Join(dir, what+".db"), "-orders", fmt.Sprint(orders))
		cmd.Env = append(os.Environ(), child+"=1", "RAFTMQ_ENDPOINT="+strings.Join(c.Endpoints(), ","))
		return cmd
	}
	errs := make(chan error, 2)
	for _, what := range []string{"shop", "warehouse"} {
		waits := make([]time.Duration, kills)
		for i := range waits {
			waits[i] = time.Duration(50+rnd.IntN(700)) * time.Millisecond
		}
		go func() {
			for i := 0; ; i++ {
				cmd := program(what)
				var out bytes.Buffer
				cmd.Stdout, cmd.Stderr = &out, &out
				if err := cmd.Start(); err != nil {
					errs <- err
					return
				}
				if i < kills {
					kill := time.AfterFunc(waits[i], func() { cmd.Process.Kill() })
					cmd.Wait()
					kill.Stop()
					continue
				}
				err := cmd.Wait()
				if err != nil {
					err = fmt.Errorf("%s: %w\n%s", what, err, out.String())
				}
				errs <- err
				return
			}
		}()
	}
	for range 2 {
		select {
		case err := <-errs:
			require.NoError(t, err)
		case <-time.After(time.Minute):
			t.Fatal("shop and warehouse do not come to an end")
		}
	}
	require.NoError(t, balance(filepath.Join(dir, "shop.db"), filepath.Join(dir, "warehouse.db")))
}

// A shop that died when all orders were paid, and the last one's verdict was not delivered yet, has it
// delivered when it is started again: the warehouse ships them all.
func TestAShopIsNotDoneBeforeItsVerdictsAre(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c := mqtest.Start(t, 3, func(cfg *broker.Config) {
		cfg.TransactionTimeout, cfg.TransactionCheckInterval, cfg.TransactionChecks = 500*time.Millisecond, 500*time.Millisecond, 1000
	})
	cl := c.Client()
	require.NoError(t, cl.Admin().CreateTopic(ctx, client.TopicConfig{Name: topic}))
	dir := t.TempDir()
	file := filepath.Join(dir, "shop.db")
	db, err := open(file, orders, told)
	require.NoError(t, err)
	p, err := cl.NewTransactionProducer("shop", func(context.Context, client.Transaction) client.Verdict { return client.Undecided })
	require.NoError(t, err)
	_, err = p.Send(ctx, &client.Message{Topic: topic, Keys: []string{"0"}, Body: []byte("0")}, func(_ context.Context, tx client.Transaction) (client.Verdict, error) {
		return client.Undecided, pay(db, "0", tx.ID)
	})
	require.NoError(t, err)
	require.NoError(t, p.Close(ctx))
	require.NoError(t, db.Close())
	require.NoError(t, shop(ctx, c.Client(), file, 1))
	open, err := cl.Admin().Transactions(ctx, topic, false, 0)
	require.NoError(t, err)
	require.Empty(t, open, "the shop has gone, and nobody else knows")
	require.NoError(t, warehouse(ctx, c.Client(), filepath.Join(dir, "warehouse.db"), 1))
	require.NoError(t, balance(file, filepath.Join(dir, "warehouse.db")))
}

// A shop whose disk does not take that a message is given up does not say so: the order could be paid
// after that.
func TestWhatIsNotWrittenIsNotAnswered(t *testing.T) {
	file := filepath.Join(t.TempDir(), "shop.db")
	db, err := open(file, orders, told)
	require.NoError(t, err)
	require.NoError(t, db.Close())
	db, err = bolt.Open(file, 0o600, &bolt.Options{Timeout: 10 * time.Second, OpenFile: func(name string, _ int, perm os.FileMode) (*os.File, error) {
		return os.OpenFile(name, os.O_RDONLY, perm) // writes fail
	}})
	require.NoError(t, err)
	defer db.Close()
	require.Equal(t, client.Undecided, whatBecameOf(db, "m"))
}
