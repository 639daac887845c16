package git

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/penstock-dev/penstock/internal/base/atomicfile"
	"github.com/penstock-dev/penstock/internal/base/event"
	"github.com/penstock-dev/penstock/internal/base/failpoint"
	"github.com/penstock-dev/penstock/internal/base/id"
	"github.com/penstock-dev/penstock/internal/base/problem"
	"github.com/penstock-dev/penstock/internal/host/audit"
	"github.com/penstock-dev/penstock/internal/host/store"
)

// DefaultBranch is where HEAD of a new repository points.
const DefaultBranch = "main"

// Repo is a hosted repository as people see it.
type Repo struct {
	Name          string    `json:"name"` // "owner/name"
	CloneURL      string    `json:"cloneUrl"`
	DefaultBranch string    `json:"defaultBranch"`
	CreatedAt     time.Time `json:"createdAt"`
	Mirror        *Mirror   `json:"mirror,omitempty"` // of a repository that follows an outside one
}

// Names of directories under the root that are no owners: they begin with a
// dot, which no owner does.
const (
	makingPrefix = ".making-" // a repository that is being created
	trashPrefix  = ".trash-"  // one that is being deleted
	pushPrefix   = ".push-"   // the hooks of one push
	hooksName    = ".hooks"   // the scripts that they link to
)

// Create makes an empty repository. The error wraps problem.ErrInvalid for a
// name that cannot be used and problem.ErrExists for one that is.
func (s *Server) Create(ctx context.Context, name string) (Repo, error) {
	return s.create(ctx, name, nil, nil)
}

// create makes a repository beside the others, lets fill put something into
// its directory, and moves it into place. with is recorded together with it.
func (s *Server) create(ctx context.Context, name string, fill func(dir string) error, with func(store.Tx) error) (Repo, error) {
	if err := CheckName(name); err != nil {
		return Repo{}, err
	}
	unlock, err := s.lock(ctx, name)
	if err != nil {
		return Repo{}, err
	}
	defer unlock()
	if s.exists(name) {
		return Repo{}, fmt.Errorf("repository %s: %w", name, problem.ErrExists)
	}
	aside := filepath.Join(s.root, makingPrefix+id.New())
	defer os.RemoveAll(aside)
	if _, err := s.git.output(ctx, s.root, 4<<10, nil, "init", "--quiet", "--bare", "--template=", "--initial-branch="+DefaultBranch, aside); err != nil {
		return Repo{}, fmt.Errorf("create repository %s: %w", name, err)
	}
	if fill != nil {
		if err := fill(aside); err != nil {
			return Repo{}, err
		}
	}
	if err := syncTree(aside); err != nil {
		return Repo{}, fmt.Errorf("create repository %s: %w", name, err)
	}
	dir := s.dir(name)
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		return Repo{}, fmt.Errorf("create repository %s: %w", name, err)
	}
	failpoint.Hit("git.create.before")
	if err := errors.Join(os.Rename(aside, dir), atomicfile.SyncDir(filepath.Dir(dir)), atomicfile.SyncDir(s.root)); err != nil {
		return Repo{}, fmt.Errorf("create repository %s: %w", name, err)
	}
	failpoint.Hit("git.create.after")
	if err := s.adopt(ctx, name, with); err != nil {
		return Repo{}, fmt.Errorf("record repository %s: %w", name, err)
	}
	return s.Get(ctx, name)
}

// adopt records a repository with the refs it has, without an event: they were
// not pushed here.
func (s *Server) adopt(ctx context.Context, name string, with func(store.Tx) error) error {
	refs, err := s.refs(ctx, name)
	if err != nil {
		return err
	}
	return s.db.Write(ctx, func(tx store.Tx) error {
		if _, err := tx.ExecContext(ctx, `DELETE FROM git_refs WHERE repo = ?`, name); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, `INSERT INTO git_repos VALUES (?, ?, 0, ?)
			ON CONFLICT (name) DO UPDATE SET uid = excluded.uid, seq = 0, created = excluded.created`,
			name, id.New(), store.FormatTime(s.now())); err != nil {
			return err
		}
		if err := s.repositoryEvent(ctx, tx, event.TypeRepositoryCreated, name, s.now()); err != nil {
			return err
		}
		if with != nil {
			if err := with(tx); err != nil {
				return err
			}
		}
		if err := putRefs(ctx, tx, name, refs); err != nil {
			return err
		}
		return audit.Record(ctx, tx)
	})
}

// Get returns the repository called name.
func (s *Server) Get(ctx context.Context, name string) (Repo, error) {
	if CheckName(name) != nil || !s.exists(name) {
		return Repo{}, fmt.Errorf("repository %q: %w", name, problem.ErrNotFound)
	}
	var created string
	err := s.db.Read(ctx, func(q store.Queryer) error {
		return q.QueryRowContext(ctx, `SELECT created FROM git_repos WHERE name = ?`, name).Scan(&created)
	})
	if errors.Is(err, sql.ErrNoRows) {
		err = problem.ErrNotFound // on its way in or out
	}
	if err != nil {
		return Repo{}, fmt.Errorf("repository %s: %w", name, err)
	}
	return s.repo(name, created)
}

