package identity

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/penstock-dev/penstock/internal/base/problem"
)

// limits narrow what an API token opens of what its owner may do. Without any
// scope there are none.
type limits struct {
	scopes   []string
	projects []string // empty is all
}

var (
	scopeForm   = regexp.MustCompile(`^[a-z]{1,40}:(read|write)$`)
	projectForm = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`)
)

// checkScopes refuses what allow would not understand. A scope is "*", "read",
// or a resource with what may be done to it: "runs:write".
func checkScopes(scopes, projects []string) error {
	if len(scopes) == 0 || len(scopes) > 50 || len(projects) > 50 {
		return fmt.Errorf("a token has 1 to 50 scopes and up to 50 projects: %w", problem.ErrInvalid)
	}
	for _, s := range scopes {
		if s != "*" && s != "read" && !scopeForm.MatchString(s) {
			return fmt.Errorf("scope %q is not *, read, RESOURCE:read or RESOURCE:write: %w", s, problem.ErrInvalid)
		}
	}
	for _, p := range projects {
		if !projectForm.MatchString(p) {
			return fmt.Errorf("project %q: %w", p, problem.ErrInvalid)
		}
	}
	return nil
}

// allow says whether the limits let a through.
func (l limits) allow(a Action) bool {
	return (len(l.projects) == 0 || slices.Contains(l.projects, a.Project)) && l.opens(a)
}

// Opens says whether the token by which p is known opens actions like a in any
// project at all.
func (p Principal) Opens(a Action) bool { return p.limits.opens(a) }

// opens says whether a scope names a. A write scope includes reading.
func (l limits) opens(a Action) bool {
	if len(l.scopes) == 0 {
		return true
	}
	resource, _, _ := strings.Cut(a.Resource, "/")
	for _, s := range l.scopes {
		of, verb, _ := strings.Cut(s, ":")
		switch {
		case s == "*", s == "read" && a.reads(), of == resource && (verb == "write" || a.reads()):
			return true
		}
	}
	return false
}

// Covers says whether a token with these scopes and projects opens no more
// than p itself does. Who comes with a narrow token makes no wider one.
func (p Principal) Covers(scopes, projects []string) bool {
	l := p.limits
	if len(l.projects) > 0 && (len(projects) == 0 || slices.ContainsFunc(projects, func(p string) bool { return !slices.Contains(l.projects, p) })) {
		return false
	}
	return len(l.scopes) == 0 || !slices.ContainsFunc(scopes, func(s string) bool { return !l.covers(s) })
}

func (l limits) covers(scope string) bool {
	resource, verb, ok := strings.Cut(scope, ":")
	return slices.Contains(l.scopes, "*") || slices.Contains(l.scopes, scope) ||
		ok && verb == "read" && (slices.Contains(l.scopes, "read") || slices.Contains(l.scopes, resource+":write"))
}
