package house

import (
	"slices"
	"strings"
	"testing"
)

// rule allows the packages under From to import the packages under To. A room
// name stands for the package and everything below it.
type rule struct {
	From, To, Why string
}

// allowed is the whole table: an import between two packages of ours that no
// rule names is a mistake. A package may always import its own room's
// packages (see room).
var allowed = []rule{
	{"cmd/penstock", "internal/app", "the program is the composition and a signal handler"},
	{"cmd/penstock", "internal/host/process", "the program may have been started to launch another one; that comes before everything else"},
	{"internal/app", "*", "the composition builds the rooms and connects them; it alone imports the world"},

	{"internal/host", "internal/base", "foundations"},
	{"internal/host", "api", "substrates carry the kinds that we serve"},

	{"internal/ci", "internal/base", "foundations"},
	{"internal/supply", "internal/base", "foundations"},
	{"internal/gitops", "internal/base", "foundations"},
	{"internal/rollout", "internal/base", "foundations"},
	{"internal/telemetry", "internal/base", "foundations"},
	{"internal/delivery", "internal/base", "foundations"},

	{"internal/ci", "internal/host", "a stage stands on the substrates"},
	{"internal/supply", "internal/host", "a stage stands on the substrates"},
	{"internal/gitops", "internal/host", "a stage stands on the substrates"},
	{"internal/rollout", "internal/host", "a stage stands on the substrates"},
	{"internal/telemetry", "internal/host", "a stage stands on the substrates"},
	{"internal/delivery", "internal/host", "the spine stands on the substrates"},

	{"internal/gitops", "api", "reconciles the kinds that we serve"},
	{"internal/rollout", "api", "reconciles the kinds that we serve"},
	{"internal/delivery", "api", "reconciles the kinds that we serve"},

	{"internal/face", "internal/base", "errors, build identity"},
	{"internal/face", "internal/host", "clients of the machine: node, cluster, git"},
	{"internal/face", "api", "shows the kinds that we serve"},
	{"internal/face", "examples", "penstock demo pushes the embedded examples"},
	{"internal/face", "internal/ci", "read models: runs, jobs, steps"},
	{"internal/face", "internal/supply", "read models: build progress and results"},
	{"internal/face", "internal/gitops", "read models: what an application consists of"},

	{"test", "*", "end-to-end tests drive everything"},
	{"bench", "internal/base", "foundations"},
	{"bench", "internal/host", "benchmarks measure a substrate alone"},
	{"bench", "internal/face/client", "benchmarks drive the API"},
	{"bench", "internal/supply", "benchmarks measure a build alone"},
	{"bench", "api", "benchmarks create the kinds that we serve"},
}

// rooms are closed to each other: what is not in the table above is refused
// even between packages of one directory level.
var rooms = []string{
	"cmd", "api", "bench", "test", "examples",
	"internal/app", "internal/house",
	"internal/base", "internal/host", "internal/face",
	"internal/ci", "internal/supply", "internal/gitops", "internal/rollout",
	"internal/telemetry", "internal/delivery",
}

func TestImports(t *testing.T) {
	for _, p := range packages(t, "..") {
		from, ours := strings.CutPrefix(p.ImportPath, module+"/")
		if !ours {
			t.Errorf("package %s is not below the module", p.ImportPath)
			continue
		}
		if room(from) == "" {
			t.Errorf("package %s is in no room: add the room to the table in internal/house/imports_test.go with what it may import, and why", from)
			continue
		}
		for _, imp := range slices.Concat(p.Imports, p.TestImports, p.XTestImports) {
			to, ours := strings.CutPrefix(imp, module+"/")
			if ours && !mayImport(from, to) {
				t.Errorf("%s imports %s: no rule allows it. Declare an interface in %s, pass a value, or send an event; internal/app connects the two", from, to, from)
			}
		}
	}
}

// TestNodeIsApart keeps the two modules from importing each other: the node is
// reached through the Kubernetes API, BuildKit and a control socket only.
func TestNodeIsApart(t *testing.T) {
	for _, p := range packages(t, "../../node") {
		for _, imp := range slices.Concat(p.Imports, p.TestImports, p.XTestImports) {
			if strings.HasPrefix(imp, module+"/") && !strings.HasPrefix(imp, module+"/node/") {
				t.Errorf("%s imports %s of the root module", p.ImportPath, imp)
			}
		}
	}
	for _, p := range packages(t, "..") {
		for _, imp := range slices.Concat(p.Imports, p.TestImports, p.XTestImports) {
			if strings.HasPrefix(imp, module+"/node/") {
				t.Errorf("%s imports %s of the node module", p.ImportPath, imp)
			}
		}
	}
}

func TestMayImport(t *testing.T) {
	for _, c := range []struct {
		from, to string
		want     bool
	}{
		{"cmd/penstock", "internal/app", true},
		{"cmd/penstock", "internal/ci/engine", false},
		{"internal/base/bus", "internal/base/id", true},
		{"internal/base/bus", "internal/host/store", false},
		{"internal/ci/engine", "internal/ci/expr", true},
		{"internal/ci/engine", "internal/supply/build", false},
		{"internal/cider", "internal/base/id", false},
		{"internal/supply/build", "internal/ci/engine", false},
		{"internal/host/git", "internal/ci/runs", false},
		{"internal/host/git", "internal/face/cli", false},
		{"internal/face/cli", "internal/app", false},
		{"internal/app", "internal/gitops/sync", true},
		{"api/argo/v1alpha1", "internal/base/id", false},
	} {
		if got := mayImport(c.from, c.to); got != c.want {
			t.Errorf("mayImport(%q, %q) = %v, want %v", c.from, c.to, got, c.want)
		}
	}
}

func TestRulesHaveReasonsAndRooms(t *testing.T) {
	for _, r := range allowed {
		if r.Why == "" {
			t.Errorf("rule %s -> %s has no reason", r.From, r.To)
		}
		if room(r.From) == "" || (r.To != "*" && room(r.To) == "") {
			t.Errorf("rule %s -> %s names a room that is not in the list", r.From, r.To)
		}
	}
}

func mayImport(from, to string) bool {
	if r := room(from); r != "" && r == room(to) {
		return true
	}
	return slices.ContainsFunc(allowed, func(r rule) bool {
		return below(from, r.From) && (r.To == "*" || below(to, r.To))
	})
}

// room returns the room that a package is in, or "".
func room(pkg string) string {
	for _, r := range rooms {
		if below(pkg, r) {
			return r
		}
	}
	return ""
}

func below(pkg, dir string) bool { return pkg == dir || strings.HasPrefix(pkg, dir+"/") }
