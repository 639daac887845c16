package git

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestHosted(t *testing.T) {
	h, err := newHosted([]string{"http://penstock.localhost:7080/git/"}, map[string]string{
		"https://github.com/acme/Shop.git": "acme/shop", "ssh://git@example.com:2222/x/y": "x/y",
	})
	if err != nil {
		t.Fatal(err)
	}
	for u, want := range map[string]string{
		"http://penstock.localhost:7080/git/demo/shop.git":          "demo/shop",
		"http://penstock.localhost:7080/git/demo/shop":              "demo/shop",
		"http://penstock.localhost:7080/git/demo/shop/":             "demo/shop",
		"http://user:pw@Penstock.LOCALHOST:7080/git/demo/shop.git/": "demo/shop",
		"https://github.com/acme/Shop":                              "acme/shop",
		"http://github.com:80/acme/Shop.git":                        "acme/shop",
		"git@github.com:acme/Shop.git":                              "acme/shop",
		"ssh://git@github.com/acme/Shop.git":                        "acme/shop",
		"ssh://example.com:2222/x/y.git":                            "x/y",
	} {
		if got, ok := h.repo(u); !ok || got != want {
			t.Errorf("%s: %q, %t; want %q", u, got, ok, want)
		}
	}
	for _, u := range []string{
		"", "demo/shop", "http://penstock.localhost/git/demo/shop.git", "http://penstock.localhost:7080/demo/shop.git",
		"http://penstock.localhost:7080/git/demo", "http://penstock.localhost:7080/git/../demo/shop", "http://penstock.localhost:7080.evil.com/git/demo/shop",
		"http://evil.com/penstock.localhost:7080/git/demo/shop", "file:///git/demo/shop", "https://github.com/acme/shop", "https://github.com/acme/Shop/x",
		"/git/demo/shop", "http://penstock.localhost:7080/git/demo/shop.git/x", "ext::sh -c x", "http://[::1",
	} {
		if got, ok := h.repo(u); ok {
			t.Errorf("%s is %q, want nothing of ours", u, got)
		}
	}
	for _, bad := range []map[string]string{{"nothing": "a/b"}, {"https://x.y/z": "UP/x"}, {"https://x.y/z": "a/b", "http://x.y/z.git": "a/c"}} {
		if _, err := newHosted(nil, bad); err == nil {
			t.Errorf("aliases %v were taken", bad)
		}
	}
	if _, err := newHosted([]string{"penstock"}, nil); err == nil {
		t.Error("an address that is no URL was taken")
	}
}

func TestParseVersion(t *testing.T) {
	for in, want := range map[string][2]int{
		"git version 2.39.5\n":               {2, 39},
		"git version 2.39.5 (Apple Git-154)": {2, 39},
		"git version 3.0.0-rc1":              {3, 0},
		"git version 2.46.0.windows.1":       {2, 46},
		"":                                   {0, 0},
		"git version":                        {0, 0},
		"git version two":                    {0, 0},
	} {
		if major, minor := parseVersion(in); major != want[0] || minor != want[1] {
			t.Errorf("%q: %d.%d, want %v", in, major, minor, want)
		}
	}
}

func TestParseReflog(t *testing.T) {
	const h = "4c7c69fa71504cb397461458020366cad1696c0b"
	for line, want := range map[string]string{
		zeroHash + " " + h + " admin <admin@http.penstock> 1795533047 +0000\tpush":                    "admin",
		zeroHash + " " + h + " run/17/build <run/17/build@http.penstock> 1795533047 +0000":            "run/17/build",
		zeroHash + " " + h + " Ann <ann@example.com> 1795533047 +0000\tpush":                          "unknown",
		zeroHash + " " + h + " admin <ann@http.penstock> 1795533047 +0000\tpush":                      "unknown",
		zeroHash + " " + zeroHash + " admin <admin@http.penstock> 1795533047 +0000\tpush":             "unknown",
		zeroHash + " " + h + " Ann <a@b> 1 +0000\tadmin <admin@http.penstock> 1795533047 +0000\tpush": "unknown",
		zeroHash + " " + h + "  <@http.penstock> 1795533047 +0000\tpush":                              "unknown",
		"": "unknown",
		h:  "unknown",
	} {
		if got := parseReflog([]byte(line), h); got != want {
			t.Errorf("%q: %q, want %q", line, got, want)
		}
	}
}

