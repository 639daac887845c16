package runner

import (
	"encoding/json"
	"fmt"
	"runtime"
	"strings"

	"github.com/penstock-dev/penstock/internal/ci/expr"
)

// contexts are the values that expressions of steps see.
type contexts struct {
	github, needs, vars, inputs, secrets *expr.Object
	steps, job, runner                   *expr.Object
}

func object(raw json.RawMessage, what string) (*expr.Object, error) {
	if len(raw) == 0 {
		return expr.NewObject(), nil
	}
	v, err := expr.FromJSON(string(raw))
	if err != nil {
		return nil, fmt.Errorf("read context %s: %w", what, err)
	}
	o, ok := v.(*expr.Object)
	if !ok {
		return expr.NewObject(), nil // null: an event without it
	}
	return o, nil
}

// values gives the contexts by name. env may be another one per step.
func (c *contexts) values(env *expr.Object) map[string]expr.Value {
	strategy := expr.NewObject()
	strategy.Set("fail-fast", true)
	strategy.Set("job-index", 0.0)
	strategy.Set("job-total", 1.0)
	strategy.Set("max-parallel", 1.0)
	return map[string]expr.Value{
		"github": c.github, "needs": c.needs, "vars": c.vars, "inputs": c.inputs, "secrets": c.secrets,
		"env": env, "steps": c.steps, "job": c.job, "runner": c.runner, "strategy": strategy, "matrix": nil,
	}
}

// newRunnerContext describes this machine.
func newRunnerContext(temp, tools string) *expr.Object {
	arch := map[string]string{"amd64": "X64", "arm64": "ARM64", "386": "X86", "arm": "ARM"}[runtime.GOARCH]
	if arch == "" {
		arch = strings.ToUpper(runtime.GOARCH)
	}
	o := expr.NewObject()
	o.Set("name", "penstock")
	o.Set("os", "Linux")
	o.Set("arch", arch)
	o.Set("environment", "self-hosted")
	o.Set("temp", temp)
	o.Set("tool_cache", tools)
	return o
}

// setStep records how a step stands. Steps without an id of their own are not
// part of the context.
func (c *contexts) setStep(id string, outputs map[string]string, order []string, outcome, conclusion string) {
	if strings.HasPrefix(id, "__") {
		return
	}
	o, out := expr.NewObject(), expr.NewObject()
	for _, name := range order {
		out.Set(name, outputs[name])
	}
	o.Set("outputs", out)
	o.Set("outcome", outcome)
	o.Set("conclusion", conclusion)
	c.steps.Set(id, o)
}

// caseSensitive copies pairs into an object as the env context on Linux is.
func caseSensitive() *expr.Object { return &expr.Object{CaseSensitive: true} }
