// Package once has a consumer's effect in a SQL database happen once, however often its
// message comes: the message's identity is written in the same transaction as the effect.
//
// A consumer gets each message at least once: again when its program or a node died before
// the group's offset was committed, when the handler failed, when a stock producer sent it
// twice under one id. With the identity in the effect's own transaction, both are there or
// neither, so what comes again is seen to be done and does nothing. That holds for effects
// in that database, not for what else a handler does: mail that it sends, other services
// that it calls.
//
// The user makes the table, by DDL or alike, and any driver of database/sql will do. Rows
// may be deleted by Forget once no message can come again: when the topic's retention
// and the group's retries are over.
package once

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"raftmq/client"
)

// Table is the name of the table, unless WithTable says otherwise.
const Table = "raftmq_handled"

// DDL makes the table. Types may be others of the database's that hold as much; the
// primary key is what makes it work. Texts must be compared by their bytes: where case, accents or blanks at the end
// do not count unless it is said, as in MySQL and SQL Server, give both columns a binary collation, or two
// messages, or groups, may count as one.
const DDL = `CREATE TABLE raftmq_handled (
	consumer_group VARCHAR(120) NOT NULL,
	message_id     VARCHAR(255) NOT NULL,
	handled_at     BIGINT       NOT NULL,
	PRIMARY KEY (consumer_group, message_id)
)`

// MaxID is how long an identity may be, in bytes.
const MaxID = 255

// ErrIdentity: a message has no identity, or one that is too long. Nothing was done.
var ErrIdentity = errors.New("once: message without a usable identity")

// Effect is what a message is to do, in tx, which is committed when it returns nil and
// rolled back else. It must not end tx itself.
type Effect func(ctx context.Context, tx *sql.Tx, d *client.Delivery) error

// Ledger knows what a group has handled. Its methods may be called from any goroutine.
type Ledger struct {
	db       *sql.DB
	group    string
	table    string
	dollar   bool
	identity func(*client.Delivery) string
	options  *sql.TxOptions

	find, insert, forget string
}

// Option changes a Ledger.
type Option func(*Ledger)

// WithTable names another table, as it is to stand in statements: it is not quoted.
func WithTable(name string) Option { return func(l *Ledger) { l.table = name } }

// WithDollars writes parameters as $1, as PostgreSQL wants them. Default: ?.
func WithDollars() Option { return func(l *Ledger) { l.dollar = true } }

// WithIdentity names messages by something else than their id: a key of the business,
// for one, where producers may send the same thing under several ids.
func WithIdentity(of func(*client.Delivery) string) Option {
	return func(l *Ledger) { l.identity = of }
}

// WithTxOptions are for each transaction. Default: the driver's.
func WithTxOptions(o *sql.TxOptions) Option { return func(l *Ledger) { l.options = o } }

// New is the ledger of a consumer group in db.
func New(db *sql.DB, group string, opts ...Option) *Ledger {
	l := &Ledger{db: db, group: group, table: Table, identity: func(d *client.Delivery) string { return d.ID }}
	for _, o := range opts {
		o(l)
	}
	p := func(n int) string {
		if l.dollar {
			return fmt.Sprintf("$%d", n)
		}
		return "?"
	}
	l.find = fmt.Sprintf("SELECT COUNT(*) FROM %s WHERE consumer_group = %s AND message_id = %s", l.table, p(1), p(2))
	l.insert = fmt.Sprintf("INSERT INTO %s (consumer_group, message_id, handled_at) VALUES (%s, %s, %s)", l.table, p(1), p(2), p(3))
	l.forget = fmt.Sprintf("DELETE FROM %s WHERE consumer_group = %s AND handled_at < %s", l.table, p(1), p(2))
	return l
}

// Handler has a consumer's messages take effect once: give it to Consumer.Run.
func (l *Ledger) Handler(effect Effect) client.Handler {
	return func(ctx context.Context, d *client.Delivery) error {
		_, err := l.Do(ctx, d, effect)
		return err
	}
}

// Do runs effect unless it has been committed for this message before. first says that
// this call committed it. With an error nothing is committed, or, if the commit's own
// answer was lost, it may be: Do again finds out.
func (l *Ledger) Do(ctx context.Context, d *client.Delivery, effect Effect) (first bool, err error) {
	id := l.identity(d)
	if id == "" || len(id) > MaxID {
		return false, fmt.Errorf("%w: %d bytes, 1 to %d are possible", ErrIdentity, len(id), MaxID)
	}
	tx, err := l.db.BeginTx(ctx, l.options)
	if err != nil {
		return false, fmt.Errorf("once: begin: %w", err)
	}
	defer tx.Rollback() // nothing after a commit
	switch done, err := l.done(ctx, tx, id); {
	case err != nil:
		return false, err
	case done:
		return false, nil
	}
	// Before the effect: where the same message is being handled elsewhere, the key waits
	// for that to end.
	if _, err := tx.ExecContext(ctx, l.insert, l.group, id, time.Now().UnixMilli()); err != nil {
		tx.Rollback() // some databases answer nothing in a transaction that failed
		if done, again := l.done(ctx, l.db, id); again == nil && done {
			return false, nil // the other was first
		}
		return false, fmt.Errorf("once: write the identity of %s: %w", id, err)
	}
	if err := effect(ctx, tx, d); err != nil {
		return false, err
	}
	if err := tx.Commit(); err != nil {
		return false, fmt.Errorf("once: commit %s: %w", id, err)
	}
	return true, nil
}

type querier interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

func (l *Ledger) done(ctx context.Context, q querier, id string) (bool, error) {
	var n int
	if err := q.QueryRowContext(ctx, l.find, l.group, id).Scan(&n); err != nil {
		return false, fmt.Errorf("once: look up %s: %w", id, err)
	}
	return n > 0, nil
}

// Forget deletes what the group handled before a time, and returns how many rows: a
// message of then that comes once more takes effect once more.
func (l *Ledger) Forget(ctx context.Context, before time.Time) (int64, error) {
	r, err := l.db.ExecContext(ctx, l.forget, l.group, before.UnixMilli())
	if err != nil {
		return 0, fmt.Errorf("once: forget: %w", err)
	}
	return r.RowsAffected()
}
