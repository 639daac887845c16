package actions

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/penstock-dev/penstock/internal/base/id"
)

// checkout is actions/checkout. git itself runs where the job's steps run, so
// nothing that a repository or an earlier step put into a git configuration
// runs with the rights of the runner.
type checkout struct{}

const later = "is not supported yet by this version of Penstock"

func (checkout) Inputs() map[string]Input {
	return map[string]Input{
		"repository": {Default: "${{ github.repository }}"}, "ref": {}, "token": {Default: "${{ github.token }}"},
		"persist-credentials": {Default: "true"}, "path": {}, "clean": {Default: "true"}, "fetch-depth": {Default: "1"},
		"fetch-tags": {Default: "false"}, "show-progress": {Default: "true"}, "set-safe-directory": {Default: "true"},
		"ssh-key": {Refused: later}, "ssh-known-hosts": {Refused: later}, "ssh-strict": {Default: "true"}, "ssh-user": {Default: "git"},
		"filter": {Refused: later}, "sparse-checkout": {Refused: later}, "sparse-checkout-cone-mode": {Default: "true"},
		"lfs": {Default: "false", Refused: later}, "submodules": {Default: "false", Refused: later},
		"github-server-url": {Refused: later},
	}
}

var shaPattern = regexp.MustCompile(`^[0-9a-fA-F]{40}$`)

// source is what a checkout brings.
type source struct {
	url, dir    string
	ref, commit string // full ref, "" for a commit alone; 40 digits, "" until known
	depth       int    // 0 is everything
	tags        bool
	progress    bool
}

func (c checkout) Run(ctx context.Context, s Step) error {
	job := s.Job()
	src, err := readSource(s, job)
	if err != nil {
		return err
	}
	g := &git{step: s, dir: src.dir}
	s.Printf("Syncing repository: %s", s.Input("repository"))
	if err := g.init(ctx, src.url, s.Input("clean") == "true", s.Input("set-safe-directory") == "true"); err != nil {
		return err
	}
	if token := s.Input("token"); token != "" {
		if err := g.authenticate(ctx, job, token); err != nil {
			return err
		}
		s.SetState("credentials", g.credentials)
		s.SetState("dir", src.dir)
	}
	if err := g.checkout(ctx, &src); err != nil {
		return err
	}
	commit, err := g.output(ctx, "log", "-1", "--format=%H")
	if err != nil {
		return err
	}
	s.Printf("%s", commit)
	s.SetOutput("commit", commit)
	s.SetOutput("ref", s.Input("ref"))
	if s.Input("persist-credentials") != "true" {
		return c.Post(ctx, s)
	}
	return nil
}

// Post removes the credentials. It does so without git when the repository is
// gone.
func (checkout) Post(ctx context.Context, s Step) error {
	file := s.State("credentials")
	if file == "" {
		return nil
	}
	s.SetState("credentials", "")
	g := &git{step: s, dir: s.State("dir")}
	if err := g.run(ctx, nil, "config", "--local", "--unset-all", "include.path", regexp.QuoteMeta(file)); err != nil {
		s.Printf("The repository no longer names the credentials: %v", err)
	}
	temp, err := os.OpenRoot(s.Job().Temp)
	if err != nil {
		return err
	}
	defer temp.Close()
	if err := temp.Remove(filepath.Base(file)); err != nil && !os.IsNotExist(err) {
		return fmt.Errorf("remove credentials: %w", err)
	}
	return nil
}

func readSource(s Step, job Job) (source, error) {
	src := source{tags: s.Input("fetch-tags") == "true", progress: s.Input("show-progress") == "true"}
	repo := s.Input("repository")
	owner, name, ok := strings.Cut(repo, "/")
	if !ok || owner == "" || name == "" || strings.Contains(name, "/") {
		return src, fmt.Errorf("Invalid repository '%s'. Expected format {owner}/{repo}.", repo) //nolint:staticcheck,revive // GitHub's words
	}
	src.url = job.ServerURL + "/git/" + owner + "/" + name + ".git"
	rel := s.Input("path")
	if rel == "" {
		rel = "."
	}
	if filepath.IsAbs(rel) {
		r, err := filepath.Rel(job.Workspace, rel)
		if err != nil {
			return src, err
		}
		rel = r
	}
	if !filepath.IsLocal(rel) {
		return src, fmt.Errorf("Repository path '%s' is not under '%s'", filepath.Join(job.Workspace, rel), job.Workspace) //nolint:staticcheck // GitHub's words
	}
	src.dir = filepath.Join(job.Workspace, rel)
	depth, err := strconv.Atoi(s.Input("fetch-depth"))
	if err != nil || depth < 0 {
		return src, fmt.Errorf("input fetch-depth: '%s' is not a number from 0", s.Input("fetch-depth"))
	}
	src.depth = depth
	ref := s.Input("ref")
	switch {
	case ref == "" && strings.EqualFold(repo, job.Repo):
		src.ref, src.commit = job.Ref, job.SHA
	case shaPattern.MatchString(ref):
		src.commit = strings.ToLower(ref)
	default:
		src.ref = ref
	}
	return src, nil
}

