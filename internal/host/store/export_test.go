package store

import "time"

// SetLimit changes how long a statement may take.
func SetLimit(db *DB, d time.Duration) { db.limit = d }

// SetBatchAge changes how old a batch may become.
func SetBatchAge(db *DB, d time.Duration) { db.age = d }

// Commits is how many transactions with work in them there were.
func Commits(db *DB) int64 { return db.commits.Load() }

// Waiting is how many writers wait for their turn.
func Waiting(db *DB) int64 { return db.waiting.Load() }
