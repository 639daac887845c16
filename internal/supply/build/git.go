package build

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/penstock-dev/penstock/internal/base/problem"
)

// gitRef is a context in a repository.
type gitRef struct {
	remote string
	ref    string // branch, tag or commit; "" is the remote's default branch
	subdir string
}

var (
	scpStyle = regexp.MustCompile(`^[A-Za-z0-9_.-]+@[A-Za-z0-9.-]+:[^#]+(#.*)?$`)
	refName  = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_./+-]*$`)
)

// parseGit reads URL.git[#ref[:subdirectory]], for git, ssh and http(s), and
// user@host:path. ok says that c is meant to be one.
func parseGit(c string) (g gitRef, ok bool, err error) {
	remote, fragment, _ := strings.Cut(c, "#")
	scheme, _, isURL := strings.Cut(remote, "://")
	switch {
	case isURL && (scheme == "git" || scheme == "ssh"), scpStyle.MatchString(c):
	case isURL && (scheme == "http" || scheme == "https") && strings.HasSuffix(remote, ".git"):
	default:
		return gitRef{}, false, nil
	}
	if isURL {
		u, err := url.Parse(remote)
		if err != nil || u.Host == "" || u.RawQuery != "" {
			return gitRef{}, true, fmt.Errorf("%w: Git reference %q", problem.ErrInvalid, c)
		}
		if _, has := u.User.Password(); has {
			// It would end in logs and in the image's history.
			return gitRef{}, true, fmt.Errorf("%w: a Git reference must not carry a password; use a credential helper", problem.ErrInvalid)
		}
	}
	g.remote = remote
	g.ref, g.subdir, _ = strings.Cut(fragment, ":")
	if g.ref != "" && (!refName.MatchString(g.ref) || strings.Contains(g.ref, "..")) {
		return gitRef{}, true, fmt.Errorf("%w: %q is no branch, tag or commit", problem.ErrInvalid, g.ref)
	}
	g.subdir = strings.Trim(g.subdir, "/")
	if g.subdir != "" && !filepath.IsLocal(g.subdir) {
		return gitRef{}, true, fmt.Errorf("%w: directory %q is outside of the repository", problem.ErrInvalid, g.subdir)
	}
	return g, true, nil
}

// gitTimeout bounds one fetch.
const gitTimeout = 10 * time.Minute

// checkout fetches a reference into the workspace and returns the directory of
// its context. git runs here and not in the builder: the user's credential
// helpers and SSH keys work, and tokens stay out of command lines.
func checkout(ctx context.Context, g gitRef, work *workspace, token func(string) string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, gitTimeout)
	defer cancel()
	dir, err := work.sub("git")
	if err != nil {
		return "", err
	}
	env := gitEnv(g.remote, token)
	git := func(args ...string) (string, error) {
		cmd := exec.CommandContext(ctx, "git", append([]string{"-C", dir}, args...)...)
		cmd.Env = append(os.Environ(), env...)
		cmd.WaitDelay = 5 * time.Second
		var out, errOut bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &errOut
		if err := cmd.Run(); err != nil {
			return "", fmt.Errorf("git %s: %w: %s", args[0], err, bytes.TrimSpace(errOut.Bytes()))
		}
		return strings.TrimSpace(out.String()), nil
	}
	want := g.ref
	if want == "" {
		want = "HEAD"
	}
	for _, args := range [][]string{
		{"init", "--quiet"},
		{"fetch", "--quiet", "--depth=1", "--no-tags", "--", g.remote, want},
		{"-c", "advice.detachedHead=false", "checkout", "--quiet", "FETCH_HEAD"},
		{"submodule", "--quiet", "update", "--init", "--recursive", "--depth=1"},
	} {
		if _, err := git(args...); err != nil {
			return "", &problem.Error{Op: "fetch context", Subject: g.remote, Err: err, Hint: "check the address, the reference and your access with: git ls-remote " + g.remote}
		}
	}
	stamp, err := git("log", "-1", "--format=%ct")
	if err != nil {
		return "", fmt.Errorf("read commit time: %w", err)
	}
	if err := os.RemoveAll(filepath.Join(dir, ".git")); err != nil {
		return "", fmt.Errorf("remove .git: %w", err)
	}
	if err := setTimes(dir, stamp); err != nil {
		return "", err
	}
	sub := filepath.Join(dir, g.subdir)
	// A link in the repository must not lead out of it.
	root, err := os.OpenRoot(dir)
	if err != nil {
		return "", fmt.Errorf("open checkout: %w", err)
	}
	defer root.Close()
	if g.subdir != "" {
		if st, err := root.Stat(g.subdir); err != nil || !st.IsDir() {
			return "", fmt.Errorf("%w: directory %q in %s", problem.ErrNotFound, g.subdir, g.remote)
		}
	}
	return sub, nil
}

// gitEnv configures git through its environment, which, unlike arguments, only
// the same user can read.
func gitEnv(remote string, token func(string) string) []string {
	env := []string{"GIT_TERMINAL_PROMPT=0"}
	if token == nil {
		return env
	}
	t := token(remote)
	u, err := url.Parse(remote)
	if t == "" || err != nil {
		return env
	}
	return append(env,
		"GIT_CONFIG_COUNT=1",
		// For the whole server: submodules may be other repositories of it.
		"GIT_CONFIG_KEY_0=http."+u.Scheme+"://"+u.Host+"/.extraHeader",
		"GIT_CONFIG_VALUE_0=Authorization: Bearer "+t,
	)
}

// setTimes gives every file the commit's time, so that the same commit makes
// the same layers.
func setTimes(dir, unix string) error {
	sec, err := strconv.ParseInt(unix, 10, 64)
	if err != nil {
		return fmt.Errorf("read commit time: %w", err)
	}
	at := time.Unix(sec, 0)
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.Type()&fs.ModeSymlink != 0 {
			return err
		}
		return os.Chtimes(path, at, at)
	})
	if err != nil {
		return fmt.Errorf("set times of checkout: %w", err)
	}
	return nil
}
