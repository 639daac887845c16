// Package runner runs one job: its steps, one after another, each with the
// environment, the files and the workflow commands of GitHub's runner. It is a
// process of its own beside the server (see package jobdir for how the two
// speak), so that a restart of the server does not touch running jobs.
package runner

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/penstock-dev/penstock/internal/base/failpoint"
	"github.com/penstock-dev/penstock/internal/base/id"
	"github.com/penstock-dev/penstock/internal/base/redact"
	"github.com/penstock-dev/penstock/internal/ci/actions"
	"github.com/penstock-dev/penstock/internal/ci/engine"
	"github.com/penstock-dev/penstock/internal/ci/expr"
	"github.com/penstock-dev/penstock/internal/ci/jobdir"
	"github.com/penstock-dev/penstock/internal/ci/workflow"
	"github.com/penstock-dev/penstock/internal/host/exec"
)

// Resolver finds the action that `uses` names.
type Resolver interface {
	Resolve(uses string) (actions.Action, error)
}

// Options of a runner.
type Options struct {
	Dir     jobdir.Dir
	Lock    *os.File     // the job's lock, held until the process ends
	Runtime exec.Runtime // where steps run
	Actions Resolver
	// Forward and Hosts make the server reachable for steps, see exec.SessionSpec.
	Forward map[string]string
	Hosts   map[string]string
	Limits  exec.Limits
	Tools   string // holds the tool cache of each repository, see toolCache; empty: none
	Log     *slog.Logger
}

// cancelGrace is how long a cancelled job may take until everything is killed.
const cancelGrace = 5 * time.Minute

// Run runs the job in o.Dir to its end. Whatever happens to the job is in its
// journal; the error is for what kept the runner from writing it.
func Run(ctx context.Context, o Options) (err error) {
	spec, secrets, err := o.Dir.Load()
	if err != nil {
		return err
	}
	journal, err := o.Dir.OpenJournal()
	if err != nil {
		return fmt.Errorf("open journal: %w", err)
	}
	defer func() { err = errors.Join(err, journal.Close()) }()
	j := &job{Options: o, spec: spec, secrets: secrets, journal: journal, mask: redact.New(), env: newEnviron(), result: engine.Success}
	defer func() { err = errors.Join(err, o.Dir.Clean()) }()
	defer func() { j.spares.close() }()
	if err := j.run(ctx); err != nil || j.tools == "" {
		return err
	}
	return pruneToolCache(j.tools, maxToolCache)
}

// job is the state of the one job a runner runs.
type job struct {
	Options
	spec      jobdir.Spec
	secrets   jobdir.Secrets
	journal   *jobdir.Writer
	mask      *redact.Masker
	tools     string // this repository's tool cache
	workspace string
	session   exec.Session
	contexts  contexts
	env       *environ // workflow env, job env and what steps put into GITHUB_ENV
	path      []string // what steps put into GITHUB_PATH, last first
	result    engine.Result
	resolved  map[*workflow.Step]actions.Action
	posts     []*step // steps whose action has something to do at the end

	files     *commandFiles
	spares    *spares
	cancelled *cancellation
}

// run carries the job through set-up, steps, posts and completion. Only a
// journal that cannot be written ends it early.
func (j *job) run(ctx context.Context) error {
	names := []string{"Set up job"}
	for _, s := range j.spec.Job.Steps {
		names = append(names, plannedName(s))
	}
	if err := j.journal.Append(jobdir.Entry{Type: jobdir.JobStarted, At: time.Now(), Names: names}); err != nil {
		return err
	}
	failpoint.Hit("ci.runner.started.after")
	hard, stop := j.watchCancel(ctx)
	defer stop()
	err := j.setUp(hard)
	if err != nil && !errors.As(err, new(*jobError)) {
		return err
	}
	if err == nil {
		if err := j.runSteps(hard); err != nil {
			return err
		}
	}
	outputs, err := j.complete()
	if err != nil {
		return err
	}
	failpoint.Hit("ci.runner.finished.before")
	err = j.journal.Append(jobdir.Entry{Type: jobdir.JobFinished, At: time.Now(), Conclusion: string(j.result), Outputs: outputs, Message: j.cancelled.cause()})
	failpoint.Hit("ci.runner.finished.after")
	return err
}

