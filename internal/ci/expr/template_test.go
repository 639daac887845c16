package expr_test

import (
	"strings"
	"testing"

	"github.com/penstock-dev/penstock/internal/ci/expr"
)

func TestTemplate(t *testing.T) {
	scope := expr.Scope{Values: []string{"a"}}
	a := expr.NewObject()
	a.Set("n", 1.5)
	a.Set("s", "x${{ a.n }}")
	env := expr.Env{Values: map[string]expr.Value{"a": a}}
	for _, tc := range []struct {
		in   string
		want expr.Value
		err  string
	}{
		{"plain", "plain", ""},
		{"", "", ""},
		{"${{ a.n }}", 1.5, ""},
		{" ${{ a.n }}", " 1.5", ""},
		{"${{a.n}}${{a.n}}", "1.51.5", ""},
		{"${{ '}}' }}!", "}}!", ""},
		{"${{ a.s }}-", "x${{ a.n }}-", ""}, // values are not evaluated again
		{"$ {{ }} {{ x }}", "$ {{ }} {{ x }}", ""},
		{"x ${{ a.n", nil, "The expression is not closed"},
		{"x ${{ 'a }}", nil, "The expression is not closed"},
		{"x ${{  }}", nil, "An expression was expected"},
		{"x ${{ b }}", nil, "Unrecognized named-value: 'b'. Located at position 1"},
		{"${{ fromJSON('[') }}", nil, "Error parsing fromJson"},
	} {
		tpl, err := expr.ParseTemplate(tc.in, scope)
		var got expr.Value
		if err == nil {
			got, err = tpl.Evaluate(env)
		}
		if tc.err != "" {
			if err == nil || !strings.Contains(err.Error(), tc.err) {
				t.Errorf("%q: got %v, %v; want error %q", tc.in, got, err, tc.err)
			}
			continue
		}
		if err != nil || got != tc.want {
			t.Errorf("%q: got %#v, %v; want %#v", tc.in, got, err, tc.want)
		}
	}
}

func FuzzTemplate(f *testing.F) {
	for _, s := range []string{"a", "${{ a.b }}", "${{ format('{0}', a) }}", "${{ !!(a && 1 < 2)[*].x }}", "${{ '", "${{ 0x1f }}"} {
		f.Add(s)
	}
	o := expr.NewObject()
	o.Set("b", expr.NewArray("x", 1.0, nil))
	env := expr.Env{Values: map[string]expr.Value{"a": o}}
	f.Fuzz(func(t *testing.T, s string) {
		tpl, err := expr.ParseTemplate(s, expr.Scope{Values: []string{"a"}})
		if err != nil {
			_ = err.Error()
			return
		}
		v, err := tpl.Evaluate(env)
		if err != nil {
			return
		}
		again, err := tpl.Evaluate(env)
		if err != nil || expr.ToJSON(v) != expr.ToJSON(again) {
			t.Errorf("%q: %v, then %v, %v", s, v, again, err)
		}
	})
}

func BenchmarkCondition(b *testing.B) {
	e, err := expr.Parse("github.event_name == 'push' && startsWith(github.ref, 'refs/heads/')", expr.Scope{Values: []string{"github"}})
	if err != nil {
		b.Fatal(err)
	}
	g := expr.NewObject()
	g.Set("event_name", "push")
	g.Set("ref", "refs/heads/main")
	env := expr.Env{Values: map[string]expr.Value{"github": g}}
	for b.Loop() {
		if v, err := e.Evaluate(env); err != nil || v != true {
			b.Fatal(v, err)
		}
	}
}
