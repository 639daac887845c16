package git

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/penstock-dev/penstock/internal/base/event"
	"github.com/penstock-dev/penstock/internal/base/failpoint"
	"github.com/penstock-dev/penstock/internal/base/id"
	"github.com/penstock-dev/penstock/internal/host/audit"
	"github.com/penstock-dev/penstock/internal/host/store"
)

var migrations = []string{
	`CREATE TABLE git_repos (
		name    TEXT PRIMARY KEY,
		uid     TEXT NOT NULL, -- differs when a name is used again
		seq     INTEGER NOT NULL, -- events so far
		created TEXT NOT NULL
	) STRICT;
	CREATE TABLE git_refs (
		repo TEXT NOT NULL REFERENCES git_repos (name),
		ref  TEXT NOT NULL,
		hash TEXT NOT NULL,
		PRIMARY KEY (repo, ref)
	) STRICT, WITHOUT ROWID;`,
	`CREATE TABLE git_rules (
		repo    TEXT NOT NULL,
		pattern TEXT NOT NULL,
		rule    TEXT NOT NULL,
		PRIMARY KEY (repo, pattern)
	);
	CREATE TABLE git_aliases (
		address TEXT PRIMARY KEY, -- normal form, see normalURL
		repo    TEXT NOT NULL,
		created TEXT NOT NULL
	);
	CREATE TABLE git_mirrors (
		repo    TEXT PRIMARY KEY,
		url     TEXT NOT NULL,
		seconds INTEGER NOT NULL, -- between two fetches
		tried   TEXT NOT NULL,    -- when the last fetch ended
		fetched TEXT NOT NULL,    -- when the last good one did
		error   TEXT NOT NULL,    -- of the last fetch
		fails   INTEGER NOT NULL  -- in a row
	);
	CREATE TABLE git_locks (
		id     TEXT PRIMARY KEY,
		repo   TEXT NOT NULL,
		path   TEXT NOT NULL,
		owner  TEXT NOT NULL,
		locked TEXT NOT NULL,
		UNIQUE (repo, path)
	);`,
	`CREATE TABLE git_lfs (
		repo TEXT NOT NULL,
		oid  TEXT NOT NULL, -- SHA-256 of the content
		size BIGINT NOT NULL,
		PRIMARY KEY (repo, oid)
	);`,
}

const (
	maxRefs    = 64 << 20 // bytes of a repository's list of refs
	maxUpdates = 1000     // refs in one event; a push of more makes several
)

// settle records what was pushed to the repository since it was last recorded:
// the new refs and the events about them, in one transaction. It is called
// with the repository's lock held, before a push is acknowledged, and for every
// repository at start. Calling it again finds no difference and does nothing.
// Without an actor, the repository's reflogs say who it was.
func (s *Server) settle(ctx context.Context, name, actor string) error {
	if !s.exists(name) {
		return nil // deleted meanwhile, which has removed the record
	}
	refs, err := s.refs(ctx, name)
	if err != nil {
		return err
	}
	var recorded map[string]string
	if err := s.db.Read(ctx, func(q store.Queryer) (err error) {
		recorded, err = readRefs(ctx, q, name)
		return err
	}); err != nil {
		return fmt.Errorf("read recorded refs of %s: %w", name, err)
	}
	updates := diffRefs(recorded, refs)
	if len(updates) == 0 {
		return nil
	}
	if err := s.pointHead(ctx, name, refs); err != nil {
		return err
	}
	if err := syncRefs(s.dir(name), updates); err != nil {
		return fmt.Errorf("sync refs of %s: %w", name, err)
	}
	failpoint.Hit("git.record.before")
	var pushes []push
	if actor == "" {
		pushes = s.byActor(name, updates)
	} else {
		pushes = []push{{actor, updates}}
	}
	events, err := s.record(ctx, name, pushes)
	if err != nil {
		return fmt.Errorf("record push to %s: %w", name, err)
	}
	failpoint.Hit("git.record.after")
	for _, e := range events {
		s.log.Info("push", "repo", name, "actor", e.Actor, "refs", len(e.Updates), "event", e.ID)
		if s.pushes != nil {
			s.pushes.Publish(e)
		}
	}
	return nil
}

// push is what one user has changed.
type push struct {
	actor   string
	updates []event.RefUpdate
}

// auditEntry is a push as the audit log has it.
func auditEntry(e event.Push) audit.Entry {
	owner, name, _ := strings.Cut(e.Repo, "/")
	return audit.Entry{
		ID: e.ID, Time: e.At, Actor: e.Actor, Via: "git", Operation: "push", Verb: "update",
		Resource: "repositories/content", Project: owner, Name: name, Outcome: audit.Succeeded,
	}
}

