// Package web serves the pages of Penstock to browsers. They are built from
// the directory web at the root by `make build`, which puts them, also
// compressed, into dist for embedding. A program built without them shows a
// page that says so.
//
// The pages are files: everything they show comes from the API. An address
// that is no file is a place inside the pages when a browser asks for it, and
// nobody's business but the API's otherwise.
package web

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"strings"
	"time"
)

//go:embed all:dist
var embedded embed.FS

//go:embed placeholder.html
var placeholder []byte

// Handler serves the pages, and next for everything else.
type Handler struct {
	files map[string]file // by path without the leading slash
	index file
	built bool
	next  http.Handler
}

// file is one embedded file with what it is when compressed.
type file struct {
	name      string
	mediaType string
	plain     variant
	br, gzip  *variant
}

type variant struct {
	body []byte
	etag string
}

// New returns a handler for the embedded pages.
func New(next http.Handler) (*Handler, error) {
	dist, err := fs.Sub(embedded, "dist")
	if err != nil {
		return nil, fmt.Errorf("open the embedded pages: %w", err)
	}
	return newHandler(dist, next)
}

func newHandler(dist fs.FS, next http.Handler) (*Handler, error) {
	h := &Handler{files: map[string]file{}, next: next}
	err := fs.WalkDir(dist, ".", func(name string, d fs.DirEntry, err error) error {
		ext := path.Ext(name)
		if err != nil || d.IsDir() || ext == "" || ext == ".br" || ext == ".gz" {
			return err
		}
		f, err := load(dist, name)
		h.files[name] = f
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read the embedded pages: %w", err)
	}
	if h.index, h.built = h.files["index.html"]; !h.built {
		h.index = file{name: "index.html", mediaType: "text/html; charset=utf-8", plain: newVariant(placeholder)}
	}
	return h, nil
}

func load(dist fs.FS, name string) (file, error) {
	b, err := fs.ReadFile(dist, name)
	if err != nil {
		return file{}, err
	}
	f := file{name: name, mediaType: mime.TypeByExtension(path.Ext(name)), plain: newVariant(b)}
	switch path.Ext(name) { // not left to what the machine's tables say
	case ".js":
		f.mediaType = "text/javascript; charset=utf-8"
	case ".css":
		f.mediaType = "text/css; charset=utf-8"
	case ".svg":
		f.mediaType = "image/svg+xml"
	case ".html":
		f.mediaType = "text/html; charset=utf-8"
	}
	for ext, to := range map[string]**variant{".br": &f.br, ".gz": &f.gzip} {
		if b, err := fs.ReadFile(dist, name+ext); err == nil {
			v := newVariant(b)
			*to = &v
		}
	}
	return f, nil
}

func newVariant(b []byte) variant {
	sum := sha256.Sum256(b)
	return variant{b, `"` + hex.EncodeToString(sum[:12]) + `"`}
}

// Built says whether the pages are in this program.
func (h *Handler) Built() bool { return h.built }

// reserved are the places of other hosts of this server; what they do not know
// is not found, whoever asks.
var reserved = []string{"/api/", "/git/", "/v2/", "/prometheus/", "/.well-known/", "/livez", "/readyz", "/metrics", "/version"}

// ServeHTTP answers with a file, the page, or what next says.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f, ok := h.find(r)
	if !ok {
		h.next.ServeHTTP(w, r)
		return
	}
	header := w.Header()
	if strings.HasPrefix(f.name, "assets/") { // named by their content
		header.Set("Cache-Control", "public, max-age=31536000, immutable")
	} else {
		header.Set("Cache-Control", "no-cache")
	}
	header.Set("Content-Type", f.mediaType)
	header.Set("X-Content-Type-Options", "nosniff")
	if strings.HasPrefix(f.mediaType, "text/html") {
		pageHeaders(header)
	}
	v := f.plain
	if f.br != nil || f.gzip != nil {
		header.Set("Vary", "Accept-Encoding")
		switch {
		case f.br != nil && accepts(r, "br"):
			header.Set("Content-Encoding", "br")
			v = *f.br
		case f.gzip != nil && accepts(r, "gzip"):
			header.Set("Content-Encoding", "gzip")
			v = *f.gzip
		}
	}
	header.Set("ETag", v.etag)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(v.body))
}

// find returns the file for a request, if it is for one.
func (h *Handler) find(r *http.Request) (file, bool) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return file{}, false
	}
	p := r.URL.Path
	if p == "/" || p == "/index.html" {
		return h.index, true
	}
	if f, ok := h.files[strings.TrimPrefix(p, "/")]; ok {
		return f, true
	}
	for _, prefix := range append(reserved, "/assets/") {
		if p == strings.TrimSuffix(prefix, "/") || strings.HasPrefix(p, prefix) {
			return file{}, false
		}
	}
	return h.index, strings.Contains(r.Header.Get("Accept"), "text/html")
}

// pageHeaders say what a page may do: run our own scripts, speak to our own
// server, and be in nobody's frame. Styles may be inline: the components set
// sizes and colours so. The address of a page may hold a login link, which is
// nobody else's business.
func pageHeaders(h http.Header) {
	h.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "+
		"font-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("X-Frame-Options", "DENY")
}

// accepts says whether a client takes an encoding. Ours differ only in size,
// so all that matters of the weights is a refusal.
func accepts(r *http.Request, encoding string) bool {
	for _, header := range r.Header.Values("Accept-Encoding") {
		for one := range strings.SplitSeq(header, ",") {
			name, q, _ := strings.Cut(strings.TrimSpace(one), ";")
			if !strings.EqualFold(strings.TrimSpace(name), encoding) {
				continue
			}
			q = strings.ReplaceAll(q, " ", "")
			return !strings.HasPrefix(q, "q=0") || strings.Trim(q, "q=0.") != ""
		}
	}
	return false
}
