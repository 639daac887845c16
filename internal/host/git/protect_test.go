package git

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/penstock-dev/penstock/internal/base/event"
	"github.com/penstock-dev/penstock/internal/base/problem"
)

func TestRuleCovers(t *testing.T) {
	for _, c := range []struct {
		pattern, ref string
		want         bool
	}{
		{"main", "refs/heads/main", true},
		{"main", "refs/heads/main2", false},
		{"main", "refs/tags/main", false},
		{"*", "refs/heads/main", true},
		{"*", "refs/heads/a/b", false},
		{"**/*", "refs/heads/a/b", true},
		{"**/*", "refs/heads/a", true},
		{"qa/**/*", "refs/heads/qa/a", true},
		{"qa/**/*", "refs/heads/qa/a/b/c", true},
		{"qa/**/*", "refs/heads/qa", false},
		{"release**", "refs/heads/release-1", true},
		{"release**", "refs/heads/release/1", false},
		{"release-?", "refs/heads/release-1", true},
		{"release-[0-9]", "refs/heads/release-x", false},
		{"{a,b}", "refs/heads/a", false},
		{"{a,b}", "refs/heads/{a,b}", true},
		{"refs/tags/v*", "refs/tags/v1", true},
		{"refs/tags/v*", "refs/heads/v1", false},
		{"refs/**/*", "refs/heads/a", true},
		{"v1", "refs/notes/v1", false},
	} {
		r := Rule{Pattern: c.pattern}
		if err := r.check(); err != nil {
			t.Errorf("%s: %v", c.pattern, err)
		}
		if got := r.covers(c.ref); got != c.want {
			t.Errorf("rule %q covers %s: %v", c.pattern, c.ref, got)
		}
	}
	for _, bad := range []Rule{{}, {Pattern: "[z"}, {Pattern: "a", Push: []string{""}}, {Pattern: "a", Push: []string{"role:"}}, {Pattern: "a", RequireStatus: []string{"a\nb"}}, {Pattern: strings.Repeat("a", 256)}} {
		if err := bad.check(); !errors.Is(err, problem.ErrInvalid) {
			t.Errorf("%+v: %v", bad, err)
		}
	}
}

func TestRuleRefuse(t *testing.T) {
	a, b, zero := strings.Repeat("a", 40), strings.Repeat("b", 40), event.ZeroCommit
	move, create, remove := event.RefUpdate{Ref: "refs/heads/main", Before: a, After: b}, event.RefUpdate{Ref: "refs/heads/main", Before: zero, After: b}, event.RefUpdate{Ref: "refs/heads/main", Before: a, After: zero}
	for name, c := range map[string]struct {
		rule   Rule
		update event.RefUpdate
		facts  facts
		want   string // part of the message
	}{
		"forward":               {Rule{}, move, facts{fastForward: true}, ""},
		"rewrite":               {Rule{}, move, facts{}, "cannot be rewritten"},
		"rewrite allowed":       {Rule{AllowForce: true}, move, facts{}, ""},
		"delete":                {Rule{}, remove, facts{}, "cannot be deleted"},
		"delete allowed":        {Rule{AllowDelete: true}, remove, facts{}, ""},
		"create":                {Rule{}, create, facts{}, ""},
		"not among the pushers": {Rule{Push: []string{"ann"}}, create, facts{}, "only ann may push"},
		"among the pushers":     {Rule{Push: []string{"ann"}}, create, facts{allowed: true}, ""},
		"delete, not a pusher":  {Rule{Push: []string{"ann"}, AllowDelete: true}, remove, facts{}, "only ann"},
		"merge":                 {Rule{Linear: true}, move, facts{fastForward: true, merge: a}, "linear history: aaaaaaaaaa is a merge"},
		"merge where allowed":   {Rule{}, move, facts{fastForward: true, merge: a}, ""},
		"checks":                {Rule{RequireStatus: []string{"x"}}, move, facts{fastForward: true, missing: []string{"x"}}, "has not passed x"},
		"checks, new branch":    {Rule{RequireStatus: []string{"x"}}, create, facts{missing: []string{"x"}}, "has not passed x"},
	} {
		reason, message := c.rule.refuse(c.update, c.facts)
		if (reason == "") != (c.want == "") || !strings.Contains(message, c.want) {
			t.Errorf("%s: %q %q, want %q", name, reason, message, c.want)
		}
	}
}

