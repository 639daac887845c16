package runner

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/penstock-dev/penstock/internal/base/failpoint"
	"github.com/penstock-dev/penstock/internal/base/tracing"
	"github.com/penstock-dev/penstock/internal/ci/actions"
	"github.com/penstock-dev/penstock/internal/ci/engine"
	"github.com/penstock-dev/penstock/internal/ci/expr"
	"github.com/penstock-dev/penstock/internal/ci/jobdir"
	"github.com/penstock-dev/penstock/internal/ci/workflow"
	"github.com/penstock-dev/penstock/internal/host/logstore"
)

// step is one step while it runs.
type step struct {
	job    *job
	def    *workflow.Step // nil for the runner's own steps
	number int
	name   string
	log    *logstore.Writer
	env    *environ // of this step, complete
	files  *commandFiles

	action actions.Action
	inputs map[string]string
	state  map[string]string
	post   bool // the step runs the action's Post

	outputs     map[string]string
	outputOrder []string
	failed      bool // a command or file command of the step failed

	echo      bool
	stopToken string
	notes     map[string]int // annotations by level
}

// plannedName is the name of a step before its expressions are evaluated.
func plannedName(s *workflow.Step) string {
	switch {
	case !s.Name.Empty():
		return s.Name.Value
	case !s.Uses.Empty():
		return "Run " + s.Uses.Value
	}
	line, _, _ := strings.Cut(strings.TrimSpace(s.Run.Value), "\n")
	return "Run " + line
}

// begin opens the log and writes that the step has started.
func (s *step) begin() (err error) {
	if s.job.spares != nil {
		f, err := s.job.spares.at(s.job.Dir.Log(s.number), 0o600)
		if err != nil {
			return fmt.Errorf("make log of step %d: %w", s.number, err)
		}
		f.Close() // nothing was written
	}
	if s.log, err = logstore.Create(s.job.Dir.Log(s.number), logstore.Options{Mask: s.job.mask}); err != nil {
		return fmt.Errorf("open log of step %d: %w", s.number, err)
	}
	failpoint.Hit("ci.runner.step_started.before")
	err = s.job.journal.Append(jobdir.Entry{Type: jobdir.StepStarted, At: time.Now(), Step: s.number, Name: s.job.mask.Mask(s.name)})
	failpoint.Hit("ci.runner.step_started.after")
	return err
}

// finish closes the log and writes how the step ended.
func (s *step) finish(outcome, conclusion engine.Result) error {
	if err := s.log.Close(); err != nil {
		return fmt.Errorf("write log of step %d: %w", s.number, err)
	}
	failpoint.Hit("ci.runner.step_finished.before")
	err := s.job.journal.Append(jobdir.Entry{Type: jobdir.StepFinished, At: time.Now(), Step: s.number, Name: s.job.mask.Mask(s.name), Outcome: string(outcome), Conclusion: string(conclusion)})
	failpoint.Hit("ci.runner.step_finished.after")
	return err
}

// fail prints why the step failed, and makes it an annotation of the run.
func (s *step) fail(err error) {
	s.log.Print("##[error]" + strings.ReplaceAll(err.Error(), "\n", "\n##[error]"))
	s.annotate(jobdir.Note{Level: "error", Message: err.Error()})
}

// runSteps runs the steps of the job and then the posts of their actions, the
// last first.
func (j *job) runSteps(ctx context.Context) error {
	for i, def := range j.spec.Job.Steps {
		s := &step{job: j, def: def, number: i + 2, name: plannedName(def), outputs: map[string]string{}, state: map[string]string{}, notes: map[string]int{}}
		if err := j.runStep(ctx, s); err != nil {
			return err
		}
		if _, ok := s.action.(actions.Poster); ok && s.inputs != nil {
			j.posts = append(j.posts, s)
		}
	}
	for i := range j.posts {
		main := j.posts[len(j.posts)-1-i]
		p := &step{job: j, def: main.def, number: len(j.spec.Job.Steps) + 2 + i, name: "Post " + main.name, env: main.env,
			action: main.action, inputs: main.inputs, state: main.state, post: true, outputs: map[string]string{}, notes: map[string]int{}}
		if err := j.runPost(ctx, p); err != nil {
			return err
		}
	}
	return nil
}

