package runs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/penstock-dev/penstock/internal/base/event"
	"github.com/penstock-dev/penstock/internal/base/problem"
	"github.com/penstock-dev/penstock/internal/host/store"
	"github.com/penstock-dev/penstock/internal/host/store/storetest"
)

// files is a source in which every repository has the workflow ci.yml, except
// that those called broken cannot be read and those called huge hold more than
// is read.
type files struct{}

func (files) ListFiles(_ context.Context, repo, _, _ string) ([]string, error) {
	if strings.HasSuffix(repo, "/broken") {
		return nil, errors.New("git cat-file: exit status 128: fatal: loose object is corrupt")
	}
	return []string{"ci.yml"}, nil
}

func (files) ReadFile(_ context.Context, repo, _, name string) ([]byte, error) {
	if strings.HasSuffix(repo, "/huge") {
		return nil, fmt.Errorf("%q has 99 bytes, more than 16: %w", name, problem.ErrInvalid)
	}
	return []byte("on: push\njobs:\n  a:\n    runs-on: ubuntu-latest\n    steps:\n      - run: 'true'\n"), nil
}

func (files) Commit(context.Context, string, string) (Commit, error) {
	return Commit{Hash: strings.Repeat("1", 40), Message: "change"}, nil
}

func (files) DefaultBranch(context.Context, string) (string, error) { return "main", nil }

func (files) ChangedPaths(context.Context, string, string, string) ([]string, error) { return nil, nil }

func openService(t *testing.T, now func() time.Time) *Service {
	t.Helper()
	dir := t.TempDir()
	where, err := storetest.Where(dir)
	if err != nil {
		t.Fatal(err)
	}
	db, err := store.Open(t.Context(), where)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	s, err := New(t.Context(), Options{DB: db, Dir: filepath.Join(dir, "jobs"), Source: files{}, Now: now, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *Service) pushed(t *testing.T, repo string, refs ...string) {
	t.Helper()
	p := event.Push{ID: repo, Repo: repo, Actor: "ann", At: s.Now()}
	for _, r := range refs {
		p.Updates = append(p.Updates, event.RefUpdate{Ref: r, Before: event.ZeroCommit, After: strings.Repeat("1", 40)})
	}
	if err := s.DB.Write(t.Context(), func(tx store.Tx) error {
		_, err := store.Append(t.Context(), tx, p.ID, event.TypePush, repo, p.At, p)
		return err
	}); err != nil {
		t.Fatal(err)
	}
}

// TestARepositoryThatCannotBeReadKeepsNobodyWaiting for longer than a moment.
func TestARepositoryThatCannotBeReadKeepsNobodyWaiting(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	s := openService(t, func() time.Time { return now })
	s.pushed(t, "demo/broken", "refs/heads/main")
	s.pushed(t, "demo/huge", "refs/heads/main")
	s.pushed(t, "demo/fine", "refs/heads/main")
	if err := s.takePushes(t.Context()); err == nil || !strings.Contains(err.Error(), "corrupt") {
		t.Errorf("the first try: %v", err)
	}
	now = now.Add(patience - time.Second)
	if err := s.takePushes(t.Context()); err == nil {
		t.Error("gave up early")
	}
	now = now.Add(time.Second)
	if err := s.takePushes(t.Context()); err != nil {
		t.Errorf("after %s: %v", patience, err)
	}
	list, err := s.List(t.Context(), ListQuery{Limit: 10})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, r := range list {
		got[r.Repo] = string(r.Status) + " " + r.Conclusion + " " + r.Message
	}
	if len(got) != 2 || got["demo/fine"] != "queued  " || !strings.HasPrefix(got["demo/huge"], "completed startup_failure ") || !strings.Contains(got["demo/huge"], "more than 16") {
		t.Errorf("runs %q", got)
	}
}

func TestManyTagsStartNoRuns(t *testing.T) {
	s := openService(t, time.Now)
	s.pushed(t, "demo/three", "refs/tags/1", "refs/tags/2", "refs/tags/3")
	s.pushed(t, "demo/four", "refs/heads/main", "refs/tags/1", "refs/tags/2", "refs/tags/3", "refs/tags/4")
	if err := s.takePushes(t.Context()); err != nil {
		t.Fatal(err)
	}
	list, err := s.List(t.Context(), ListQuery{Limit: 10})
	if err != nil {
		t.Fatal(err)
	}
	refs := map[string]int{}
	for _, r := range list {
		refs[r.Repo]++
	}
	if refs["demo/three"] != 3 || refs["demo/four"] != 1 {
		t.Errorf("runs %v", refs)
	}
}
