// Package workflow reads GitHub Actions workflow files into a typed model with
// positions. It is pure. What a file may contain is exactly what Penstock
// carries out: everything else is a [Finding] with line and column, and a file
// with an error finding gives no workflow.
package workflow

import "fmt"

// Pos is a place in a file; lines and columns count from 1.
type Pos struct {
	Line int `json:"line"`
	Col  int `json:"col"`
}

// Text is a scalar as written; it may hold ${{ }}.
type Text struct {
	Value string `json:"value"`
	Pos   Pos    `json:"pos"`
}

// Empty tells whether the text is absent or empty.
func (t Text) Empty() bool { return t.Value == "" }

// Pair is one entry of a mapping, in the order of the file.
type Pair struct {
	Key   string `json:"key"`
	Value Text   `json:"value"`
}

// Workflow is one workflow file.
type Workflow struct {
	Path        string      `json:"path"` // in the repository: ".github/workflows/ci.yml"
	Name        string      `json:"name"` // the path when the file gives none
	RunName     Text        `json:"runName"`
	On          On          `json:"on"`
	Env         []Pair      `json:"env,omitempty"`
	Defaults    Defaults    `json:"defaults"`
	Permissions Permissions `json:"permissions,omitempty"`
	Jobs        []*Job      `json:"jobs"`
}

// Job returns the job with the id, nil when there is none.
func (w *Workflow) Job(id string) *Job {
	for _, j := range w.Jobs {
		if j.ID == id {
			return j
		}
	}
	return nil
}

// On says which events start the workflow.
type On struct {
	Push   *Push    `json:"push,omitempty"`
	Events []string `json:"events"` // every event named, also those that nothing raises yet
}

// Push filters push events. A nil list is absent.
type Push struct {
	Branches, BranchesIgnore []string
	Tags, TagsIgnore         []string
	Paths, PathsIgnore       []string
}

// Defaults of run steps.
type Defaults struct {
	Shell            Text `json:"shell"`
	WorkingDirectory Text `json:"workingDirectory"`
}

// Permissions of the job's token by scope: "contents" -> "write". Nil when the
// file does not say.
type Permissions map[string]string

// Job is one job.
type Job struct {
	ID              string      `json:"id"`
	Pos             Pos         `json:"pos"`
	Name            Text        `json:"name"`
	Needs           []Text      `json:"needs,omitempty"`
	If              Text        `json:"if"`
	RunsOn          []Text      `json:"runsOn"`
	Env             []Pair      `json:"env,omitempty"`
	Defaults        Defaults    `json:"defaults"`
	Permissions     Permissions `json:"permissions,omitempty"`
	Outputs         []Pair      `json:"outputs,omitempty"`
	TimeoutMinutes  Text        `json:"timeoutMinutes"`
	ContinueOnError Text        `json:"continueOnError"`
	Steps           []*Step     `json:"steps"`
}

// Step is one step: a script (Run) or an action (Uses).
type Step struct {
	ID               string `json:"id"` // as written, or generated: "__run_2"
	Pos              Pos    `json:"pos"`
	Name             Text   `json:"name"`
	If               Text   `json:"if"`
	Run              Text   `json:"run"`
	Uses             Text   `json:"uses"`
	With             []Pair `json:"with,omitempty"`
	Env              []Pair `json:"env,omitempty"`
	Shell            Text   `json:"shell"`
	WorkingDirectory Text   `json:"workingDirectory"`
	ContinueOnError  Text   `json:"continueOnError"`
	TimeoutMinutes   Text   `json:"timeoutMinutes"`
}

// Finding is something wrong (or, as a warning, noteworthy) in a file.
type Finding struct {
	Path    string `json:"path"`
	Pos     Pos    `json:"pos"` // zero when the finding has no one place
	Warning bool   `json:"warning,omitempty"`
	Message string `json:"message"`
}

// String gives "path:line:col: message".
func (f Finding) String() string {
	kind := ""
	if f.Warning {
		kind = "warning: "
	}
	if f.Pos.Line == 0 {
		return fmt.Sprintf("%s: %s%s", f.Path, kind, f.Message)
	}
	return fmt.Sprintf("%s:%d:%d: %s%s", f.Path, f.Pos.Line, f.Pos.Col, kind, f.Message)
}
