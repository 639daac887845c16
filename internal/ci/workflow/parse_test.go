package workflow_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/penstock-dev/penstock/internal/ci/workflow"
)

func texts(list []workflow.Text) (out []string) {
	for _, t := range list {
		out = append(out, t.Value)
	}
	return out
}

func TestParseModel(t *testing.T) {
	w, findings := workflow.Parse("ci.yml", []byte(`
name: CI
run-name: by ${{ github.actor }}
on:
  push:
    branches: [main, 'release/**']
    paths-ignore: docs/**
env: &env
  A: 1.0
  B: yes
  C: 0x10
  D: 010
  E: "1.0"
  F: ~
  G: !!str 1.0
  H: 1e20
  I: true
defaults:
  run: {shell: bash}
jobs:
  one:
    runs-on: [self-hosted, linux]
    env: *env
    steps:
      - uses: actions/checkout@v4
        with: {fetch-depth: 0}
      - run: |
          echo a
          echo b
      - run: echo
      - uses: actions/checkout@v4
      - id: named
        if: failure() && github.ref == 'x'
        run: x
        timeout-minutes: 2.5
        continue-on-error: ${{ github.ref == 'x' }}
  two:
    needs: one
    runs-on: ${{ needs.one.outputs.where }}
    steps: [{run: 'true'}]
`))
	if len(findings) != 0 || w == nil {
		t.Fatalf("findings: %v", findings)
	}
	env := map[string]string{}
	for _, p := range w.Env {
		env[p.Key] = p.Value.Value
	}
	want := map[string]string{"A": "1", "B": "yes", "C": "16", "D": "10", "E": "1.0", "F": "", "G": "1.0", "H": "1E+20", "I": "true"}
	if d := cmp.Diff(want, env); d != "" {
		t.Errorf("env (-want +got):\n%s", d)
	}
	one := w.Job("one")
	if d := cmp.Diff(w.Env[0].Value.Value, one.Env[0].Value.Value); d != "" {
		t.Error(d)
	}
	var ids []string
	for _, s := range one.Steps {
		ids = append(ids, s.ID)
	}
	if d := cmp.Diff([]string{"__actions_checkout", "__run", "__run_2", "__actions_checkout_2", "named"}, ids); d != "" {
		t.Errorf("step ids (-want +got):\n%s", d)
	}
	if got := one.Steps[1].Run; got.Value != "echo a\necho b\n" || got.Pos.Line != 27 {
		t.Errorf("run: %+v", got)
	}
	if d := cmp.Diff([]string{"self-hosted", "linux"}, texts(one.RunsOn)); d != "" {
		t.Error(d)
	}
	if w.On.Push == nil || cmp.Diff([]string{"docs/**"}, w.On.Push.PathsIgnore) != "" || w.Defaults.Shell.Value != "bash" {
		t.Errorf("on: %+v, defaults: %+v", w.On.Push, w.Defaults)
	}
}

