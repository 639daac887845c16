// Package runs keeps CI runs: it turns pushes into runs, starts their jobs as
// processes of their own when it is their turn, and records what they report.
// Everything is in the store before anything happens, so that the server can
// end at any time: it finds its running jobs again (see package jobdir), and a
// job whose runner died is failed, never silently run again.
//
// To wire it: make a [Service] with [New], run [Service.Run] with the other
// rooms, and give it to the API as a reader. Runners are started through
// [Options.Runner]; internal/app builds the hidden command `penstock runner`
// around package runner.
package runs

import "time"

// Status of a run, a job or a step.
type Status string

// The statuses.
const (
	Queued     Status = "queued"
	InProgress Status = "in_progress"
	Completed  Status = "completed"
)

// Run is one run of one workflow.
type Run struct {
	ID           int64     `json:"id"`
	Repo         string    `json:"repo" doc:"owner/name"`
	WorkflowPath string    `json:"workflowPath"`
	Workflow     string    `json:"workflow" doc:"name of the workflow"`
	Title        string    `json:"title" doc:"run-name, else the first line of the commit message"`
	Number       int64     `json:"number" doc:"counts the runs of this workflow"`
	Engine       string    `json:"engine"`
	Event        string    `json:"event"`
	Ref          string    `json:"ref"`
	SHA          string    `json:"commit" doc:"commit that ran"`
	Actor        string    `json:"actor"`
	Status       Status    `json:"status" enum:"queued,in_progress,completed"`
	Conclusion   string    `json:"conclusion,omitempty" doc:"success, failure, cancelled, skipped; startup_failure for a workflow file with faults"`
	Message      string    `json:"message,omitempty" doc:"why the run stands as it does"`
	CreatedAt    time.Time `json:"createdAt"`
	StartedAt    time.Time `json:"startedAt,omitzero"`
	FinishedAt   time.Time `json:"completedAt,omitzero"`
	Jobs         []Job     `json:"jobs,omitempty" doc:"only when one run is asked for"`
}

// Job is one job of a run.
type Job struct {
	Key         string       `json:"key" doc:"id in the workflow file"`
	Name        string       `json:"name"`
	Needs       []string     `json:"needs,omitempty"`
	Status      Status       `json:"status" enum:"queued,in_progress,completed"`
	Conclusion  string       `json:"conclusion,omitempty"`
	Message     string       `json:"message,omitempty" doc:"what the job waits for, or why it was skipped or failed"`
	StartedAt   time.Time    `json:"startedAt,omitzero"`
	FinishedAt  time.Time    `json:"completedAt,omitzero"`
	Steps       []Step       `json:"steps,omitempty"`
	Annotations []Annotation `json:"annotations,omitempty"`
}

// Step is one step of a job.
type Step struct {
	Number     int       `json:"number"`
	Name       string    `json:"name"`
	Status     Status    `json:"status" enum:"queued,in_progress,completed"`
	Outcome    string    `json:"outcome,omitempty" doc:"before continue-on-error"`
	Conclusion string    `json:"conclusion,omitempty"`
	StartedAt  time.Time `json:"startedAt,omitzero"`
	FinishedAt time.Time `json:"completedAt,omitzero"`
}

// Annotation is a notice, warning or error, mostly about a place in a file.
type Annotation struct {
	Step    int    `json:"step"`
	Level   string `json:"level" enum:"notice,warning,error"`
	Title   string `json:"title,omitempty"`
	File    string `json:"file,omitempty"`
	Line    int    `json:"line,omitempty"`
	Message string `json:"message"`
}

// Conclusions beyond those of package engine.
const startupFailure = "startup_failure"
