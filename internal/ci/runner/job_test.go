package runner_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/penstock-dev/penstock/internal/ci/actions"
	"github.com/penstock-dev/penstock/internal/ci/jobdir"
	"github.com/penstock-dev/penstock/internal/ci/runner"
	"github.com/penstock-dev/penstock/internal/ci/workflow"
	"github.com/penstock-dev/penstock/internal/host/exec/process"
	"github.com/penstock-dev/penstock/internal/host/logstore"
)

// result is what a job left behind.
type result struct {
	dir     jobdir.Dir
	entries []jobdir.Entry
	end     jobdir.Entry
	log     string            // all steps, without times
	steps   map[string]string // name -> outcome/conclusion
}

// prepare makes the directory of the job "a" of a workflow.
func prepare(t testing.TB, yaml string) jobdir.Dir {
	t.Helper()
	w, findings := workflow.Parse("f.yml", []byte(yaml))
	if w == nil {
		t.Fatal(findings)
	}
	dir := jobdir.Dir(filepath.Join(t.TempDir(), "job"))
	github, err := json.Marshal(map[string]any{"repository": "demo/shop", "ref": "refs/heads/main", "ref_name": "main", "sha": strings.Repeat("a", 40),
		"actor": "ann", "event_name": "push", "run_id": "7", "event": map[string]any{"after": "x"}})
	if err != nil {
		t.Fatal(err)
	}
	j := w.Job("a")
	spec := jobdir.Spec{JobID: fmt.Sprintf("t%d-a", time.Now().UnixNano()%1e9), Name: "a", Repo: "demo/shop", Job: j, WorkflowEnv: w.Env, Defaults: w.Defaults,
		TimeoutMinutes: 1, ServerURL: "http://penstock.localhost:7080", GitHub: github}
	if _, err := dir.Lock(); err != nil {
		t.Fatal(err)
	}
	if err := dir.Prepare(spec, jobdir.Secrets{Token: "pjt_0123456789abcdef", Values: map[string]string{"KEY": "multi\nline secret"}}); err != nil {
		t.Fatal(err)
	}
	return dir
}

func options(dir jobdir.Dir) runner.Options {
	return runner.Options{Dir: dir, Runtime: process.New(nil), Actions: actions.New(nil), Log: slog.New(slog.DiscardHandler)}
}

func collect(t *testing.T, dir jobdir.Dir) result {
	t.Helper()
	r := result{dir: dir, steps: map[string]string{}}
	var err error
	if r.entries, _, err = dir.ReadJournal(0); err != nil {
		t.Fatal(err)
	}
	end, ok := jobdir.Terminal(r.entries)
	if !ok {
		t.Fatalf("no terminal entry in %+v", r.entries)
	}
	r.end = end
	var b strings.Builder
	for _, e := range r.entries {
		if e.Type != jobdir.StepFinished {
			continue
		}
		r.steps[e.Name] = e.Outcome + "/" + e.Conclusion
		text, err := readLog(t, dir.Log(e.Step))
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(text) {
			at, line, _ := strings.Cut(line, " ")
			if _, err := time.Parse(time.RFC3339Nano, at); err != nil {
				t.Errorf("line without a time: %q", line)
			}
			b.WriteString(line)
		}
	}
	r.log = b.String()
	return r
}

// readLog returns the rows of a log as lines.
func readLog(t *testing.T, path string) (string, error) {
	t.Helper()
	r, err := logstore.OpenFile(path)
	if err != nil {
		return "", err
	}
	defer r.Close()
	var b strings.Builder
	_, err = r.Read(t.Context(), 0, -1, func(_ int64, text []byte) error {
		b.Write(text)
		b.WriteByte('\n')
		return nil
	})
	return b.String(), err
}

func run(t *testing.T, yaml string) result {
	t.Helper()
	dir := prepare(t, yaml)
	if err := runner.Run(context.Background(), options(dir)); err != nil {
		t.Fatal(err)
	}
	return collect(t, dir)
}

// job makes a workflow with one job of these steps.
func job(steps string) string {
	return "on: push\nenv: {LEVEL: workflow, W: w}\njobs:\n  a:\n    runs-on: ubuntu-latest\n    env: {LEVEL: job, J: '${{ github.actor }}j'}\n    outputs: {o: '${{ steps.x.outputs.o }}'}\n    steps:\n" + steps
}

