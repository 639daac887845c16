package cli

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/spf13/pflag"

	"github.com/penstock-dev/penstock/internal/base/problem"
	"github.com/penstock-dev/penstock/internal/supply/build"
)

func TestBuildFlags(t *testing.T) {
	env := environment{
		lookup: func(k string) (string, bool) {
			v, ok := map[string]string{"TOKEN": "t", "VERSION": "from env"}[k]
			return v, ok
		},
		exists: func(p string) bool { return p == "secretfile" },
		stdin:  strings.NewReader("FROM scratch\n"),
	}
	node := []build.Output{{Type: build.OutputNode}}
	for _, c := range []struct {
		args string
		want build.Request
		err  string
	}{
		{"", build.Request{Outputs: []build.Output{{Type: build.OutputCacheOnly}}}, ""},
		{"-t shop -t shop:2", build.Request{Tags: []string{"shop", "shop:2"}, Outputs: node}, ""},
		{"-t shop --load", build.Request{Tags: []string{"shop"}, Outputs: node}, ""},
		{"-t shop --push", build.Request{Tags: []string{"shop"}, Outputs: []build.Output{{Type: build.OutputPush}}}, ""},
		{"-t shop --push --load -o type=oci,dest=x", build.Request{Tags: []string{"shop"}, Outputs: []build.Output{{Type: build.OutputOCI, Dest: "x", Attrs: map[string]string{}}, {Type: build.OutputPush}, {Type: build.OutputNode}}}, ""},
		{"-o out", build.Request{Outputs: []build.Output{{Type: build.OutputLocal, Dest: "out"}}}, ""},
		{"-o -", build.Request{Outputs: []build.Output{{Type: build.OutputTar, Dest: "-"}}}, ""},
		{"-o type=oci", build.Request{Outputs: []build.Output{{Type: build.OutputOCI, Dest: "-", Attrs: map[string]string{}}}}, ""},
		{"-t a -o type=docker", build.Request{Tags: []string{"a"}, Outputs: []build.Output{{Type: build.OutputNode, Attrs: map[string]string{}}}}, ""},
		{"-t a -o type=image,push=true,compression=zstd", build.Request{Tags: []string{"a"}, Outputs: []build.Output{{Type: build.OutputPush, Attrs: map[string]string{"compression": "zstd"}}}}, ""},
		{"-t a -o type=registry", build.Request{Tags: []string{"a"}, Outputs: []build.Output{{Type: build.OutputPush, Attrs: map[string]string{}}}}, ""},
		{"-o type=image", build.Request{}, "keeps no images"},
		{"-o dest=x", build.Request{}, "no type"},
		{"-o type=oci,x", build.Request{}, "KEY=VALUE"},
		{"--build-arg VERSION --build-arg A=b=c --build-arg NOBODY --build-arg E=", build.Request{Args: map[string]string{"VERSION": "from env", "A": "b=c", "E": ""}, Outputs: []build.Output{{Type: build.OutputCacheOnly}}}, ""},
		{"--label a=b --label c", build.Request{Labels: map[string]string{"a": "b", "c": ""}, Outputs: []build.Output{{Type: build.OutputCacheOnly}}}, ""},
		{"--label =b", build.Request{}, "no name"},
		{"--platform linux/amd64,linux/arm64 --platform linux/arm/v7", build.Request{Platforms: []string{"linux/amd64", "linux/arm64", "linux/arm/v7"}, Outputs: []build.Output{{Type: build.OutputCacheOnly}}}, ""},
		{"--secret id=a,src=f --secret id=b,env=X --secret id=TOKEN --secret id=secretfile --secret type=env,id=c,src=Y", build.Request{
			Secrets: []build.Secret{{ID: "a", File: "f"}, {ID: "b", Env: "X"}, {ID: "TOKEN", Env: "TOKEN"}, {ID: "secretfile", File: "secretfile"}, {ID: "c", Env: "Y"}},
			Outputs: []build.Output{{Type: build.OutputCacheOnly}}}, ""},
		{"--secret id=nobody", build.Request{}, "neither an environment variable nor a file"},
		{"--secret src=f", build.Request{}, "no id"},
		{"--secret id=a,value=hunter2", build.Request{}, `no field "value"`},
		{"--secret hunter2", build.Request{}, "KEY=VALUE"},
		{"--secret type=vault,id=a", build.Request{}, "neither file nor env"},
		{"--build-context base=oci-layout://x --build-context src=../y", build.Request{Contexts: map[string]string{"base": "oci-layout://x", "src": "../y"}, Outputs: []build.Output{{Type: build.OutputCacheOnly}}}, ""},
		{"--build-context base", build.Request{}, "NAME=CONTEXT"},
		{"--cache-from ghcr.io/a/b --cache-to type=local,dest=x,mode=max", build.Request{
			CacheFrom: []build.Cache{{Type: "registry", Attrs: map[string]string{"ref": "ghcr.io/a/b"}}},
			CacheTo:   []build.Cache{{Type: "local", Attrs: map[string]string{"dest": "x", "mode": "max"}}},
			Outputs:   []build.Output{{Type: build.OutputCacheOnly}}}, ""},
		{"--cache-to dest=x", build.Request{}, "no type"},
		{"-f -", build.Request{DockerfileData: []byte("FROM scratch\n"), Outputs: []build.Output{{Type: build.OutputCacheOnly}}}, ""},
		{"-f sub/Dockerfile --target test --no-cache --pull", build.Request{Dockerfile: "sub/Dockerfile", Target: "test", NoCache: true, Pull: true, Outputs: []build.Output{{Type: build.OutputCacheOnly}}}, ""},
		{"--no-cache-filter a --no-cache-filter b", build.Request{NoCacheFilter: []string{"a", "b"}, Outputs: []build.Output{{Type: build.OutputCacheOnly}}}, ""},
	} {
		t.Run(c.args, func(t *testing.T) {
			var f buildFlags
			fs := pflag.NewFlagSet("build", pflag.ContinueOnError)
			f.register(fs)
			if err := fs.Parse(strings.Fields(c.args)); err != nil {
				t.Fatal(err)
			}
			got, err := f.request(".", env)
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) || problem.ExitCode(err) != problem.ExitUsage {
					t.Errorf("err = %v, want %q in it", err, c.err)
				}
				if err != nil && strings.Contains(err.Error(), "hunter2") {
					t.Errorf("the error repeats what may be a secret: %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			c.want.Context = "."
			if diff := cmp.Diff(c.want, got, cmpopts.EquateEmpty()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestSourceDateEpochComesFromTheEnvironment(t *testing.T) {
	lookup := func(k string) (string, bool) { return "1700000000", k == "SOURCE_DATE_EPOCH" }
	f := buildFlags{}
	r, err := f.request(".", environment{lookup: lookup})
	if err != nil || r.Args["SOURCE_DATE_EPOCH"] != "1700000000" {
		t.Errorf("args = %v, %v", r.Args, err)
	}
	f.args = []string{"SOURCE_DATE_EPOCH=1"}
	if r, err = f.request(".", environment{lookup: lookup}); err != nil || r.Args["SOURCE_DATE_EPOCH"] != "1" {
		t.Errorf("args = %v, %v", r.Args, err)
	}
}
