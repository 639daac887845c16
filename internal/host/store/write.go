package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/penstock-dev/penstock/internal/base/failpoint"
)

// batch is one transaction with the work of several writers, each behind a
// savepoint, so that one wait for the disk serves them all.
type batch struct {
	tx     *sql.Tx
	exec   func(statement string) error
	cancel context.CancelFunc
	since  time.Time
	joined int           // writers whose work is in tx
	done   chan struct{} // closed when it has ended
	err    error         // how, to be read after done
}

// A batch ends at the latest when it holds this many writers or is this old,
// so that nobody waits long for those who come after.
const (
	maxBatch    = 100
	maxBatchAge = 20 * time.Millisecond
)

// errLost says that a batch was rolled back because of another writer in it.
var errLost = errors.New("the transaction was rolled back")

// Write runs fn in the one writing transaction and commits when it returns
// nil. The commit is durable when Write returns nil. fn must not keep tx, must
// not wait for anything else, must read what it depends on through tx, and
// reads what one query found to its end before the next statement. It may run
// again, so it begins by resetting what it sets outside itself. After a
// statement has failed it has to return an error.
//
// Writers that come at the same time share a commit. Once fn has begun, the
// end of ctx refuses further statements, but does not cut one short.
func (db *DB) Write(ctx context.Context, fn func(tx Tx) error) error {
	return db.writeWithin(ctx, db.limit, fn)
}

func (db *DB) writeWithin(ctx context.Context, limit time.Duration, fn func(tx Tx) error) error {
	const tries = 3
	for try := 1; ; try++ {
		err := db.writeOnce(ctx, limit, fn)
		if try == tries || !errors.Is(err, errLost) {
			return err
		}
	}
}

func (db *DB) writeOnce(ctx context.Context, limit time.Duration, fn func(tx Tx) error) error {
	if err := db.enter(ctx); err != nil {
		return fmt.Errorf("wait to write: %w", err)
	}
	b, err := db.join(ctx, limit, fn)
	if err != nil {
		return err
	}
	<-b.done
	return b.err
}

// enter waits for the turn to write.
func (db *DB) enter(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	db.waiting.Add(1)
	select {
	case db.turn <- struct{}{}:
		db.waiting.Add(-1)
		return nil
	case <-ctx.Done():
		// The one before may have left the commit to us, who were waiting.
		db.late.Go(func() {
			db.turn <- struct{}{}
			db.waiting.Add(-1)
			db.leave()
		})
		return ctx.Err()
	}
}

// leave hands the turn on, and ends the batch unless the next writer will.
func (db *DB) leave() {
	if b := db.open; b != nil && (b.joined >= maxBatch || db.waiting.Load() == 0 || time.Since(b.since) > db.age) {
		db.endBatch()
	}
	<-db.turn
}

func (db *DB) endBatch() {
	b := db.open
	db.open = nil
	if b.joined == 0 {
		b.err = b.tx.Rollback()
	} else {
		failpoint.Hit("store.commit.before")
		if err := b.tx.Commit(); err != nil {
			b.err = fmt.Errorf("commit: %w", err)
		} else {
			db.commits.Add(1)
		}
		failpoint.Hit("store.commit.after")
	}
	b.cancel()
	close(b.done)
}

// join runs fn in the open batch, or in a new one, and leaves. The batch is
// returned when it has the work of fn, which is to be waited for.
func (db *DB) join(ctx context.Context, limit time.Duration, fn func(tx Tx) error) (_ *batch, err error) {
	defer db.leave()
	if db.open != nil && limit > db.limit { // the batch's own limit is too short
		db.endBatch()
	}
	if db.open == nil {
		// The batch is not bound to the context of the writer who began it.
		bctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*max(limit, db.limit))
		tx, err := db.begin(bctx, db.write, nil)
		if err != nil {
			cancel()
			return nil, fmt.Errorf("begin: %w", err)
		}
		exec := func(statement string) error {
			_, err := tx.ExecContext(bctx, statement)
			return err
		}
		db.open = &batch{tx: tx, exec: exec, cancel: cancel, since: time.Now(), done: make(chan struct{})}
	}
	b := db.open
	if err := b.exec(`SAVEPOINT writer`); err != nil {
		db.loseBatch()
		return nil, fmt.Errorf("begin: %w", err)
	}
	s := session{tx: b.tx, db: db, limit: limit, finish: true}
	returned := false // not when fn panics or ends its goroutine
	defer func() {
		s.end()
		verb := "ROLLBACK TO"
		if returned && err == nil {
			verb = "RELEASE"
		}
		if verr := b.exec(verb + ` SAVEPOINT writer`); verr != nil {
			db.loseBatch()
			if err == nil {
				err = fmt.Errorf("end: %w", verr)
			}
			return
		}
		if verb == "RELEASE" {
			b.joined++
		}
	}()
	err = fn(&s)
	returned = true
	return b, err
}

// loseBatch ends a batch whose transaction is broken. Others in it try again.
func (db *DB) loseBatch() {
	b := db.open
	db.open = nil
	b.err = errLost
	_ = b.tx.Rollback() // the connection may be gone, which is a rollback too
	b.cancel()
	close(b.done)
}
