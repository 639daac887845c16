package git

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/penstock-dev/penstock/internal/base/problem"
)

const (
	readTime   = time.Minute // for one read by another room
	maxFile    = 16 << 20    // bytes of one file that ReadFile returns
	maxListing = 64 << 20    // bytes of a listing of paths
	maxMessage = 1 << 20     // bytes of one commit's message
)

var (
	fullHash  = regexp.MustCompile(`^[0-9a-f]{40}(?:[0-9a-f]{24})?$`)
	shortHash = regexp.MustCompile(`^[0-9a-f]{7,64}$`)
)

// Resolve returns the commit that rev names: a commit (whole or at least seven
// digits), "HEAD" or "", a full ref, a branch or a tag, in this order. The
// error wraps problem.ErrNotFound.
func (s *Server) Resolve(ctx context.Context, repo, rev string) (commit string, err error) {
	ctx, cancel := context.WithTimeout(ctx, readTime)
	defer cancel()
	missing := fmt.Errorf("revision %q of %s: %w", rev, repo, problem.ErrNotFound)
	if err := s.readable(repo); err != nil {
		return "", err
	}
	names := candidates(rev)
	if len(names) == 0 {
		return "", missing
	}
	in := strings.NewReader(strings.Join(names, "^{commit}\n") + "^{commit}\n")
	out, err := s.git.output(ctx, s.dir(repo), 64<<10, in, "cat-file", "--batch-check")
	if err != nil {
		return "", fmt.Errorf("resolve %q in %s: %w", rev, repo, err)
	}
	for line := range strings.Lines(string(out)) {
		if f := strings.Fields(line); len(f) == 3 && f[1] == "commit" && fullHash.MatchString(f[0]) {
			return f[0], nil
		}
	}
	return "", missing
}

// candidates lists what git is asked for to find rev, best first. A name that
// git would read as more than a name (":", "^", "~", "@{") has none.
func candidates(rev string) []string {
	switch {
	case rev == "" || rev == "HEAD":
		return []string{"HEAD"}
	case fullHash.MatchString(rev):
		return []string{rev}
	case !validRef(rev):
		return nil
	case strings.HasPrefix(rev, "refs/"):
		return []string{rev}
	}
	names := []string{"refs/heads/" + rev, "refs/tags/" + rev}
	if shortHash.MatchString(rev) {
		names = append(names, rev)
	}
	return names
}

// validRef says whether name can be a ref or the end of one, by git's rules.
func validRef(name string) bool {
	if name == "" || len(name) > 1024 || strings.HasPrefix(name, "-") || strings.HasSuffix(name, ".") ||
		strings.Contains(name, "..") || strings.Contains(name, "@{") || strings.ContainsAny(name, " ~^:?*[\\\x7f") {
		return false
	}
	for part := range strings.SplitSeq(name, "/") {
		if part == "" || strings.HasPrefix(part, ".") || strings.HasSuffix(part, ".lock") {
			return false
		}
	}
	return !strings.ContainsFunc(name, func(r rune) bool { return r < ' ' })
}

// readable says that the repository exists.
func (s *Server) readable(repo string) error {
	if CheckName(repo) != nil || !s.exists(repo) {
		return fmt.Errorf("repository %q: %w", repo, problem.ErrNotFound)
	}
	return nil
}

// Commit is what a commit says about itself. Of a message beyond 1 MiB it holds
// the beginning.
type Commit struct {
	Hash      string    `json:"hash"`
	Tree      string    `json:"tree"`
	Parents   []string  `json:"parents"`
	Author    Person    `json:"author"`
	Committer Person    `json:"committer"`
	AuthorAt  time.Time `json:"authorAt"`
	CommitAt  time.Time `json:"commitAt"`
	Message   string    `json:"message"`
}

// Person is an author or committer.
type Person struct {
	Name  string `json:"name"`
	Email string `json:"email"`
}

