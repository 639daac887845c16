package cli

import (
	"bytes"
	"encoding/json"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	upstream "github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/penstock-dev/penstock/internal/host/registry"
	"github.com/penstock-dev/penstock/internal/host/registry/outside"
	"github.com/penstock-dev/penstock/internal/host/registry/storage"
)

type everybody struct{}

func (everybody) Identify(*http.Request) (registry.User, error) {
	return registry.User{Name: "anybody", May: func(string, bool) bool { return true }}, nil
}

// TestImageMirror fetches an image of one platform of several, and shows that
// it is there when the other registry is not.
func TestImageMirror(t *testing.T) {
	other := httptest.NewServer(upstream.New(upstream.Logger(log.New(io.Discard, "", 0))))
	defer other.Close()
	var idx v1.ImageIndex = empty.Index
	blobs := 0
	for _, platform := range []string{"amd64", "arm64"} {
		img, err := random.Image(10_000, 2)
		if err != nil {
			t.Fatal(err)
		}
		idx = mutate.AppendManifests(idx, mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: platform}}})
		blobs += 3
	}
	ref, err := name.ParseReference(strings.TrimPrefix(other.URL, "http://") + "/team/app:1")
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.WriteIndex(ref, idx); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	s, err := storage.Open(dir, storage.Options{})
	if err != nil {
		t.Fatal(err)
	}
	out, err := outside.New(outside.Options{Store: s, AliasFile: filepath.Join(dir, "aliases.json"), Mirrors: map[string]string{"example.com:5000": other.URL}})
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(registry.New(registry.Options{Store: s, Access: everybody{}, Outside: out}))
	defer srv.Close()

	run := func(args ...string) ([]mirrored, error) {
		var stdout bytes.Buffer
		g := &Globals{Server: srv.URL, DataDir: dir, Out: &stdout, Err: io.Discard, Output: "json"}
		c := newImageMirror(g)
		c.SetArgs(args)
		c.SilenceErrors, c.SilenceUsage = true, true
		err := c.ExecuteContext(t.Context())
		var list []mirrored
		if err == nil {
			err = json.Unmarshal(stdout.Bytes(), &list)
		}
		return list, err
	}
	const repo = "mirror/example.com_5000/team/app"
	for _, tc := range []struct {
		args  []string
		blobs int
	}{
		{[]string{"example.com:5000/team/app:1"}, blobs / 2},
		{[]string{"--all-platforms", "example.com:5000/team/app:1"}, blobs},
	} {
		list, err := run(tc.args...)
		if err != nil {
			t.Fatal(err)
		}
		want, err := idx.Digest()
		if err != nil {
			t.Fatal(err)
		}
		if len(list) != 1 || list[0].Digest != want.String() || list[0].Size < 20_000 {
			t.Errorf("%v: %+v", tc.args, list)
		}
		have, err := filepath.Glob(filepath.Join(dir, "repos", repo, "_blobs", "sha256", "*"))
		if err != nil || len(have) != tc.blobs {
			t.Errorf("%v: %d blobs are here, %v; want %d", tc.args, len(have), err, tc.blobs)
		}
	}
	if _, err := run("example.com:5000/team/app:2"); err == nil || !strings.Contains(err.Error(), "does not have it") {
		t.Errorf("a tag that is not there: %v", err)
	}
	if _, err := run("UPPER"); err == nil {
		t.Error("a name that is none was taken")
	}
	other.Close()
	if _, err := run("example.com:5000/team/app:1"); err != nil {
		t.Errorf("without the other registry: %v", err)
	}
}
