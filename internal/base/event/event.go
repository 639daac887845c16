// Package event holds the values that rooms tell each other about: what
// happened, to what, when. They are stored as JSON in the event log (package
// host/store) and carried by base/bus as wake-ups.
package event

import "time"

// Types of the events in the log.
const (
	TypePush        = "dev.penstock.git.push"
	TypeRunFinished = "dev.penstock.ci.run.finished"
)

// ZeroCommit is git's name for "no commit" in a [RefUpdate].
const ZeroCommit = "0000000000000000000000000000000000000000"

// Push says that refs of a hosted repository changed.
type Push struct {
	ID      string      `json:"id"`   // id of the log entry; same push, same id
	Repo    string      `json:"repo"` // "owner/name"
	Actor   string      `json:"actor"`
	Updates []RefUpdate `json:"updates"` // at least one
	At      time.Time   `json:"at"`
}

// RefUpdate is one changed ref, with full names ("refs/heads/main").
type RefUpdate struct {
	Ref    string `json:"ref"`
	Before string `json:"before"` // 40 hex digits, ZeroCommit when the ref is new
	After  string `json:"after"`  // 40 hex digits, ZeroCommit when the ref is gone
}

// RunFinished says that a CI run reached its end.
type RunFinished struct {
	RunID      int64     `json:"runId"`
	Repo       string    `json:"repo"`
	Commit     string    `json:"commit"`
	Conclusion string    `json:"conclusion"` // success, failure, cancelled, skipped
	At         time.Time `json:"at"`
}
