package api

import (
	"bytes"
	"crypto/rand"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestFrontSendsFilesWhole sends more than one piece of a file, a part of it,
// and what is no file.
func TestFrontSendsFilesWhole(t *testing.T) {
	data := make([]byte, 2*maxSend+12345)
	_, _ = rand.Read(data)
	file := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	h := Front(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, ok := w.(io.ReaderFrom); !ok {
			t.Error("files are copied through this process")
		}
		if r.URL.Path == "/text" {
			_, _ = io.Copy(w, struct{ io.Reader }{strings.NewReader("text")})
			return
		}
		f, err := os.Open(file)
		if err != nil {
			t.Error(err)
			return
		}
		defer f.Close()
		http.ServeContent(w, r, "", time.Time{}, f)
	}), slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})))
	srv := httptest.NewServer(h)
	get := func(path, ranges string) []byte {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, srv.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if ranges != "" {
			req.Header.Set("Range", ranges)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	if got := get("/file", ""); !bytes.Equal(got, data) {
		t.Errorf("%d bytes of %d", len(got), len(data))
	}
	if got := get("/file", "bytes=100-5000000"); !bytes.Equal(got, data[100:5000001]) {
		t.Errorf("a range of %d bytes", len(got))
	}
	if got := get("/text", ""); string(got) != "text" {
		t.Errorf("text %q", got)
	}
	srv.Close()
	if !strings.Contains(log.String(), "bytes=8400953 ") || !strings.Contains(log.String(), "bytes=4 ") {
		t.Errorf("sizes in the log: %s", log.String())
	}
}
