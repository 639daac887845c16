package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"
)

// session is a transaction as rooms see it: statements in the database's own
// dialect, arguments that mean the same in both, a limit to each statement.
type session struct {
	tx     *sql.Tx
	db     *DB
	limit  time.Duration
	finish bool // statements that have begun are not cancelled
	ends   []context.CancelFunc
}

func (s *session) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	args, err := portable(args)
	if err != nil {
		return nil, err
	}
	ctx, cancel := s.limited(ctx)
	defer cancel()
	res, err := s.tx.ExecContext(ctx, s.db.dialect.statement(query), args...)
	return res, why(ctx, err)
}

func (s *session) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	args, err := portable(args)
	if err != nil {
		return nil, err
	}
	ctx, cancel := s.limited(ctx)
	s.ends = append(s.ends, cancel)
	rows, err := s.tx.QueryContext(ctx, s.db.dialect.statement(query), args...)
	return rows, why(ctx, err)
}

func (s *session) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	args, err := portable(args)
	if err != nil {
		return s.tx.QueryRowContext(refused{ctx, err}, query)
	}
	ctx, cancel := s.limited(ctx)
	s.ends = append(s.ends, cancel)
	return s.tx.QueryRowContext(ctx, s.db.dialect.statement(query), args...)
}

// limited bounds a statement. One that changes something is not interrupted
// by its caller, which would undo the work of others in the same transaction.
func (s *session) limited(ctx context.Context) (context.Context, context.CancelFunc) {
	if s.finish && ctx.Err() == nil {
		ctx = context.WithoutCancel(ctx)
	}
	return context.WithTimeoutCause(ctx, s.limit, fmt.Errorf("the statement took longer than %s: %w", s.limit, context.DeadlineExceeded))
}

// why says more of err where its context does.
func why(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); err != nil && cause != nil && !errors.Is(err, cause) {
		return fmt.Errorf("%w: %w", cause, err)
	}
	return err
}

// end frees what statements hold. Rows are to be closed by then.
func (s *session) end() {
	for _, cancel := range s.ends {
		cancel()
	}
	s.ends = nil
}

// refused is a context that ended with err. A row that is asked for with it
// gives err, which a row cannot be made to give in another way.
type refused struct {
	context.Context //nolint:containedctx // it is one
	err             error
}

func (r refused) Err() error { return r.err }

func (refused) Done() <-chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}