// TestFindings gives one faulty file each and the finding it must lead to.
func TestFindings(t *testing.T) {
	job := func(body string) string {
		return "on: push\njobs:\n  a:\n    runs-on: ubuntu-latest\n" + body
	}
	for name, tc := range map[string]struct{ src, want string }{
		"empty":                   {"", "the file is empty"},
		"not yaml":                {"on: [push\njobs: {}\n", "not valid YAML"},
		"two documents":           {"on: push\n---\non: push\n", "more than one YAML document"},
		"no jobs":                 {"on: push\n", "1:1: required key 'jobs' is missing"},
		"list at the top":         {"- a\n", "the workflow must be a mapping"},
		"unknown event":           {"on: psuh\njobs: {a: {runs-on: x, steps: [{run: x}]}}\n", "1:5: unknown event 'psuh'"},
		"unknown key":             {job("    step: []\n"), "5:5: unexpected key 'step' in job a; it may have: "},
		"later key":               {job("    strategy: {matrix: {a: [1]}}\n    steps: [{run: x}]\n"), "5:5: 'strategy' is not supported yet"},
		"container":               {job("    container: alpine\n    steps: [{run: x}]\n"), "'container' is not supported yet"},
		"reusable workflow":       {"on: push\njobs:\n  a:\n    uses: o/r/.github/workflows/x.yml@v1\n", "4:5: 'uses' is not supported yet"},
		"concurrency":             {"concurrency: x\non: push\njobs: {a: {runs-on: x, steps: [{run: x}]}}\n", "1:1: 'concurrency' is not supported yet"},
		"local action":            {job("    steps: [{uses: ./a}]\n"), "local actions ('./a') are not supported yet"},
		"docker action":           {job("    steps: [{uses: 'docker://alpine'}]\n"), "container actions"},
		"action without ref":      {job("    steps: [{uses: actions/checkout}]\n"), "must be given as owner/repository@ref"},
		"run and uses":            {job("    steps:\n      - run: x\n        uses: a/b@v1\n"), "6:9: a step has either run or uses, not both"},
		"neither":                 {job("    steps:\n      - name: x\n"), "6:9: a step needs run or uses"},
		"secrets in if":           {job("    steps:\n      - run: x\n        if: secrets.x != ''\n"), "7:13: Unrecognized named-value: 'secrets'. Located at position 1"},
		"env in job if":           {"on: push\njobs:\n  a:\n    if: env.X\n    runs-on: x\n    steps: [{run: x}]\n", "4:9: Unrecognized named-value: 'env'"},
		"steps in job name":       {job("    name: ${{ steps.x }}\n    steps: [{run: x}]\n"), "Unrecognized named-value: 'steps'"},
		"args of a step's status": {job("    steps: [{run: x, if: \"success('a')\"}]\n"), "Too many parameters supplied: 'success'"},
		"open expression":         {job("    steps: [{run: 'echo ${{ github.ref'}]\n"), "The expression is not closed"},
		"hashFiles of a job":      {"on: push\njobs:\n  a:\n    if: hashFiles('a') != ''\n    runs-on: x\n", "4:9: Unrecognized function: 'hashFiles'"},
		"duplicate key":           {job("    RUNS-ON: x\n    steps: [{run: x}]\n"), "'RUNS-ON' is already defined"},
		"duplicate id":            {job("    steps: [{id: x, run: a}, {id: X, run: b}]\n"), "the id 'X' is used by more than one step"},
		"bad id":                  {job("    steps: [{id: 1x, run: a}]\n"), "step id '1x' is invalid"},
		"reserved id":             {job("    steps: [{id: __x, run: a}]\n"), "step id '__x' is invalid"},
		"unknown need":            {job("    needs: b\n    steps: [{run: x}]\n"), "5:12: job 'a' depends on unknown job 'b'"},
		"cycle":                   {"on: push\njobs:\n  s: {runs-on: x, steps: [{run: x}]}\n  a: {needs: [s, b], runs-on: x, steps: [{run: x}]}\n  b: {needs: a, runs-on: x, steps: [{run: x}]}\n", "job 'a' depends on job 'b', which creates a cycle"},
		"both filters":            {"on: {push: {branches: [a], branches-ignore: [b]}}\njobs: {a: {runs-on: x, steps: [{run: x}]}}\n", "only one of them may be used"},
		"negative only":           {"on: {push: {branches: ['!a']}}\njobs: {a: {runs-on: x, steps: [{run: x}]}}\n", "needs at least one pattern without '!'"},
		"bad pattern":             {"on: {push: {branches: ['a[b']}}\njobs: {a: {runs-on: x, steps: [{run: x}]}}\n", "is not closed"},
		"permission":              {"permissions: {contents: admin}\non: push\njobs: {a: {runs-on: x, steps: [{run: x}]}}\n", "unexpected level 'admin' for permission contents"},
		"permission scope":        {"permissions: {content: read}\non: push\njobs: {a: {runs-on: x, steps: [{run: x}]}}\n", "unknown permission 'content'"},
		"merge key":               {"x: &a {b: c}\non: push\njobs: {a: {<<: *a}}\n", "merge keys"},
		"boolean":                 {job("    steps: [{run: x, continue-on-error: maybe}]\n"), "continue-on-error must be true, false or an expression"},
		"number":                  {job("    timeout-minutes: soon\n    steps: [{run: x}]\n"), "timeout-minutes must be a number or an expression"},
		"tag":                     {job("    steps: [{run: !!timestamp x}]\n"), "unexpected tag"},
	} {
		t.Run(name, func(t *testing.T) {
			w, findings := workflow.Parse("f.yml", []byte(tc.src))
			if w != nil {
				t.Fatal("accepted")
			}
			var all []string
			for _, f := range findings {
				all = append(all, f.String())
			}
			if got := strings.Join(all, "\n"); !strings.Contains(got, tc.want) {
				t.Errorf("got\n%s\nwant %q", got, tc.want)
			}
		})
	}
}

func TestWarnings(t *testing.T) {
	w, findings := workflow.Parse("f.yml", []byte("on: [push, pull_request]\njobs:\n  a:\n    if: ${{ github.ref }} == 'x'\n    runs-on: x\n    steps: [{run: x}]\n"))
	if w == nil || len(findings) != 2 || !findings[0].Warning || !strings.Contains(findings[0].String(), "f.yml:1:12: warning: event 'pull_request' starts no runs") ||
		!strings.Contains(findings[1].Message, "always true") {
		t.Errorf("%v", findings)
	}
}

// TestLimits: files made to exhaust memory or time are refused quickly.
func TestLimits(t *testing.T) {
	bomb := "a: &a [x,x,x,x,x,x,x,x,x,x]\n"
	for i := 'b'; i < 'k'; i++ {
		bomb += string(i) + ": &" + string(i) + " [" + strings.Repeat("*"+string(i-1)+",", 9) + "*" + string(i-1) + "]\n"
	}
	for name, src := range map[string]string{
		"alias bomb": bomb,
		"deep":       strings.Repeat("[", 200) + strings.Repeat("]", 200),
		"large":      "on: push # " + strings.Repeat("x", workflow.MaxFileSize),
	} {
		if w, findings := workflow.Parse("f.yml", []byte(src)); w != nil || len(findings) == 0 {
			t.Errorf("%s: accepted", name)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("on: push\njobs:\n  a:\n    runs-on: x\n    steps:\n      - run: ${{ github.ref }}\n"))
	f.Add([]byte("on: {push: {branches: ['a*[b]+']}}\njobs: {a: {runs-on: x, if: always(), steps: [{uses: a/b@c}]}}\n"))
	f.Add([]byte("a: &x [*x]\n"))
	f.Fuzz(func(t *testing.T, src []byte) {
		w, findings := workflow.Parse("f.yml", src)
		errors := 0
		for _, f := range findings {
			_ = f.String()
			if !f.Warning {
				errors++
			}
		}
		if (w == nil) != (errors > 0) {
			t.Errorf("workflow %v with %d errors", w != nil, errors)
		}
	})
}
