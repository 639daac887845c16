package runner

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"sort"
	"strings"
	"syscall"
	"time"

	"github.com/penstock-dev/penstock/internal/ci/expr"
)

// hashFiles is the function of expressions: the digest over the digests of the
// files of the workspace that match, in the order in which a walk meets them;
// "" when none does.
func (s *step) hashFiles(args []expr.Value) (expr.Value, error) {
	var patterns []string
	for _, a := range args {
		patterns = append(patterns, strings.Split(expr.String(a), "\n")...)
	}
	root, err := os.OpenRoot(s.job.workspace)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	h := &fileHash{root: root, until: time.Now().Add(hashTimeout)}
	if err := h.parse(patterns, s.job.workspace); err != nil {
		return nil, fmt.Errorf("hashFiles: %w", err)
	}
	sum, err := h.sum()
	if err != nil {
		return nil, fmt.Errorf("hashFiles: %w", err)
	}
	return sum, nil
}

// hashTimeout bounds one call, as GitHub's runner does.
const hashTimeout = 120 * time.Second

// fileHash is one call of hashFiles.
type fileHash struct {
	root     *os.Root
	until    time.Time
	patterns []filePattern
	starts   []string // directories from which to walk
	digests  []byte
}

// filePattern includes files or, with not, takes them out again.
type filePattern struct {
	not bool
	re  *regexp.Regexp
}

// parse reads the lines of patterns; # begins a comment, ! excludes.
func (h *fileHash) parse(lines []string, workspace string) error {
	for _, line := range lines {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		if line == "--follow-symbolic-links" {
			return errors.New("--follow-symbolic-links is not supported yet by this version of Penstock")
		}
		body := strings.TrimLeft(line, "!")
		not := (len(line)-len(body))%2 == 1
		body = strings.TrimSpace(body)
		if filepath.IsAbs(body) {
			rel, err := filepath.Rel(workspace, body)
			if err != nil || !filepath.IsLocal(rel) {
				continue // outside of the workspace nothing counts
			}
			body = rel
		}
		body = strings.TrimPrefix(body, "./")
		var segments []string
		for _, seg := range strings.Split(body, "/") {
			switch seg {
			case "", ".":
				if seg == "." && body != "." {
					return fmt.Errorf("invalid pattern '%s': relative pathing '.' and '..' is not allowed", line)
				}
				continue
			case "..":
				return fmt.Errorf("invalid pattern '%s': relative pathing '.' and '..' is not allowed", line)
			}
			segments = append(segments, seg)
		}
		re, literal, err := compileGlob(segments)
		if err != nil {
			return fmt.Errorf("invalid pattern '%s': %w", line, err)
		}
		h.patterns = append(h.patterns, filePattern{not, re})
		if !not {
			h.starts = append(h.starts, literal)
		}
	}
	return nil
}

// compileGlob translates a pattern. A directory stands for all that is below
// it. literal is the path before the first wildcard.
func compileGlob(segments []string) (re *regexp.Regexp, literal string, err error) {
	var b strings.Builder
	b.WriteString(`\A`)
	wild := false
	for i, seg := range segments {
		if seg == "**" {
			wild = true
			b.WriteString(`(?:[^/]+/)*`)
			if i == len(segments)-1 {
				b.WriteString(`[^/]+`)
			}
			continue
		}
		text, isWild := globSegment(seg)
		if wild = wild || isWild; !wild {
			literal = path.Join(literal, seg)
		}
		b.WriteString(text)
		if i < len(segments)-1 {
			b.WriteString("/")
		}
	}
	if n := len(segments); n == 0 || segments[n-1] != "**" {
		if n > 0 {
			b.WriteString(`(?:/.*)?`)
		} else {
			b.WriteString(`.*`)
		}
	}
	if literal == "" {
		literal = "."
	}
	re, err = regexp.Compile("(?s)" + b.String() + `\z`)
	return re, literal, err
}

// globSegment translates one segment: * ? and [sets].
func globSegment(seg string) (re string, wild bool) {
	var b strings.Builder
	for i := 0; i < len(seg); {
		switch c := seg[i]; c {
		case '*':
			b.WriteString(`[^/]*`)
			wild = true
			i++
		case '?':
			b.WriteString(`[^/]`)
			wild = true
			i++
		case '[':
			end := strings.IndexByte(seg[min(i+2, len(seg)):], ']')
			if end < 0 {
				b.WriteString(`\[`)
				i++
				continue
			}
			set := seg[i+1 : i+2+end]
			negate := ""
			if set[0] == '!' || set[0] == '^' {
				negate, set = "^", set[1:]
			}
			b.WriteString("[" + negate + strings.NewReplacer(`\`, `\\`, `[`, `\[`, `^`, `\^`).Replace(set) + "]")
			wild = true
			i += 3 + end
		case '\\':
			if i+1 < len(seg) {
				i++
			}
			b.WriteString(regexp.QuoteMeta(seg[i : i+1]))
			i++
		default:
			r := []rune(seg[i:])[0]
			b.WriteString(regexp.QuoteMeta(string(r)))
			i += len(string(r))
		}
	}
	return b.String(), wild
}

func (h *fileHash) matches(name string) bool {
	in := false
	for _, p := range h.patterns {
		if in == p.not && p.re.MatchString(name) {
			in = !p.not
		}
	}
	return in
}

func (h *fileHash) sum() (string, error) {
	// A start inside another is walked with it.
	var starts []string
	for i, s := range h.starts {
		inside := false
		for j, o := range h.starts {
			if o == s && j < i || o != s && (o == "." || strings.HasPrefix(s, o+"/")) {
				inside = true
			}
		}
		if !inside {
			starts = append(starts, s)
		}
	}
	for _, s := range starts {
		if err := h.walk(s); err != nil {
			return "", err
		}
	}
	if len(h.digests) == 0 {
		return "", nil
	}
	sum := sha256.Sum256(h.digests)
	return hex.EncodeToString(sum[:]), nil
}

// walk visits name and what is below it, by name in the order of bytes. Links
// to directories are not followed.
func (h *fileHash) walk(name string) error {
	if time.Now().After(h.until) {
		return fmt.Errorf("took longer than %s", hashTimeout)
	}
	fi, err := h.root.Lstat(name)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if !fi.IsDir() {
		if !h.matches(name) {
			return nil
		}
		return h.file(name)
	}
	d, err := h.root.Open(name)
	if err != nil {
		return err
	}
	names, err := d.Readdirnames(-1)
	d.Close()
	if err != nil {
		return err
	}
	sort.Strings(names)
	for _, n := range names {
		if err := h.walk(path.Join(name, n)); err != nil {
			return err
		}
	}
	return nil
}

// file adds the digest of one file; a link counts as what it leads to inside
// the workspace.
func (h *fileHash) file(name string) error {
	f, err := h.root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return err
	}
	if !fi.Mode().IsRegular() {
		return nil
	}
	sum := sha256.New()
	for {
		if _, err := io.CopyN(sum, f, 64<<20); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return err
		}
		if time.Now().After(h.until) {
			return fmt.Errorf("took longer than %s", hashTimeout)
		}
	}
	h.digests = sum.Sum(h.digests)
	return nil
}
