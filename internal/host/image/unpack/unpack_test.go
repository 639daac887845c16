//go:build linux

package unpack

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/penstock-dev/penstock/internal/base/problem"
)

// entry is a header with its content.
type entry struct {
	tar.Header
	content string
}

func dir(name string, mode int64) entry {
	return entry{Header: tar.Header{Name: name, Typeflag: tar.TypeDir, Mode: mode}}
}

func file(name, content string) entry {
	return entry{tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644}, content}
}

func link(kind byte, name, target string) entry {
	return entry{Header: tar.Header{Name: name, Typeflag: kind, Linkname: target}}
}

func archive(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		h := e.Header
		if h.Typeflag == tar.TypeReg && h.Size == 0 {
			h.Size = int64(len(e.content))
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, e.content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func needRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("layers keep their owners, which needs root")
	}
}

// tree describes a directory, one line for each entry.
func tree(t testing.TB, root string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(root, func(p string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := strings.TrimPrefix(p, root)
		if name == "" {
			name = "/"
		}
		var st unix.Stat_t
		if err := unix.Lstat(p, &st); err != nil {
			return err
		}
		fmt.Fprintf(&b, "%s %o %d:%d", name, st.Mode, st.Uid, st.Gid)
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFLNK:
			target, _ := os.Readlink(p)
			fmt.Fprintf(&b, " -> %s", target)
		case unix.S_IFREG:
			data, _ := os.ReadFile(p)
			fmt.Fprintf(&b, " %q %d", data, st.Nlink)
		case unix.S_IFCHR:
			fmt.Fprintf(&b, " %d", st.Rdev)
		case unix.S_IFDIR:
			value := make([]byte, 8)
			if n, err := unix.Lgetxattr(p, "trusted.overlay.opaque", value); err == nil {
				fmt.Fprintf(&b, " opaque=%s", value[:n])
			}
		}
		b.WriteByte('\n')
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// place makes a directory with something beside it that must not change.
func place(t testing.TB) (dir, outside string) {
	t.Helper()
	top := t.TempDir()
	dir, outside = filepath.Join(top, "layer"), filepath.Join(top, "outside")
	for _, d := range []string{dir, outside} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(outside, "file"), []byte("untouched"), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir, outside
}

func TestLayer(t *testing.T) {
	needRoot(t)
	suid := file("usr/bin/su", "suid")
	suid.Mode, suid.Uid, suid.Gid = 0o4755, 10, 20
	tests := map[string]struct {
		entries  []entry
		want     string
		implicit []string
	}{
		"kinds": {
			[]entry{
				dir("./", 0o755), dir("./usr", 0o711), dir("./usr/bin", 0o755), suid, link(tar.TypeLink, "usr/bin/other", "./usr/bin/su"),
				link(tar.TypeSymlink, "bin", "usr/bin"), link(tar.TypeSymlink, "abs", "/etc/passwd"), dir("tmp", 0o1777),
				{Header: tar.Header{Name: "pipe", Typeflag: tar.TypeFifo, Mode: 0o622}},
			},
			`/ 40755 0:0
/abs 120777 0:0 -> /etc/passwd
/bin 120777 0:0 -> usr/bin
/pipe 10622 0:0
/tmp 41777 0:0
/usr 40711 0:0
/usr/bin 40755 0:0
/usr/bin/other 104755 10:20 "suid" 2
/usr/bin/su 104755 10:20 "suid" 2
`, nil,
		},
		"through links of the layer": {
			[]entry{dir("usr", 0o755), dir("usr/lib", 0o755), link(tar.TypeSymlink, "lib", "/usr/lib"), file("lib/a", "a"), file("lib/x/b", "b"), dir("lib/x", 0o700)},
			`/ 40755 0:0
/lib 120777 0:0 -> /usr/lib
/usr 40755 0:0
/usr/lib 40755 0:0
/usr/lib/a 100644 0:0 "a" 1
/usr/lib/x 40700 0:0
/usr/lib/x/b 100644 0:0 "b" 1
`, nil,
		},
		"directories that are not named": {
			[]entry{file("a/b/c", "c"), dir("a/b/d", 0o755)},
			`/ 40755 0:0
/a 40755 0:0
/a/b 40755 0:0
/a/b/c 100644 0:0 "c" 1
/a/b/d 40755 0:0
`, []string{"/a", "/a/b"},
		},
		"whiteouts": {
			[]entry{dir("d", 0o755), file("d/.wh.gone", ""), file("d/kept", "k"), file("e/.wh..wh..opq", ""), file("e/new", "n"), file(".wh..wh.plnk/x", "")},
			`/ 40755 0:0
/.wh..wh.plnk 40755 0:0
/.wh..wh.plnk/x 100644 0:0 "" 1
/d 40755 0:0
/d/gone 20000 0:0 0
/d/kept 100644 0:0 "k" 1
/e 40755 0:0 opaque=y
/e/new 100644 0:0 "n" 1
`, []string{"/.wh..wh.plnk", "/e"},
		},
		"a whiteout and its successor": {
			[]entry{file(".wh.d", ""), dir("d", 0o755), file("d/n", "n"), file(".wh.f", ""), file("f", "f"), file("g", "g"), file(".wh.g", ""), dir("h", 0o755), file(".wh.h", "")},
			`/ 40755 0:0
/d 40755 0:0 opaque=y
/d/n 100644 0:0 "n" 1
/f 100644 0:0 "f" 1
/g 100644 0:0 "g" 1
/h 40755 0:0 opaque=y
`, nil,
		},
		"the last of a name counts": {
			[]entry{file("a", "1"), file("a", "2"), dir("b", 0o755), file("b/x/y", "1"), file("b", "file"), file("c", "1"), dir("c", 0o711), link(tar.TypeSymlink, "d", "a"), dir("d", 0o755), link(tar.TypeSymlink, "e", "../../outside"), file("e", "own")},
			`/ 40755 0:0
/a 100644 0:0 "2" 1
/b 100644 0:0 "file" 1
/c 40711 0:0
/d 40755 0:0
/e 100644 0:0 "own" 1
`, []string{"/b/x"},
		},
		"names that would lead out": {
			[]entry{file("../../outside/file", "1"), file("/outside/file2", "2"), dir("a", 0o755), link(tar.TypeSymlink, "a/up", "../../../.."), file("a/up/outside/file3", "3"), link(tar.TypeSymlink, "root", "/"), file("root/outside/file4", "4"), link(tar.TypeLink, "hard", "../../../outside/file")},
			`/ 40755 0:0
/a 40755 0:0
/a/up 120777 0:0 -> ../../../..
/hard 100644 0:0 "1" 2
/outside 40755 0:0
/outside/file 100644 0:0 "1" 2
/outside/file2 100644 0:0 "2" 1
/outside/file3 100644 0:0 "3" 1
/outside/file4 100644 0:0 "4" 1
/root 120777 0:0 -> /
`, []string{"/outside"},
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			d, outside := place(t)
			before := tree(t, outside)
			got, err := Layer(t.Context(), bytes.NewReader(archive(t, tc.entries...)), d, DefaultLimits)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tc.want, tree(t, d)); d != "" {
				t.Error(d)
			}
			if d := cmp.Diff(tc.implicit, got.Implicit); d != "" {
				t.Error(d)
			}
			if got.Entries != len(tc.entries) {
				t.Errorf("%d entries are counted, want %d", got.Entries, len(tc.entries))
			}
			if after := tree(t, outside); after != before {
				t.Errorf("outside has changed:\n%s", after)
			}
		})
	}
}

