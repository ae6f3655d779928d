package once_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftmq/client"
	"raftmq/client/once"
)

// book is a database with one table of identities and one of effects: transactions one at
// a time, all or nothing. A commit may fail with its answer lost, as a network's does.
type book struct {
	mu      sync.Mutex // held by a transaction
	rows    map[[2]string]int64
	effects map[string]int
	inserts int
	// What the next commit does: lost is done and answered with an error, refused is not done.
	lost, refused bool
	// raced, once, is inserted by somebody else before the next insert.
	raced *[2]string
}

func newBook(t *testing.T) (*book, *sql.DB) {
	b := &book{rows: make(map[[2]string]int64), effects: make(map[string]int)}
	db := sql.OpenDB(b)
	t.Cleanup(func() { db.Close() })
	return b, db
}

func (b *book) Connect(context.Context) (driver.Conn, error) { return &conn{b: b}, nil }
func (b *book) Driver() driver.Driver                        { return nil }

type conn struct {
	b       *book
	in      bool
	rows    map[[2]string]int64
	effects []string
}

func (c *conn) Prepare(string) (driver.Stmt, error) { return nil, errors.New("not needed") }
func (c *conn) Close() error                        { return nil }
func (c *conn) Begin() (driver.Tx, error) {
	c.b.mu.Lock()
	c.in, c.rows, c.effects = true, make(map[[2]string]int64), nil
	return c, nil
}

func (c *conn) Commit() error {
	defer c.end()
	if c.b.refused {
		c.b.refused = false
		return errors.New("the disk is full")
	}
	for k, v := range c.rows {
		c.b.rows[k] = v
	}
	for _, e := range c.effects {
		c.b.effects[e]++
	}
	if c.b.lost {
		c.b.lost = false
		return errors.New("the connection is gone")
	}
	return nil
}

func (c *conn) Rollback() error {
	c.end()
	return nil
}

func (c *conn) end() {
	c.in = false
	c.b.mu.Unlock()
}

func key(args []driver.NamedValue) [2]string {
	return [2]string{args[0].Value.(string), args[1].Value.(string)}
}

func (c *conn) QueryContext(_ context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	if !c.in {
		c.b.mu.Lock()
		defer c.b.mu.Unlock()
	}
	if !strings.Contains(query, "consumer_group = $1 AND message_id = $2") {
		return nil, fmt.Errorf("query %s", query)
	}
	_, there := c.b.rows[key(args)]
	return &count{there: there}, nil
}

func (c *conn) ExecContext(_ context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	switch {
	case strings.HasPrefix(query, "DELETE"):
		c.b.mu.Lock()
		defer c.b.mu.Unlock()
		n := 0
		for k, at := range c.b.rows {
			if k[0] == args[0].Value.(string) && at < args[1].Value.(int64) {
				delete(c.b.rows, k)
				n++
			}
		}
		return driver.RowsAffected(n), nil
	case strings.HasPrefix(query, "INSERT INTO mine"):
		c.b.inserts++
		if r := c.b.raced; r != nil {
			c.b.rows[*r], c.b.raced = 1, nil
		}
		if _, there := c.b.rows[key(args)]; there {
			return nil, errors.New("UNIQUE constraint failed")
		}
		c.rows[key(args)] = args[2].Value.(int64)
	case strings.HasPrefix(query, "effect"):
		c.effects = append(c.effects, args[0].Value.(string))
	default:
		return nil, fmt.Errorf("statement %s", query)
	}
	return driver.RowsAffected(1), nil
}

type count struct{ there, read bool }

func (*count) Columns() []string { return []string{"n"} }
func (*count) Close() error      { return nil }
func (r *count) Next(to []driver.Value) error {
	if r.read {
		return io.EOF
	}
	r.read, to[0] = true, int64(0)
	if r.there {
		to[0] = int64(1)
	}
	return nil
}

func effect(ctx context.Context, tx *sql.Tx, d *client.Delivery) error {
	_, err := tx.ExecContext(ctx, "effect", d.ID)
	return err
}

// A message takes effect once, however its first handling ended: with an error of the
// effect, a commit that was refused, a commit whose answer was lost, beside another.
func TestAMessageTakesEffectOnce(t *testing.T) {
	ctx := context.Background()
	b, db := newBook(t)
	l := once.New(db, "g", once.WithTable("mine"), once.WithDollars())
	handle := l.Handler(effect)
	d := &client.Delivery{ID: "a"}
	broken := errors.New("no such article")
	_, err := l.Do(ctx, d, func(ctx context.Context, tx *sql.Tx, d *client.Delivery) error {
		return errors.Join(effect(ctx, tx, d), broken)
	})
	require.ErrorIs(t, err, broken)
	require.Empty(t, b.effects, "an effect that failed is not there")
	require.Empty(t, b.rows)

	b.refused = true
	require.ErrorContains(t, handle(ctx, d), "the disk is full")
	require.Empty(t, b.effects)
	b.lost = true
	require.ErrorContains(t, handle(ctx, d), "the connection is gone")
	require.Equal(t, map[string]int{"a": 1}, b.effects, "it was done, though its handler failed")
	for range 3 {
		first, err := l.Do(ctx, d, effect)
		require.NoError(t, err)
		require.False(t, first)
	}
	require.Equal(t, map[string]int{"a": 1}, b.effects)

	b.raced = &[2]string{"g", "b"} // between the look and the insert
	first, err := l.Do(ctx, &client.Delivery{ID: "b"}, effect)
	require.NoError(t, err)
	require.False(t, first)
	require.Zero(t, b.effects["b"])

	first, err = once.New(db, "other", once.WithTable("mine"), once.WithDollars()).Do(ctx, d, effect)
	require.NoError(t, err)
	require.True(t, first, "another group handles it for itself")
	require.Equal(t, 2, b.effects["a"])

	byKey := once.New(db, "g", once.WithTable("mine"), once.WithDollars(), once.WithIdentity(func(d *client.Delivery) string { return d.Keys[0] }))
	for i := range 2 {
		require.NoError(t, byKey.Handler(effect)(ctx, &client.Delivery{ID: fmt.Sprint("c", i), Message: client.Message{Keys: []string{"order-17"}}}))
	}
	require.Equal(t, 1, b.effects["c0"]+b.effects["c1"])

	for _, id := range []string{"", strings.Repeat("x", once.MaxID+1)} {
		require.ErrorIs(t, handle(ctx, &client.Delivery{ID: id}), once.ErrIdentity)
	}
	n, err := l.Forget(ctx, time.Now().Add(time.Hour))
	require.NoError(t, err)
	require.EqualValues(t, 3, n) // a, b and order-17
	require.NoError(t, handle(ctx, d))
	require.Equal(t, 3, b.effects["a"], "what was forgotten takes effect again")
}

// The same message in many hands at once takes effect once.
func TestOneOfManyAtOnceTakesEffect(t *testing.T) {
	b, db := newBook(t)
	l := once.New(db, "g", once.WithTable("mine"), once.WithDollars())
	var wg sync.WaitGroup
	firsts := make(chan bool, 64)
	for range 64 {
		wg.Go(func() {
			first, err := l.Do(context.Background(), &client.Delivery{ID: "a"}, effect)
			if err != nil {
				t.Error(err)
			}
			firsts <- first
		})
	}
	wg.Wait()
	close(firsts)
	n := 0
	for f := range firsts {
		if f {
			n++
		}
	}
	require.Equal(t, 1, n)
	require.Equal(t, map[string]int{"a": 1}, b.effects)
}
