package git

import "testing"

func FuzzParseRange(f *testing.F) {
	for _, s := range []string{"bytes=0-", "bytes=-5", "bytes=3-9", "bytes=9-3", "bytes=+1-", "bytes=--1", "bytes=", "bytes=-", "bytes=0-0,2-3", "bytes=99999999999999999999-"} {
		f.Add(s, int64(10))
	}
	f.Fuzz(func(t *testing.T, header string, size int64) {
		if size < 0 {
			return
		}
		from, length, partial := parseRange(header, size)
		switch {
		case from < 0:
			if partial {
				t.Fatalf("%q of %d: partial nothing", header, size)
			}
		case length < 0 || from > size || length > size-from, !partial && (from != 0 || length != size), partial && length == 0:
			t.Fatalf("%q of %d: %d+%d %v", header, size, from, length, partial)
		}
	})
}

func FuzzParseLFS(f *testing.F) {
	for _, s := range []string{"/git/a/b.git/info/lfs/objects/batch", "/git/a/b/info/lfs/locks", "/git/../b/info/lfs/", "/git/a/b.git/info/refs"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, path string) {
		if r, ok := parseLFS(path); ok && CheckName(r.repo) != nil {
			t.Fatalf("%q names %q", path, r.repo)
		}
	})
}
