package glob_test

import (
	"testing"

	"github.com/penstock-dev/penstock/internal/base/glob"
)

func TestMatch(t *testing.T) {
	for _, tt := range []struct {
		pattern, s string
		sep        rune
		want       bool
	}{
		{"*", "", 0, true},
		{"*", "a/b/c", 0, true},
		{"*", "a/b", '/', false},
		{"**", "a/b", '/', true},
		{"https://github.com/my-org/*", "https://github.com/my-org/x.git", '/', true},
		{"https://github.com/my-org/*", "https://github.com/my-org/x/y", '/', false},
		{"team-*", "team-a", 0, true},
		{"team-*", "steam-a", 0, false},
		{"{config.yaml,env-use2/*}", "env-use2/a.yaml", 0, true},
		{"{config.yaml,env-use2/*}", "config.yaml", 0, true},
		{"{config.yaml,env-use2/*}", "other.yaml", 0, false},
		{"a?c", "abc", 0, true},
		{"a?c", "a/c", '/', false},
		{"v[0-9]", "v7", 0, true},
		{"v[!0-9]", "v7", 0, false},
		{"v[!0-9]", "vx", 0, true},
		{"a.b", "axb", 0, false},
		{`a\*b`, "a*b", 0, true},
		{`a\*b`, "axb", 0, false},
		{"a,b", "a,b", 0, true},
		{"[", "[", 0, true},
		{"[", "x", 0, false},
	} {
		if got := glob.Match(tt.pattern, tt.s, tt.sep); got != tt.want {
			t.Errorf("Match(%q, %q, %q) = %v, want %v", tt.pattern, tt.s, tt.sep, got, tt.want)
		}
	}
}

func TestCompileRefusesBrokenPatterns(t *testing.T) {
	for _, p := range []string{"{a", "a}", "[a", `a\`, "[z-a]"} {
		if _, err := glob.Compile(p, 0); err == nil {
			t.Errorf("Compile(%q) gave no error", p)
		}
	}
}

func FuzzCompile(f *testing.F) {
	for _, p := range []string{"*", "{a,b}", "[!a-z]?", `\*`, "{{a,b},c}**"} {
		f.Add(p, "some/name")
	}
	f.Fuzz(func(t *testing.T, pattern, s string) {
		p, err := glob.Compile(pattern, '/')
		if err == nil {
			p.Match(s)
		}
	})
}
