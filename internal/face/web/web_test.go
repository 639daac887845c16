package web

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/fstest"
)

// pages are a small build.
var pages = fstest.MapFS{
	"README":               {Data: []byte("not a page")},
	"index.html":           {Data: []byte("<p>index")},
	"index.html.br":        {Data: []byte("br index")},
	"icon.svg":             {Data: []byte("<svg/>")},
	"assets/app-1a.js":     {Data: []byte("plain js")},
	"assets/app-1a.js.gz":  {Data: []byte("gzip js")},
	"assets/app-1a.js.br":  {Data: []byte("br js")},
	"assets/style-2b.css":  {Data: []byte("css")},
	"assets/picture-3.png": {Data: []byte("png")},
}

var api = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "the API", http.StatusNotFound) })

func get(t *testing.T, h http.Handler, method, target string, header ...string) *http.Response {
	t.Helper()
	r := httptest.NewRequest(method, target, nil)
	for i := 0; i < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

func TestWhoAnswers(t *testing.T) {
	h, err := newHandler(pages, api)
	if err != nil {
		t.Fatal(err)
	}
	if !h.Built() {
		t.Error("the pages are there")
	}
	const browser = "text/html,application/xhtml+xml,*/*;q=0.8"
	for _, c := range []struct{ method, path, accept, want string }{
		{"GET", "/", "*/*", "<p>index"},
		{"HEAD", "/", "*/*", ""},
		{"GET", "/index.html", "", "<p>index"},
		{"GET", "/runs/7?job=a", browser, "<p>index"},
		{"GET", "/login", browser, "<p>index"},
		{"GET", "/icon.svg", "*/*", "<svg/>"},
		{"GET", "/assets/app-1a.js", "*/*", "plain js"},
		{"GET", "/assets/app-1a.js.br", browser, "the API\n"},
		{"GET", "/assets/gone.js", browser, "the API\n"},
		{"GET", "/README", "*/*", "the API\n"},
		{"GET", "/runs/7", "*/*", "the API\n"}, // not a browser
		{"POST", "/", browser, "the API\n"},
		{"GET", "/api", browser, "the API\n"},
		{"GET", "/api/v1/nothing", browser, "the API\n"},
		{"GET", "/git/demo/none.git/info/refs", browser, "the API\n"},
		{"GET", "/v2/", browser, "the API\n"},
		{"GET", "/v2", browser, "the API\n"},
		{"GET", "/metrics", browser, "the API\n"},
		{"GET", "/.well-known/openid-configuration", browser, "the API\n"},
		{"GET", "/../web.go", browser, "<p>index"}, // no file system is behind it
	} {
		resp := get(t, h, c.method, c.path, "Accept", c.accept)
		b, err := io.ReadAll(resp.Body)
		if err != nil || string(b) != c.want {
			t.Errorf("%s %s: %q, want %q", c.method, c.path, b, c.want)
		}
	}
}

func TestEncodings(t *testing.T) {
	h, err := newHandler(pages, api)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ accept, want, encoding string }{
		{"gzip, deflate, br, zstd", "br js", "br"},
		{"gzip", "gzip js", "gzip"},
		{"br;q=0, gzip;q=0.5", "gzip js", "gzip"},
		{"br; q=0.000,gzip;q=0", "plain js", ""},
		{"br;q=0.1", "br js", "br"},
		{"BR", "br js", "br"},
		{"bravo", "plain js", ""},
		{"", "plain js", ""},
	} {
		resp := get(t, h, "GET", "/assets/app-1a.js", "Accept-Encoding", c.accept)
		b, _ := io.ReadAll(resp.Body)
		if string(b) != c.want || resp.Header.Get("Content-Encoding") != c.encoding || resp.Header.Get("Vary") != "Accept-Encoding" {
			t.Errorf("Accept-Encoding %q: %q %v", c.accept, b, resp.Header)
		}
		if ct := resp.Header.Get("Content-Type"); ct != "text/javascript; charset=utf-8" {
			t.Errorf("Content-Type %q", ct)
		}
		again := get(t, h, "GET", "/assets/app-1a.js", "Accept-Encoding", c.accept, "If-None-Match", resp.Header.Get("ETag"))
		if again.StatusCode != http.StatusNotModified {
			t.Errorf("Accept-Encoding %q: known, but %s", c.accept, again.Status)
		}
	}
}

func TestHeaders(t *testing.T) {
	h, err := newHandler(pages, api)
	if err != nil {
		t.Fatal(err)
	}
	page := get(t, h, "GET", "/login?code=x", "Accept", "text/html").Header
	csp := page.Get("Content-Security-Policy")
	_, scripts, _ := strings.Cut(csp, "script-src ")
	if scripts, _, _ = strings.Cut(scripts, ";"); scripts != "'self'" {
		t.Errorf("scripts may come from %q", scripts)
	}
	for _, want := range []string{"default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'", "connect-src 'self'"} {
		if !strings.Contains(csp, want) {
			t.Errorf("the policy %q lacks %s", csp, want)
		}
	}
	if page.Get("Referrer-Policy") != "no-referrer" || page.Get("X-Content-Type-Options") != "nosniff" || page.Get("Cache-Control") != "no-cache" {
		t.Errorf("page: %v", page)
	}
	if c := get(t, h, "GET", "/assets/style-2b.css").Header.Get("Cache-Control"); !strings.Contains(c, "immutable") {
		t.Errorf("asset: Cache-Control %q", c)
	}
}

func TestWithoutPages(t *testing.T) {
	h, err := newHandler(fstest.MapFS{"README": {Data: []byte("x")}}, api)
	if err != nil {
		t.Fatal(err)
	}
	resp := get(t, h, "GET", "/runs", "Accept", "text/html")
	b, _ := io.ReadAll(resp.Body)
	if h.Built() || !strings.Contains(string(b), "make build") || resp.Header.Get("Content-Security-Policy") == "" {
		t.Errorf("%q %v", b, resp.Header)
	}
}

// TestEmbedded serves whatever this program was built with.
func TestEmbedded(t *testing.T) {
	h, err := New(api)
	if err != nil {
		t.Fatal(err)
	}
	resp := get(t, h, "GET", "/")
	b, _ := io.ReadAll(resp.Body)
	if resp.StatusCode != 200 || !strings.Contains(string(b), "<title>Penstock</title>") {
		t.Errorf("%s %q", resp.Status, b)
	}
	if h.Built() && strings.Contains(string(b), "<script>") {
		t.Error("the page has an inline script, which its policy forbids")
	}
}
