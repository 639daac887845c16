package git

import (
	"context"
	"database/sql"
	"errors"
	"strings"
	"time"

	"github.com/penstock-dev/penstock/internal/base/event"
	"github.com/penstock-dev/penstock/internal/base/id"
	"github.com/penstock-dev/penstock/internal/host/store"
)

// maxBranchEvents is how many branches of one push have events of their own. A
// push of more is one event only, which lists them: somebody moves a
// repository here.
const maxBranchEvents = 100

// branchEvents appends what the push means for branches: new and deleted ones,
// and a default branch that is at another commit.
func branchEvents(ctx context.Context, tx store.Tx, p event.Push, defaultBranch string) error {
	var branches []event.RefUpdate
	for _, u := range p.Updates {
		if strings.HasPrefix(u.Ref, "refs/heads/") {
			branches = append(branches, u)
		}
	}
	if len(branches) > maxBranchEvents {
		return nil
	}
	for _, u := range branches {
		branch := strings.TrimPrefix(u.Ref, "refs/heads/")
		add := func(typ string, data any) error {
			_, err := store.Append(ctx, tx, id.Of(typ, p.ID, u.Ref), typ, p.Repo, p.At, data)
			return err
		}
		b := event.Branch{Repo: p.Repo, Branch: branch, Commit: u.After, Push: p.ID, Actor: p.Actor, At: p.At}
		var err error
		switch {
		case u.After == event.ZeroCommit:
			b.Commit = u.Before
			err = add(event.TypeBranchDeleted, b)
		case u.Before == event.ZeroCommit:
			err = add(event.TypeBranchCreated, b)
		}
		if err == nil && branch == defaultBranch && u.After != event.ZeroCommit {
			err = add(event.TypeChangeMerged, event.Change{Repo: p.Repo, Branch: branch, Before: u.Before, Commit: u.After, Push: p.ID, Actor: p.Actor, At: p.At})
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// repositoryEvent appends that the repository came or goes. It is about the
// record that the store has of it at this moment; without one there is no
// event.
func (s *Server) repositoryEvent(ctx context.Context, tx store.Tx, typ, name string, at time.Time) error {
	var uid string
	err := tx.QueryRowContext(ctx, `SELECT uid FROM git_repos WHERE name = ?`, name).Scan(&uid)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	_, err = store.Append(ctx, tx, id.Of(typ, uid), typ, name, at, event.Repository{Repo: name, URL: s.names.cloneURL(name), At: at.UTC()})
	return err
}
