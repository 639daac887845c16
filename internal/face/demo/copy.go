package demo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// workCopy is a clone of a hosted repository, worked on with git as anybody
// would.
type workCopy struct {
	dir string
	git git
}

// git runs git with the credentials of this machine's Penstock and nothing of
// the user's own configuration.
type git struct {
	server string // base URL
	helper string // the command that hands out the token
	env    []string
}

func newGit(server, program, dataDir, token string) git {
	return git{
		server: server,
		helper: "!" + shellQuote(program) + " credential",
		env: append(os.Environ(),
			"PENSTOCK_DATA_DIR="+dataDir, "PENSTOCK_SERVER="+server, "PENSTOCK_TOKEN="+token,
			"GIT_TERMINAL_PROMPT=0", "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL="+os.DevNull,
		),
	}
}

// run runs git in dir and returns what it printed on standard output.
func (g git) run(ctx context.Context, dir string, args ...string) (string, error) {
	c := exec.CommandContext(ctx, "git", append([]string{
		"-c", "user.name=Penstock demo", "-c", "user.email=demo@shop.example",
		"-c", "init.defaultBranch=main", "-c", "advice.detachedHead=false",
		"-c", "credential." + g.server + ".helper=" + g.helper,
	}, args...)...)
	c.Dir, c.Env = dir, g.env
	c.WaitDelay = 5 * time.Second
	var out, errs bytes.Buffer
	c.Stdout, c.Stderr = &out, &errs
	if err := c.Run(); err != nil {
		if ctx.Err() != nil {
			return "", context.Cause(ctx)
		}
		return "", fmt.Errorf("git %s: %w: %s", args[0], err, strings.TrimSpace(errs.String()))
	}
	return strings.TrimSpace(out.String()), nil
}

// cloneURL is where a hosted repository is.
func (g git) cloneURL(repo string) string { return g.server + "/git/" + repo + ".git" }

// clone makes a work copy of repo in dir, empty when the repository is.
func (g git) clone(ctx context.Context, repo, dir string) (*workCopy, error) {
	if _, err := g.run(ctx, filepath.Dir(dir), "clone", "--quiet", g.cloneURL(repo), dir); err != nil {
		return nil, err
	}
	w := &workCopy{dir, g}
	// A clone of an empty repository has no branch yet, whatever its name.
	if w.empty(ctx) {
		if _, err := g.run(ctx, dir, "symbolic-ref", "HEAD", "refs/heads/main"); err != nil {
			return nil, err
		}
	}
	return w, nil
}

// empty says whether the copy has no commit yet.
func (w *workCopy) empty(ctx context.Context) bool {
	_, err := w.git.run(ctx, w.dir, "rev-parse", "--verify", "--quiet", "HEAD")
	return err != nil
}

// put writes the files over what is there.
func (w *workCopy) put(files fs.FS) error {
	return fs.WalkDir(files, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		path := filepath.Join(w.dir, filepath.FromSlash(name))
		if d.IsDir() {
			return os.MkdirAll(path, 0o755)
		}
		b, err := fs.ReadFile(files, name)
		if err != nil {
			return err
		}
		return os.WriteFile(path, b, 0o644)
	})
}

// replace puts text between the first from and the next to in a file.
func (w *workCopy) replace(name, from, to, text string) error {
	path := filepath.Join(w.dir, filepath.FromSlash(name))
	b, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("change the example: %w", err)
	}
	head, rest, ok := strings.Cut(string(b), from)
	_, tail, ok2 := strings.Cut(rest, to)
	if !ok || !ok2 {
		return fmt.Errorf("change the example: %s has nothing between %q and %q", name, from, to)
	}
	return os.WriteFile(path, []byte(head+from+text+to+tail), 0o644)
}

// commit commits everything that changed and returns the commit; changed is
// false when there was nothing to commit.
func (w *workCopy) commit(ctx context.Context, message string) (commit string, changed bool, err error) {
	if _, err := w.git.run(ctx, w.dir, "add", "--all"); err != nil {
		return "", false, err
	}
	status, err := w.git.run(ctx, w.dir, "status", "--porcelain")
	if err != nil {
		return "", false, err
	}
	if status != "" {
		if _, err := w.git.run(ctx, w.dir, "commit", "--quiet", "--message", message); err != nil {
			return "", false, err
		}
	}
	commit, err = w.git.run(ctx, w.dir, "rev-parse", "HEAD")
	return commit, status != "", err
}

// push pushes the branch main.
func (w *workCopy) push(ctx context.Context) error {
	_, err := w.git.run(ctx, w.dir, "push", "--quiet", "origin", "HEAD:refs/heads/main")
	return err
}

// pull brings the copy to what main is on the server.
func (w *workCopy) pull(ctx context.Context) error {
	if _, err := w.git.run(ctx, w.dir, "fetch", "--quiet", "origin", "main"); err != nil {
		return err
	}
	_, err := w.git.run(ctx, w.dir, "reset", "--quiet", "--hard", "FETCH_HEAD")
	return err
}

// script runs a script of the copy.
func (w *workCopy) script(ctx context.Context, args ...string) error {
	c := exec.CommandContext(ctx, "sh", args...)
	c.Dir = w.dir
	c.WaitDelay = 5 * time.Second
	out, err := c.CombinedOutput()
	if err != nil {
		return errors.Join(fmt.Errorf("sh %s: %w: %s", strings.Join(args, " "), err, bytes.TrimSpace(out)), context.Cause(ctx))
	}
	return nil
}

// shellQuote makes s one word for sh.
func shellQuote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
