package build

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/buildkit/client"

	"github.com/penstock-dev/penstock/internal/base/problem"
)

func TestCheck(t *testing.T) {
	oci := []Output{{Type: OutputOCI, Dest: "x.tar"}}
	node := []Output{{Type: OutputNode}}
	for _, c := range []struct {
		name string
		r    Request
		want string // in the error; "" for none
	}{
		{"least", Request{Context: ".", Outputs: oci}, ""},
		{"no context", Request{Outputs: oci}, "no context"},
		{"no output", Request{Context: "."}, "nothing says where"},
		{"upper case tag", Request{Context: ".", Tags: []string{"Shop"}, Outputs: node}, "must be lowercase"},
		{"digested tag", Request{Context: ".", Tags: []string{"shop@sha256:" + strings.Repeat("0", 64)}, Outputs: node}, "names a digest"},
		{"node without tag", Request{Context: ".", Outputs: node}, "needs a tag"},
		{"push without tag", Request{Context: ".", Outputs: []Output{{Type: OutputPush}}}, "needs a tag"},
		{"oci without dest", Request{Context: ".", Outputs: []Output{{Type: OutputOCI}}}, "no destination"},
		{"node with dest", Request{Context: ".", Tags: []string{"a"}, Outputs: []Output{{Type: OutputNode, Dest: "x"}}}, "takes no destination"},
		{"unknown output", Request{Context: ".", Outputs: []Output{{Type: "ocy", Dest: "x"}}}, `"ocy" is not one of cacheonly, docker, local, node, oci, push, tar`},
		{"unknown output attribute", Request{Context: ".", Outputs: []Output{{Type: OutputOCI, Dest: "x", Attrs: map[string]string{"unpack": "true"}}}}, `no attribute "unpack"`},
		{"known output attributes", Request{Context: ".", Outputs: []Output{{Type: OutputOCI, Dest: "x", Attrs: map[string]string{"compression": "zstd", "annotation.a.B": "c"}}}}, ""},
		{"tar neither", Request{Context: ".", Outputs: []Output{{Type: OutputOCI, Dest: "x", Attrs: map[string]string{"tar": "no"}}}}, "neither true nor false"},
		{"stream of nobody", Request{Context: ".", Outputs: []Output{{Type: OutputTar, Dest: "-"}}}, "standard output"},
		{"two layouts", Request{Context: ".", Outputs: []Output{{Type: OutputOCI, Dest: "x", Attrs: map[string]string{"tar": "false"}}, {Type: OutputOCI, Dest: "y", Attrs: map[string]string{"tar": "false"}}}}, "only one output"},
		{"docker for two platforms", Request{Context: ".", Platforms: []string{"linux/amd64", "linux/arm64"}, Outputs: []Output{{Type: OutputDocker, Dest: "x"}}}, "holds one platform"},
		{"platform", Request{Context: ".", Platforms: []string{"linux/amd64/v9/x"}, Outputs: oci}, "platform"},
		{"argument", Request{Context: ".", Args: map[string]string{"a b": ""}, Outputs: oci}, "not a name"},
		{"two Dockerfiles", Request{Context: ".", Dockerfile: "x", DockerfileData: []byte("FROM scratch"), Outputs: oci}, "both"},
		{"secret without source", Request{Context: ".", Secrets: []Secret{{ID: "a"}}, Outputs: oci}, "exactly one source"},
		{"secret twice", Request{Context: ".", Secrets: []Secret{{ID: "a", Value: []byte("x")}, {ID: "a", Value: []byte("y")}}, Outputs: oci}, "given twice"},
		{"cache without dest", Request{Context: ".", CacheTo: []Cache{{Type: "local"}}, Outputs: oci}, "needs dest"},
		{"cache of github", Request{Context: ".", CacheTo: []Cache{{Type: "gha"}}, Outputs: oci}, "not one of inline, local, registry"},
		{"inline cache read", Request{Context: ".", CacheFrom: []Cache{{Type: "inline"}}, Outputs: oci}, "type=registry"},
		{"cache mode", Request{Context: ".", CacheTo: []Cache{{Type: "local", Attrs: map[string]string{"dest": "x", "mode": "most"}}}, Outputs: oci}, "min, max"},
		{"cache attribute", Request{Context: ".", CacheTo: []Cache{{Type: "local", Attrs: map[string]string{"dest": "x", "url": "y"}}}, Outputs: oci}, `no attribute "url"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := c.r.check(true)
			if c.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("err = %v, want %q in it", err, c.want)
			}
			if code := problem.ExitCode(err); code != problem.ExitUsage {
				t.Errorf("exit code = %d", code)
			}
		})
	}
	if err := (Request{Context: ".", Tags: []string{"a"}, Outputs: node}).check(false); err == nil {
		t.Error("an output into the node without a node was taken")
	}
}

func TestFrontendAttrs(t *testing.T) {
	got := frontendAttrs(Request{
		Target: "test", Args: map[string]string{"V": "1", "EMPTY": ""}, Labels: map[string]string{"a.b/c": "d"},
		Platforms: []string{"linux/amd64", "arm64", "linux/arm/v7"}, NoCacheFilter: []string{"a", "b"}, Pull: true,
	})
	want := map[string]string{
		"target": "test", "build-arg:V": "1", "build-arg:EMPTY": "", "label:a.b/c": "d",
		"platform": "linux/amd64,linux/arm64,linux/arm/v7", "no-cache": "a,b", "image-resolve-mode": "pull",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if got := frontendAttrs(Request{NoCache: true, NoCacheFilter: []string{"a"}}); got["no-cache"] != "" {
		t.Errorf("no-cache for all is %q", got["no-cache"])
	}
	if got := frontendAttrs(Request{}); len(got) != 0 {
		t.Errorf("an empty request has attributes %v", got)
	}
}

func TestLayerAttrs(t *testing.T) {
	for _, c := range []struct{ given, want map[string]string }{
		{nil, map[string]string{"compression": "gzip", "compression-level": "1"}},
		{map[string]string{"x": "y"}, map[string]string{"x": "y", "compression": "gzip", "compression-level": "1"}},
		{map[string]string{"compression": "zstd"}, map[string]string{"compression": "zstd"}},
		{map[string]string{"compression-level": "9"}, map[string]string{"compression-level": "9"}},
	} {
		if diff := cmp.Diff(c.want, layerAttrs(c.given)); diff != "" {
			t.Error(diff)
		}
	}
	if got := cacheExports([]Cache{{Type: "inline"}}); len(got[0].Attrs) != 0 {
		t.Errorf("inline cache has attributes %v", got[0].Attrs)
	}
}

func TestNames(t *testing.T) {
	got := Request{Tags: []string{"shop", "shop:latest", "penstock.localhost:7080/demo/shop:1", "ghcr.io/a/b"}}.names()
	want := []string{"docker.io/library/shop:latest", "penstock.localhost:7080/demo/shop:1", "ghcr.io/a/b:latest"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestParseGit(t *testing.T) {
	for _, c := range []struct {
		in   string
		want gitRef
		ok   bool
		bad  bool
	}{
		{in: "."},
		{in: "/srv/app.git"},
		{in: "github.com/a/b"},
		{in: "https://example.com/a/b.tar.gz"},
		{in: "https://example.com/a/b.git", ok: true, want: gitRef{remote: "https://example.com/a/b.git"}},
		{in: "http://penstock.localhost:7080/git/demo/shop.git#main", ok: true, want: gitRef{"http://penstock.localhost:7080/git/demo/shop.git", "main", ""}},
		{in: "https://example.com/a.git#refs/tags/v1.2:deep/er", ok: true, want: gitRef{"https://example.com/a.git", "refs/tags/v1.2", "deep/er"}},
		{in: "https://example.com/a.git#:sub/", ok: true, want: gitRef{"https://example.com/a.git", "", "sub"}},
		{in: "git@example.com:a/b.git#main", ok: true, want: gitRef{"git@example.com:a/b.git", "main", ""}},
		{in: "ssh://git@example.com/a/b", ok: true, want: gitRef{remote: "ssh://git@example.com/a/b"}},
		{in: "https://example.com/a.git#--upload-pack=x", ok: true, bad: true},
		{in: "https://example.com/a.git#a..b", ok: true, bad: true},
		{in: "https://example.com/a.git#main:../..", ok: true, bad: true},
		{in: "https://user:secret@example.com/a.git", ok: true, bad: true},
		{in: "https:///a.git", ok: true, bad: true},
	} {
		got, ok, err := parseGit(c.in)
		if ok != c.ok || (err != nil) != c.bad {
			t.Errorf("parseGit(%q) = %v, %v", c.in, ok, err)
		}
		if err == nil && got != c.want {
			t.Errorf("parseGit(%q) = %+v, want %+v", c.in, got, c.want)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("the password is in the error: %v", err)
		}
	}
}

func FuzzParseGit(f *testing.F) {
	for _, s := range []string{"https://example.com/a.git#main:sub", "git@h:a#b", "-", "ssh://-oProxyCommand=x/a", "http://[::1]/a.git#"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		g, ok, err := parseGit(s)
		if err != nil || !ok {
			return
		}
		// What goes to git must be an operand to it, never an option.
		if strings.HasPrefix(g.remote, "-") || strings.HasPrefix(g.ref, "-") {
			t.Errorf("%q gives remote %q, ref %q", s, g.remote, g.ref)
		}
		if g.subdir != "" && !filepath.IsLocal(g.subdir) {
			t.Errorf("%q gives directory %q", s, g.subdir)
		}
	})
}

func TestGitEnv(t *testing.T) {
	env := gitEnv("http://penstock.localhost:7080/git/demo/shop.git", func(string) string { return "t0ken" })
	if !slices.Contains(env, "GIT_CONFIG_KEY_0=http.http://penstock.localhost:7080/.extraHeader") || !slices.Contains(env, "GIT_CONFIG_VALUE_0=Authorization: Bearer t0ken") {
		t.Errorf("env = %q", env)
	}
	if env := gitEnv("http://example.com/a.git", func(string) string { return "" }); len(env) != 1 {
		t.Errorf("env without a token = %q", env)
	}
}

func TestFindInLayout(t *testing.T) {
	dir := t.TempDir()
	a, b := "sha256:"+strings.Repeat("a", 64), "sha256:"+strings.Repeat("b", 64)
	index := `{"schemaVersion":2,"manifests":[
{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"` + a + `","size":1,"annotations":{"org.opencontainers.image.ref.name":"latest"}},
{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"` + b + `","size":1,"annotations":{"org.opencontainers.image.ref.name":"v2"}}]}`
	if err := os.WriteFile(filepath.Join(dir, "index.json"), []byte(index), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ ref, want, err string }{
		{dir, a, ""},
		{dir + ":latest", a, ""},
		{dir + ":v2", b, ""},
		{dir + "@" + b, b, ""},
		{dir + ":v3", "", `no image "v3"`},
		{dir + "@sha256:1", "", "digest"},
		{dir + "/none", "", "no such file"},
	} {
		got, desc, err := findInLayout(c.ref)
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("findInLayout(%q): err = %v, want %q in it", c.ref, err, c.err)
			}
			continue
		}
		if err != nil || got != dir || desc.Digest.String() != c.want {
			t.Errorf("findInLayout(%q) = %s, %s, %v", c.ref, got, desc.Digest, err)
		}
	}
}

func TestContextsAreRefusedWithReason(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "Dockerfile")
	if err := os.WriteFile(file, []byte("FROM scratch\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ context, want string }{
		{"-", "standard input is not supported"},
		{"https://example.com/a.tar.gz", "no Git reference"},
		{file, "not a directory"},
		{filepath.Join(dir, "none"), "no such file"},
	} {
		_, err := resolve(context.Background(), Request{Context: c.context, Tags: []string{"x"}}, &workspace{dir: dir}, nil)
		if err == nil || !strings.Contains(err.Error(), c.want) || problem.ExitCode(err) != problem.ExitUsage {
			t.Errorf("context %q: err = %v (exit %d), want %q in it", c.context, err, problem.ExitCode(err), c.want)
		}
	}
}

func TestSecretsAreRead(t *testing.T) {
	t.Setenv("PENSTOCK_TEST_SECRET", "from env")
	file := filepath.Join(t.TempDir(), "s")
	if err := os.WriteFile(file, []byte("from file"), 0o600); err != nil {
		t.Fatal(err)
	}
	large := filepath.Join(t.TempDir(), "l")
	if err := os.WriteFile(large, make([]byte, 600<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		s         Secret
		want, err string
	}{
		{Secret{ID: "a", Env: "PENSTOCK_TEST_SECRET"}, "from env", ""},
		{Secret{ID: "a", File: file}, "from file", ""},
		{Secret{ID: "a", Value: []byte("given")}, "given", ""},
		{Secret{ID: "a", Env: "PENSTOCK_TEST_NONE"}, "", "is not set"},
		{Secret{ID: "a", File: file + "x"}, "", "no such file"},
		{Secret{ID: "a", File: large}, "", "larger than"},
	} {
		b, err := c.s.read()
		if string(b) != c.want || (c.err == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("read(%+v) = %q, %v", c.s, b, err)
		}
		if _, err := openSecrets([]Secret{c.s}); (c.err == "") != (err == nil) {
			t.Errorf("openSecrets(%+v): %v", c.s, err)
		}
	}
}

func TestStatusRoundTrip(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	in := &client.SolveStatus{
		Vertexes: []*client.Vertex{{Digest: "sha256:a", Name: "[1/2] FROM x", Started: &now, Completed: &now, Cached: true, Error: "e"}},
		Statuses: []*client.VertexStatus{{ID: "s", Vertex: "sha256:a", Name: "n", Total: 2, Current: 1, Timestamp: now, Started: &now}},
		Logs:     []*client.VertexLog{{Vertex: "sha256:a", Stream: 1, Data: []byte("x"), Timestamp: now}},
		Warnings: []*client.VertexWarning{{Vertex: "sha256:a", Short: []byte("w"), URL: "u"}},
	}
	if diff := cmp.Diff(in, toSolve(fromSolve(in))); diff != "" {
		t.Error(diff)
	}
}

func TestDisplayModes(t *testing.T) {
	if _, err := NewDisplay(&strings.Builder{}, "loud"); !errors.Is(err, problem.ErrInvalid) {
		t.Errorf("err = %v", err)
	}
	if _, err := NewDisplay(&strings.Builder{}, DisplayTTY); !errors.Is(err, problem.ErrInvalid) {
		t.Errorf("a live display without a terminal: %v", err)
	}
	var out strings.Builder
	d, err := NewDisplay(&out, DisplayAuto)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	d.Update(Status{Notice: "waiting"})
	d.Update(Status{Steps: []Step{{ID: "sha256:a", Name: "[1/2] RUN make", Started: &now}}})
	d.Update(Status{Logs: []Log{{Step: "sha256:a", Stream: 1, Data: []byte("hello\n"), At: now}}})
	end := now.Add(time.Second)
	d.Update(Status{Steps: []Step{{ID: "sha256:a", Name: "[1/2] RUN make", Started: &now, Completed: &end}}})
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"waiting\n", "[1/2] RUN make", "hello", "DONE 1.0s"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("output lacks %q:\n%s", want, out.String())
		}
	}
}

func TestParseFields(t *testing.T) {
	got, err := ParseFields(`type=oci,"dest=a,b",x=1=2`)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]Field{{"type", "oci"}, {"dest", "a,b"}, {"x", "1=2"}}, got); diff != "" {
		t.Error(diff)
	}
	for _, bad := range []string{"", "a", "a=1,a=2", "=x", "a=1\nb=2", `a="`} {
		if got, err := ParseFields(bad); err == nil {
			t.Errorf("ParseFields(%q) = %v", bad, got)
		}
	}
}

func FuzzParseFields(f *testing.F) {
	f.Add(`type=oci,"dest=a,b",x=1=2`)
	f.Add("a=1,a=2")
	f.Fuzz(func(t *testing.T, s string) {
		fields, err := ParseFields(s)
		if err != nil {
			return
		}
		for _, e := range fields {
			if e.Key == "" || strings.Contains(e.Key, "=") {
				t.Errorf("ParseFields(%q) has key %q", s, e.Key)
			}
		}
	})
}
