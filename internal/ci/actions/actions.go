// Package actions resolves what a step `uses`. Well-known actions are built in:
// they need no download, and no third-party code sees the job's token. What is
// not built in is refused with the list of what is.
package actions

import (
	"context"
	"fmt"
	"io"
	"sort"
	"strings"

	"github.com/penstock-dev/penstock/internal/base/problem"
)

// Action is one built-in action. Its Run and Post work inside the step that
// the [Step] stands for.
type Action interface {
	// Inputs by name, as the action's own documentation lists them.
	Inputs() map[string]Input
	// Run does the work. An error fails the step.
	Run(ctx context.Context, s Step) error
}

// Poster is an action that has something to do after the last step of the job.
type Poster interface {
	Post(ctx context.Context, s Step) error
}

// Input of an action.
type Input struct {
	Default  string // may hold ${{ }} over the github context
	Required bool
	// Refused says why a value other than the default is an error; empty for
	// inputs that work.
	Refused string
}

// Step is what a running action may use: the runner implements it.
type Step interface {
	// Input is the value of an input, trimmed, with its default applied.
	Input(name string) string
	// Printf writes a line to the step's log.
	Printf(format string, args ...any)
	// Warnf writes a warning and makes it an annotation of the run.
	Warnf(format string, args ...any)
	// Group folds what is printed until the returned function is called.
	Group(title string) func()
	// Exec runs a command where the job's steps run and returns its exit code.
	Exec(ctx context.Context, c Command) (code int, err error)
	SetOutput(name, value string)
	// Built reports an image that the step built. It can be had on this machine
	// under the tags, and from a registry under those that were pushed.
	Built(digest string, tags, pushed []string) error
	// AddPath puts dir in front of PATH for the steps that follow.
	AddPath(dir string)
	// State keeps a value from Run to Post.
	State(name string) string
	SetState(name, value string)
	// Mask hides a value in all logs from now on.
	Mask(secret string)
	Job() Job
}

// Command is a program for [Step.Exec].
type Command struct {
	Args   []string
	Env    []string  // "K=V", on top of the step's environment
	Dir    string    // default: the workspace
	Stdin  io.Reader // default: nothing
	Stdout io.Writer // default: the step's log
	Quiet  bool      // do not print the command itself
}

// Job is what actions know of the job.
type Job struct {
	Repo      string // owner/name
	Ref       string // refs/heads/main
	SHA       string
	ServerURL string // without a slash at the end
	Token     string
	Workspace string // same path for the runner and for commands
	Temp      string // likewise
	Private   string // a directory that commands cannot see
}

// Registry holds the built-in actions by name.
type Registry struct{ actions map[string]versions }

type versions struct {
	supported []string // major versions: "v4"
	action    Action
}

// New returns the registry of built-in actions. builder builds images for
// docker/build-push-action.
func New(builder Builder) *Registry {
	return &Registry{map[string]versions{
		"actions/checkout":           {majors(1, 5), checkout{}},
		"docker/build-push-action":   {majors(4, 6), buildPush{builder}},
		"docker/login-action":        {majors(1, 3), dockerLogin{}},
		"docker/setup-buildx-action": {majors(1, 3), setupBuildx{}},
		"actions/setup-go":           {majors(2, 6), setupGo{}},
		"actions/setup-node":         {majors(2, 5), setupNode{}},
	}}
}

func majors(from, to int) (out []string) {
	for v := from; v <= to; v++ {
		out = append(out, fmt.Sprintf("v%d", v))
	}
	return out
}

// Resolve returns the action that `uses` names.
func (r *Registry) Resolve(uses string) (Action, error) {
	name, ref, _ := strings.Cut(uses, "@")
	a, ok := r.actions[strings.ToLower(name)]
	if !ok {
		return nil, fmt.Errorf("action %s is not built in, and this version of Penstock runs built-in actions only: %s: %w",
			name, strings.Join(r.names(), ", "), problem.ErrInvalid)
	}
	if strings.HasPrefix(ref, "v") {
		major, _, _ := strings.Cut(ref, ".")
		for _, v := range a.supported {
			if v == major {
				return a.action, nil
			}
		}
	}
	return nil, fmt.Errorf("action %s is built in with the behaviour of %s, not of '%s': %w", name,
		strings.Join(a.supported, ", "), ref, problem.ErrInvalid)
}

func (r *Registry) names() []string {
	out := make([]string, 0, len(r.actions))
	for n := range r.actions {
		out = append(out, n)
	}
	sort.Strings(out)
	return out
}
