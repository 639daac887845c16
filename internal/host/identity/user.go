package identity

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"time"

	"github.com/penstock-dev/penstock/internal/base/problem"
	"github.com/penstock-dev/penstock/internal/host/audit"
	"github.com/penstock-dev/penstock/internal/host/store"
)

// The roles. What each may do is in the ClusterRoles of package access.
const (
	RoleReader    = "reader"
	RoleDeveloper = "developer"
	RoleApprover  = "approver"
	RoleAdmin     = "admin"
)

// Roles lists the roles, the least first.
func Roles() []string { return []string{RoleReader, RoleDeveloper, RoleApprover, RoleAdmin} }

// User is somebody who may come in.
type User struct {
	Name      string    `json:"name"`
	Roles     []string  `json:"roles" doc:"in all projects; roles in one project are RoleBindings in its namespace" nullable:"false"`
	Disabled  bool      `json:"disabled,omitempty"`
	CreatedAt time.Time `json:"createdAt"`
}

// Names are those of Kubernetes users. Without a colon they are never one of
// the system's.
var userForm = regexp.MustCompile(`^[a-z0-9]([a-z0-9._@-]{0,98}[a-z0-9])?$`)

func checkUser(name string, roles []string) error {
	if !userForm.MatchString(name) {
		return fmt.Errorf("user name %q: it has lower-case letters, digits and .-_@: %w", name, problem.ErrInvalid)
	}
	if name == adminName {
		return fmt.Errorf("user %s is this machine's administrator: %w", name, problem.ErrExists)
	}
	for _, r := range roles {
		if !slices.Contains(Roles(), r) {
			return fmt.Errorf("role %q is not one of %v: %w", r, Roles(), problem.ErrInvalid)
		}
	}
	return nil
}

// CreateUser adds a user who has the roles in all projects.
func (k *Keeper) CreateUser(ctx context.Context, name string, roles []string) (User, error) {
	if err := checkUser(name, roles); err != nil {
		return User{}, err
	}
	u := User{Name: name, Roles: slices.Compact(slices.Sorted(slices.Values(roles))), CreatedAt: k.now().UTC()}
	if u.Roles == nil {
		u.Roles = []string{}
	}
	b, err := json.Marshal(u.Roles)
	if err != nil {
		return User{}, err
	}
	err = k.db.Write(ctx, func(tx store.Tx) error {
		res, err := tx.ExecContext(ctx, `INSERT INTO users (name, roles, disabled, created) VALUES ($1, $2, 0, $3)
			ON CONFLICT (name) DO NOTHING`, name, string(b), store.FormatTime(u.CreatedAt))
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil || n == 0 {
			return errors.Join(err, problem.ErrExists)
		}
		return audit.Record(ctx, tx)
	})
	if err != nil {
		return User{}, fmt.Errorf("user %s: %w", name, err)
	}
	return u, nil
}

// Users lists the users by name.
func (k *Keeper) Users(ctx context.Context) ([]User, error) {
	all := []User{}
	err := k.db.Read(ctx, func(q store.Queryer) error {
		rows, err := q.QueryContext(ctx, `SELECT name, roles, disabled, created FROM users ORDER BY name`)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			u, err := scanUser(rows.Scan)
			if err != nil {
				return err
			}
			all = append(all, u)
		}
		return rows.Err()
	})
	if err != nil {
		return nil, fmt.Errorf("list users: %w", err)
	}
	return all, nil
}

// DeleteUser removes a user with every token and session.
func (k *Keeper) DeleteUser(ctx context.Context, name string) error {
	err := k.db.Write(ctx, func(tx store.Tx) error {
		for _, table := range []string{"api_tokens", "sessions", "login_codes"} {
			if _, err := tx.ExecContext(ctx, `DELETE FROM `+table+` WHERE owner = $1`, name); err != nil {
				return err
			}
		}
		if err := one(tx.ExecContext(ctx, `DELETE FROM users WHERE name = $1`, name)); err != nil {
			return err
		}
		return audit.Record(ctx, tx)
	})
	if err != nil {
		return fmt.Errorf("user %s: %w", name, err)
	}
	return nil
}

// user reads one. The administrator is not in the table.
func user(ctx context.Context, q store.Queryer, name string) (User, error) {
	u, err := scanUser(q.QueryRowContext(ctx, `SELECT name, roles, disabled, created FROM users WHERE name = $1`, name).Scan)
	if errors.Is(err, sql.ErrNoRows) {
		return User{}, fmt.Errorf("user %s: %w", name, problem.ErrNotFound)
	}
	return u, err
}

func scanUser(scan func(...any) error) (u User, err error) {
	var roles, created string
	var disabled int
	if err := scan(&u.Name, &roles, &disabled, &created); err != nil {
		return u, err
	}
	u.Disabled = disabled == 1
	if err := json.Unmarshal([]byte(roles), &u.Roles); err != nil {
		return u, fmt.Errorf("roles of user %s: %w", u.Name, err)
	}
	u.CreatedAt, err = store.ParseTime(created)
	return u, err
}

// one says not found when a statement changed nothing.
func one(res sql.Result, err error) error {
	if err != nil {
		return err
	}
	n, err := res.RowsAffected()
	if err == nil && n == 0 {
		err = problem.ErrNotFound
	}
	return err
}