func (s *Server) repo(name, created string) (Repo, error) {
	at, err := store.ParseTime(created)
	if err != nil {
		return Repo{}, fmt.Errorf("repository %s: %w", name, err)
	}
	branch, err := s.headBranch(name)
	if err != nil {
		return Repo{}, fmt.Errorf("repository %s: %w", name, err)
	}
	return Repo{Name: name, CloneURL: s.names.cloneURL(name), DefaultBranch: branch, CreatedAt: at, Mirror: s.mirrors.get(name)}, nil
}

// List returns all repositories in order of name.
func (s *Server) List(ctx context.Context) ([]Repo, error) {
	type row struct{ name, created string }
	var rows []row
	err := s.db.Read(ctx, func(q store.Queryer) error {
		found, err := q.QueryContext(ctx, `SELECT name, created FROM git_repos ORDER BY name`)
		if err != nil {
			return err
		}
		defer found.Close()
		for found.Next() {
			var r row
			if err := found.Scan(&r.name, &r.created); err != nil {
				return err
			}
			rows = append(rows, r)
		}
		return found.Err()
	})
	if err != nil {
		return nil, fmt.Errorf("list repositories: %w", err)
	}
	repos := make([]Repo, 0, len(rows))
	for _, r := range rows {
		repo, err := s.repo(r.name, r.created)
		if errors.Is(err, fs.ErrNotExist) {
			continue // deleted between the two reads
		}
		if err != nil {
			return nil, err
		}
		repos = append(repos, repo)
	}
	return repos, nil
}

// Delete removes the repository called name with all it holds. Events of its
// pushes stay in the log.
func (s *Server) Delete(ctx context.Context, name string) error {
	if CheckName(name) != nil || !s.exists(name) {
		return fmt.Errorf("repository %q: %w", name, problem.ErrNotFound)
	}
	unlock, err := s.lock(ctx, name)
	if err != nil {
		return err
	}
	defer unlock()
	uid, err := s.uid(ctx, name)
	if err != nil && !errors.Is(err, problem.ErrNotFound) {
		return err
	}
	trash := filepath.Join(s.root, trashPrefix+id.New())
	failpoint.Hit("git.delete.before")
	if err := os.Rename(s.dir(name), trash); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = problem.ErrNotFound
		}
		return fmt.Errorf("delete repository %s: %w", name, err)
	}
	if err := errors.Join(atomicfile.SyncDir(filepath.Dir(s.dir(name))), atomicfile.SyncDir(s.root)); err != nil {
		return fmt.Errorf("delete repository %s: %w", name, err)
	}
	failpoint.Hit("git.delete.after")
	if err := s.forget(ctx, name); err != nil {
		return fmt.Errorf("delete repository %s: %w", name, err)
	}
	if err := s.dropLFS(ctx, uid); err != nil {
		s.log.Warn("large files of a deleted repository stay", "repo", name, "error", err)
	}
	s.mirrors.remove(name)
	s.names.forget(name)
	if err := s.secrets.Delete(ctx, credentialsOf(name)); err != nil {
		s.log.Warn("credentials of a deleted repository stay", "repo", name, "error", err)
	}
	if err := os.RemoveAll(trash); err != nil {
		s.log.Warn("deleted repository left files, the next start removes them", "repo", name, "error", err)
	}
	_ = os.Remove(filepath.Dir(s.dir(name))) // the owner's directory, when this was its last
	return nil
}

// forget removes the record of a repository.
func (s *Server) forget(ctx context.Context, name string) error {
	return s.db.Write(ctx, func(tx store.Tx) error {
		if err := s.repositoryEvent(ctx, tx, event.TypeRepositoryDeleted, name, s.now()); err != nil {
			return err
		}
		for _, statement := range []string{
			`DELETE FROM git_refs WHERE repo = $1`,
			`DELETE FROM git_rules WHERE repo = $1`,
			`DELETE FROM git_mirrors WHERE repo = $1`,
			`DELETE FROM git_aliases WHERE repo = $1`,
			`DELETE FROM git_locks WHERE repo = $1`,
			`DELETE FROM git_lfs WHERE repo = $1`,
			`DELETE FROM git_repos WHERE name = $1`,
		} {
			if _, err := tx.ExecContext(ctx, statement, name); err != nil {
				return err
			}
		}
		return audit.Record(ctx, tx)
	})
}

// syncTree makes the files and directories under dir durable.
func syncTree(dir string) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return atomicfile.SyncDir(path) // works for a file as well
	})
}
