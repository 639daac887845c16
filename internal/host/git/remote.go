package git

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/penstock-dev/penstock/internal/base/problem"
)

// Remote is an outside repository.
type Remote struct {
	URL      string // http or https, without credentials
	Username string
	Password string // or token
}

const (
	maxRemoteURL = 2048
	remoteTime   = 2 * time.Hour // for one fetch of everything
)

// check says what is wrong with a remote, wrapped in problem.ErrInvalid.
func (r Remote) check() error {
	fail := func(why string) error {
		return fmt.Errorf("address of the outside repository: %s: %w", why, problem.ErrInvalid)
	}
	u, err := url.Parse(r.URL)
	switch {
	case err != nil || len(r.URL) > maxRemoteURL:
		return fail("not a URL") // which may hold a password, so it is not repeated
	case u.User != nil:
		return fail("it holds credentials; give them apart, so that they are kept apart")
	case u.Scheme != "http" && u.Scheme != "https":
		return fail("only http and https are served")
	case u.Hostname() == "" || strings.Trim(u.Path, "/") == "":
		return fail("it names no repository")
	case u.RawQuery != "" || u.Fragment != "":
		return fail("it has a query or a fragment")
	case strings.ContainsFunc(r.URL, func(c rune) bool { return c <= ' ' || c == 0x7f }):
		return fail("it holds a space or a control character")
	case strings.ContainsAny(r.Username+r.Password, "\x00\r\n"):
		return fail("the credentials hold a line end")
	case len(r.Username)+len(r.Password) > 64<<10:
		return fail("the credentials are too long")
	}
	return nil
}

// credentialHelper hands the credentials to git without showing them in an
// argument list.
const credentialHelper = `!f() { test "$1" = get && printf 'username=%s\npassword=%s\n' "$PENSTOCK_USERNAME" "$PENSTOCK_PASSWORD"; }; f` //nolint:gosec // names of variables

// remoteEnv is what reaches git of our own environment when it goes out.
var remoteEnv = []string{"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "no_proxy", "all_proxy", "SSL_CERT_FILE", "SSL_CERT_DIR"}

// mirrorActor is who moves refs that a fetch has moved.
const mirrorActor = "mirror"

// outward prepares git for talking to r: over HTTP only, with the credentials
// for r's host only, giving up on a host that says nothing, and looking at what
// comes as closely as at a push.
func (p program) outward(r Remote) program {
	env := p.env[:len(p.env):len(p.env)]
	for _, k := range remoteEnv {
		if v := os.Getenv(k); v != "" {
			env = append(env, k+"="+v)
			if k == "SSL_CERT_FILE" {
				env = append(env, "GIT_SSL_CAINFO="+v)
			}
		}
	}
	env = append(env,
		"GIT_COMMITTER_NAME="+mirrorActor, "GIT_COMMITTER_EMAIL="+mirrorActor+"@http."+remoteAddr, // see lastActor
		"GIT_PROTOCOL_FROM_USER=0")
	pairs := [][2]string{
		{"protocol.allow", "never"}, {"protocol.http.allow", "always"}, {"protocol.https.allow", "always"},
		{"http.lowSpeedLimit", "1024"}, {"http.lowSpeedTime", "60"}, {"http.followRedirects", "initial"},
		{"fetch.fsckObjects", "true"}, {"fetch.unpackLimit", "1"},
		{"fetch.fsck.badTimezone", "ignore"}, {"fetch.fsck.missingSpaceBeforeDate", "ignore"}, {"fetch.fsck.zeroPaddedFilemode", "ignore"},
		{"fetch.fsck.hasDot", "error"}, {"fetch.fsck.hasDotdot", "error"}, {"fetch.fsck.hasDotgit", "error"}, {"fetch.fsck.fullPathname", "error"},
	}
	if u, err := url.Parse(r.URL); err == nil && r.Username+r.Password != "" {
		user := r.Username
		if user == "" {
			user = "git" // with a token any name does
		}
		env = append(env, "PENSTOCK_USERNAME="+user, "PENSTOCK_PASSWORD="+r.Password)
		pairs = append(pairs, [2]string{"credential." + u.Scheme + "://" + u.Host + ".helper", credentialHelper})
	}
	p.env = configure(env, pairs...)
	return p
}

// fetchAll brings all refs of r into the bare repository in dir, removes those
// that r does not have, and lets HEAD point to where r's does.
func (s *Server) fetchAll(ctx context.Context, dir string, r Remote, used *os.File) error {
	whole, cancel := context.WithTimeout(ctx, remoteTime)
	defer cancel()
	ctx, stop := context.WithCancelCause(whole)
	defer stop(nil)
	git := s.git.outward(r)
	head, err := git.output(ctx, dir, 64<<10, nil, "ls-remote", "--symref", "--", r.URL, "HEAD")
	if err != nil {
		return fmt.Errorf("ask %s: %w", r.URL, err)
	}
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		s.watchSize(ctx, dir, stop)
	}()
	cmd := git.command(ctx, dir, "fetch", "--quiet", "--prune", "--force", "--no-tags", "--no-write-fetch-head", "--no-auto-maintenance", "--no-show-forced-updates", "--", r.URL, "+refs/*:refs/*")
	if used != nil {
		cmd.ExtraFiles = []*os.File{used}
	}
	said := &tailText{max: 4 << 10}
	cmd.Stderr = said
	err = cmd.Run()
	cause := context.Cause(ctx)
	stop(nil)
	<-watched
	if err == nil {
		err = s.checkSize(dir)
	}
	switch {
	case err == nil:
	case errors.Is(err, errTooLarge):
		return fmt.Errorf("fetch %s: %w", r.URL, err)
	case cause != nil:
		return fmt.Errorf("fetch %s: %w", r.URL, cause)
	default:
		return fmt.Errorf("fetch %s: %w: %s", r.URL, err, said.lastError())
	}
	if branch := symref(string(head)); branch != "" {
		if _, err := s.git.output(whole, dir, 1<<10, nil, "symbolic-ref", "HEAD", "refs/heads/"+branch); err != nil {
			return fmt.Errorf("set default branch: %w", err)
		}
	}
	return nil
}

