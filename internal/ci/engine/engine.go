// Package engine decides what happens next in a run: which jobs start, which
// are skipped and why, when the run is over. It is pure: [Next] sees the state
// of a run and returns actions; others carry them out and record the outcome.
package engine

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/penstock-dev/penstock/internal/ci/expr"
	"github.com/penstock-dev/penstock/internal/ci/workflow"
)

// Result is how a job, a step or a run ended.
type Result string

// The results.
const (
	Success   Result = "success"
	Failure   Result = "failure"
	Cancelled Result = "cancelled"
	Skipped   Result = "skipped"
)

// JobState is what is known of one job. The zero value is a job that waits.
type JobState struct {
	Started         bool
	Result          Result // "" until the job ended
	ContinueOnError bool   // evaluated when the job started
	Outputs         map[string]string
}

// State of a run.
type State struct {
	Workflow  *workflow.Workflow
	Values    map[string]expr.Value // github, inputs, vars
	Jobs      map[string]JobState   // by id
	Cancelled bool                  // cancellation was requested
}

// Kind of an action.
type Kind string

// The kinds.
const (
	Start  Kind = "start"  // start the job as Job describes it
	End    Kind = "end"    // the job ends with Result without having run
	Finish Kind = "finish" // the run ends with Result
)

// Action is something to do now.
type Action struct {
	Kind   Kind
	JobID  string
	Job    Evaluated // for Start
	Result Result    // for End and Finish
	Reason string    // for End: why, for the user
}

// Evaluated holds the fields of a job that are fixed when it starts.
type Evaluated struct {
	Name            string
	Labels          []string
	TimeoutMinutes  float64
	ContinueOnError bool
	Needs           *expr.Object // the needs context
}

// DefaultTimeoutMinutes of a job.
const DefaultTimeoutMinutes = 360

// Minutes gives a number of minutes as a duration, at most thirty days.
func Minutes(n float64) time.Duration {
	return time.Duration(min(n, 30*24*60) * float64(time.Minute))
}

// Next returns everything that can be done in this state, in the order of the
// file. Ends of jobs are taken into account for the jobs behind them.
func Next(s State) []Action {
	jobs := map[string]JobState{}
	for id, j := range s.Jobs {
		jobs[id] = j
	}
	s.Jobs = jobs
	var out []Action
	for again := true; again; {
		again = false
		for _, j := range s.Workflow.Jobs {
			state := jobs[j.ID]
			if state.Started || state.Result != "" || !needsEnded(j, jobs) {
				continue
			}
			a := decide(s, j)
			out = append(out, a)
			if a.Kind == Start {
				state.Started = true
			} else {
				state.Result = a.Result
				again = true
			}
			jobs[j.ID] = state
		}
	}
	if result, over := conclude(s.Workflow, jobs); over {
		out = append(out, Action{Kind: Finish, Result: result})
	}
	return out
}

func needsEnded(j *workflow.Job, jobs map[string]JobState) bool {
	for _, need := range j.Needs {
		if jobs[need.Value].Result == "" {
			return false
		}
	}
	return true
}

// decide evaluates the condition of a job whose needs have ended.
func decide(s State, j *workflow.Job) Action {
	fail := func(where string, err error) Action {
		return Action{Kind: End, JobID: j.ID, Result: Failure, Reason: fmt.Sprintf("evaluate %s: %v", where, err)}
	}
	env := s.env(j)
	condition, err := workflow.ParseCondition(j.If.Value, workflow.JobIfScope)
	if err != nil {
		return fail("if", err)
	}
	ok, err := condition.Evaluate(env)
	if err != nil {
		return fail("if", err)
	}
	if !ok {
		if s.Cancelled {
			return Action{Kind: End, JobID: j.ID, Result: Cancelled, Reason: "the run was cancelled"}
		}
		return Action{Kind: End, JobID: j.ID, Result: Skipped, Reason: s.whySkipped(j, condition)}
	}
	e, where, err := evaluate(j, env)
	if err != nil {
		return fail(where, err)
	}
	return Action{Kind: Start, JobID: j.ID, Job: e}
}

// whySkipped names the need that kept the job from running, or its condition.
func (s State) whySkipped(j *workflow.Job, c *workflow.Condition) string {
	for _, id := range s.ancestors(j) {
		if r := s.effective(id); r != Success {
			return fmt.Sprintf("job %s ended as %s, and the condition is %s", id, r, c)
		}
	}
	return "the condition is false: " + c.String()
}

func evaluate(j *workflow.Job, env expr.Env) (e Evaluated, where string, err error) {
	e = Evaluated{Name: j.ID, TimeoutMinutes: DefaultTimeoutMinutes, Needs: env.Values["needs"].(*expr.Object)}
	text := func(t workflow.Text) (expr.Value, error) {
		tpl, err := expr.ParseTemplate(t.Value, workflow.JobScope)
		if err != nil {
			return nil, err
		}
		return tpl.Evaluate(env)
	}
	var v expr.Value
	if !j.Name.Empty() {
		if v, err = text(j.Name); err != nil {
			return e, "name", err
		}
		e.Name = expr.String(v)
	}
	for _, label := range j.RunsOn {
		if v, err = text(label); err != nil {
			return e, "runs-on", err
		}
		if list, ok := v.(*expr.Array); ok {
			for _, item := range list.Items {
				e.Labels = append(e.Labels, expr.String(item))
			}
			continue
		}
		e.Labels = append(e.Labels, expr.String(v))
	}
	if !j.TimeoutMinutes.Empty() {
		if v, err = text(j.TimeoutMinutes); err != nil {
			return e, "timeout-minutes", err
		}
		if e.TimeoutMinutes, err = strconv.ParseFloat(expr.String(v), 64); err != nil || !(e.TimeoutMinutes > 0) {
			return e, "timeout-minutes", fmt.Errorf("'%s' is not a number of minutes", expr.String(v))
		}
	}
	if !j.ContinueOnError.Empty() {
		if v, err = text(j.ContinueOnError); err != nil {
			return e, "continue-on-error", err
		}
		e.ContinueOnError = strings.EqualFold(expr.String(v), "true")
	}
	return e, "", nil
}

// conclude gives the result of the run once every job has ended.
func conclude(w *workflow.Workflow, jobs map[string]JobState) (Result, bool) {
	result := Skipped
	for _, j := range w.Jobs {
		switch state := jobs[j.ID]; state.Result {
		case "":
			return "", false
		case Failure:
			if state.ContinueOnError {
				if result == Skipped {
					result = Success
				}
				continue
			}
			result = Failure
		case Cancelled:
			if result != Failure {
				result = Cancelled
			}
		case Success:
			if result == Skipped {
				result = Success
			}
		}
	}
	return result, true
}