// git runs git in one repository.
type git struct {
	step        Step
	dir         string
	credentials string // file with the token
}

// run prints and runs a command; stdout nil is the log.
func (g *git) run(ctx context.Context, stdout *bytes.Buffer, args ...string) error {
	c := Command{Args: append([]string{"git", "-C", g.dir}, args...), Env: []string{"GIT_TERMINAL_PROMPT=0", "GCM_INTERACTIVE=Never"}}
	if stdout != nil {
		c.Stdout = stdout
	}
	code, err := g.step.Exec(ctx, c)
	if err == nil && code != 0 {
		err = fmt.Errorf("The process 'git %s' failed with exit code %d", args[0], code) //nolint:staticcheck // GitHub's words
	}
	return err
}

func (g *git) must(ctx context.Context, args ...string) error {
	return g.run(ctx, nil, args...)
}

func (g *git) fetch(ctx context.Context, args ...string) error {
	return g.network(ctx, func() error { return g.must(ctx, args...) })
}

func (g *git) lsRemote(ctx context.Context, args ...string) (out string, err error) {
	err = g.network(ctx, func() error {
		out, err = g.output(ctx, append([]string{"ls-remote"}, args...)...)
		return err
	})
	return out, err
}

func (g *git) output(ctx context.Context, args ...string) (string, error) {
	var b bytes.Buffer
	err := g.run(ctx, &b, args...)
	return strings.TrimSpace(b.String()), err
}

// init makes the directory a repository of url. One that is there already is
// used again when it is of the same url, and replaced otherwise.
func (g *git) init(ctx context.Context, url string, clean, safe bool) error {
	if safe {
		code, err := g.step.Exec(ctx, Command{Args: []string{"git", "config", "--global", "--add", "safe.directory", g.dir}})
		if err != nil || code != 0 {
			return fmt.Errorf("add safe.directory: exit code %d, %w", code, err)
		}
	}
	if _, err := os.Lstat(filepath.Join(g.dir, ".git")); err == nil {
		have, _ := g.output(ctx, "config", "--local", "--get", "remote.origin.url")
		if have == url {
			if !clean {
				return nil
			}
			if g.must(ctx, "clean", "-ffdx") == nil && g.must(ctx, "reset", "--hard", "HEAD") == nil {
				return nil
			}
			g.step.Warnf("Unable to clean or reset the repository. The repository will be recreated instead.")
		}
	}
	if err := emptyDir(g.step.Job().Workspace, g.dir); err != nil {
		return fmt.Errorf("empty %s: %w", g.dir, err)
	}
	for _, args := range [][]string{{"init", "-q"}, {"remote", "add", "origin", url}, {"config", "--local", "gc.auto", "0"}} {
		if err := g.must(ctx, args...); err != nil {
			return err
		}
	}
	return nil
}