func TestJudge(t *testing.T) {
	updates := []event.RefUpdate{{Ref: "a"}, {Ref: "b"}}
	for name, c := range map[string]struct {
		in   []Refusal
		want verdict
	}{
		"nothing": {nil, verdict{reasons: map[string]string{}}},
		"one ref": {[]Refusal{{Ref: "a", Reason: "no", Message: "x\ny\n"}, {Ref: "a", Reason: "again"}},
			verdict{reasons: map[string]string{"a": "no"}, lines: []string{"x", "y"}}},
		"every ref":  {[]Refusal{{Ref: "a"}, {Ref: "b", Reason: "no\n0000"}}, verdict{reasons: map[string]string{"a": "refused", "b": "no 0000"}, whole: true}},
		"whole push": {[]Refusal{{Ref: "a", Reason: "1"}, {Reason: "2"}}, verdict{reasons: map[string]string{"a": "1", "b": "2"}, whole: true}},
	} {
		if d := cmp.Diff(c.want, judge(updates, c.in), cmp.AllowUnexported(verdict{})); d != "" {
			t.Errorf("%s (-want +got)\n%s", name, d)
		}
	}
}

func TestAckExplains(t *testing.T) {
	pkt := func(s string) string { return string(fmtPkt(s)) }
	inner := pkt("unpack ok\n") + pkt("ok refs/heads/a\n") + pkt("ng refs/heads/b hook declined\n") + pkt("ng refs/heads/c non-fast-forward\n") + "0000"
	want := pkt("unpack ok\n") + pkt("ok refs/heads/a\n") + pkt("ng refs/heads/b protected branch\n") + pkt("ng refs/heads/c non-fast-forward\n") + "0000"
	reasons := map[string]string{"refs/heads/b": "protected branch", "refs/heads/c": "not used"}
	for name, c := range map[string]struct {
		held, want string
		sideband   bool
	}{
		"plain":    {inner, want, false},
		"sideband": {pkt("\x01"+inner[:30]) + pkt("\x02hello\n") + pkt("\x01"+inner[30:]) + "0000", pkt("\x02hello\n") + pkt("\x01"+want) + "0000", true},
		"garbage":  {"zzzz not a packet", "zzzz not a packet", false},
		"error":    {pkt("\x03fatal\n"), pkt("\x03fatal\n"), true},
		"torn":     {pkt("\x01" + inner)[:40], pkt("\x01" + inner)[:40], true},
	} {
		a := ack{held: []byte(c.held), sideband: c.sideband}
		a.explain(reasons)
		if string(a.held) != c.want {
			t.Errorf("%s: %q, want %q", name, a.held, c.want)
		}
	}
}

func fmtPkt(s string) []byte {
	const digits = "0123456789abcdef"
	n := len(s) + 4
	return append([]byte{digits[n>>12], digits[n>>8&15], digits[n>>4&15], digits[n&15]}, s...)
}

func FuzzAckExplain(f *testing.F) {
	f.Add([]byte("000eunpack ok\n0000"), true)
	f.Add(append(fmtPkt("\x01000eunpack ok\n0000"), "0000"...), true)
	f.Fuzz(func(t *testing.T, held []byte, sideband bool) {
		a := ack{held: bytes.Clone(held), sideband: sideband}
		a.explain(map[string]string{"refs/heads/b": "no"})
		if !bytes.Contains(held, []byte("hook declined")) && !sideband && !bytes.Equal(a.held, held) {
			t.Fatalf("%q became %q", held, a.held)
		}
	})
}
