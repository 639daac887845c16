package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"hash/fnv"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/penstock-dev/penstock/internal/base/problem"
)

// ErrInUse marks a PostgreSQL database, or a schema of one, that another
// server works with.
var ErrInUse = errors.New("in use by another penstock server")

// oldestPostgres is the oldest version that this is tested against.
const oldestPostgres = 150000

// openPostgres opens the database at url, in the schema that its search_path
// names first.
func openPostgres(ctx context.Context, url string) (*DB, error) {
	c, err := pgx.ParseConfig(url)
	if err != nil { // its text can hold parts of the URL
		return nil, &problem.Error{Op: "open store", Err: fmt.Errorf("the URL of the PostgreSQL database cannot be read: %w", problem.ErrInvalid),
			Hint: "postgres://user@host:5432/database?sslmode=verify-full"}
	}
	if c.ConnectTimeout == 0 {
		c.ConnectTimeout = 10 * time.Second
	}
	if c.RuntimeParams["application_name"] == "" {
		c.RuntimeParams["application_name"] = "penstock"
	}
	// The server ends a statement that is over the limit a little before we
	// would, so that we learn of it and keep the connection.
	c.RuntimeParams["statement_timeout"] = strconv.FormatInt((statementLimit - time.Second).Milliseconds(), 10)
	o := &owner{}
	w := stdlib.OpenDB(*c, stdlib.OptionAfterConnect(o.take))
	w.SetMaxOpenConns(1)
	w.SetMaxIdleConns(1)
	name := "database " + c.Database + " on " + c.Host
	if err := w.PingContext(ctx); err != nil {
		w.Close()
		p := &problem.Error{Op: "open store", Subject: name, Err: err}
		if errors.Is(err, ErrInUse) {
			p.Hint = "stop the other server, or give this one a database or a schema (search_path) of its own"
		}
		return nil, p
	}
	reading := c.Copy()
	reading.RuntimeParams["default_transaction_read_only"] = "on"
	r := stdlib.OpenDB(*reading)
	r.SetMaxOpenConns(readers)
	r.SetMaxIdleConns(readers)
	if err := r.PingContext(ctx); err != nil {
		w.Close()
		r.Close()
		return nil, &problem.Error{Op: "open store", Subject: name, Err: err}
	}
	return &DB{write: w, read: r, dialect: dialect{
		statement: numbered(), schema: postgresSchema,
		snapshot:  &sql.TxOptions{ReadOnly: true, Isolation: sql.LevelRepeatableRead},
		remote:    true,
		unlimited: `SET LOCAL statement_timeout = 0`,
	}}, nil
}

// owner is this process's right to write. The one connection that writes holds
// an advisory lock, so whoever loses the connection loses the lock with it and
// no two processes ever write. A connection made again proves that nobody else
// has written in between: each owner counts the epoch up once.
type owner struct{ epoch int64 }

// handOver is how long a server waits for one that is just ending, or for its
// own last connection, of which PostgreSQL may not know yet that it is broken.
var handOver = 10 * time.Second

// take makes a new connection the one that writes. One that cannot be is
// closed here, which its owner does not do, or it would keep the lock.
func (o *owner) take(ctx context.Context, conn *pgx.Conn) error {
	err := o.claim(ctx, conn)
	if err != nil {
		_ = conn.Close(ctx)
	}
	return err
}

func (o *owner) claim(ctx context.Context, conn *pgx.Conn) error {
	var version int64
	var schema, encoding, commit string
	err := conn.QueryRow(ctx, `SELECT current_setting('server_version_num')::bigint, coalesce(current_schema(), ''),
		current_setting('server_encoding'), current_setting('synchronous_commit')`).Scan(&version, &schema, &encoding, &commit)
	if err != nil {
		return err
	}
	switch {
	case version < oldestPostgres:
		return fmt.Errorf("it is PostgreSQL %d, 15 or newer is needed: %w", version/10000, problem.ErrInvalid)
	case schema == "":
		return fmt.Errorf("no schema of its search_path exists: %w", problem.ErrInvalid)
	case encoding != "UTF8":
		return fmt.Errorf("its encoding is %s, UTF8 is needed: %w", encoding, problem.ErrInvalid)
	case commit == "off": // a commit would not be durable
		if _, err := conn.Exec(ctx, `SET synchronous_commit = on`); err != nil {
			return err
		}
	}
	if err := lock(ctx, conn, schema); err != nil {
		return err
	}
	return o.count(ctx, conn)
}

// lock takes the advisory lock of the schema.
func lock(ctx context.Context, conn *pgx.Conn, schema string) error {
	h := fnv.New32a()
	_, _ = h.Write([]byte(schema))
	const penstock = 0x70656e73 // "pens": locks of others have other numbers
	deadline := time.Now().Add(handOver)
	for {
		var got bool
		if err := conn.QueryRow(ctx, `SELECT pg_try_advisory_lock($1::int, $2::int)`, int32(penstock), int32(h.Sum32())).Scan(&got); err != nil { //nolint:gosec // any 32 bits will do
			return err
		}
		if got {
			return nil
		}
		if time.Now().After(deadline) {
			return ErrInUse
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// count begins an epoch, or proves that the one begun still lasts.
func (o *owner) count(ctx context.Context, conn *pgx.Conn) error {
	if _, err := conn.Exec(ctx, `CREATE TABLE IF NOT EXISTS store_owner (one BOOLEAN PRIMARY KEY CHECK (one), epoch BIGINT NOT NULL)`); err != nil {
		return err
	}
	if o.epoch == 0 {
		return conn.QueryRow(ctx, `INSERT INTO store_owner VALUES (true, 1)
			ON CONFLICT (one) DO UPDATE SET epoch = store_owner.epoch + 1 RETURNING epoch`).Scan(&o.epoch)
	}
	var now int64
	if err := conn.QueryRow(ctx, `SELECT epoch FROM store_owner`).Scan(&now); err != nil {
		return err
	}
	if now != o.epoch {
		return fmt.Errorf("the connection was lost and another server took over, this one has to start again: %w", ErrInUse)
	}
	return nil
}
