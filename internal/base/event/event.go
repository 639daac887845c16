// Package event holds the values that rooms tell each other about: what
// happened, to what, when. They are stored as JSON in the event log (package
// host/store) and carried by base/bus as wake-ups.
//
// The types of the log are those of CDEvents, https://cdevents.dev; where it
// has none, of the form that it gives to others, dev.cdeventsx.penstock-….
// What is stored is our own value, which holds all that we know; [CDEvent] and
// [CloudEvent] show it to others.
package event

import "time"

// Types of the events in the log, and the value that each has.
const (
	TypePush = "dev.cdeventsx.penstock-push.received.0.1.0" // Push

	TypeRepositoryCreated = "dev.cdevents.repository.created.0.3.0" // Repository
	TypeRepositoryDeleted = "dev.cdevents.repository.deleted.0.3.0" // Repository
	TypeBranchCreated     = "dev.cdevents.branch.created.0.3.0"     // Branch
	TypeBranchDeleted     = "dev.cdevents.branch.deleted.0.3.0"     // Branch
	TypeChangeMerged      = "dev.cdevents.change.merged.0.3.0"      // Change

	TypeRunQueued   = "dev.cdevents.pipelinerun.queued.0.3.0"   // Run
	TypeRunStarted  = "dev.cdevents.pipelinerun.started.0.3.0"  // Run
	TypeRunFinished = "dev.cdevents.pipelinerun.finished.0.3.0" // RunFinished
	TypeJobStarted  = "dev.cdevents.taskrun.started.0.3.0"      // Job
	TypeJobFinished = "dev.cdevents.taskrun.finished.0.3.0"     // JobFinished

	TypeArtifactPackaged  = "dev.cdevents.artifact.packaged.0.3.0"  // Artifact
	TypeArtifactPublished = "dev.cdevents.artifact.published.0.3.0" // Artifact

	TypeServiceDeployed = "dev.cdevents.service.deployed.0.3.0" // Service
	TypeServiceUpgraded = "dev.cdevents.service.upgraded.0.3.0" // Service
	TypeServiceRemoved  = "dev.cdevents.service.removed.0.3.0"  // Service
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

// Repository says that a hosted repository was made or removed.
type Repository struct {
	Repo string    `json:"repo"`
	URL  string    `json:"url,omitempty"` // to clone it
	At   time.Time `json:"at"`
}

// Branch says that a branch came or went.
type Branch struct {
	Repo   string    `json:"repo"`
	Branch string    `json:"branch"`
	Commit string    `json:"commit"` // where it is, or was
	Push   string    `json:"push"`   // id of the push event
	Actor  string    `json:"actor"`
	At     time.Time `json:"at"`
}

// Change says that a repository's default branch is at another commit.
type Change struct {
	Repo   string    `json:"repo"`
	Branch string    `json:"branch"`
	Before string    `json:"before"`
	Commit string    `json:"commit"`
	Push   string    `json:"push"` // id of the push event
	Actor  string    `json:"actor"`
	At     time.Time `json:"at"`
}

// Run says that a CI run waits or has begun.
type Run struct {
	RunID    int64     `json:"runId"`
	Repo     string    `json:"repo"`
	Commit   string    `json:"commit"`
	Ref      string    `json:"ref,omitempty"`
	Workflow string    `json:"workflow,omitempty"` // its name
	Actor    string    `json:"actor,omitempty"`
	Cause    string    `json:"cause,omitempty"` // id of the event that the run is about
	At       time.Time `json:"at"`
}

// RunFinished says that a CI run reached its end.
type RunFinished struct {
	RunID      int64     `json:"runId"`
	Repo       string    `json:"repo"`
	Commit     string    `json:"commit"`
	Ref        string    `json:"ref,omitempty"`
	Workflow   string    `json:"workflow,omitempty"`
	Actor      string    `json:"actor,omitempty"`
	Cause      string    `json:"cause,omitempty"`
	Conclusion string    `json:"conclusion"` // success, failure, cancelled, skipped
	Message    string    `json:"message,omitempty"`
	At         time.Time `json:"at"`
}

// Job says that a job of a CI run has begun.
type Job struct {
	RunID  int64     `json:"runId"`
	Job    string    `json:"job"`  // its key in the workflow
	Name   string    `json:"name"` // as people see it
	Repo   string    `json:"repo"`
	Commit string    `json:"commit"`
	Cause  string    `json:"cause,omitempty"`
	At     time.Time `json:"at"`
}

// JobFinished says that a job that had begun reached its end.
type JobFinished struct {
	RunID      int64     `json:"runId"`
	Job        string    `json:"job"`
	Name       string    `json:"name"`
	Repo       string    `json:"repo"`
	Commit     string    `json:"commit"`
	Cause      string    `json:"cause,omitempty"`
	Conclusion string    `json:"conclusion"`
	Message    string    `json:"message,omitempty"`
	At         time.Time `json:"at"`
}

// Artifact says that a job built an image, or made it available.
type Artifact struct {
	Image  string    `json:"image"` // "host/owner/name", without a tag
	Tags   []string  `json:"tags,omitempty"`
	Digest string    `json:"digest"` // "sha256:…"
	RunID  int64     `json:"runId"`
	Job    string    `json:"job"`
	Repo   string    `json:"repo"`
	Commit string    `json:"commit"`
	Cause  string    `json:"cause,omitempty"`
	At     time.Time `json:"at"`
}

// Service says that an Application runs another version, or no more.
type Service struct {
	Application string    `json:"application"`         // "namespace/name"
	UID         string    `json:"uid"`                 // of the Application
	History     int64     `json:"history"`             // id of the entry in its history
	Environment string    `json:"environment"`         // "cluster/namespace"
	Source      string    `json:"source,omitempty"`    // URL of the repository with the manifests
	Revision    string    `json:"revision,omitempty"`  // its commit
	Images      []string  `json:"images,omitempty"`    // what runs
	Initiator   string    `json:"initiator,omitempty"` // who asked for it, or "automated"
	At          time.Time `json:"at"`
}