func TestTimesAndAttributes(t *testing.T) {
	needRoot(t)
	then := time.Date(2001, 2, 3, 4, 5, 6, 7000, time.UTC)
	d := dir("d", 0o755)
	f := file("d/f", "x")
	for _, h := range []*tar.Header{&d.Header, &f.Header} {
		h.ModTime, h.Format = then, tar.FormatPAX
	}
	f.PAXRecords = map[string]string{
		"SCHILY.xattr.user.note": "value", "SCHILY.xattr.security.selinux": "label", "SCHILY.xattr.security.capability": "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00",
	}
	late := file("d/later", "changes the directory's time")
	out, _ := place(t)
	if _, err := Layer(t.Context(), bytes.NewReader(archive(t, d, f, late)), out, DefaultLimits); err != nil {
		t.Fatal(err)
	}
	for _, n := range []string{"d", "d/f"} {
		fi, err := os.Stat(filepath.Join(out, n))
		if err != nil || !fi.ModTime().Equal(then) {
			t.Errorf("%s is of %v, %v", n, fi.ModTime(), err)
		}
	}
	names := make([]byte, 1<<10)
	n, err := unix.Listxattr(filepath.Join(out, "d/f"), names)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]bool{}
	for _, a := range strings.Split(strings.TrimSuffix(string(names[:n]), "\x00"), "\x00") {
		got[a] = true
	}
	if !got["user.note"] || !got["security.capability"] || got["security.selinux"] {
		t.Errorf("attributes are %v", got)
	}
}

