package runner

import (
	"os"
	"strings"

	"github.com/penstock-dev/penstock/internal/ci/expr"
	"github.com/penstock-dev/penstock/internal/ci/jobdir"
)

// environ is an ordered set of variables.
type environ struct {
	names  []string
	values map[string]string
}

func newEnviron() *environ { return &environ{values: map[string]string{}} }

func (e *environ) set(name, value string) {
	if _, ok := e.values[name]; !ok {
		e.names = append(e.names, name)
	}
	e.values[name] = value
}

func (e *environ) clone() *environ {
	c := newEnviron()
	for _, n := range e.names {
		c.set(n, e.values[n])
	}
	return c
}

// list gives "K=V" for exec; values that no environment can hold are cut at
// their NUL as execve would.
func (e *environ) list() []string {
	out := make([]string, 0, len(e.names))
	for _, n := range e.names {
		v, _, _ := strings.Cut(e.values[n], "\x00")
		out = append(out, n+"="+v)
	}
	return out
}

func (e *environ) context() *expr.Object {
	o := caseSensitive()
	for _, n := range e.names {
		o.Set(n, e.values[n])
	}
	return o
}

// githubVariables are the keys of the github context that steps find in their
// environment. The token is not one.
var githubVariables = []string{
	"action", "action_path", "action_ref", "action_repository", "actor", "actor_id", "api_url", "base_ref",
	"event_name", "event_path", "graphql_url", "head_ref", "job", "ref", "ref_name", "ref_protected",
	"ref_type", "repository", "repository_id", "repository_owner", "repository_owner_id", "retention_days", "run_attempt",
	"run_id", "run_number", "server_url", "sha", "triggering_actor", "workflow", "workflow_ref", "workflow_sha", "workspace",
}

// standardPath is where programs are when the runner itself has no PATH.
const standardPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// machine gives the variables that every step has below all others.
func machine(dir jobdir.Dir) *environ {
	e := newEnviron()
	path := os.Getenv("PATH")
	if path == "" {
		path = standardPath
	}
	e.set("PATH", path)
	e.set("HOME", dir.Home())
	e.set("LANG", "C.UTF-8")
	return e
}

// addContexts sets the variables that are always the runner's: no env of the
// workflow can change them.
func addContexts(e *environ, github, runner *expr.Object) {
	set := func(prefix string, o *expr.Object, names []string) {
		for _, name := range names {
			v, ok := o.Get(name)
			if !ok || v == nil {
				continue
			}
			switch v.(type) {
			case string, bool:
				e.set(prefix+strings.ToUpper(name), expr.String(v))
			}
		}
	}
	set("GITHUB_", github, githubVariables)
	set("RUNNER_", runner, []string{"name", "os", "arch", "temp", "tool_cache", "environment", "debug"})
	e.set("CI", "true")
	e.set("GITHUB_ACTIONS", "true")
}
