package git

import (
	"fmt"
	"slices"
	"strings"

	"github.com/penstock-dev/penstock/internal/base/event"
	"github.com/penstock-dev/penstock/internal/base/glob"
	"github.com/penstock-dev/penstock/internal/base/problem"
)

// Rule protects the branches whose name matches Pattern. Without any of the
// fields a matching branch can be created and moved forward by whoever may
// write, and neither be deleted nor be rewritten. The rules hold for everybody:
// who may change rules has to change them first.
type Rule struct {
	// Pattern is as on GitHub: "*" stops at "/", "**/" stands for any number
	// of directories. One that begins with "refs/" is for full names, so
	// that "refs/tags/v*" protects tags.
	Pattern       string   `json:"pattern"`
	Push          []string `json:"push,omitempty"`          // users, or "role:NAME", who alone may push
	AllowDelete   bool     `json:"allowDelete,omitempty"`   // the branch may be deleted
	AllowForce    bool     `json:"allowForce,omitempty"`    // and be rewritten
	Linear        bool     `json:"linear,omitempty"`        // no merge commits
	RequireStatus []string `json:"requireStatus,omitempty"` // status checks that the new commit must have passed
}

const (
	maxRules      = 100 // of one repository
	maxRuleNames  = 100 // users, or contexts, of one rule
	maxRuleLength = 255
)

// rolePrefix marks an entry of Rule.Push that names a role.
const rolePrefix = "role:"

// check says what is wrong with a rule, wrapped in problem.ErrInvalid.
func (r Rule) check() error {
	if r.Pattern == "" || len(r.Pattern) > maxRuleLength || r.Pattern != oneLine(r.Pattern) {
		return fmt.Errorf("the pattern of a protected branch has 1 to %d characters, no control characters among them: %w", maxRuleLength, problem.ErrInvalid)
	}
	if _, err := r.compile(); err != nil {
		return fmt.Errorf("%w: %w", err, problem.ErrInvalid)
	}
	for what, list := range map[string][]string{"push": r.Push, "requireStatus": r.RequireStatus} {
		if len(list) > maxRuleNames {
			return fmt.Errorf("%s of rule %q has more than %d entries: %w", what, r.Pattern, maxRuleNames, problem.ErrInvalid)
		}
		for _, e := range list {
			if e != oneLine(e) || e == "" || e == rolePrefix || len(e) > maxRuleLength {
				return fmt.Errorf("%s of rule %q: %q is not a name: %w", what, r.Pattern, e, problem.ErrInvalid)
			}
		}
	}
	return nil
}

// compile reads the pattern as File.fnmatch with FNM_PATHNAME does.
func (r Rule) compile() (glob.Pattern, error) {
	p, err := glob.Compile(fnmatch(r.Pattern), '/')
	if err != nil {
		return p, fmt.Errorf("branch %w", err)
	}
	return p, nil
}

// fnmatch puts a pattern of GitHub into the terms of package glob: "**/" stands
// for directories or none, any other "**" is no more than "*", braces are
// characters.
func fnmatch(pattern string) string {
	var b strings.Builder
	for i := 0; i < len(pattern); i++ {
		switch c := pattern[i]; {
		case strings.HasPrefix(pattern[i:], "**/") && (i == 0 || pattern[i-1] == '/'):
			b.WriteString("{,**/}")
			i += 2
		case c == '*':
			for i+1 < len(pattern) && pattern[i+1] == '*' {
				i++
			}
			b.WriteByte('*')
		case c == '{' || c == '}' || c == ',':
			b.WriteString("[" + string(c) + "]")
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

// covers says whether the rule is about ref.
func (r Rule) covers(ref string) bool {
	p, err := r.compile()
	if err != nil {
		return false // it was checked when it was set
	}
	if strings.HasPrefix(r.Pattern, "refs/") {
		return p.Match(ref)
	}
	branch, ok := strings.CutPrefix(ref, "refs/heads/")
	return ok && p.Match(branch)
}

// facts are what a rule asks about an update.
type facts struct {
	allowed     bool     // the actor is among Rule.Push
	fastForward bool     // the old commit is part of the new one's history
	merge       string   // a merge commit that the update brings
	missing     []string // required checks that the new commit has not passed
}

// refuse says why the rule does not let the update happen, "" when it does.
func (r Rule) refuse(u event.RefUpdate, f facts) (reason, message string) {
	name := strings.TrimPrefix(u.Ref, "refs/heads/")
	const protected = "protected branch"
	switch {
	case len(r.Push) > 0 && !f.allowed:
		return protected, fmt.Sprintf("error: %s is protected: only %s may push to it.", name, strings.Join(r.Push, ", "))
	case u.After == event.ZeroCommit:
		if !r.AllowDelete {
			return protected, fmt.Sprintf("error: %s is protected: it cannot be deleted.", name)
		}
		return "", ""
	case u.Before != event.ZeroCommit && !f.fastForward && !r.AllowForce:
		return protected, fmt.Sprintf("error: %s is protected: its history cannot be rewritten.", name)
	case r.Linear && f.merge != "":
		return protected, fmt.Sprintf("error: %s must have a linear history: %s is a merge commit. Rebase instead.", name, short(f.merge))
	case len(f.missing) > 0:
		return protected, fmt.Sprintf("error: %s is protected: %s has not passed %s. Push it to another branch first.", name, short(u.After), strings.Join(f.missing, ", "))
	}
	return "", ""
}

func short(hash string) string { return hash[:min(len(hash), 10)] }

// sortRules puts rules into the order in which they are shown.
func sortRules(rules []Rule) {
	slices.SortFunc(rules, func(a, b Rule) int { return strings.Compare(a.Pattern, b.Pattern) })
}