func TestJobs(t *testing.T) {
	for name, tc := range map[string]struct {
		steps string
		end   string   // conclusion, default success
		want  []string // lines of the log
		not   []string
		step  map[string]string // outcome/conclusion
	}{
		"env precedence": {steps: `
      - run: echo "$LEVEL $W $J|${{ env.LEVEL }}"
      - {run: 'echo "$LEVEL ${{ env.LEVEL }}"', env: {LEVEL: step}}
      - run: echo LEVEL=file >> $GITHUB_ENV
      - run: echo "then $LEVEL"
      - {run: 'echo "over $LEVEL"', env: {LEVEL: step}}
      - {run: 'echo "$GITHUB_REF $CI"', env: {GITHUB_REF: mine, CI: mine}}
`, want: []string{"job w annj|job", "step step", "then file", "over step", "refs/heads/main true"}},
		"default variables": {steps: `
      - {id: me, run: 'echo "$GITHUB_ACTIONS $GITHUB_REPOSITORY $GITHUB_SHA $GITHUB_ACTION $RUNNER_OS $GITHUB_JOB"; test "$PWD" = "$GITHUB_WORKSPACE"; test -d "$RUNNER_TEMP"; grep -q after "$GITHUB_EVENT_PATH"; echo "token=${GITHUB_TOKEN-none}"'}
`, want: []string{"true demo/shop " + strings.Repeat("a", 40) + " me Linux a", "token=none"}},
		"default shell stops at an error": {steps: "      - run: |\n          false\n          echo reached\n", end: "failure", not: []string{"reached"}, want: []string{"##[error]Process completed with exit code 1."}},
		"default shell has no pipefail":   {steps: "      - run: |\n          false | true\n          echo reached\n", want: []string{"reached"}},
		"bash has pipefail":               {steps: "      - shell: bash\n        run: |\n          exit 3 | true\n          echo reached\n", end: "failure", not: []string{"reached"}, want: []string{"##[error]Process completed with exit code 3."}},
		"sh":                              {steps: "      - {shell: sh, run: 'echo \"zero is $(basename $0 | tail -c 4)\"'}\n", want: []string{"zero is .sh"}},
		"python":                          {steps: "      - {shell: python, run: 'print(6*7)'}\n", want: []string{"42"}},
		"custom shell":                    {steps: "      - {shell: 'env X=1 bash {0}', run: 'echo x$X'}\n", want: []string{"x1"}},
		"shell without {0}":               {steps: "      - {shell: 'perl -e', run: 'x'}\n", end: "failure", want: []string{"##[error]invalid shell option 'perl -e': must be bash, sh, python, or a command with {0} for the script"}},
		"working directory":               {steps: "      - run: mkdir -p sub\n      - {run: 'basename $PWD', working-directory: sub}\n", want: []string{"sub"}},
		"outputs": {steps: `
      - id: x
        run: |
          echo "o=first" >> $GITHUB_OUTPUT
          echo "o=second" >> $GITHUB_OUTPUT
          printf 'm<<E\na\nb\nE\n' >> $GITHUB_OUTPUT
      - run: echo '${{ steps.x.outputs.o }} ${{ toJSON(steps.x.outputs.m) }} ${{ steps.x.outcome }}'
      - run: echo "${{ steps.__run }}"
`, want: []string{`second "a\nb" success`}},
		"bad output file fails the step": {steps: "      - {id: x, run: 'echo nonsense >> $GITHUB_OUTPUT; echo A=b >> $GITHUB_ENV'}\n      - {if: always(), run: 'echo \"A is $A\"'}\n", end: "failure",
			want: []string{"##[error]Unable to process file command 'GITHUB_OUTPUT' successfully: Invalid format 'nonsense'", "A is b"}},
		"path":                      {steps: "      - run: mkdir -p $PWD/bin; printf '#!/bin/sh\\necho mine' > bin/mytool; chmod +x bin/mytool; echo $PWD/bin >> $GITHUB_PATH\n      - run: mytool\n", want: []string{"mine"}},
		"NODE_OPTIONS is refused":   {steps: "      - run: echo NODE_OPTIONS=--x >> $GITHUB_ENV; echo B=c >> $GITHUB_ENV\n      - run: echo \"n=$NODE_OPTIONS b=$B\"\n", want: []string{"n= b=c"}},
		"hashFiles":                 {steps: "      - run: printf a > go.sum\n      - {if: \"hashFiles('go.*') != ''\", run: 'echo key-${{ hashFiles(''**/go.sum'') }}'}\n      - {if: \"hashFiles('no') != ''\", run: echo no}\n", want: []string{"key-bf5d3affb73efd2ec6c36ad3112dd933efed63c4e1cbffcfa88e2759c144f2d8"}},
		"each step has fresh files": {steps: "      - run: echo A=1 >> $GITHUB_ENV; echo $GITHUB_ENV > env-file\n      - run: 'test \"$GITHUB_ENV\" != \"$(cat env-file)\"; test ! -s \"$GITHUB_ENV\"; rm $GITHUB_OUTPUT; ln -s /etc/passwd $GITHUB_OUTPUT'\n        continue-on-error: true\n      - run: 'test -f \"$GITHUB_OUTPUT\" && test ! -L \"$GITHUB_OUTPUT\" && echo fresh'\n", want: []string{"fresh"}},
		"failure skips the rest": {steps: "      - {name: one, run: exit 1}\n      - {name: two, run: echo two}\n      - {name: three, if: failure(), run: 'echo status ${{ job.status }}'}\n      - {name: four, if: always(), run: echo four}\n", end: "failure",
			want: []string{"status failure", "four"}, step: map[string]string{"one": "failure/failure", "two": "skipped/skipped", "three": "success/success"}},
		"continue on error": {steps: "      - {id: x, name: one, run: exit 1, continue-on-error: true}\n      - run: echo ${{ steps.x.outcome }} ${{ steps.x.conclusion }}\n",
			want: []string{"failure success"}, step: map[string]string{"one": "failure/success"}},
		"condition on an expression": {steps: "      - {name: one, if: \"github.ref == 'refs/heads/main'\", run: echo yes}\n      - {name: two, if: \"github.ref == 'x'\", run: echo no}\n", want: []string{"yes"}, step: map[string]string{"two": "skipped/skipped"}},
		"bad condition":              {steps: "      - {name: one, if: \"fromJSON('[')\", run: echo yes}\n", end: "failure", step: map[string]string{"one": "failure/failure"}},
		"step timeout":               {steps: "      - {name: one, run: sleep 20, timeout-minutes: 0.005}\n", end: "failure", want: []string{"##[error]the step 'one' has timed out after 0.005 minutes"}},
		"secrets are masked": {steps: "      - run: echo 'pjt_0123456789abcdef'; echo 'a line secret b'; printf 'pjt_01234'; sleep 0.05; echo '56789abcdef'; echo '${{ secrets.KEY }}'\n        shell: bash {0}\n",
			want: []string{"***", "a *** b"}, not: []string{"pjt_0123456789abcdef", "line secret"}},
		"add-mask":        {steps: "      - run: echo '::add-mask::tell-no-one'; echo 'x tell-no-one y'\n", want: []string{"x *** y"}, not: []string{"x tell-no-one"}},
		"commands":        {steps: "      - run: echo '::group::Title'; echo inside; echo '::endgroup::'; echo '::debug::hidden'; echo '::notice::seen'\n", want: []string{"##[group]Title", "inside", "##[endgroup]", "##[notice]seen"}, not: []string{"##[debug]"}},
		"legacy output":   {steps: "      - {id: x, run: 'echo \"::set-output name=o::v\"'}\n      - run: echo got ${{ steps.x.outputs.o }}\n", want: []string{"got v"}},
		"set-env refused": {steps: "      - {name: one, run: 'echo \"::set-env name=A::b\"'}\n", end: "failure", want: []string{"##[error]Unable to process command '::set-env name=A::b' successfully: the command `set-env` is disabled; use the file named by GITHUB_ENV, or set ACTIONS_ALLOW_UNSECURE_COMMANDS to true"}},
		"stop commands":   {steps: "      - {id: x, run: 'echo \"::stop-commands::tok3n\"; echo \"::set-output name=o::bad\"; echo \"::tok3n::\"; echo \"::set-output name=p::good\"'}\n      - run: echo o=${{ steps.x.outputs.o }} p=${{ steps.x.outputs.p }}\n", want: []string{"o= p=good"}},
		"unknown action": {steps: "      - {name: zero, run: echo ran}\n      - {name: one, if: false, uses: some/thing@v1}\n", end: "failure", not: []string{"ran"},
			step: map[string]string{"Set up job": "failure/failure", "zero": ""}},
		"command not found":              {steps: "      - run: no-such-program\n", end: "failure", want: []string{"##[error]Process completed with exit code 127."}},
		"name is evaluated":              {steps: "      - {name: 'on ${{ github.ref_name }}', run: 'true'}\n", step: map[string]string{"on main": "success/success"}},
		"values are not evaluated again": {steps: "      - {id: x, run: 'echo ''o=${{ '''' }}$'' >> $GITHUB_OUTPUT; echo ''o=$'' ''{{ github.token }}'' >> $GITHUB_OUTPUT'}\n      - run: 'echo ''${{ steps.x.outputs.o }}'''\n", want: []string{"$ {{ github.token }}"}},
		"killed by a signal":             {steps: "      - run: kill -9 $$\n", end: "failure", want: []string{"##[error]Process completed with exit code 137."}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := run(t, job(tc.steps))
			if tc.end == "" {
				tc.end = "success"
			}
			if r.end.Conclusion != tc.end {
				t.Errorf("job ended as %s, want %s", r.end.Conclusion, tc.end)
			}
			for _, line := range tc.want {
				if !strings.Contains("\n"+r.log, "\n"+line+"\n") {
					t.Errorf("no line %q", line)
				}
			}
			for _, text := range tc.not {
				if strings.Contains("\n"+r.log, "\n"+text) || strings.HasPrefix(text, "pjt_") && strings.Contains(r.log, text) {
					t.Errorf("log has %q", text)
				}
			}
			for name, want := range tc.step {
				if r.steps[name] != want {
					t.Errorf("step %s is %q, want %q", name, r.steps[name], want)
				}
			}
			if t.Failed() {
				t.Logf("log:\n%s", r.log)
			}
		})
	}
}

// limit changes the time limit of a prepared job.
func limit(t *testing.T, dir jobdir.Dir, minutes float64) {
	t.Helper()
	path := filepath.Join(string(dir), "job.json")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var spec map[string]any
	if err := json.Unmarshal(b, &spec); err != nil {
		t.Fatal(err)
	}
	spec["timeoutMinutes"] = minutes
	if b, err = json.Marshal(spec); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}