// Commit returns the commit called commit, a whole hash.
func (s *Server) Commit(ctx context.Context, repo, commit string) (Commit, error) {
	const format = "--format=%H%x00%T%x00%P%x00%an%x00%ae%x00%aI%x00%cn%x00%ce%x00%cI%x00%B"
	out, err := s.at(ctx, repo, commit, maxMessage, "show", "-s", "--no-show-signature", "--no-notes", "--encoding=UTF-8", format, "--end-of-options", commit+"^{commit}", "--")
	if err != nil && !errors.Is(err, errTooLarge) { // a message may be cut short
		return Commit{}, err
	}
	f := strings.SplitN(string(out), "\x00", 10)
	if len(f) != 10 {
		return Commit{}, fmt.Errorf("read commit %s of %s: unexpected answer", commit, repo)
	}
	c := Commit{Hash: f[0], Tree: f[1], Parents: strings.Fields(f[2]), Author: Person{f[3], f[4]}, Committer: Person{f[6], f[7]}, Message: strings.TrimRight(f[9], "\n")}
	// A date that git cannot print stays the zero time.
	c.AuthorAt, _ = time.Parse(time.RFC3339, f[5])
	c.CommitAt, _ = time.Parse(time.RFC3339, f[8])
	return c, nil
}

// at runs git with args, which read from commit, and tells a commit that is
// not there from what else can fail.
func (s *Server) at(ctx context.Context, repo, commit string, limit int64, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, readTime)
	defer cancel()
	if err := s.readable(repo); err != nil {
		return nil, err
	}
	if !fullHash.MatchString(commit) {
		return nil, fmt.Errorf("commit %q of %s: not a whole hash: %w", commit, repo, problem.ErrInvalid)
	}
	out, err := s.git.output(ctx, s.dir(repo), limit, nil, args...)
	if err == nil || errors.Is(err, errTooLarge) || ctx.Err() != nil {
		return out, wrapRead(err, repo)
	}
	if _, missing := s.Resolve(ctx, repo, commit); errors.Is(missing, problem.ErrNotFound) {
		return nil, fmt.Errorf("commit %s of %s: %w", commit, repo, problem.ErrNotFound)
	}
	return nil, wrapRead(err, repo)
}

func wrapRead(err error, repo string) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("read %s: %w", repo, err)
}

// Entry is one name in a commit's tree.
type Entry struct {
	Path string // from the root of the tree
	Mode uint32 // git's: 0100644, 0100755 (executable), 0120000 (symlink), 0160000 (submodule), 0040000 (directory)
	Hash string
	Size int64 // of a file; -1 for others
}

// Modes of entries.
const (
	modeExec      = 0o100755
	modeSymlink   = 0o120000
	modeSubmodule = 0o160000
	modeDir       = 0o040000
)

// IsDir says whether the entry is a directory.
func (e Entry) IsDir() bool { return e.Mode == modeDir }

// IsFile says whether the entry is a regular file, executable or not.
func (e Entry) IsFile() bool { return e.Mode>>12 == 0o10 }

// ListTree returns what is directly in the directory dir ("" is the root) of a
// commit. A directory that is not there has problem.ErrNotFound.
func (s *Server) ListTree(ctx context.Context, repo, commit, dir string) ([]Entry, error) {
	treeish := commit + "^{tree}"
	if dir != "" {
		e, err := s.entry(ctx, repo, commit, dir)
		if err != nil {
			return nil, err
		}
		if !e.IsDir() {
			return nil, fmt.Errorf("directory %q in %s at %s: %w", dir, repo, commit, problem.ErrNotFound)
		}
		treeish = e.Hash
	}
	out, err := s.at(ctx, repo, commit, maxListing, "ls-tree", "-z", "-l", "--full-tree", treeish)
	if err != nil {
		return nil, err
	}
	return parseTree(out, dir)
}