// jobError is a failure that is part of the job's story, not of the runner's.
type jobError struct{ err error }

func (e *jobError) Error() string { return e.err.Error() }
func (e *jobError) Unwrap() error { return e.err }

// cancellation is the request to cancel the job: done is closed after why is
// set.
type cancellation struct {
	done chan struct{}
	why  error
}

func (c *cancellation) requested() bool {
	select {
	case <-c.done:
		return true
	default:
		return false
	}
}

// cause says why the job was cancelled, "" when it was not.
func (c *cancellation) cause() string {
	if !c.requested() {
		return ""
	}
	return c.why.Error()
}

// watchCancel arms j.cancelled by the cancel file, the end of ctx and the
// job's time limit. The context it returns ends when the grace after that is
// over.
func (j *job) watchCancel(ctx context.Context) (hard context.Context, stop func()) {
	hard, killAll := context.WithCancel(context.WithoutCancel(ctx))
	c := &cancellation{done: make(chan struct{})}
	j.cancelled = c
	over := make(chan struct{})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if c.why = j.awaitCancel(ctx, over); c.why == nil {
			return
		}
		close(c.done)
		grace := time.NewTimer(cancelGrace)
		defer grace.Stop()
		select {
		case <-over:
		case <-grace.C:
			killAll()
		}
	}()
	return hard, func() {
		close(over)
		<-ended
		killAll()
	}
}

// awaitCancel returns why the job is to be cancelled, nil when it is over.
func (j *job) awaitCancel(ctx context.Context, over <-chan struct{}) error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	timeout := time.NewTimer(engine.Minutes(j.spec.TimeoutMinutes))
	defer timeout.Stop()
	for {
		select {
		case <-over:
			return nil
		case <-ctx.Done():
			return errors.New("the runner was told to stop")
		case <-timeout.C:
			return fmt.Errorf("the job has exceeded the maximum execution time of %v minutes", j.spec.TimeoutMinutes)
		case <-tick.C:
			if j.Dir.CancelRequested() {
				return errors.New("the run was cancelled")
			}
		}
	}
}

// setUp opens the session and makes the contexts; it is step 1 of the job.
func (j *job) setUp(ctx context.Context) error {
	s := &step{job: j, number: 1, name: "Set up job"}
	if err := s.begin(); err != nil {
		return err
	}
	err := j.prepare(ctx, s)
	outcome := engine.Success
	if err != nil {
		outcome = engine.Failure
		j.result = engine.Failure
		s.fail(err)
		err = &jobError{err}
	}
	if ferr := s.finish(outcome, outcome); ferr != nil {
		return ferr
	}
	return err
}