// runPost runs what an action left for the end of the job, whatever happened.
func (j *job) runPost(ctx context.Context, s *step) error {
	if err := s.begin(); err != nil {
		return err
	}
	outcome := engine.Success
	if err := s.action.(actions.Poster).Post(ctx, s); err != nil {
		s.fail(err)
		outcome, j.result = engine.Failure, engine.Failure
	}
	return s.finish(outcome, outcome)
}

// runStep decides whether the step runs, runs it and takes its effects over.
func (j *job) runStep(ctx context.Context, s *step) error {
	if err := s.begin(); err != nil {
		return err
	}
	outcome, err := j.execute(ctx, s)
	if err != nil {
		s.fail(err)
	}
	conclusion := outcome
	if outcome == engine.Failure && s.continueOnError() {
		conclusion = engine.Success
	}
	switch {
	case j.cancelled.requested() || outcome == engine.Cancelled:
		j.result = engine.Cancelled
	case conclusion == engine.Failure:
		j.result = engine.Failure
	}
	j.contexts.job.Set("status", string(j.result))
	j.contexts.setStep(s.def.ID, s.outputs, s.outputOrder, string(outcome), string(conclusion))
	return s.finish(outcome, conclusion)
}

// execute evaluates the step's keys and runs it.
func (j *job) execute(ctx context.Context, s *step) (engine.Result, error) {
	if j.cancelled.requested() {
		j.result = engine.Cancelled
		j.contexts.job.Set("status", string(j.result))
	}
	s.env = s.environment()
	run, err := s.condition()
	if err != nil {
		return engine.Failure, fmt.Errorf("evaluate if: %w", err)
	}
	if !run {
		return engine.Skipped, nil
	}
	s.files = j.files
	if err := s.files.renew(); err != nil {
		return engine.Failure, fmt.Errorf("make command files: %w", err)
	}
	if err := s.prepare(); err != nil {
		return engine.Failure, err
	}
	ctx, stop, err := s.bound(ctx)
	if err != nil {
		return engine.Failure, err
	}
	defer stop()
	if s.def.Uses.Empty() {
		err = s.runScript(ctx)
	} else {
		err = s.runAction(ctx)
	}
	ferr := s.takeFiles()
	switch cause := context.Cause(ctx); {
	case errors.Is(cause, errStepTimeout):
		return engine.Failure, fmt.Errorf("the step '%s' has timed out after %s minutes", s.name, s.def.TimeoutMinutes.Value)
	case cause != nil:
		return engine.Cancelled, errors.New("the operation was cancelled")
	case err != nil:
		return engine.Failure, err
	case ferr != nil:
		return engine.Failure, ferr
	case s.failed:
		return engine.Failure, nil
	}
	return engine.Success, nil
}

var errStepTimeout = errors.New("step timed out")

// bound gives the context of the step's command: it ends with the step's time
// limit, and with cancellation unless the step's condition holds even then.
func (s *step) bound(ctx context.Context) (context.Context, func(), error) {
	bounded, cancel := context.WithCancelCause(ctx)
	stops := []func(){func() { cancel(nil) }}
	if !s.def.TimeoutMinutes.Empty() {
		v, err := evaluateText(s.def.TimeoutMinutes, workflow.StepScope, s.exprEnv())
		if err != nil {
			return nil, nil, fmt.Errorf("evaluate timeout-minutes: %w", err)
		}
		minutes, err := strconv.ParseFloat(expr.String(v), 64)
		if err != nil {
			return nil, nil, fmt.Errorf("timeout-minutes: '%s' is not a number", expr.String(v))
		}
		if minutes > 0 {
			t := time.AfterFunc(engine.Minutes(minutes), func() { cancel(errStepTimeout) })
			stops = append(stops, func() { t.Stop() })
		}
	}
	if !s.job.cancelled.requested() { // else the condition held although the job was cancelled
		watched := make(chan struct{})
		go func() {
			defer close(watched)
			select {
			case <-bounded.Done():
			case <-s.job.cancelled.done:
				if keep, err := s.conditionWhen(engine.Cancelled); err != nil || !keep {
					cancel(context.Canceled)
				}
			}
		}()
		stops = append(stops, func() { <-watched })
	}
	return bounded, func() {
		for _, stop := range stops {
			stop()
		}
	}, nil
}