const zeroHash = "0000000000000000000000000000000000000000"

func TestOneUserLeavesPlacesToOthers(t *testing.T) {
	s := newSlots(8) // two for one user
	take := func(user string) (func(), error) { return s.take(t.Context(), user, 20*time.Millisecond) }
	var releases []func()
	for _, want := range []error{nil, nil, errNoSlot} {
		release, err := take("greedy")
		if !errors.Is(err, want) {
			t.Fatalf("%v, want %v", err, want)
		}
		if err == nil {
			releases = append(releases, release)
		}
	}
	for i := range 6 {
		release, err := take(strings.Repeat("x", i+1))
		if err != nil {
			t.Fatalf("user %d: %v", i, err)
		}
		releases = append(releases, release)
	}
	if _, err := take("late"); !errors.Is(err, errNoSlot) {
		t.Errorf("beyond the total: %v", err)
	}
	for _, release := range releases {
		release()
	}
	if len(s.users) != 0 || len(s.all) != 0 {
		t.Errorf("%d users and %d places are left over", len(s.users), len(s.all))
	}
	if release, err := take("greedy"); err != nil {
		t.Error(err)
	} else {
		release()
	}
}

func TestHeadTarget(t *testing.T) {
	refs := func(branches ...string) map[string]string {
		m := map[string]string{"refs/tags/main": "x"}
		for _, b := range branches {
			m["refs/heads/"+b] = "x"
		}
		return m
	}
	for _, tc := range []struct {
		current string
		refs    map[string]string
		want    string
		change  bool
	}{
		{"main", refs(), "", false},
		{"main", refs("main", "dev"), "main", false},
		{"main", refs("master", "dev"), "master", true},
		{"main", refs("z", "dev"), "dev", true},
		{"trunk", refs("main", "trunk"), "trunk", false},
		{"trunk", refs("main", "a"), "main", true},
	} {
		if got, change := headTarget(tc.current, tc.refs); change != tc.change || (change && got != tc.want) {
			t.Errorf("%s of %v: %q, %t; want %q, %t", tc.current, tc.refs, got, change, tc.want, tc.change)
		}
	}
}

// TestFeedKeepsTheEndBack reads a push in pieces of every size.
func TestFeedKeepsTheEndBack(t *testing.T) {
	for _, size := range []int{0, 1, 3, 4, 5, 100, 64 << 10, 64<<10 + 3, 64<<10 + 4, 64<<10 + 5, 200_000} {
		for _, piece := range []int{1, 3, 4, 5, 1000, 1 << 20} {
			if size/piece > 70_000 {
				continue
			}
			want := bytes.Repeat([]byte("0123456789"), size/10+1)[:size]
			var got bytes.Buffer
			before := -1
			err := feed(&got, &pieces{want, piece}, func() error { before = got.Len(); return nil })
			if err != nil || !bytes.Equal(got.Bytes(), want) || before != max(0, size-tail) {
				t.Errorf("%d bytes in pieces of %d: %v, got %d bytes, %d before the end", size, piece, err, got.Len(), before)
			}
		}
	}
	var got bytes.Buffer
	boom := errors.New("boom")
	if err := feed(&got, io.MultiReader(strings.NewReader("0123456789"), broken{boom}), func() error { t.Error("ready"); return nil }); !errors.Is(err, boom) || got.Len() > 6 {
		t.Errorf("a broken push: %v, %d bytes passed", err, got.Len())
	}
	got.Reset()
	if err := feed(&got, strings.NewReader("0123456789"), func() error { return boom }); !errors.Is(err, boom) || got.Len() != 6 {
		t.Errorf("no turn: %v, %d bytes passed", err, got.Len())
	}
}

type pieces struct {
	b []byte
	n int
}

func (p *pieces) Read(b []byte) (int, error) {
	if len(p.b) == 0 {
		return 0, io.EOF
	}
	n := copy(b[:min(len(b), p.n)], p.b)
	p.b = p.b[n:]
	return n, nil
}

type broken struct{ err error }

func (b broken) Read([]byte) (int, error) { return 0, b.err }

