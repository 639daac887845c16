//go:build bench

package registry

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
)

// side is one of the two registries, in a process of its own.
type side struct {
	url, token string
}

// start runs a program that listens on a free port and waits until it answers.
func start(b *testing.B, command func(addr string) *exec.Cmd) string {
	b.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	cmd := command(addr)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	ctx, cancel := context.WithTimeout(b.Context(), 30*time.Second)
	defer cancel()
	for {
		resp, err := http.Get("http://" + addr + "/v2/")
		if err == nil {
			resp.Body.Close()
			return "http://" + addr
		}
		select {
		case <-ctx.Done():
			b.Fatalf("%s does not answer: %v\n%s", cmd.Path, err, said.String())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// sides starts both, each on an empty directory of the same disk.
func sides(b *testing.B) (ours, theirs side) {
	b.Helper()
	program, err := exec.LookPath("docker-registry")
	if err != nil {
		b.Skip("needs docker-registry: apt-get install docker-registry")
	}
	bin := os.Getenv("PENSTOCK_BIN")
	if bin == "" {
		b.Skip("PENSTOCK_BIN names the directory of the programs")
	}
	dir := b.TempDir()
	config := filepath.Join(dir, "config.yml")
	if err := os.Mkdir(filepath.Join(dir, "ours"), 0o700); err != nil {
		b.Fatal(err)
	}
	ours.url = start(b, func(addr string) *exec.Cmd {
		return exec.Command(filepath.Join(bin, "penstock"), "server", "--data-dir", filepath.Join(dir, "ours"), "--listen", addr, "--runtime", "process")
	})
	token, err := os.ReadFile(filepath.Join(dir, "ours", "admin.token"))
	if err != nil {
		b.Fatal(err)
	}
	ours.token = strings.TrimSpace(string(token))
	theirs.url = start(b, func(addr string) *exec.Cmd {
		text := fmt.Sprintf("version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\nstorage: {cache: {blobdescriptor: inmemory}, filesystem: {rootdirectory: %q}}\nhttp: {addr: %q}\n", filepath.Join(dir, "theirs"), addr)
		if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
			b.Fatal(err)
		}
		return exec.Command(program, "serve", config)
	})
	return ours, theirs
}

// do makes a request and reads its answer.
func (s side) do(b *testing.B, method, url string, body []byte, contentType string, want int) (location string, n int64) {
	b.Helper()
	if !strings.HasPrefix(url, "http") {
		url = s.url + url
	}
	req, err := http.NewRequestWithContext(b.Context(), method, url, bytes.NewReader(body))
	if err != nil {
		b.Fatal(err)
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	if s.token != "" {
		req.Header.Set("Authorization", "Bearer "+s.token)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		b.Fatal(err)
	}
	defer resp.Body.Close()
	n, err = io.Copy(io.Discard, resp.Body)
	if err != nil || resp.StatusCode != want {
		b.Fatalf("%s %s: %s, %v", method, url, resp.Status, err)
	}
	return resp.Header.Get("Location"), n
}

// pushBlob pushes data and returns its digest.
func (s side) pushBlob(b *testing.B, data []byte) digest.Digest {
	b.Helper()
	d := digest.FromBytes(data)
	s.push(b, data, d)
	return d
}

// push is POST then PUT, as most clients push.
func (s side) push(b *testing.B, data []byte, d digest.Digest) {
	b.Helper()
	loc, _ := s.do(b, http.MethodPost, "/v2/bench/app/blobs/uploads/", nil, "", http.StatusAccepted)
	sep := "?"
	if strings.Contains(loc, "?") {
		sep = "&"
	}
	s.do(b, http.MethodPut, loc+sep+"digest="+d.String(), data, "application/octet-stream", http.StatusCreated)
}

// inTurns measures both sides one after the other and reports their best, as
// megabytes per second when size says how many bytes one turn moves.
func inTurns(b *testing.B, size int, prepare func(s side) digest.Digest, measure func(s side, d digest.Digest, i int) (began time.Time)) {
	ours, theirs := sides(b)
	all := []side{ours, theirs}
	best, prepared := make([]time.Duration, 2), make([]digest.Digest, 2)
	for i, s := range all {
		if prepare != nil {
			prepared[i] = prepare(s)
		}
	}
	n := 0
	for b.Loop() {
		for i, s := range all {
			if d := time.Since(measure(s, prepared[i], n)); best[i] == 0 || d < best[i] {
				best[i] = d
			}
		}
		n++
	}
	for i, name := range []string{"ours", "docker-registry"} {
		if size > 0 {
			b.ReportMetric(float64(size)/1e6/best[i].Seconds(), "MB/s-"+name)
		} else {
			b.ReportMetric(float64(best[i].Microseconds())/1000, "ms-"+name)
		}
	}
	b.ReportMetric(float64(best[1])/float64(best[0]), "x-docker-registry")
}

const large = 64 << 20

func noise(b *testing.B, n int) []byte {
	b.Helper()
	data := make([]byte, n)
	if _, err := rand.Read(data); err != nil {
		b.Fatal(err)
	}
	return data
}

func BenchmarkPushLarge(b *testing.B) {
	data := noise(b, large)
	inTurns(b, large, nil, func(s side, _ digest.Digest, i int) time.Time {
		copy(data, fmt.Sprintf("%s %d", s.url, i)) // another blob each time
		d := digest.FromBytes(data)
		began := time.Now()
		s.push(b, data, d)
		return began
	})
}

func BenchmarkPullLarge(b *testing.B) {
	data := noise(b, large)
	inTurns(b, large, func(s side) digest.Digest { return s.pushBlob(b, data) }, func(s side, d digest.Digest, _ int) time.Time {
		began := time.Now()
		if _, n := s.do(b, http.MethodGet, "/v2/bench/app/blobs/"+d.String(), nil, "", http.StatusOK); n != large {
			b.Fatalf("%d bytes", n)
		}
		return began
	})
}

// BenchmarkPushSmall pushes an image of two small blobs, which is what a build
// with a cached base does.
func BenchmarkPushSmall(b *testing.B) {
	inTurns(b, 0, nil, func(s side, _ digest.Digest, i int) time.Time {
		began := time.Now()
		config, layer := []byte(fmt.Sprintf(`{"i":%d}`, i)), noise(b, 20_000)
		manifest := fmt.Sprintf(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json",`+
			`"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":%q,"size":%d},`+
			`"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":%q,"size":%d}]}`,
			s.pushBlob(b, config), len(config), s.pushBlob(b, layer), len(layer))
		s.do(b, http.MethodPut, fmt.Sprintf("/v2/bench/app/manifests/v%d", i), []byte(manifest), "application/vnd.oci.image.manifest.v1+json", http.StatusCreated)
		return began
	})
}