func (j *job) prepare(ctx context.Context, s *step) (err error) {
	c := &j.contexts
	for _, p := range []struct {
		into **expr.Object
		from []byte
		name string
	}{{&c.github, j.spec.GitHub, "github"}, {&c.needs, j.spec.Needs, "needs"}, {&c.vars, j.spec.Vars, "vars"}, {&c.inputs, j.spec.Inputs, "inputs"}} {
		if *p.into, err = object(p.from, p.name); err != nil {
			return err
		}
	}
	if err := j.addSecrets(); err != nil {
		return err
	}
	if err := j.resolveActions(); err != nil {
		return err
	}
	if err := j.makeDirectories(); err != nil {
		return err
	}
	if j.Tools != "" {
		if j.tools, err = toolCache(j.Tools, j.spec.Repo); err != nil {
			return err
		}
	}
	c.runner = newRunnerContext(j.Dir.Temp(), j.tools)
	c.steps, c.job = expr.NewObject(), expr.NewObject()
	c.job.Set("status", string(engine.Success))
	c.github.Set("workspace", j.workspace)
	c.github.Set("event_path", filepath.Join(j.Dir.Temp(), "_github_workflow", "event.json"))
	c.github.Set("job", j.spec.Job.ID)
	c.github.Set("token", j.secrets.Token)
	if err := j.writeEvent(); err != nil {
		return err
	}
	for _, list := range []struct {
		pairs []workflow.Pair
		scope expr.Scope
	}{{j.spec.WorkflowEnv, workflow.WorkflowEnvScope}, {j.spec.Job.Env, workflow.JobEnvScope}} {
		evaluated, err := evaluatePairs(list.pairs, list.scope, expr.Env{Values: c.values(j.env.context()), Memory: memory})
		if err != nil {
			return fmt.Errorf("evaluate env: %w", err)
		}
		for _, p := range evaluated {
			j.env.set(p.name, p.value)
		}
	}
	s.log.Print(fmt.Sprintf("Job %s of run %s, repository %s", j.spec.Name, contextString(c.github, "run_id"), j.spec.Repo))
	s.log.Print(fmt.Sprintf("Commands run in: %s", j.describeRuntime()))
	started := time.Now()
	j.session, err = j.Runtime.Open(ctx, exec.SessionSpec{
		ID: sessionID(j.spec.JobID), Workspace: j.workspace, Mounts: j.mounts(), Hosts: j.Hosts, Forward: j.Forward, Limits: j.Limits,
	})
	if err != nil {
		return fmt.Errorf("prepare the place where the job runs: %w", err)
	}
	s.log.Print(fmt.Sprintf("Ready after %d ms", time.Since(started).Milliseconds()))
	return nil
}

func (j *job) describeRuntime() string {
	if j.Runtime.Name() == "process" {
		return "process (as the user that runs Penstock, not isolated from this machine)"
	}
	return j.Runtime.Name()
}

func (j *job) mounts() []exec.Mount {
	mounts := []exec.Mount{{Source: j.Dir.Temp(), Target: j.Dir.Temp()}, {Source: j.Dir.Home(), Target: j.Dir.Home()}}
	if j.tools != "" {
		mounts = append(mounts, exec.Mount{Source: j.tools, Target: j.tools})
	}
	return mounts
}

var notInID = regexp.MustCompile(`[^a-z0-9-]+`)

// sessionID is the job's id as far as a session's id can say it. What it cannot
// say becomes a digest: the jobs a_b and a-b of one run are not the same.
func sessionID(jobID string) string {
	const most = 40
	s := notInID.ReplaceAllString(strings.ToLower(jobID), "-")
	if s == jobID && len(s) <= most {
		return s
	}
	digest := "-" + id.Of(jobID)[:12]
	return s[:min(len(s), most-len(digest))] + digest
}

// resolveActions finds the actions of all steps before the first one runs, so
// that a job does not stop halfway for a name that nobody knows.
func (j *job) resolveActions() error {
	j.resolved = map[*workflow.Step]actions.Action{}
	var errs []error
	for _, s := range j.spec.Job.Steps {
		if s.Uses.Empty() {
			continue
		}
		a, err := j.Actions.Resolve(s.Uses.Value)
		if err != nil {
			errs = append(errs, fmt.Errorf("line %d: %w", s.Uses.Pos.Line, err))
			continue
		}
		j.resolved[s] = a
	}
	return errors.Join(errs...)
}

// addSecrets makes the secrets context and masks what is in it.
func (j *job) addSecrets() error {
	c := expr.NewObject()
	c.Set("GITHUB_TOKEN", j.secrets.Token)
	values := []string{j.secrets.Token}
	for name, value := range j.secrets.Values {
		c.Set(name, value)
		values = append(values, value)
	}
	j.contexts.secrets = c
	for _, v := range values {
		if err := j.mask.Add(v); err != nil {
			return fmt.Errorf("hide secrets: %w", err)
		}
	}
	return nil
}