// record writes the updated refs and the events about them.
func (s *Server) record(ctx context.Context, name string, pushes []push) (events []event.Push, err error) {
	head, err := s.headBranch(name)
	if err != nil {
		return nil, fmt.Errorf("read HEAD: %w", err)
	}
	err = s.db.Write(ctx, func(tx store.Tx) error {
		events = nil
		var uid string
		var seq int64
		if err := tx.QueryRowContext(ctx, `SELECT uid, seq FROM git_repos WHERE name = ?`, name).Scan(&uid, &seq); err != nil {
			return err
		}
		for _, p := range pushes {
			if err := putUpdates(ctx, tx, name, p.updates); err != nil {
				return err
			}
			for chunk := range slices.Chunk(p.updates, maxUpdates) {
				seq++
				e := event.Push{ID: pushID(uid, seq, chunk), Repo: name, Actor: p.actor, Updates: chunk, At: s.now().UTC()}
				added, err := store.Append(ctx, tx, e.ID, event.TypePush, name, e.At, e)
				if err != nil {
					return err
				}
				if !added {
					return fmt.Errorf("event %s is already in the log", e.ID)
				}
				if err := branchEvents(ctx, tx, e, head); err != nil {
					return err
				}
				if err := audit.Append(ctx, tx, auditEntry(e)); err != nil {
					return err
				}
				events = append(events, e)
			}
		}
		_, err := tx.ExecContext(ctx, `UPDATE git_repos SET seq = ? WHERE name = ?`, seq, name)
		return err
	})
	return events, err
}

// pushID is the same for the same push, so that the log holds it once.
func pushID(uid string, seq int64, updates []event.RefUpdate) string {
	parts := []string{uid, strconv.FormatInt(seq, 10)}
	for _, u := range updates {
		parts = append(parts, u.Ref, u.Before, u.After)
	}
	return id.Of(parts...)
}

// diffRefs says how the refs in before became those in after, in order of name.
func diffRefs(before, after map[string]string) []event.RefUpdate {
	var out []event.RefUpdate
	for ref, hash := range after {
		if old := before[ref]; old != hash {
			out = append(out, event.RefUpdate{Ref: ref, Before: orZero(old), After: hash})
		}
	}
	for ref, hash := range before {
		if _, kept := after[ref]; !kept {
			out = append(out, event.RefUpdate{Ref: ref, Before: hash, After: event.ZeroCommit})
		}
	}
	slices.SortFunc(out, func(a, b event.RefUpdate) int { return bytes.Compare([]byte(a.Ref), []byte(b.Ref)) })
	return out
}

func orZero(hash string) string {
	if hash == "" {
		return event.ZeroCommit
	}
	return hash
}

// refs asks git for all refs of a repository.
func (s *Server) refs(ctx context.Context, name string) (map[string]string, error) {
	out, err := s.git.output(ctx, s.dir(name), maxRefs, nil, "for-each-ref", "--format=%(objectname) %(refname)")
	if err != nil {
		return nil, fmt.Errorf("read refs of %s: %w", name, err)
	}
	refs := map[string]string{}
	for line := range bytes.Lines(out) {
		hash, ref, ok := bytes.Cut(bytes.TrimSuffix(line, []byte("\n")), []byte(" "))
		if !ok {
			return nil, fmt.Errorf("read refs of %s: unexpected line %q", name, line)
		}
		refs[string(ref)] = string(hash)
	}
	return refs, nil
}

// readRefs returns the recorded refs of a repository.
func readRefs(ctx context.Context, q store.Queryer, name string) (map[string]string, error) {
	rows, err := q.QueryContext(ctx, `SELECT ref, hash FROM git_refs WHERE repo = ?`, name)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	refs := map[string]string{}
	for rows.Next() {
		var ref, hash string
		if err := rows.Scan(&ref, &hash); err != nil {
			return nil, err
		}
		refs[fromText(ref)] = hash
	}
	return refs, rows.Err()
}

func putRefs(ctx context.Context, tx store.Tx, name string, refs map[string]string) error {
	for _, ref := range slices.Sorted(maps.Keys(refs)) {
		if _, err := tx.ExecContext(ctx, `INSERT INTO git_refs VALUES (?, ?, ?)
			ON CONFLICT (repo, ref) DO UPDATE SET hash = excluded.hash`, name, asText(ref), refs[ref]); err != nil {
			return err
		}
	}
	return nil
}

func putUpdates(ctx context.Context, tx store.Tx, name string, updates []event.RefUpdate) error {
	put := map[string]string{}
	for _, u := range updates {
		if u.After != event.ZeroCommit {
			put[u.Ref] = u.After
			continue
		}
		if _, err := tx.ExecContext(ctx, `DELETE FROM git_refs WHERE repo = ? AND ref = ?`, name, asText(u.Ref)); err != nil {
			return err
		}
	}
	return putRefs(ctx, tx, name, put)
}

// recorded returns the names of all repositories in the store.
func (s *Server) recorded(ctx context.Context) (map[string]bool, error) {
	names := map[string]bool{}
	err := s.db.Read(ctx, func(q store.Queryer) error {
		rows, err := q.QueryContext(ctx, `SELECT name FROM git_repos`)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var n string
			if err := rows.Scan(&n); err != nil {
				return err
			}
			names[n] = true
		}
		return rows.Err()
	})
	return names, err
}
