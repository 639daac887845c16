package engine

import (
	"fmt"
	"strings"

	"github.com/penstock-dev/penstock/internal/ci/expr"
	"github.com/penstock-dev/penstock/internal/ci/workflow"
)

// effective is the result of a job as others see it: a failure that the job
// itself tolerates counts as a success.
func (s State) effective(id string) Result {
	j := s.Jobs[id]
	if j.Result == Failure && j.ContinueOnError {
		return Success
	}
	return j.Result
}

// ancestors of a job: everything it needs, directly or not, nearest first.
func (s State) ancestors(j *workflow.Job) []string {
	var out []string
	seen := map[string]bool{}
	queue := []*workflow.Job{j}
	for len(queue) > 0 {
		next := queue[0]
		queue = queue[1:]
		for _, need := range next.Needs {
			if seen[need.Value] {
				continue
			}
			seen[need.Value] = true
			out = append(out, need.Value)
			if n := s.Workflow.Job(need.Value); n != nil {
				queue = append(queue, n)
			}
		}
	}
	return out
}

// env is what expressions of a job's own keys see.
func (s State) env(j *workflow.Job) expr.Env {
	needs := expr.NewObject()
	for _, need := range j.Needs {
		one, outputs := expr.NewObject(), expr.NewObject()
		for _, o := range s.Workflow.Job(need.Value).Outputs { // in the order of the file
			if v, ok := s.Jobs[need.Value].Outputs[o.Key]; ok {
				outputs.Set(o.Key, v)
			}
		}
		one.Set("result", string(s.effective(need.Value)))
		one.Set("outputs", outputs)
		needs.Set(need.Value, one)
	}
	values := map[string]expr.Value{"needs": needs, "strategy": Strategy(), "matrix": nil}
	for k, v := range s.Values {
		values[k] = v
	}
	return expr.Env{Values: values, Memory: 10 << 20, Functions: s.statusFunctions(j)}
}

// Strategy is the strategy context of a job without a matrix.
func Strategy() *expr.Object {
	o := expr.NewObject()
	o.Set("fail-fast", true)
	o.Set("job-index", 0.0)
	o.Set("job-total", 1.0)
	o.Set("max-parallel", 1.0)
	return o
}

func (s State) statusFunctions(j *workflow.Job) map[string]func([]expr.Value) (expr.Value, error) {
	// named gives the jobs a status function asks about: those named, else all
	// ancestors.
	named := func(args []expr.Value) ([]string, error) {
		if len(args) == 0 {
			return s.ancestors(j), nil
		}
		var ids []string
		for _, a := range args {
			id := expr.String(a)
			found := ""
			for _, need := range j.Needs {
				if strings.EqualFold(need.Value, id) {
					found = need.Value
				}
			}
			if found == "" {
				return nil, fmt.Errorf("job '%s' is not among the needs of job '%s'", id, j.ID)
			}
			ids = append(ids, found)
		}
		return ids, nil
	}
	return map[string]func([]expr.Value) (expr.Value, error){
		"always":    func([]expr.Value) (expr.Value, error) { return true, nil },
		"cancelled": func([]expr.Value) (expr.Value, error) { return s.Cancelled, nil },
		"success": func(args []expr.Value) (expr.Value, error) {
			ids, err := named(args)
			if err != nil || s.Cancelled {
				return false, err
			}
			for _, id := range ids {
				if s.effective(id) != Success {
					return false, nil
				}
			}
			return true, nil
		},
		"failure": func(args []expr.Value) (expr.Value, error) {
			ids, err := named(args)
			if err != nil || s.Cancelled {
				return false, err
			}
			for _, id := range ids {
				if s.effective(id) == Failure {
					return true, nil
				}
			}
			return false, nil
		},
	}
}
