package git

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/penstock-dev/penstock/internal/base/event"
	"github.com/penstock-dev/penstock/internal/base/problem"
	"github.com/penstock-dev/penstock/internal/host/store"
)

// Roles says whether user has a role for a repository.
type Roles interface {
	HasRole(ctx context.Context, user, repo, role string) (bool, error)
}

// Statuses says whether a commit has passed a status check.
type Statuses interface {
	Passed(ctx context.Context, repo, commit, check string) (bool, error)
}

// Rules returns the rules of a repository, in order of pattern.
func (s *Server) Rules(ctx context.Context, repo string) ([]Rule, error) {
	if err := s.readable(repo); err != nil {
		return nil, err
	}
	rules, err := s.rules(ctx, repo)
	if err != nil {
		return nil, fmt.Errorf("read rules of %s: %w", repo, err)
	}
	return rules, nil
}

func (s *Server) rules(ctx context.Context, repo string) (rules []Rule, err error) {
	err = s.db.Read(ctx, func(q store.Queryer) error {
		rows, err := q.QueryContext(ctx, `SELECT rule FROM git_rules WHERE repo = $1`, repo)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var text string
			var r Rule
			if err := rows.Scan(&text); err != nil {
				return err
			}
			if err := json.Unmarshal([]byte(text), &r); err != nil {
				return fmt.Errorf("decode rule: %w", err)
			}
			rules = append(rules, r)
		}
		return rows.Err()
	})
	sortRules(rules)
	return rules, err
}

// Protect sets the rule for r.Pattern.
func (s *Server) Protect(ctx context.Context, repo string, r Rule) error {
	if err := s.readable(repo); err != nil {
		return err
	}
	if err := r.check(); err != nil {
		return err
	}
	if len(r.RequireStatus) > 0 && s.states == nil {
		return fmt.Errorf("rule %q requires status checks, and nothing here reports them: %w", r.Pattern, problem.ErrInvalid)
	}
	if s.roles == nil && slices.ContainsFunc(r.Push, func(e string) bool { return strings.HasPrefix(e, rolePrefix) }) {
		return fmt.Errorf("rule %q names a role, and there are none here: %w", r.Pattern, problem.ErrInvalid)
	}
	text, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("encode rule: %w", err)
	}
	err = s.db.Write(ctx, func(tx store.Tx) error {
		var n int
		if err := tx.QueryRowContext(ctx, `SELECT count(*) FROM git_rules WHERE repo = $1 AND pattern <> $2`, repo, r.Pattern).Scan(&n); err != nil {
			return err
		}
		if n >= maxRules {
			return fmt.Errorf("a repository has at most %d rules: %w", maxRules, problem.ErrInvalid)
		}
		_, err := tx.ExecContext(ctx, `INSERT INTO git_rules (repo, pattern, rule) VALUES ($1, $2, $3)
			ON CONFLICT (repo, pattern) DO UPDATE SET rule = excluded.rule`, repo, r.Pattern, string(text))
		return err
	})
	if err != nil {
		return fmt.Errorf("protect %s of %s: %w", r.Pattern, repo, err)
	}
	return nil
}

// Unprotect removes the rule with this pattern.
func (s *Server) Unprotect(ctx context.Context, repo, pattern string) error {
	if err := s.readable(repo); err != nil {
		return err
	}
	err := s.db.Write(ctx, func(tx store.Tx) error {
		res, err := tx.ExecContext(ctx, `DELETE FROM git_rules WHERE repo = $1 AND pattern = $2`, repo, pattern)
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil || n == 0 {
			return errors.Join(err, problem.ErrNotFound)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("rule %q of %s: %w", pattern, repo, err)
	}
	return nil
}

// protection is the check of the rules of a repository.
type protection struct{ server *Server }

func (c protection) CheckPush(ctx context.Context, p Incoming) ([]Refusal, error) {
	rules, err := c.server.rules(ctx, p.Repo)
	if err != nil {
		return nil, err
	}
	var out []Refusal
	for _, u := range p.Updates {
		for _, r := range rules {
			if !r.covers(u.Ref) {
				continue
			}
			f, err := c.facts(ctx, p, u, r)
			if err != nil {
				return nil, err
			}
			if reason, message := r.refuse(u, f); reason != "" {
				out = append(out, Refusal{Ref: u.Ref, Reason: reason, Message: message})
				break
			}
		}
	}
	return out, nil
}

// facts finds out what the rule wants to know, and no more.
func (c protection) facts(ctx context.Context, p Incoming, u event.RefUpdate, r Rule) (f facts, err error) {
	if f.allowed, err = c.allowed(ctx, p, r); err != nil {
		return f, err
	}
	if u.After == event.ZeroCommit {
		return f, nil
	}
	if u.Before != event.ZeroCommit && !r.AllowForce {
		if f.fastForward, err = p.Objects.ancestor(ctx, u.Before, u.After); err != nil {
			return f, err
		}
	}
	if r.Linear {
		if f.merge, err = p.Objects.merge(ctx, u); err != nil {
			return f, err
		}
	}
	for _, check := range r.RequireStatus {
		passed := false
		if c.server.states != nil {
			if passed, err = c.server.states.Passed(ctx, p.Repo, u.After, check); err != nil {
				return f, err
			}
		}
		if !passed {
			f.missing = append(f.missing, check)
		}
	}
	return f, nil
}

func (c protection) allowed(ctx context.Context, p Incoming, r Rule) (bool, error) {
	for _, e := range r.Push {
		role, isRole := strings.CutPrefix(e, rolePrefix)
		if !isRole {
			if e == p.Actor {
				return true, nil
			}
			continue
		}
		if c.server.roles == nil {
			continue
		}
		if has, err := c.server.roles.HasRole(ctx, p.Actor, p.Repo, role); err != nil || has {
			return has, err
		}
	}
	return false, nil
}