// watchSize ends a fetch that makes the repository larger than it may be.
func (s *Server) watchSize(ctx context.Context, dir string, stop context.CancelCauseFunc) {
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	for {
		if err := s.checkSize(dir); errors.Is(err, errTooLarge) {
			stop(err)
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (s *Server) checkSize(dir string) error {
	size, err := treeSize(filepath.Join(dir, "objects"))
	if err == nil && size > s.maxRepository {
		err = fmt.Errorf("it takes more than the %s that a repository may have here: %w", bytesText(s.maxRepository), errTooLarge)
	}
	return err
}

// symref reads the branch out of "ref: refs/heads/main\tHEAD".
func symref(out string) string {
	for line := range strings.Lines(out) {
		if ref, ok := strings.CutPrefix(line, "ref: refs/heads/"); ok {
			branch, _, _ := strings.Cut(ref, "\t")
			if branch = strings.TrimSpace(branch); validRef(branch) {
				return branch
			}
		}
	}
	return ""
}

// tailText keeps the last bytes written to it: what git says last about a
// remote is what went wrong.
type tailText struct {
	b   []byte
	max int
}

func (t *tailText) Write(b []byte) (int, error) {
	t.b = append(t.b, b...)
	if over := len(t.b) - t.max; over > 0 {
		t.b = append(t.b[:0], t.b[over:]...)
	}
	return len(b), nil
}

// lastError returns the last line that says "fatal:" or "error:", else the last
// one.
func (t *tailText) lastError() string {
	last := ""
	for line := range strings.Lines(string(t.b)) {
		line = oneLine(line)
		if line != "" && (last == "" || strings.HasPrefix(line, "fatal:") || strings.HasPrefix(line, "error:")) {
			last = line
		}
	}
	return last
}

// Import makes a repository with a copy of all refs of r, once.
func (s *Server) Import(ctx context.Context, name string, r Remote) (Repo, error) {
	if err := errors.Join(CheckName(name), r.check()); err != nil {
		return Repo{}, err
	}
	repo, err := s.create(ctx, name, func(dir string) error { return s.fetchAll(ctx, dir, r, nil) }, nil)
	if err != nil {
		return Repo{}, fmt.Errorf("import %s: %w", name, err)
	}
	return repo, nil
}
