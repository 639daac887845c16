package app

import (
	"compress/gzip"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/penstock-dev/penstock/internal/base/event/eventtest"
	"github.com/penstock-dev/penstock/internal/ci/runs"
	"github.com/penstock-dev/penstock/internal/host/git"
	"github.com/penstock-dev/penstock/internal/host/identity"
	"github.com/penstock-dev/penstock/internal/host/store"
)

// TestStoresOfEarlierVersionsOpen opens a copy of the store that each earlier
// version left, with every room that has tables, and finds in it what that
// version knew. testdata/store has a file for each version whose tables
// differ; a migration that was released and edited later fails here.
func TestStoresOfEarlierVersionsOpen(t *testing.T) {
	files, err := filepath.Glob("testdata/store/*.sqlite.gz")
	if err != nil || len(files) == 0 {
		t.Fatalf("no stores: %v", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			dir := t.TempDir()
			unzip(t, file, filepath.Join(dir, "store.sqlite"))
			for _, name := range []string{"manifests", "shop"} { // a repository that is gone is forgotten
				out, err := exec.CommandContext(t.Context(), "git", "init", "-q", "--bare", "-b", "main", filepath.Join(dir, "git", "demo", name+".git")).CombinedOutput()
				if err != nil {
					t.Fatalf("%v\n%s", err, out)
				}
			}
			for range 2 { // as the server starts, and starts again
				checkStore(t, dir)
			}
		})
	}
}

func unzip(t *testing.T, from, to string) {
	t.Helper()
	in, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	z, err := gzip.NewReader(in)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(io.LimitReader(z, 64<<20))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// checkStore opens the store in dir and checks what all versions have left in
// theirs: two repositories, a run under way and one that has ended, a token.
func checkStore(t *testing.T, dir string) {
	t.Helper()
	ctx := t.Context()
	db, err := store.Open(ctx, filepath.Join(dir, "store.sqlite"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	keeper, err := identity.New(ctx, identity.Options{DB: db, TokenFile: filepath.Join(dir, "admin.token"),
		Now: func() time.Time { return time.Date(2026, 1, 1, 0, 1, 0, 0, time.UTC) }})
	if err != nil {
		t.Fatal(err)
	}
	repos, err := git.New(ctx, git.Options{Root: filepath.Join(dir, "git"), DB: db, Access: keeper, URLs: []string{"http://penstock.localhost:7080/git/"}})
	if err != nil {
		t.Fatal(err)
	}
	ci, err := runs.New(ctx, runs.Options{DB: db, Dir: filepath.Join(dir, "jobs")})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	list, err := repos.List(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range list {
		names = append(names, r.Name)
	}
	if d := cmp.Diff([]string{"demo/manifests", "demo/shop"}, names); d != "" {
		t.Errorf("repositories (-want +got):\n%s", d)
	}
	first, err := ci.Get(ctx, 1)
	if err != nil {
		t.Fatal(err)
	}
	second, err := ci.Get(ctx, 2)
	if err != nil {
		t.Fatal(err)
	}
	if first.Status != runs.InProgress || second.Status != runs.Completed || second.Conclusion != "success" || first.Jobs[0].Conclusion != "failure" || len(first.Jobs[0].Steps) != 4 {
		t.Errorf("runs:\n%+v\n%+v", first, second)
	}
	var said []string
	for _, a := range first.Jobs[0].Annotations {
		said = append(said, a.Level+" "+a.Message)
	}
	if d := cmp.Diff([]string{"warning first", "error second", "error Process completed with exit code 1."}, said); d != "" {
		t.Errorf("annotations (-want +got):\n%s", d)
	}
	checkLog(ctx, t, db)
}

// checkLog checks that the events of the store are what CDEvents asks for.
func checkLog(ctx context.Context, t *testing.T, db *store.DB) {
	t.Helper()
	var types []string
	if err := db.Read(ctx, func(q store.Queryer) error {
		list, err := store.Events(ctx, q, store.EventFilter{}, 0, 1000)
		for _, e := range list {
			eventtest.Valid(t, e.Entry())
			types = append(types, strings.Join(strings.Split(e.Type, ".")[2:4], "."))
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"penstock-push.received", "penstock-push.received", "pipelinerun.finished"}, types[:min(3, len(types))]); d != "" {
		t.Errorf("events (-want +got):\n%s", d)
	}
	if err := db.Read(ctx, func(q store.Queryer) error {
		seq, err := store.Cursor(ctx, q, "ci.runs")
		if seq < 2 {
			t.Errorf("cursor at %d", seq)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
}