func FuzzRoute(f *testing.F) {
	for _, s := range []string{
		"/git/demo/shop.git/info/refs", "/git/demo/shop/git-upload-pack", "/git/../x/info/refs", "/git/a/b/c/d", "/git/demo/.git/info/refs", "/git/a/b.git.git/git-receive-pack", "",
	} {
		f.Add("GET", s, "service=git-upload-pack")
		f.Add("POST", s, "")
	}
	root := f.TempDir()
	s := &Server{root: root}
	f.Fuzz(func(t *testing.T, method, path, query string) {
		r, code := parseRoute(method, path, query)
		if code != http.StatusOK {
			if r != (route{}) || code < 400 || code > 499 {
				t.Errorf("%q %q %q: %d %+v", method, path, query, code, r)
			}
			return
		}
		if r.service != uploadPack && r.service != receivePack {
			t.Errorf("service %q", r.service)
		}
		if err := CheckName(r.repo); err != nil {
			t.Errorf("%q: %v", path, err)
		}
		rel, err := filepath.Rel(root, s.dir(r.repo))
		if err != nil || !filepath.IsLocal(rel) || strings.Count(rel, string(filepath.Separator)) != 1 || strings.HasPrefix(rel, ".") {
			t.Errorf("%q leads to %q, %v", path, rel, err)
		}
	})
}

func FuzzNormalURL(f *testing.F) {
	for _, s := range []string{"https://github.com/a/b.git", "git@github.com:a/b", "http://[::1]:80/x", "ssh://u@h:22/~x/y", "::", "a:b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, u string) {
		key, ok := normalURL(u)
		if !ok {
			return
		}
		host, path, ok := strings.Cut(key, "/")
		if !ok || host == "" || path == "" || host != strings.ToLower(host) || strings.HasSuffix(path, "/") {
			t.Errorf("%q became %q", u, key)
		}
		if strings.ContainsAny(key, "@") && !strings.Contains(strings.SplitN(key, "/", 2)[1], "@") {
			t.Errorf("%q keeps its user: %q", u, key)
		}
	})
}

func FuzzReadPkt(f *testing.F) {
	for _, s := range []string{"0000", "0005\x01", "0006\x02x", "fffe", "00", "unpack ok", "0003", "0009\x02abcd0000"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		r := bufio.NewReader(bytes.NewReader(in))
		var out []byte
		for range len(in) + 1 {
			pkt, err := readPkt(r)
			out = append(out, pkt...)
			if err != nil {
				break
			}
		}
		if !bytes.Equal(in, out) {
			t.Errorf("%q became %q", in, out)
		}
	})
}

// FuzzLeaves compares the judgement on links with the file system's.
func FuzzLeaves(f *testing.F) {
	f.Add("a", "b", "b", "../x")
	f.Add("a/d", "../x", "l", "a/d/../../..")
	f.Add("l", "/etc", "m", "l/passwd")
	f.Add("a", "a", "b", "a/..")
	f.Add("x/y", ".", "z", "x/y/../..")
	f.Fuzz(func(t *testing.T, link1, target1, link2, target2 string) {
		targets := map[string]string{link1: target1, link2: target2}
		root := t.TempDir()
		inside := filepath.Join(root, "1", "2", "3") // room to leave by
		if err := os.MkdirAll(inside, 0o755); err != nil {
			t.Fatal(err)
		}
		for link, target := range targets {
			if link == "" || link == "." || filepath.Clean(link) != link || !filepath.IsLocal(link) || len(target) > 200 {
				return
			}
			p := filepath.Join(inside, link)
			if r, err := filepath.EvalSymlinks(filepath.Dir(p)); err == nil && r != filepath.Dir(p) {
				return // below another link: git has no such trees
			}
			if os.MkdirAll(filepath.Dir(p), 0o755) != nil || os.Symlink(target, p) != nil {
				return
			}
		}
		for link := range targets {
			if leaves(targets, link) {
				continue
			}
			end, err := filepath.EvalSymlinks(filepath.Join(inside, link))
			if err == nil && end != inside && !strings.HasPrefix(end, inside+"/") {
				t.Errorf("%q leads to %q by way of %v", link, end, targets)
			}
		}
	})
}
