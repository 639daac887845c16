package git

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/penstock-dev/penstock/internal/base/problem"
)

const (
	exportTime  = 10 * time.Minute
	exportFiles = 200_000
	exportBytes = 4 << 30
)

// Export writes the files of a commit into the directory dst, which is created
// when absent: contents as they are in git, without filters or line-ending
// conversion; executable bits and symbolic links kept; submodules as empty
// directories. A link that leads out of the tree is refused, so that reading
// the result cannot reach anything else. After an error dst holds a part.
func (s *Server) Export(ctx context.Context, repo, commit, dst string) error {
	ctx, cancel := context.WithTimeout(ctx, exportTime)
	defer cancel()
	out, err := s.at(ctx, repo, commit, maxListing, "ls-tree", "-r", "-z", "-l", "--full-tree", commit+"^{tree}")
	if err != nil {
		return err
	}
	entries, err := parseTree(out, "")
	if err != nil {
		return err
	}
	if err := checkTree(entries); err != nil {
		return fmt.Errorf("export %s at %s: %w", repo, commit, err)
	}
	if err := os.MkdirAll(dst, 0o755); err != nil {
		return err
	}
	root, err := os.OpenRoot(dst)
	if err != nil {
		return err
	}
	defer root.Close()
	if err := s.writeTree(ctx, repo, root, entries); err != nil {
		return fmt.Errorf("export %s at %s: %w", repo, commit, err)
	}
	return nil
}

// checkTree refuses a tree that is too large, or holds names that no checkout
// can have.
func checkTree(entries []Entry) error {
	if len(entries) > exportFiles {
		return fmt.Errorf("%d files, more than %d: %w", len(entries), exportFiles, problem.ErrInvalid)
	}
	total := int64(0)
	for _, e := range entries {
		total += max(e.Size, 0)
		for part := range strings.SplitSeq(e.Path, "/") {
			if part == "" || part == "." || part == ".." || strings.EqualFold(part, ".git") {
				return fmt.Errorf("path %q: %w", e.Path, problem.ErrInvalid)
			}
		}
	}
	if total > exportBytes {
		return fmt.Errorf("%d bytes, more than %d: %w", total, int64(exportBytes), problem.ErrInvalid)
	}
	return nil
}

// writeTree reads all contents from one git process: links first, so that they
// can be judged before anything is written.
func (s *Server) writeTree(ctx context.Context, repo string, root *os.Root, entries []Entry) (err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var links, files []Entry
	for _, e := range entries {
		switch {
		case e.Mode == modeSymlink:
			links = append(links, e)
		case e.IsFile():
			files = append(files, e)
		}
	}
	cmd := s.git.command(ctx, s.dir(repo), "cat-file", "--batch", "--buffer")
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	asked := make(chan error, 1)
	go func() {
		w := bufio.NewWriter(in)
		for _, list := range [][]Entry{links, files} {
			for _, e := range list {
				_, _ = w.WriteString(e.Hash + "\n")
			}
		}
		err := w.Flush()
		asked <- errors.Join(err, in.Close())
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
	targets := make(map[string]string, len(links))
	for _, e := range links {
		var target strings.Builder
		if e.Size > maxTarget {
			return fmt.Errorf("symbolic link %q: the target is too long: %w", e.Path, problem.ErrInvalid)
		}
		if err := readObject(r, e, &target); err != nil {
			return err
		}
		targets[e.Path] = target.String()
	}
	if err := checkLinks(targets); err != nil {
		return err
	}
	dirs := map[string]bool{".": true}
	for _, e := range entries {
		dir := path.Dir(e.Path)
		if e.Mode == modeSubmodule {
			dir = e.Path
		}
		if !dirs[dir] {
			if err := root.MkdirAll(dir, 0o755); err != nil {
				return err
			}
			dirs[dir] = true
		}
	}
	for _, e := range files {
		if err := writeFile(root, e, r); err != nil {
			return err
		}
	}
	for _, e := range links {
		if err := root.Symlink(targets[e.Path], e.Path); err != nil {
			return err
		}
	}
	return nil
}

func writeFile(root *os.Root, e Entry, r *bufio.Reader) error {
	perm := os.FileMode(0o644)
	if e.Mode == modeExec {
		perm = 0o755
	}
	f, err := root.OpenFile(e.Path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, perm)
	if err != nil {
		return err
	}
	return errors.Join(readObject(r, e, f), f.Close())
}

// readObject copies the next object of cat-file --batch, which must be e.
func readObject(r *bufio.Reader, e Entry, w io.Writer) error {
	line, err := r.ReadString('\n')
	if err != nil {
		return fmt.Errorf("read %q: %w", e.Path, err)
	}
	if want := e.Hash + " blob " + strconv.FormatInt(e.Size, 10) + "\n"; line != want {
		return fmt.Errorf("read %q: git answered %q", e.Path, strings.TrimSpace(line))
	}
	if _, err := io.CopyN(w, r, e.Size); err != nil {
		return fmt.Errorf("read %q: %w", e.Path, err)
	}
	_, err = r.Discard(1)
	return err
}

const (
	maxTarget  = 4095   // what Linux takes
	maxLinks   = 10_000 // in one tree
	maxFollows = 40     // links on the way of one link, as in Linux
)

// checkLinks refuses symbolic links that lead out of the tree they are in,
// also by way of each other.
func checkLinks(targets map[string]string) error {
	if len(targets) > maxLinks {
		return fmt.Errorf("%d symbolic links, more than %d: %w", len(targets), maxLinks, problem.ErrInvalid)
	}
	for link := range targets {
		if leaves(targets, link) {
			return fmt.Errorf("symbolic link %q -> %q leads out of the repository or in circles: %w", link, targets[link], problem.ErrInvalid)
		}
	}
	return nil
}

// leaves follows link name by name, as the kernel does, and says whether it
// gets out of the tree. A way that does not end counts as out.
func leaves(targets map[string]string, link string) bool {
	var at []string // the directory reached
	todo := strings.Split(link, "/")
	follows := 0
	for len(todo) > 0 {
		name := todo[0]
		todo = todo[1:]
		switch name {
		case "", ".":
			continue
		case "..":
			if len(at) == 0 {
				return true
			}
			at = at[:len(at)-1]
			continue
		}
		target, ok := targets[path.Join(append(at[:len(at):len(at)], name)...)]
		if !ok {
			at = append(at, name)
			continue
		}
		if follows++; follows > maxFollows || path.IsAbs(target) || target == "" {
			return true
		}
		todo = append(strings.Split(target, "/"), todo...)
	}
	return false
}
