// Package filelock takes advisory locks on files: they say that a process
// lives. The system lets go of a lock when its holder, and whoever inherited
// the open file, is gone.
package filelock

import "errors"

// ErrLocked says that another process holds the lock.
var ErrLocked = errors.New("locked by another process")

// Kind of a lock.
type Kind bool

// Exclusive is for the holder, Shared for who only asks.
const (
	Exclusive Kind = true
	Shared    Kind = false
)