// ReadFile returns the content of a regular file at a commit.
func (s *Server) ReadFile(ctx context.Context, repo, commit, name string) ([]byte, error) {
	e, err := s.entry(ctx, repo, commit, name)
	if err != nil {
		return nil, err
	}
	if !e.IsFile() {
		return nil, fmt.Errorf("%q in %s at %s is not a regular file: %w", name, repo, commit, problem.ErrInvalid)
	}
	if e.Size > maxFile {
		return nil, fmt.Errorf("%q in %s at %s has %d bytes, more than %d: %w", name, repo, commit, e.Size, maxFile, problem.ErrInvalid)
	}
	return s.at(ctx, repo, commit, maxFile, "cat-file", "blob", e.Hash)
}

// entry looks up one path of a commit.
func (s *Server) entry(ctx context.Context, repo, commit, name string) (Entry, error) {
	missing := fmt.Errorf("%q in %s at %s: %w", name, repo, commit, problem.ErrNotFound)
	if name == "" || name == "." || path.Clean(name) != name || path.IsAbs(name) || name == ".." || strings.HasPrefix(name, "../") || strings.Contains(name, "\x00") {
		return Entry{}, missing
	}
	out, err := s.at(ctx, repo, commit, 64<<10, "--literal-pathspecs", "ls-tree", "-z", "-l", "--full-tree", commit+"^{tree}", "--", name)
	if err != nil {
		return Entry{}, err
	}
	entries, err := parseTree(out, "")
	if err != nil {
		return Entry{}, err
	}
	if len(entries) != 1 || entries[0].Path != name {
		return Entry{}, missing
	}
	return entries[0], nil
}

// parseTree reads the output of ls-tree -z -l of the directory dir.
func parseTree(out []byte, dir string) ([]Entry, error) {
	var entries []Entry
	for line := range bytes.SplitSeq(out, []byte{0}) {
		if len(line) == 0 {
			continue
		}
		meta, name, ok := bytes.Cut(line, []byte{'\t'})
		f := bytes.Fields(meta)
		if !ok || len(f) != 4 {
			return nil, fmt.Errorf("unexpected line %q from ls-tree", line)
		}
		mode, err := strconv.ParseUint(string(f[0]), 8, 32)
		if err != nil {
			return nil, fmt.Errorf("unexpected mode %q from ls-tree", f[0])
		}
		size := int64(-1)
		if string(f[3]) != "-" {
			if size, err = strconv.ParseInt(string(f[3]), 10, 64); err != nil {
				return nil, fmt.Errorf("unexpected size %q from ls-tree", f[3])
			}
		}
		entries = append(entries, Entry{Path: path.Join(dir, string(name)), Mode: uint32(mode), Hash: string(f[2]), Size: size})
	}
	return entries, nil
}

// ChangedPaths returns the paths that differ between two commits, sorted. When
// before is event.ZeroCommit or not there any more, as after a forced push that
// was cleaned up, every path of after counts as changed.
func (s *Server) ChangedPaths(ctx context.Context, repo, before, after string) ([]string, error) {
	from := ""
	if fullHash.MatchString(before) && strings.Trim(before, "0") != "" {
		c, err := s.Resolve(ctx, repo, before)
		if err != nil && !errors.Is(err, problem.ErrNotFound) {
			return nil, err
		}
		from = c
	}
	args := []string{"ls-tree", "-r", "-z", "--name-only", "--full-tree", after + "^{tree}"}
	if from != "" {
		args = []string{"diff-tree", "-r", "-z", "--no-renames", "--name-only", "--no-commit-id", "--end-of-options", from, after}
	}
	out, err := s.at(ctx, repo, after, maxListing, args...)
	if err != nil {
		return nil, err
	}
	var paths []string
	for name := range strings.SplitSeq(string(out), "\x00") {
		if name != "" {
			paths = append(paths, name)
		}
	}
	return paths, nil
}