// condition evaluates the step's `if` as things stand.
func (s *step) condition() (bool, error) { return s.conditionWhen(s.job.result) }

func (s *step) conditionWhen(status engine.Result) (bool, error) {
	c, err := workflow.ParseCondition(s.def.If.Value, workflow.StepIfScope)
	if err != nil {
		return false, err
	}
	env := s.exprEnv()
	is := func(want engine.Result) func([]expr.Value) (expr.Value, error) {
		return func([]expr.Value) (expr.Value, error) { return status == want, nil }
	}
	env.Functions["always"] = func([]expr.Value) (expr.Value, error) { return true, nil }
	env.Functions["success"], env.Functions["failure"], env.Functions["cancelled"] = is(engine.Success), is(engine.Failure), is(engine.Cancelled)
	return c.Evaluate(env)
}

func (s *step) continueOnError() bool {
	if s.def.ContinueOnError.Empty() {
		return false
	}
	v, err := evaluateText(s.def.ContinueOnError, workflow.StepScope, s.exprEnv())
	if err != nil {
		s.log.Print("##[error]evaluate continue-on-error: " + err.Error())
		return false
	}
	return strings.EqualFold(expr.String(v), "true")
}

func (s *step) exprEnv() expr.Env {
	env := s.env
	if env == nil {
		env = s.job.env
	}
	return expr.Env{Values: s.job.contexts.values(env.context()), Memory: memory,
		Functions: map[string]func([]expr.Value) (expr.Value, error){"hashfiles": s.hashFiles}}
}

// environment is the job's environment as steps before this one left it.
func (s *step) environment() *environ {
	e := machine(s.job.session.Env(), s.job.Dir.Home())
	for _, n := range s.job.env.names {
		e.set(n, s.job.env.values[n])
	}
	return e
}

// prepare evaluates env and name and adds what is always set.
func (s *step) prepare() error {
	evaluated, err := evaluatePairs(s.def.Env, workflow.StepScope, s.exprEnv())
	if err != nil {
		return fmt.Errorf("evaluate env: %w", err)
	}
	for _, p := range evaluated {
		s.env.set(p.name, p.value)
	}
	if !s.def.Name.Empty() {
		v, err := evaluateText(s.def.Name, workflow.StepScope, s.exprEnv())
		if err != nil {
			return fmt.Errorf("evaluate name: %w", err)
		}
		s.name = expr.String(v)
	}
	c := &s.job.contexts
	c.github.Set("action", s.def.ID)
	for _, key := range []string{"action_repository", "action_ref"} {
		c.github.Set(key, "")
	}
	if name, ref, ok := strings.Cut(s.def.Uses.Value, "@"); ok {
		c.github.Set("action_repository", name)
		c.github.Set("action_ref", ref)
	}
	addContexts(s.env, c.github, c.runner)
	if job, ok := tracing.ParseParent(s.job.spec.Trace); ok && s.env.values["TRACEPARENT"] == "" {
		s.env.set("TRACEPARENT", tracing.Step(job, s.number).Parent())
	}
	for _, f := range fileCommands {
		s.env.set(f, s.files.path(f))
	}
	if len(s.job.path) > 0 {
		s.env.set("PATH", strings.Join(s.job.path, ":")+":"+s.env.values["PATH"])
	}
	return nil
}
