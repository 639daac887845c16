package git_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/penstock-dev/penstock/internal/host/blob"
	"github.com/penstock-dev/penstock/internal/host/git"
)

func withBlobs(t *testing.T, dir string) func(o *git.Options) {
	t.Helper()
	return func(o *git.Options) {
		blobs, err := blob.OpenFiles(filepath.Join(dir, "blobs"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { blobs.Close() })
		o.Blobs = blobs
	}
}

// TestLFSClient drives the real client: push, clone, fetch, locks.
func TestLFSClient(t *testing.T) {
	if _, err := exec.LookPath("git-lfs"); err != nil {
		t.Skip("git-lfs is not installed (scripts/setup)")
	}
	dir := t.TempDir()
	h := start(t, dir, withBlobs(t, dir))
	url := h.create("demo/shop")
	w := work(t, nil)
	big := strings.Repeat("0123456789abcdef", 40_000)
	run(t, w, "lfs", "install", "--local")
	run(t, w, "lfs", "track", "*.bin")
	run(t, w, "remote", "add", "origin", url)
	commit(t, w, map[string]string{"a.bin": big, "empty.bin": "", "b.txt": "text"})
	run(t, w, "push", "-q", "origin", "main")
	if out := run(t, w, "cat-file", "-p", "HEAD:a.bin"); !strings.HasPrefix(out, "version https://git-lfs.github.com/spec/v1") {
		t.Fatalf("the file is not kept by LFS: %.100s", out)
	}

	clone := filepath.Join(t.TempDir(), "clone")
	run(t, "", "-c", "filter.lfs.smudge=git-lfs smudge -- %f", "-c", "filter.lfs.process=git-lfs filter-process", "-c", "filter.lfs.required=true", "clone", "-q", url, clone)
	if b, err := os.ReadFile(filepath.Join(clone, "a.bin")); err != nil || string(b) != big {
		t.Errorf("the clone has %d bytes, %v", len(b), err)
	}
	// Pushing it again uploads nothing; a reader cannot push.
	run(t, w, "push", "-q", "origin", "main:other")
	reader := strings.Replace(url, "u:all@", "u:read@", 1)
	if _, err := client(t, w, "lfs", "push", "--all", reader, "main"); err == nil {
		// All objects are there already, which the batch says to readers too;
		// a new one is refused.
		commit(t, w, map[string]string{"c.bin": "new"})
		if out, err := client(t, w, "lfs", "push", reader, "main"); err == nil {
			t.Errorf("a reader uploaded:\n%s", out)
		}
	}

	run(t, w, "lfs", "lock", "a.bin")
	if out := run(t, w, "lfs", "locks"); !strings.Contains(out, "a.bin") || !strings.Contains(out, "ann") {
		t.Errorf("locks: %s", out)
	}
	if out, err := client(t, w, "lfs", "lock", "a.bin"); err == nil || !strings.Contains(out, "already locked by ann") {
		t.Errorf("a second lock: %v %s", err, out)
	}
	run(t, w, "lfs", "unlock", "a.bin")
	if out := run(t, w, "lfs", "locks"); strings.Contains(out, "a.bin") {
		t.Errorf("locks: %s", out)
	}

	if err := h.Delete(t.Context(), "demo/shop"); err != nil {
		t.Fatal(err)
	}
	h.create("demo/shop")
	if code, body := lfs(t, h, "all", http.MethodGet, "demo/shop", "objects/"+oid(big), ""); code != http.StatusNotFound {
		t.Errorf("a new repository has the old one's object: %d %.100s", code, body)
	}
	if left, err := filepath.Glob(filepath.Join(dir, "blobs", "*", "lfs", "*", "*", "*")); err != nil || len(left) > 0 {
		t.Errorf("left %v %v", left, err)
	}
}

func oid(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

// lfs sends one request of the LFS API.
func lfs(t *testing.T, h *host, password, method, repo, path, body string, header ...string) (int, string) {
	t.Helper()
	base := strings.Replace(h.url, "u:all@", "", 1)
	req, err := http.NewRequestWithContext(t.Context(), method, base+repo+".git/info/lfs/"+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if password != "" {
		req.SetBasicAuth("u", password)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(b)
}

func TestLFSRequests(t *testing.T) {
	dir := t.TempDir()
	h := start(t, dir, withBlobs(t, dir), func(o *git.Options) { o.MaxLFSFile, o.MaxLFS = 100, 150 })
	h.create("demo/shop")
	h.create("demo/other")
	data := "hello, large file"
	name := oid(data)
	batch := func(operation string, objects ...string) string {
		return `{"operation":"` + operation + `","transfers":["basic"],"objects":[` + strings.Join(objects, ",") + `]}`
	}
	object := func(oid string, size int) string { return fmt.Sprintf(`{"oid":%q,"size":%d}`, oid, size) }

	for _, c := range []struct {
		what, password, method, path, body string
		header                             []string
		code                               int
		want                               string // in the answer
	}{
		{"without credentials", "", "POST", "objects/batch", batch("download"), nil, 401, "message"},
		{"upload by a reader", "read", "POST", "objects/batch", batch("upload", object(name, len(data))), nil, 403, "only read"},
		{"not JSON", "all", "POST", "objects/batch", "{", nil, 422, "not what the Git LFS API says"},
		{"operation", "all", "POST", "objects/batch", batch("burn"), nil, 422, "neither upload nor download"},
		{"transfer", "all", "POST", "objects/batch", `{"operation":"download","transfers":["tus"]}`, nil, 422, "only the basic transfer"},
		{"hash", "all", "POST", "objects/batch", `{"operation":"download","hash_algo":"sha512"}`, nil, 409, "sha256"},
		{"oversized", "all", "POST", "objects/batch", strings.Repeat(" ", 5<<20), nil, 413, "larger than"},
		{"unknown object", "read", "POST", "objects/batch", batch("download", object(name, len(data))), nil, 200, `"code":404`},
		{"bad object", "all", "POST", "objects/batch", batch("upload", object("../../etc/passwd", 1)), nil, 200, `"code":422`},
		{"negative size", "all", "POST", "objects/batch", batch("upload", object(name, -1)), nil, 200, `"code":422`},
		{"large object", "all", "POST", "objects/batch", batch("upload", object(name, 101)), nil, 200, "101 bytes, more than the 100 bytes"},
		{"too much together", "all", "POST", "objects/batch", batch("upload", object(name, 90), object(oid("x"), 90)), nil, 200, `"code":507`},
		{"upload", "all", "POST", "objects/batch", batch("upload", object(name, len(data))), nil, 200, `info/lfs/objects/` + name + `"`},
		{"put by a reader", "read", "PUT", "objects/" + name, data, nil, 403, "only read"},
		{"put something else", "all", "PUT", "objects/" + name, "other", nil, 422, "not the object"},
		{"put too much", "all", "PUT", "objects/" + name, strings.Repeat("x", 101), nil, 413, ""},
		{"verify what is not there", "all", "POST", "objects/" + name + "/verify", object(name, len(data)), nil, 404, "not here"},
		{"get what is not there", "read", "GET", "objects/" + name, "", nil, 404, "not here"},
		{"put", "all", "PUT", "objects/" + name, data, nil, 200, ""},
		{"put again", "all", "PUT", "objects/" + name, data, nil, 200, ""},
		{"verify", "all", "POST", "objects/" + name + "/verify", object(name, len(data)), nil, 200, ""},
		{"verify another size", "all", "POST", "objects/" + name + "/verify", object(name, 1), nil, 404, ""},
		{"there already", "all", "POST", "objects/batch", batch("upload", object(name, len(data))), nil, 200, `{"oid":"` + name + `","size":17}`},
		{"another size", "all", "POST", "objects/batch", batch("download", object(name, 1)), nil, 200, `"code":422`},
		{"download", "read", "POST", "objects/batch", batch("download", object(name, len(data))), nil, 200, `"download":{"href"`},
		{"get", "read", "GET", "objects/" + name, "", nil, 200, data},
		{"get the end", "read", "GET", "objects/" + name, "", []string{"Range", "bytes=7-"}, 206, "large file"},
		{"get the last", "read", "GET", "objects/" + name, "", []string{"Range", "bytes=-4"}, 206, "file"},
		{"get the middle", "read", "GET", "objects/" + name, "", []string{"Range", "bytes=7-11"}, 206, "large"},
		{"get beyond", "read", "GET", "objects/" + name, "", []string{"Range", "bytes=17-"}, 416, ""},
		{"get nonsense", "read", "GET", "objects/" + name, "", []string{"Range", "bytes=x"}, 200, data},
		{"method", "all", "DELETE", "objects/" + name, "", nil, 405, ""},
		{"part", "all", "GET", "objects/" + name + "/more", "", nil, 404, ""},
		{"path", "all", "GET", "objects/../../secrets", "", nil, 404, ""},
		{"lock by a reader", "read", "POST", "locks", `{"path":"a"}`, nil, 403, ""},
		{"lock", "all", "POST", "locks", `{"path":"a"}`, nil, 201, `"name":"ann"`},
		{"lock again", "all", "POST", "locks", `{"path":"a"}`, nil, 409, "already locked by ann"},
		{"lock nothing", "all", "POST", "locks", `{"path":""}`, nil, 422, ""},
		{"lock two lines", "all", "POST", "locks", `{"path":"a\nb"}`, nil, 422, ""},
		{"list", "read", "GET", "locks", "", nil, 200, `"path":"a"`},
		{"list by path", "read", "GET", "locks?path=b", "", nil, 200, `{"locks":[]}`},
		{"list with a bad limit", "read", "GET", "locks?limit=x", "", nil, 422, ""},
		{"verify locks", "all", "POST", "locks/verify", `{}`, nil, 200, `"theirs":[]`},
		{"unlock what is not there", "all", "POST", "locks/nothing/unlock", `{}`, nil, 404, ""},
	} {
		code, body := lfs(t, h, c.password, c.method, "demo/shop", c.path, c.body, c.header...)
		if code != c.code || !strings.Contains(body, c.want) {
			t.Errorf("%s: %d %.300s; want %d with %q", c.what, code, body, c.code, c.want)
		}
		if code >= 400 && !json.Valid([]byte(body)) {
			t.Errorf("%s: the error is no JSON: %q", c.what, body)
		}
	}
	// The object of one repository is not that of another.
	if code, _ := lfs(t, h, "all", "GET", "demo/other", "objects/"+name, ""); code != 404 {
		t.Errorf("another repository gives the object: %d", code)
	}
	if code, _ := lfs(t, h, "all", "GET", "demo/none", "objects/"+name, ""); code != 404 {
		t.Errorf("a repository that is not there: %d", code)
	}
	none := start(t, t.TempDir())
	none.create("demo/shop")
	if code, body := lfs(t, none, "all", "POST", "demo/shop", "objects/batch", batch("download")); code != 501 || !strings.Contains(body, "not served") {
		t.Errorf("without blobs: %d %s", code, body)
	}
}

// TestLFSUploadThatBreaksOff leaves nothing.
func TestLFSUploadThatBreaksOff(t *testing.T) {
	dir := t.TempDir()
	h := start(t, dir, withBlobs(t, dir))
	h.create("demo/shop")
	data := strings.Repeat("x", 1<<20)
	base := strings.Replace(h.url, "u:all@", "", 1)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, base+"demo/shop.git/info/lfs/objects/"+oid(data),
		io.MultiReader(bytes.NewReader([]byte(data[:1<<19])), brokenReader{}))
	if err != nil {
		t.Fatal(err)
	}
	req.ContentLength = int64(len(data))
	req.SetBasicAuth("u", "all")
	if res, err := http.DefaultClient.Do(req); err == nil {
		res.Body.Close()
		if res.StatusCode == http.StatusOK {
			t.Error("half an object was taken")
		}
	}
	if code, _ := lfs(t, h, "all", "GET", "demo/shop", "objects/"+oid(data), ""); code != 404 {
		t.Errorf("the object is there: %d", code)
	}
	if code, _ := lfs(t, h, "all", "PUT", "demo/shop", "objects/"+oid(data), data); code != 200 {
		t.Errorf("it cannot be put: %d", code)
	}
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, io.ErrClosedPipe }
