package blob_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/penstock-dev/penstock/internal/base/problem"
	"github.com/penstock-dev/penstock/internal/host/blob"
	"github.com/penstock-dev/penstock/internal/host/blob/blobtest"
)

// bucket starts a stand-in and opens it, with credentials from a file.
func bucket(t *testing.T) (*blobtest.S3, blob.Store, string) {
	t.Helper()
	b := blobtest.NewS3("penstock", t.TempDir())
	srv := httptest.NewServer(b)
	t.Cleanup(srv.Close)
	where := "s3://penstock/some/prefix?endpoint=" + url.QueryEscape(srv.URL) + "&credentials=" + writeCredentials(t, b.Credentials)
	s, err := blob.Open(where, "")
	if err != nil {
		t.Fatal(err)
	}
	return b, s, where
}

func writeCredentials(t *testing.T, c blobtest.Credentials) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "credentials")
	text := fmt.Sprintf("[default]\naws_access_key_id = %s\naws_secret_access_key = %s\n", c.ID, c.Secret)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestS3(t *testing.T) {
	blobtest.Run(t, func(t *testing.T) (blob.Store, func() []string) {
		b, s, _ := bucket(t)
		return s, b.Unfinished
	})
}

// TestS3Parts: what is small is one request; a large blob goes in parts.
func TestS3Parts(t *testing.T) {
	b, s, _ := bucket(t)
	for _, tc := range []struct{ size, puts, parts int }{
		{0, 1, 0}, {1, 1, 0}, {8<<20 - 1, 1, 0}, {8 << 20, 0, 1}, {8<<20 + 1, 0, 2}, {20 << 20, 0, 3}, {24 << 20, 0, 3},
	} {
		puts, parts := b.Count("PUT"), b.Count("PUT part")
		p, err := s.Put(t.Context(), "k", io.LimitReader(zeros{}, int64(tc.size)), blob.Expect{})
		if err != nil || p.Size != int64(tc.size) {
			t.Fatalf("%d bytes: %+v, %v", tc.size, p, err)
		}
		if puts, parts = b.Count("PUT")-puts, b.Count("PUT part")-parts; puts != tc.puts || parts != tc.parts {
			t.Errorf("%d bytes: %d requests and %d parts", tc.size, puts, parts)
		}
		if in, err := s.Stat(t.Context(), "k"); err != nil || in.Size != int64(tc.size) {
			t.Errorf("%d bytes: %+v, %v", tc.size, in, err)
		}
	}
	if left := b.Unfinished(); len(left) > 0 || b.Files() != 1 {
		t.Errorf("left behind: %v, %d bodies", left, b.Files())
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}

// TestS3Pages lists more than one answer holds.
func TestS3Pages(t *testing.T) {
	_, s, _ := bucket(t)
	var want []string
	for i := range 1100 {
		key := fmt.Sprintf("a/%04d", i)
		if _, err := s.Put(t.Context(), key, strings.NewReader("x"), blob.Expect{}); err != nil {
			t.Fatal(err)
		}
		want = append(want, key)
	}
	list, err := s.List(t.Context(), "a/", "", 5000)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, in := range list {
		got = append(got, in.Key)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

// TestS3Sweep aborts old unfinished uploads of its prefix, no others.
func TestS3Sweep(t *testing.T) {
	b, s, where := bucket(t)
	other, err := blob.Open(strings.Replace(where, "/some/prefix", "/other", 1), "")
	if err != nil {
		t.Fatal(err)
	}
	// The server dies at a part, so nothing can be aborted.
	for _, st := range []blob.Store{s, other} {
		begin := b.Count("POST begin")
		died := errors.New("died")
		_, err := st.Put(t.Context(), "k", &failing{size: 20 << 20, err: died, fail: func() { b.Refuse(true) }}, blob.Expect{})
		b.Refuse(false)
		if err == nil || b.Count("POST begin") != begin+1 {
			t.Fatal(err)
		}
	}
	if n := len(b.Unfinished()); n != 2 {
		t.Fatalf("%d unfinished uploads", n)
	}
	if err := s.Sweep(t.Context()); err != nil || len(b.Unfinished()) != 2 {
		t.Errorf("new ones were swept: %v, %v", b.Unfinished(), err)
	}
	b.Age(48 * time.Hour)
	if err := s.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"other/k"}, b.Unfinished()); d != "" {
		t.Errorf("left (-want +got):\n%s", d)
	}
}

// failing gives size bytes, calls fail and ends with err.
type failing struct {
	size int
	err  error
	fail func()
}

func (f *failing) Read(b []byte) (int, error) {
	if f.size <= 0 {
		f.fail()
		return 0, f.err
	}
	n := min(len(b), f.size)
	f.size -= n
	return n, nil
}

// TestS3Refusals: what a user sees when the bucket or the key is wrong. The
// secret is in no message.
func TestS3Refusals(t *testing.T) {
	b, _, where := bucket(t)
	wrongKey := writeCredentials(t, blobtest.Credentials{ID: b.Credentials.ID, Secret: "canary-secret"})
	u, err := url.Parse(where)
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	q.Set("credentials", wrongKey)
	for name, tc := range map[string]struct{ where, want string }{
		"bucket": {strings.Replace(where, "//penstock/", "//missing/", 1), "NoSuchBucket"},
		"key":    {"s3://penstock/p?" + q.Encode(), "SignatureDoesNotMatch"},
	} {
		s, err := blob.Open(tc.where, "")
		if err != nil {
			t.Fatal(err)
		}
		_, err = s.Put(t.Context(), "k", strings.NewReader("x"), blob.Expect{})
		if err == nil || !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), "canary") || errors.Is(err, problem.ErrNotFound) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestOpen(t *testing.T) {
	dir := t.TempDir()
	for where, ok := range map[string]bool{
		"": true, dir + "/abs": true, "file://" + dir + "/file": true, "s3://bucket": true, "s3://bucket/a/b?region=eu-central-1&path-style=true": true,
		"relative": false, "http://host/": false, "file://host/path": false, "file:///path?x=1": false, "s3:///prefix": false, "s3://user:canary@bucket": false,
		"s3://bucket?endpoint=ftp://h": false, "s3://bucket?endpoint=http://h/path": false, "s3://bucket?unknown=1": false, "s3://bucket?region=a&region=b": false,
		"s3://bucket/../x": false, "s3://bucket?credentials=relative": false, "s3://bucket?path-style=maybe": false, "s3://bucket?%zz": false, "s3://canary:%zz@bucket": false,
		"s3://bucket?endpoint=http://u:canary@h": false,
	} {
		s, err := blob.Open(where, filepath.Join(dir, "default"))
		if (err == nil) != ok {
			t.Errorf("%q: %v", where, err)
		}
		if err != nil && (problem.ExitCode(err) != 2 || strings.Contains(err.Error(), "canary")) {
			t.Errorf("%q: exit code %d: %v", where, problem.ExitCode(err), err)
		}
		if err == nil {
			s.Close()
		}
	}
}

var _ http.Handler = (*blobtest.S3)(nil)