func TestRefused(t *testing.T) {
	needRoot(t)
	attribute := func(name string) entry {
		f := file("f", "x")
		f.PAXRecords, f.Format = map[string]string{"SCHILY.xattr." + name: "y"}, tar.FormatPAX
		return f
	}
	for name, entries := range map[string][]entry{
		"character device":      {{Header: tar.Header{Name: "dev/null", Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 3}}},
		"block device":          {{Header: tar.Header{Name: "disk", Typeflag: tar.TypeBlock, Devmajor: 8}}},
		"overlay's attribute":   {attribute("trusted.overlay.redirect")},
		"a user's attribute":    {attribute("user.overlay.opaque")},
		"hard link to nothing":  {link(tar.TypeLink, "a", "b")},
		"hard link to a secret": {link(tar.TypeLink, "a", "/etc/shadow")},
		"long name":             {file(strings.Repeat("n", 300), "")},
		"whiteout of nothing":   {file(".wh.", "")},
		"whiteout of the parent": {
			file("a/.wh...", ""),
		},
		"the root as a file":   {file("./.", "x")},
		"below a file":         {file("a", "x"), file("a/b", "y")},
		"below a looping link": {link(tar.TypeSymlink, "a", "a"), file("a/b", "y")},
		"too many bytes":       {file("a", strings.Repeat("x", 600)), file("b", strings.Repeat("x", 600))},
		"too many entries":     {file("1", ""), file("2", ""), file("3", ""), file("4", ""), file("5", ""), file("6", "")},
	} {
		t.Run(name, func(t *testing.T) {
			d, outside := place(t)
			before := tree(t, outside)
			_, err := Layer(t.Context(), bytes.NewReader(archive(t, entries...)), d, Limits{Bytes: 1000, Entries: 5})
			if err == nil {
				t.Errorf("accepted:\n%s", tree(t, d))
			}
			if after := tree(t, outside); after != before {
				t.Errorf("outside has changed:\n%s", after)
			}
		})
	}
	d, _ := place(t)
	cut := archive(t, file("a", strings.Repeat("x", 5000)))[:2000]
	if _, err := Layer(t.Context(), bytes.NewReader(cut), d, DefaultLimits); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a cut archive: %v", err)
	}
}

// A small archive that claims to be large is refused before it is written.
func TestBomb(t *testing.T) {
	needRoot(t)
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	if err := w.WriteHeader(&tar.Header{Name: "zeros", Typeflag: tar.TypeReg, Size: 1 << 50, Mode: 0o644}); err != nil {
		t.Fatal(err)
	}
	d, _ := place(t)
	_, err := Layer(t.Context(), io.MultiReader(&b, zeros{}), d, DefaultLimits)
	if !errors.Is(err, problem.ErrInvalid) {
		t.Errorf("got %v", err)
	}
}

// Neither may it go on for ever after its end.
func TestEndlessPadding(t *testing.T) {
	needRoot(t)
	d, _ := place(t)
	_, err := Layer(t.Context(), io.MultiReader(bytes.NewReader(archive(t, file("a", "x"))), zeros{}), d, DefaultLimits)
	if !errors.Is(err, problem.ErrInvalid) {
		t.Errorf("got %v", err)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func FuzzLayer(f *testing.F) {
	needRoot(f)
	f.Add(archive(f, dir("a", 0o755), file("a/b", "x"), link(tar.TypeSymlink, "l", "/a"), file("l/.wh.c", ""), link(tar.TypeLink, "h", "a/b")))
	f.Add(archive(f, link(tar.TypeSymlink, "a", "../../outside"), file("a/file", "x"), dir("a", 0o700)))
	f.Fuzz(func(t *testing.T, data []byte) {
		d, outside := place(t)
		before := tree(t, outside)
		r, err := Layer(t.Context(), bytes.NewReader(data), d, Limits{Bytes: 1 << 20, Entries: 100})
		if err == nil && r.Bytes > 1<<20 {
			t.Errorf("%d bytes", r.Bytes)
		}
		if after := tree(t, outside); after != before {
			t.Errorf("outside has changed:\n%s", after)
		}
	})
}