// makeDirectories creates the workspace under the name of the repository, as
// GitHub's runner does.
func (j *job) makeDirectories() error {
	_, name, _ := strings.Cut(j.spec.Repo, "/")
	if name == "" || name != filepath.Base(name) {
		return fmt.Errorf("repository %q has no name", j.spec.Repo)
	}
	j.workspace = filepath.Join(j.Dir.Work(), name, name)
	for _, dir := range []string{j.workspace, j.Dir.Temp(), j.Dir.Home(), j.Dir.Private(), filepath.Join(j.Dir.Temp(), "_github_workflow")} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	temp, err := os.OpenRoot(j.Dir.Temp())
	if err != nil {
		return err
	}
	defer temp.Close()
	if j.files, err = newCommandFiles(temp); err != nil {
		return err
	}
	j.spares = newSpares(j.Dir.Private())
	return nil
}

func (j *job) writeEvent() error {
	event, _ := j.contexts.github.Get("event")
	return os.WriteFile(filepath.Join(j.Dir.Temp(), "_github_workflow", "event.json"), []byte(expr.ToJSON(event)), 0o644)
}

func contextString(o *expr.Object, key string) string {
	v, _ := o.Get(key)
	return expr.String(v)
}

// complete evaluates the outputs and closes the session; it is the last step of
// the job.
func (j *job) complete() (outputs map[string]string, err error) {
	s := &step{job: j, number: len(j.spec.Job.Steps) + len(j.posts) + 2, name: "Complete job"}
	if err := s.begin(); err != nil {
		return nil, err
	}
	outcome := engine.Success
	note := func(err error) {
		if err != nil {
			s.fail(err)
			outcome, j.result = engine.Failure, engine.Failure
		}
	}
	if j.session != nil {
		outputs, err = j.outputs(s)
		note(err)
		if err := j.session.Close(); err != nil {
			// What the steps did stands; the server sweeps what is left.
			s.log.Print("##[warning]Not everything of the job's place could be removed: " + err.Error())
			j.Log.Error("session left something behind", "job", j.spec.JobID, "error", err)
		}
	}
	if j.files != nil {
		note(j.files.close())
	}
	if cause := j.cancelled.cause(); cause != "" {
		s.log.Print("##[error]" + strings.ToUpper(cause[:1]) + cause[1:] + ".")
	}
	s.log.Print("Job ended as " + string(j.result))
	return outputs, s.finish(outcome, outcome)
}

// maxOutputs bounds the outputs of a job together.
const maxOutputs = 1 << 20

// outputs evaluates the outputs of the job. A value that holds a secret is
// left out, as GitHub does.
func (j *job) outputs(s *step) (map[string]string, error) {
	out, size := map[string]string{}, 0
	env := expr.Env{Values: j.contexts.values(j.env.context()), Memory: memory}
	evaluated, err := evaluatePairs(j.spec.Job.Outputs, workflow.JobOutputsScope, env)
	if err != nil {
		return nil, fmt.Errorf("evaluate outputs: %w", err)
	}
	for _, p := range evaluated {
		if j.mask.Hides(p.value) {
			s.annotate(jobdir.Note{Level: "warning", Message: "Skip output '" + p.name + "' since it may contain secret."})
			continue
		}
		if size += len(p.value); size > maxOutputs {
			return nil, fmt.Errorf("the outputs of the job are larger than %d bytes", maxOutputs)
		}
		out[p.name] = p.value
	}
	return out, nil
}

// memory bounds what one expression of a job may hold.
const memory = 10 << 20

// evaluatePairs evaluates the values of pairs.
func evaluatePairs(pairs []workflow.Pair, scope expr.Scope, env expr.Env) ([]assignment, error) {
	out := make([]assignment, 0, len(pairs))
	for _, p := range pairs {
		v, err := evaluateText(p.Value, scope, env)
		if err != nil {
			return nil, fmt.Errorf("%s (line %d): %w", p.Key, p.Value.Pos.Line, err)
		}
		out = append(out, assignment{p.Key, expr.String(v)})
	}
	return out, nil
}

func evaluateText(t workflow.Text, scope expr.Scope, env expr.Env) (expr.Value, error) {
	if !strings.Contains(t.Value, "${{") {
		return t.Value, nil
	}
	tpl, err := expr.ParseTemplate(t.Value, scope)
	if err != nil {
		return nil, err
	}
	return tpl.Evaluate(env)
}
