package store

import (
	"testing"
	"time"
)

// Those with a limit of the test's own.
var (
	WriteWithin = (*DB).writeWithin
	ReadWithin  = (*DB).readWithin
)

// SetBatchAge changes how old a batch may become.
func SetBatchAge(db *DB, d time.Duration) { db.age = d }

// Commits is how many transactions with work in them there were.
func Commits(db *DB) int64 { return db.commits.Load() }

// Waiting is how many writers wait for their turn.
func Waiting(db *DB) int64 { return db.waiting.Load() }

// SetHandOver changes how long a server waits for another, for one test.
func SetHandOver(t *testing.T, d time.Duration) {
	old := handOver
	handOver = d
	t.Cleanup(func() { handOver = old })
}
