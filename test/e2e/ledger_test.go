//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// ledger is a workflow whose only effect is one commit for each run: what
// happened twice or never can be counted.
const ledger = `name: ledger
on:
  push:
    branches: [main]
permissions:
  contents: write # of the ledger
jobs:
  write:
    runs-on: ubuntu-latest
    steps:
      - uses: actions/checkout@v4
        with: {repository: faults/ledger, path: ledger}
      - name: Write
        working-directory: ledger
        run: |
          git config user.name ci
          git config user.email ci@faults.example
          git commit --quiet --allow-empty --message "run for $GITHUB_SHA"
          for attempt in $(seq 30); do
            if git push --quiet origin HEAD:main; then exit 0; fi
            # Another run was first, or the server is away.
            sleep 1
            if ! git fetch --quiet origin main; then continue; fi
            # The push may have arrived although its answer did not.
            if git log --format=%s FETCH_HEAD | grep --quiet "$GITHUB_SHA"; then exit 0; fi
            git rebase --quiet --keep-empty FETCH_HEAD
          done
          exit 1
`

// ledgered is a repository whose workflow writes the ledger.
type ledgered struct {
	*faults
	src, book string   // working trees
	tips      []string // commits that became the tip of the branch
}

func (f *faults) newLedger(t *testing.T) *ledgered {
	t.Helper()
	l := &ledgered{faults: f, src: t.TempDir(), book: t.TempDir()}
	for dir, repo := range map[string]string{l.src: "faults/source", l.book: "faults/ledger"} {
		f.Run(t, "repo", "create", repo)
		write(t, dir, "README", "x\n")
		f.begin(t, dir, repo)
	}
	f.Git(t, l.book, "push", "-q", "origin", "main")
	write(t, l.src, ".github/workflows/ledger.yml", ledger)
	f.Git(t, l.src, "add", "-A")
	return l
}

// commit makes the commit that push pushes.
func (l *ledgered) commit(t *testing.T, message string) (sha string) {
	t.Helper()
	l.Git(t, l.src, "commit", "-q", "--allow-empty", "-m", message)
	sha = l.Git(t, l.src, "rev-parse", "HEAD")
	l.tips = append(l.tips, sha)
	return sha
}

// push pushes, again and again while there is no server.
func (l *ledgered) push(t *testing.T) {
	t.Helper()
	Eventually(t, 2*time.Minute, "push", func(context.Context) error {
		out, err := l.TryGit(l.src, "push", "-q", "origin", "main")
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
}

// over waits until every commit has a run that succeeded.
func (l *ledgered) over(t *testing.T) (runs map[string]int) {
	t.Helper()
	runs = map[string]int{}
	Eventually(t, 3*time.Minute, "all runs are over", func(context.Context) error {
		clear(runs)
		var err error
		for _, r := range l.runs(t, "faults/source") {
			runs[r.SHA]++
			if r.Status == "completed" && r.Conclusion != "success" {
				t.Fatalf("run %d of %s is a %s: %s\n%s", r.ID, r.SHA, r.Conclusion, r.Message, l.Run(t, "ci", "logs", fmt.Sprint(r.ID)))
			}
			if r.Status != "completed" {
				err = fmt.Errorf("run %d of %s is %s", r.ID, r.SHA, r.Status)
			}
		}
		if len(runs) < len(l.tips) {
			err = errors.Join(err, fmt.Errorf("%d of %d commits have a run", len(runs), len(l.tips)))
		}
		return err
	})
	return runs
}

// once wants one run and one line of the ledger for each commit that was a tip,
// and none for others.
func (l *ledgered) once(t *testing.T) {
	t.Helper()
	runs := l.over(t)
	l.Git(t, l.book, "pull", "-q", "origin", "main")
	effects := map[string]int{}
	for line := range strings.Lines(l.Git(t, l.book, "log", "--format=%s")) {
		if sha, ok := strings.CutPrefix(strings.TrimSpace(line), "run for "); ok {
			effects[sha]++
		}
	}
	for _, sha := range l.tips {
		if runs[sha] != 1 || effects[sha] != 1 {
			t.Errorf("commit %s has %d runs and %d effects, want one of each", sha, runs[sha], effects[sha])
		}
	}
	if len(runs) != len(l.tips) || len(effects) != len(l.tips) {
		t.Errorf("%d commits have runs and %d have effects, want %d", len(runs), len(effects), len(l.tips))
	}
}

// serverDuringPushes kills the server again and again while commits are
// pushed. Every commit that became the tip of the branch has exactly one run,
// and every run exactly one effect.
func (f *faults) serverDuringPushes(t *testing.T) {
	l := f.newLedger(t)
	for i := range 8 {
		l.commit(t, fmt.Sprint("change ", i))
		done := make(chan struct{})
		go func() {
			defer close(done)
			// A different moment of the push each time; what happens to the
			// one and the other is the subject of the failpoint tests.
			time.Sleep(time.Duration(i*25) * time.Millisecond)
			if b, err := os.ReadFile(filepath.Join(f.DataDir, "run", "server.pid")); err == nil {
				var rec struct{ PID int }
				if json.Unmarshal(b, &rec) == nil && rec.PID > 1 {
					syscall.Kill(rec.PID, syscall.SIGKILL)
				}
			}
		}()
		l.push(t)
		<-done
		f.awaitReady(t)
	}
	l.once(t)
}
