package workflow

import (
	"strings"

	"github.com/penstock-dev/penstock/internal/ci/expr"
)

// The contexts that exist, and the functions, differ from key to key. The names
// say which key each scope is for.
var (
	base      = []string{"github", "inputs", "vars"}
	jobNames  = append(base[:3:3], "needs", "strategy", "matrix")
	stepNames = append(jobNames[:6:6], "steps", "job", "runner", "env")

	jobStatus = map[string]expr.Function{
		"always": {}, "cancelled": {}, "success": {Max: 255}, "failure": {Max: 255},
	}
	hashFiles  = map[string]expr.Function{"hashfiles": {Min: 1, Max: 255}}
	stepStatus = map[string]expr.Function{"always": {}, "cancelled": {}, "success": {}, "failure": {}, "hashfiles": {Min: 1, Max: 255}}

	RunNameScope     = expr.Scope{Values: base}
	WorkflowEnvScope = expr.Scope{Values: append(base[:3:3], "secrets")}
	DefaultsScope    = expr.Scope{Values: append(jobNames[:6:6], "env")}
	JobIfScope       = expr.Scope{Values: append(base[:3:3], "needs"), Functions: jobStatus}
	JobScope         = expr.Scope{Values: jobNames}
	JobEnvScope      = expr.Scope{Values: append(jobNames[:6:6], "secrets")}
	JobOutputsScope  = expr.Scope{Values: append(stepNames[:10:10], "secrets")}
	StepIfScope      = expr.Scope{Values: stepNames, Functions: stepStatus}
	StepScope        = expr.Scope{Values: append(stepNames[:10:10], "secrets"), Functions: hashFiles}
)

// Condition is the `if` of a job or a step.
type Condition struct {
	template *expr.Template
	single   *expr.Expr
}

// ParseCondition parses the text of an `if`. Text without ${{ }} is one
// expression; no text is success().
func ParseCondition(text string, scope expr.Scope) (*Condition, error) {
	text = strings.TrimSpace(text)
	if text == "" {
		text = "success()"
	}
	if !strings.Contains(text, "${{") {
		text = "${{ " + text + " }}"
	}
	t, err := expr.ParseTemplate(text, scope)
	if err != nil {
		return nil, err
	}
	c := &Condition{template: t}
	c.single, _ = t.Single()
	return c, nil
}

// Mixed tells whether text surrounds an expression. Such a condition is always
// true, because a text that is not empty is.
func (c *Condition) Mixed() bool { return c.single == nil }

// Evaluate computes the condition. A condition that calls no status function
// holds only while success() does.
func (c *Condition) Evaluate(env expr.Env) (bool, error) {
	if c.single == nil || !c.single.Calls("always", "cancelled", "success", "failure") {
		ok, err := env.Functions["success"](nil)
		if err != nil || !expr.Truthy(ok) {
			return false, err
		}
	}
	v, err := c.template.Evaluate(env)
	return expr.Truthy(v), err
}

// String is the condition as the engine evaluates it.
func (c *Condition) String() string {
	if c.single == nil {
		return "success() && " + c.template.String()
	}
	if !c.single.Calls("always", "cancelled", "success", "failure") {
		return "success() && (" + c.single.String() + ")"
	}
	return c.single.String()
}
