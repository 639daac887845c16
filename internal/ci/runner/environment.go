package runner

import (
	"os"
	"path/filepath"
	"strings"

	"github.com/penstock-dev/penstock/internal/ci/expr"
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

// machine gives the variables that every step has below all others: those of a
// login where the steps run, with a home of the job's own and the programs that
// Penstock itself was started with.
func machine(login []string, home string) *environ {
	e := newEnviron()
	for _, kv := range login {
		k, v, _ := strings.Cut(kv, "=")
		e.set(k, v)
	}
	e.set("PATH", joinPath(e.values["PATH"], os.Getenv("PATH")))
	e.set("HOME", home)
	return e
}

// joinPath adds to path what is only in more.
func joinPath(path, more string) string {
	have := map[string]bool{}
	var out []string
	for _, dir := range filepath.SplitList(path + ":" + more) {
		if filepath.IsAbs(dir) && !have[dir] {
			have[dir] = true
			out = append(out, dir)
		}
	}
	return strings.Join(out, ":")
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
