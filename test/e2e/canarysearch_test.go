//go:build e2e

package e2e

import (
	"bytes"
	"encoding/base64"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// homes are the files that are there to hold a secret, each readable by the
// owner only. A name ends with * where the rest of it is not for ever.
var homes = map[string][]string{
	"the admin token":  {"admin.token"},
	"the master key":   {"master.key"},
	"the node's token": {"registry/node.token", "node/registry*", "node/containerd/*"},
}

// search looks for the secrets in everything.
func (c *canaries) search(t *testing.T) {
	needles := c.needles()
	var self syscall.Stat_t
	if err := syscall.Stat(c.DataDir, &self); err != nil {
		t.Fatal(err)
	}
	files := 0
	err := filepath.WalkDir(c.DataDir, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		info, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		st, ok := info.Sys().(*syscall.Stat_t)
		if ok && st.Dev != self.Dev { // a mount: the file system or a namespace of a container
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		if !info.Mode().IsRegular() {
			return nil
		}
		name, err := filepath.Rel(c.DataDir, path)
		if err != nil {
			return err
		}
		files++
		found, err := c.in(path, needles)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		for _, what := range found {
			switch {
			case !slices.ContainsFunc(homes[what], func(home string) bool {
				prefix, any := strings.CutSuffix(home, "*")
				return name == home || any && strings.HasPrefix(name, prefix)
			}):
				t.Errorf("%s is in %s", what, name)
			case info.Mode().Perm()&0o077 != 0:
				t.Errorf("%s is in %s, which others may read: %v", what, name, info.Mode())
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for where, said := range c.said {
		for _, what := range hits(said, needles) {
			t.Errorf("%s is in %s:\n%.2000s", what, where, said)
		}
	}
	c.commandLines(t, needles)
	if files < 100 || c.bytes < 1<<20 || len(c.said) < 40 || len(c.at) < 8 {
		t.Errorf("only %d secrets were looked for in %d files, %d bytes, and %d outputs", len(c.at), files, c.bytes, len(c.said))
	}
	t.Logf("%d secrets, %d files, %d MB, %d outputs", len(c.at), files, c.bytes>>20, len(c.said))
}

// commandLines looks at those of all processes: everybody can see them.
func (c *canaries) commandLines(t *testing.T, needles map[string][][]byte) {
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil || len(lines) == 0 {
		t.Fatalf("no processes: %v", err)
	}
	for _, l := range lines {
		b, err := os.ReadFile(l)
		if err != nil {
			continue // it has ended
		}
		for _, what := range hits(b, needles) {
			t.Errorf("%s is on a command line: %s", what, bytes.ReplaceAll(b, []byte{0}, []byte(" ")))
		}
	}
}

// needles are the forms of each secret: plain, and base64 as it is at each of
// the three places that it can have among the bytes before it.
func (c *canaries) needles() map[string][][]byte {
	out := map[string][][]byte{}
	for what, value := range c.at {
		forms := [][]byte{[]byte(value)}
		for shift := range 3 {
			text := base64.RawStdEncoding.EncodeToString([]byte(strings.Repeat("x", shift) + value))
			forms = append(forms, []byte(text[(shift*8+5)/6:len(text)-2])) // without what neighbours change
		}
		out[what] = forms
	}
	return out
}

func hits(b []byte, needles map[string][][]byte) (found []string) {
	for what, forms := range needles {
		if slices.ContainsFunc(forms, func(form []byte) bool { return bytes.Contains(b, form) }) {
			found = append(found, what)
		}
	}
	return found
}

// in searches a file piece by piece.
func (c *canaries) in(path string, needles map[string][][]byte) ([]string, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	const overlap = 4 << 10 // longer than any needle
	buf, kept, found := make([]byte, 1<<20), 0, map[string]bool{}
	for {
		n, err := io.ReadFull(f, buf[kept:])
		c.bytes += int64(n)
		for _, what := range hits(buf[:kept+n], needles) {
			found[what] = true
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		kept = copy(buf, buf[len(buf)-overlap:])
	}
	out := make([]string, 0, len(found))
	for what := range found {
		out = append(out, what)
	}
	return out, nil
}
