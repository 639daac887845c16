package workflow_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/penstock-dev/penstock/internal/ci/workflow"
)

// push gives the filter of a workflow.
func push(t *testing.T, filter string) *workflow.Push {
	t.Helper()
	w, findings := workflow.Parse("f.yml", []byte("on: {push: {"+filter+"}}\njobs: {a: {runs-on: x, steps: [{run: x}]}}\n"))
	if w == nil {
		t.Fatalf("%s: %v", filter, findings)
	}
	return w.On.Push
}

// TestPatterns follows the tables of GitHub's documentation of filter patterns.
func TestPatterns(t *testing.T) {
	for _, tc := range []struct{ pattern, yes, no string }{
		{"feature/*", "feature/my-branch feature/your-branch", "feature/a/b feature main/feature/x"},
		{"feature/**", "feature/beta-a/my-branch feature/your-branch feature/mona/the/octocat", "features/x"},
		{"main", "main", "main2 amain Main"},
		{"releases/mona-the-octocat", "releases/mona-the-octocat", "releases/mona"},
		{"*", "main releases", "all/the/branches"},
		{"**", "all/the/branches every/tag main", ""},
		{"*feature", "mona-feature feature ver-10-feature", "feature/x x/feature"},
		{"v2*", "v2 v2.0 v2.9", "v1 xv2"},
		{"v[12].[0-9]+.[0-9]+", "v1.10.1 v2.0.0", "v3.0.0 v1.x.0 v1.1"},
		{"*.jsx?", "page.js page.jsx", "a/page.js page.jsxx"},
		{"**.js", "index.js js/index.js src/js/app.js", "index.ts"},
		{"docs/*", "docs/README.md docs/file.txt", "docs/a/b docs"},
		{"docs/**", "docs/README.md docs/mona/octocat.txt", "doc/x"},
		{"docs/**/*.md", "docs/README.md docs/mona/hello-world.md docs/a/markdown/file.md", "docs/x.txt"},
		{"**/docs/**", "docs/hello.md dir/docs/my-file.txt space/docs/plan/space.doc", "docsx/a"},
		{"**/README.md", "README.md js/README.md", "README.mdx"},
		{"**/*src/**", "a/src/app.js my-src/code/js/app.js", "srcs/x"},
		{"**/*-post.md", "my-post.md path/their-post.md", "post.md"},
		{"**/migrate-*.sql", "migrate-10909.sql db/migrate-v1.0.sql db/sept/migrate-v1.sql", "migrate.sql"},
		{"[CB]at", "Cat Bat", "cat hat"},
		{"[1-2]00", "100 200", "300 [1-2]00"},
		{"a.b", "a.b", "axb"},
		{"a\\*b", "a*b", "axb"},
		{"colou?r", "color colour", "colouur"},
		{"ein+", "ein einn", "ei"},
		{"a(b", "a(b", "a"},
		{"grün/*", "grün/ä", "grun/a"},
	} {
		f := push(t, "branches: ['"+tc.pattern+"']")
		for _, name := range strings.Fields(tc.yes) {
			if !f.Matches(workflow.Change{Ref: "refs/heads/" + name}) {
				t.Errorf("%s does not match %s", tc.pattern, name)
			}
		}
		for _, name := range strings.Fields(tc.no) {
			if f.Matches(workflow.Change{Ref: "refs/heads/" + name}) {
				t.Errorf("%s matches %s", tc.pattern, name)
			}
		}
	}
}

func TestPushFilters(t *testing.T) {
	for _, tc := range []struct {
		filter, ref string
		paths       []string
		want        bool
	}{
		{"", "refs/heads/x", nil, true},
		{"", "refs/tags/x", nil, true},
		{"", "refs/notes/x", nil, false},
		{"branches: [x]", "refs/tags/x", nil, false},
		{"tags: [v*]", "refs/heads/v1", nil, false},
		{"tags: [v*]", "refs/tags/v1", nil, true},
		{"tags-ignore: [v*]", "refs/tags/v1", nil, false},
		{"branches: [x], tags: [v*]", "refs/tags/v1", nil, true},
		{"branches: [x], tags: [v*]", "refs/heads/x", nil, true},
		{"branches-ignore: [x]", "refs/heads/x", nil, false},
		{"branches-ignore: [x]", "refs/heads/y", nil, true},
		{"branches: ['releases/**', '!releases/**-alpha']", "refs/heads/releases/10", nil, true},
		{"branches: ['releases/**', '!releases/**-alpha']", "refs/heads/releases/10-alpha", nil, false},
		{"branches: ['!releases/**-alpha', 'releases/**']", "refs/heads/releases/10-alpha", nil, true}, // order counts
		{"paths: ['**.js']", "refs/heads/x", []string{"a.ts", "b/c.js"}, true},
		{"paths: ['**.js']", "refs/heads/x", []string{"a.ts"}, false},
		{"paths-ignore: ['docs/**']", "refs/heads/x", []string{"docs/a", "docs/b"}, false},
		{"paths-ignore: ['docs/**']", "refs/heads/x", []string{"docs/a", "src/b"}, true},
		{"paths: ['src/**', '!src/docs/**']", "refs/heads/x", []string{"src/docs/a"}, false},
		{"paths: ['src/**', '!src/docs/**']", "refs/heads/x", []string{"src/docs/a", "src/b"}, true},
		{"branches: [main], paths: [a]", "refs/heads/x", []string{"a"}, false},
		{"paths: [a]", "refs/tags/x", []string{"b"}, true}, // paths do not count for tags
		{"paths: [a]", "refs/heads/x", nil, true},          // nothing to compare with
	} {
		f := push(t, tc.filter)
		if got := f.Matches(workflow.Change{Ref: tc.ref, Paths: tc.paths, Known: tc.paths != nil}); got != tc.want {
			t.Errorf("%s on %s %v: %v", tc.filter, tc.ref, tc.paths, got)
		}
	}
}

func FuzzPattern(f *testing.F) {
	f.Add("a/**/b?[c-d]+", "a/x/b")
	f.Fuzz(func(t *testing.T, pattern, name string) {
		w, _ := workflow.Parse("f.yml", fmt.Appendf(nil, "on: {push: {branches: [%q]}}\njobs: {a: {runs-on: x, steps: [{run: x}]}}\n", pattern))
		if w != nil {
			w.On.Push.Matches(workflow.Change{Ref: "refs/heads/" + name})
		}
	})
}