// emptyDir creates dir below workspace and removes what is in it. Links made
// by earlier steps do not lead it out of the workspace.
func emptyDir(workspace, dir string) error {
	root, err := os.OpenRoot(workspace)
	if err != nil {
		return err
	}
	defer root.Close()
	rel, err := filepath.Rel(workspace, dir)
	if err != nil {
		return err
	}
	if err := root.MkdirAll(rel, 0o755); err != nil {
		return err
	}
	sub, err := root.OpenRoot(rel)
	if err != nil {
		return err
	}
	defer sub.Close()
	d, err := sub.Open(".")
	if err != nil {
		return err
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	if err != nil {
		return err
	}
	for _, n := range names {
		if err := sub.RemoveAll(n); err != nil {
			return err
		}
	}
	return nil
}

// authenticate lets git use the token: a file outside of the repository that
// the repository's configuration includes. So the token is in no command line.
func (g *git) authenticate(ctx context.Context, job Job, token string) error {
	basic := base64.StdEncoding.EncodeToString([]byte("x-access-token:" + token))
	g.step.Mask(token)
	g.step.Mask(basic)
	temp, err := os.OpenRoot(job.Temp)
	if err != nil {
		return err
	}
	defer temp.Close()
	name := "git-credentials-" + id.New() + ".config"
	f, err := temp.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(f, "[http %q]\n\textraheader = AUTHORIZATION: basic %s\n", job.ServerURL+"/", basic)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("write credentials: %w", err)
	}
	g.credentials = filepath.Join(job.Temp, name)
	return g.must(ctx, "config", "--local", "--add", "include.path", g.credentials)
}

// checkout fetches src and checks it out.
func (g *git) checkout(ctx context.Context, src *source) error {
	if err := g.resolve(ctx, src); err != nil {
		return err
	}
	fetch := []string{"-c", "protocol.version=2", "fetch", "--prune", "--no-recurse-submodules"}
	if src.progress {
		fetch = append(fetch, "--progress")
	}
	if !src.tags {
		fetch = append(fetch, "--no-tags")
	}
	if src.depth > 0 {
		if err := g.fetch(ctx, append(fetch, "--depth="+strconv.Itoa(src.depth), "origin", src.refspec())...); err != nil {
			return err
		}
	} else {
		if err := g.fetch(ctx, append(fetch, "origin", "+refs/heads/*:refs/remotes/origin/*", "+refs/tags/*:refs/tags/*")...); err != nil {
			return err
		}
		// The branch may have moved on since the event, or be gone.
		if at, err := g.output(ctx, "rev-parse", "--verify", "--quiet", src.local()+"^{commit}"); err != nil || at != src.commit {
			if err := g.fetch(ctx, append(fetch, "origin", src.refspec())...); err != nil {
				return err
			}
		}
	}
	args := []string{"checkout", "--force"}
	if src.progress {
		args = append(args, "--progress")
	}
	if branch, ok := strings.CutPrefix(src.ref, "refs/heads/"); ok {
		return g.must(ctx, append(args, "-B", branch, "refs/remotes/origin/"+branch)...)
	}
	return g.must(ctx, append(args, src.local())...)
}

// refspec fetches the commit under the name it will have here.
func (src *source) refspec() string {
	if local := src.local(); local != src.commit {
		return "+" + src.commit + ":" + local
	}
	return src.commit
}

// local is the name of the commit in this clone.
func (src *source) local() string {
	if branch, ok := strings.CutPrefix(src.ref, "refs/heads/"); ok {
		return "refs/remotes/origin/" + branch
	}
	if strings.HasPrefix(src.ref, "refs/tags/") {
		return src.ref
	}
	return src.commit
}

// resolve finds the full ref and the commit.
func (g *git) resolve(ctx context.Context, src *source) error {
	if src.commit != "" {
		return nil
	}
	if src.ref == "" {
		out, err := g.lsRemote(ctx, "--symref", "origin", "HEAD")
		if err != nil {
			return err
		}
		for _, line := range strings.Split(out, "\n") {
			value, _, _ := strings.Cut(line, "\t")
			if ref, ok := strings.CutPrefix(value, "ref: "); ok {
				src.ref = ref
			} else if shaPattern.MatchString(value) {
				src.commit = value
			}
		}
		if src.commit == "" {
			return fmt.Errorf("the repository is empty")
		}
		return nil
	}
	candidates := []string{src.ref}
	if !strings.HasPrefix(src.ref, "refs/") {
		candidates = []string{"refs/heads/" + src.ref, "refs/tags/" + src.ref}
	}
	out, err := g.lsRemote(ctx, append([]string{"origin"}, candidates...)...)
	if err != nil {
		return err
	}
	found := map[string]string{}
	for _, line := range strings.Split(out, "\n") {
		if commit, ref, ok := strings.Cut(line, "\t"); ok {
			found[ref] = commit
		}
	}
	for _, ref := range candidates {
		if commit := found[ref]; commit != "" {
			src.ref, src.commit = ref, commit
			return nil
		}
	}
	return fmt.Errorf("A branch or tag with the name '%s' could not be found", src.ref) //nolint:staticcheck // GitHub's words
}
