package git

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/penstock-dev/penstock/internal/base/event"
	"github.com/penstock-dev/penstock/internal/base/problem"
)

// Objects reads the objects that a push brings, and those of the repository it
// goes to. It is valid until the check that got it returns.
type Objects struct {
	git  program
	repo string // directory
	dir  string // of the new objects; empty for a push without any
}

// Object is one of git's objects.
type Object struct {
	Hash string
	Type string // blob, tree, commit, tag
	Size int64  // not packed
}

// env lets git see the quarantined objects beside the repository's, and keeps
// it from moving refs.
func (o Objects) env() []string {
	if o.dir == "" {
		return o.git.env
	}
	return append(o.git.env[:len(o.git.env):len(o.git.env)],
		"GIT_OBJECT_DIRECTORY="+o.dir,
		"GIT_ALTERNATE_OBJECT_DIRECTORIES="+filepath.Join(o.repo, "objects"),
		"GIT_QUARANTINE_PATH="+o.dir)
}

func (o Objects) program() program {
	p := o.git
	p.env = o.env()
	return p
}

// Each calls fn for every object that the push brings, in no order. A pack may
// repeat objects that the repository has.
func (o Objects) Each(ctx context.Context, fn func(Object) error) error {
	if o.dir == "" {
		return nil
	}
	p := o.git
	p.env = append(p.env[:len(p.env):len(p.env)], "GIT_OBJECT_DIRECTORY="+o.dir)
	return p.lines(ctx, o.repo, nil, func(line string) error {
		f := strings.Fields(line)
		if len(f) != 3 {
			return fmt.Errorf("unexpected line %q from cat-file", line)
		}
		size, err := strconv.ParseInt(f[2], 10, 64)
		if err != nil {
			return fmt.Errorf("unexpected size %q from cat-file", f[2])
		}
		return fn(Object{Hash: f[0], Type: f[1], Size: size})
	}, "cat-file", "--batch-all-objects", "--unordered", "--buffer", "--batch-check=%(objectname) %(objecttype) %(objectsize)")
}

// Commits lists the commits that the update brings to the repository, newest
// first, at most limit. more says that there are others.
func (o Objects) Commits(ctx context.Context, u event.RefUpdate, limit int) (hashes []string, more bool, err error) {
	if u.After == event.ZeroCommit {
		return nil, false, nil
	}
	err = o.program().lines(ctx, o.repo, nil, func(line string) error {
		hashes = append(hashes, line)
		return nil
	}, "rev-list", "--max-count="+strconv.Itoa(limit+1), u.After, "--not", "--all")
	if len(hashes) > limit {
		hashes, more = hashes[:limit], true
	}
	return hashes, more, err
}

// Files lists the files that a commit adds or changes, against its first
// parent.
func (o Objects) Files(ctx context.Context, commit string) ([]Entry, error) {
	if !fullHash.MatchString(commit) {
		return nil, fmt.Errorf("commit %q: not a whole hash: %w", commit, problem.ErrInvalid)
	}
	out, err := o.program().output(ctx, o.repo, maxListing, nil,
		"diff-tree", "-r", "-z", "--root", "--no-renames", "--no-commit-id", "--diff-filter=d", "--diff-merges=first-parent", "--end-of-options", commit)
	if err != nil {
		return nil, err
	}
	return parseDiff(string(out))
}

// parseDiff reads the raw output of diff-tree -z:
// ":100644 100755 OLD NEW M\0path\0".
func parseDiff(out string) ([]Entry, error) {
	var entries []Entry
	for out != "" {
		meta, rest, ok := strings.Cut(out, "\x00")
		name, rest, ok2 := strings.Cut(rest, "\x00")
		f := strings.Fields(meta)
		if !ok || !ok2 || len(f) != 5 || !strings.HasPrefix(meta, ":") {
			return nil, fmt.Errorf("unexpected entry %q from diff-tree", meta)
		}
		mode, err := strconv.ParseUint(f[1], 8, 32)
		if err != nil {
			return nil, fmt.Errorf("unexpected mode %q from diff-tree", f[1])
		}
		entries = append(entries, Entry{Path: name, Mode: uint32(mode), Hash: f[3], Size: -1})
		out = rest
	}
	return entries, nil
}

// Read gives the contents of blobs, in the order asked for, to fn. fn need not
// read to the end. A blob that is not there is an error.
func (o Objects) Read(ctx context.Context, hashes []string, fn func(Object, io.Reader) error) (err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	cmd := o.program().command(ctx, o.repo, "cat-file", "--batch", "--buffer")
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("read objects: %w", err)
	}
	asked := make(chan error, 1)
	go func() {
		w := bufio.NewWriter(in)
		for _, h := range hashes {
			_, _ = w.WriteString(h + "\n")
		}
		asked <- errors.Join(w.Flush(), in.Close())
	}()
	defer func() {
		if err != nil {
			cancel()
		}
		waitErr, askErr := cmd.Wait(), <-asked
		if err == nil {
			err = errors.Join(waitErr, askErr)
		}
	}()
	r := bufio.NewReaderSize(out, 256<<10)
	for _, h := range hashes {
		line, err := r.ReadString('\n')
		if err != nil {
			return fmt.Errorf("read object %s: %w", h, err)
		}
		f := strings.Fields(line)
		if len(f) != 3 || f[0] != h {
			return fmt.Errorf("read object %s: git answered %q", h, strings.TrimSpace(line))
		}
		size, err := strconv.ParseInt(f[2], 10, 64)
		if err != nil {
			return fmt.Errorf("read object %s: git answered %q", h, strings.TrimSpace(line))
		}
		content := io.LimitedReader{R: r, N: size}
		if err := fn(Object{Hash: h, Type: f[1], Size: size}, &content); err != nil {
			return err
		}
		if _, err := io.CopyN(io.Discard, r, content.N+1); err != nil {
			return fmt.Errorf("read object %s: %w", h, err)
		}
	}
	return nil
}

// ancestor says whether old is new or one of its ancestors.
func (o Objects) ancestor(ctx context.Context, older, newer string) (bool, error) {
	out, err := o.program().output(ctx, o.repo, 1<<10, nil, "rev-list", "--max-count=1", older, "^"+newer)
	if err != nil {
		return false, err
	}
	return len(out) == 0, nil
}

// merge returns a merge commit that the update brings to its ref, or "".
func (o Objects) merge(ctx context.Context, u event.RefUpdate) (string, error) {
	args := []string{"rev-list", "--min-parents=2", "--max-count=1", u.After}
	if u.Before != event.ZeroCommit {
		args = append(args, "^"+u.Before)
	} else {
		args = append(args, "--not", "--all")
	}
	out, err := o.program().output(ctx, o.repo, 1<<10, nil, args...)
	return strings.TrimSpace(string(out)), err
}

// path finds a name of a blob among what the updates bring, "" when it has
// none.
func (o Objects) path(ctx context.Context, updates []event.RefUpdate, blob string) (name string) {
	args := []string{"rev-list", "--objects"}
	for _, u := range updates {
		if u.After != event.ZeroCommit {
			args = append(args, u.After)
		}
	}
	found := errors.New("found")
	_ = o.program().lines(ctx, o.repo, nil, func(line string) error { // the name is only for the message
		if rest, ok := strings.CutPrefix(line, blob+" "); ok {
			name = rest
			return found
		}
		return nil
	}, append(args, "--not", "--all")...)
	return name
}
