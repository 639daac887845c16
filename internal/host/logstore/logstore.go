// Package logstore keeps logs: of the steps of CI jobs, of any engine. A log
// is a list of rows, each a moment and a line of text, masked before it
// touches a disk.
//
// While it is written a log is a file of compressed frames that only grows
// ([Create], [Writer]); readers follow it ([OpenFile]). When it is complete it
// is sealed into a blob with an index of its rows ([Seal], [OpenSealed]). Both
// are read from any row on, through the same interface, in the memory of one
// frame ([Reader]).
//
// The format is documented in docs/logs.md. Every frame is an ordinary zstd
// frame behind a skippable one that describes it, so `zstd -dc` shows a log
// when nothing of ours is at hand.
package logstore

import (
	"context"
	"errors"
)

// Reader reads the rows of a log, counted from 0. Its methods are for one
// goroutine at a time.
type Reader interface {
	// Rows says how many rows there are by now.
	Rows(ctx context.Context) (int64, error)
	// Read hands up to limit rows from row from on to emit, all that there are
	// when limit is negative, and returns the row after the last one handed
	// out. The text is valid during the call only. When part of the log cannot
	// be read, the rows before it are handed out and the error wraps
	// [ErrCorrupt].
	Read(ctx context.Context, from, limit int64, emit func(row int64, text []byte) error) (next int64, err error)
	Close() error
}

// ErrCorrupt marks a log that is damaged from some row on.
var ErrCorrupt = errors.New("the log is damaged")

// MaxRow is the length to which a line is kept in one row; a longer one
// becomes several rows.
const MaxRow = 1 << 20
